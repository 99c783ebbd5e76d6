"""What `tarry keys list` says of a policy."""

import json
from typing import Any

import pytest

from tarry.cli.keys import summary


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ({"Effect": "Allow", "Action": "s3:*", "Resource": "*"}, "Allow s3:* on *"),
        ({"Effect": "Allow", "NotAction": "s3:*", "Resource": "*"}, "Allow all but s3:* on *"),
        (
            {"Effect": "Deny", "NotAction": ["s3:*", "sns:*"], "NotResource": "arn:aws:s3:::b/*"},
            "Deny all but s3:*, sns:* on all but arn:aws:s3:::b/*",
        ),
        (
            [
                {"Effect": "Allow", "Action": ["s3:A", "s3:B", "s3:C", "s3:D"], "Resource": "arn:aws:s3:::b"},
                {"Effect": "Deny", "Action": "*", "Resource": "*"},
            ],
            "Allow s3:A, s3:B, s3:C … on arn:aws:s3:::b; Deny * on *",
        ),
    ],
)
def test_a_policy_in_a_line(statement: Any, said: str) -> None:
    assert summary(json.dumps({"Statement": statement})) == said


def test_no_policy_and_one_that_is_not_understood_any_more() -> None:
    assert summary(None) == "everything"
    assert summary('{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "x"}}').startswith("nothing, since its policy")
