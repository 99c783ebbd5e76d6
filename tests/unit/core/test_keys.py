"""What is quoted of a text that has secrets in it."""

import pytest

from tarry.core.keys import without_secrets

SECRET = "abcdefghijklmnopqrstuvwxyz+/0123456789AB"


@pytest.mark.parametrize(
    ("line", "quoted"),
    [
        (f"KEY={SECRET} and {SECRET!r}", "KEY=*** and '***'"),
        (f"the end is missing: {SECRET[:39]}", "the end is missing: ***"),
        (f"{SECRET[1:]} is the rest", "*** is the rest"),
        (SECRET[:8], "***"),
        (f"not a secret: {SECRET[:7]}", f"not a secret: {SECRET[:7]}"),
        ("nothing", "nothing"),
        ("", ""),
    ],
)
def test_a_secret_is_not_quoted_whole_or_cut(line: str, quoted: str) -> None:
    assert without_secrets(line, ["another secret", SECRET]) == quoted
