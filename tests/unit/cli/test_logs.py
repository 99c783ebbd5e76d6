"""Where the last lines of a log begin, looked for piece by piece from its end."""

import itertools
from typing import Any

import pytest

from tarry.cli import logs


@pytest.mark.parametrize("first", [0, 100])
@pytest.mark.parametrize("piece", [1, 2, 3, 50])
def test_the_last_lines_are_found(monkeypatch: pytest.MonkeyPatch, first: int, piece: int) -> None:
    monkeypatch.setattr(logs, "TAIL_BYTES", piece)
    for size in range(6):
        for content in (b"".join(letters) for letters in itertools.product((b"a", b"\n"), repeat=size)):

            def read(_server: Any, _log: Any, offset: int, count: int, content: bytes = content) -> dict[str, Any]:
                return {"Content": content[offset - first :][:count]}

            monkeypatch.setattr(logs, "_read", read)
            log = {"FirstOffset": first, "EndOffset": first + size}
            for wanted in range(5):
                start = logs._start_of_last(None, log, wanted) - first  # type: ignore[arg-type]
                expected = b"".join(content.splitlines(keepends=True)[-wanted:] if wanted else ())
                assert content[start:] == expected, (content, wanted)
