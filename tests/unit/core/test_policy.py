"""IAM's policy language: what allows, what denies, and what is no policy."""

import json
from fnmatch import fnmatchcase
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tarry.core.errors import InvalidRequest
from tarry.core.policy import DOCUMENT_CHARS_MAX, Verdict, _matches, read_policy

ALLOWED, NOT_ALLOWED, DENIED = Verdict.ALLOWED, Verdict.NOT_ALLOWED, Verdict.DENIED
OBJECT = "arn:aws:s3:::bucket/a/b.csv"


def judge(statement: Any, action: str = "s3:GetObject", resource: str = OBJECT) -> Verdict:
    return read_policy(json.dumps({"Version": "2012-10-17", "Statement": statement})).judge(action, resource)


def allow(**elements: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": "*", "Resource": "*", **elements}


DENY_ALL = {"Effect": "Deny", "Action": "*", "Resource": "*"}


@pytest.mark.parametrize(
    ("statement", "verdict"),
    [
        (allow(), ALLOWED),
        (allow(Action="s3:*"), ALLOWED),
        (allow(Action="S3:getobject"), ALLOWED),
        (allow(Action=["sns:Publish", "s3:Get*"]), ALLOWED),
        (allow(Action="s3:GetObjec?"), ALLOWED),
        (allow(Action="s3:Put*"), NOT_ALLOWED),
        (allow(Action="s3:GetObjectAcl"), NOT_ALLOWED),
        (allow(Resource="arn:aws:s3:::bucket/*"), ALLOWED),
        (allow(Resource=["arn:aws:s3:::other/*", "arn:aws:s3:::buck*"]), ALLOWED),
        (allow(Resource="arn:aws:s3:::BUCKET/*"), NOT_ALLOWED),
        (allow(Resource="arn:aws:s3:::bucket"), NOT_ALLOWED),
        (allow(Resource="arn:aws:s3:::bucket/a/b[.]csv"), NOT_ALLOWED),
        ([allow(), DENY_ALL], DENIED),
        ([DENY_ALL, allow()], DENIED),
        ([allow(), {"Effect": "Deny", "Action": "s3:DeleteObject", "Resource": "*"}], ALLOWED),
        ({"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}, ALLOWED),
        ({"Effect": "Allow", "NotAction": "s3:*", "Resource": "*"}, NOT_ALLOWED),
        ([allow(), {"Effect": "Deny", "Action": "*", "NotResource": "arn:aws:s3:::bucket/*"}], ALLOWED),
        ([allow(), {"Effect": "Deny", "Action": "*", "NotResource": "arn:aws:s3:::mine/*"}], DENIED),
    ],
)
def test_what_a_policy_says(statement: Any, verdict: Verdict) -> None:
    assert judge(statement) is verdict


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ("{", "text that is not JSON"),
        ("[" * 5000, "text that is not JSON"),
        ("[]", "got a list"),
        ("{}", "must have a Statement"),
        ('{"Statement": []}', "must have a Statement"),
        ('{"Statement": ["x"]}', "Statement 1 must be an object, got a text"),
        ('{"Version": "2024-01-01", "Statement": {}}', "The Version of a policy is 2012-10-17"),
        ('{"Statment": {}}', "got 'Statment'"),
        (json.dumps({"Statement": {**allow(), "Condition": {}}}), "'Condition', which is not supported here"),
        (json.dumps({"Statement": {**allow(), "Principal": "*"}}), "'Principal', which is not supported here"),
        (json.dumps({"Statement": allow(Effect="allow")}), "must be Allow or Deny, got 'allow'"),
        (json.dumps({"Statement": {"Effect": "Allow", "Action": "*"}}), "exactly one of Resource and NotResource, got 0"),
        (json.dumps({"Statement": {**allow(), "NotAction": "*"}}), "exactly one of Action and NotAction, got 2"),
        (json.dumps({"Statement": allow(Action=[])}), "must be a text or a list of some"),
        (json.dumps({"Statement": allow(Action=7)}), "got a number"),
        (json.dumps({"Statement": allow(Resource=["", "x"])}), "must be a text or a list of some"),
        (json.dumps({"Statement": allow(Action="GetObject")}), "such as s3:GetObject"),
        (" " * (DOCUMENT_CHARS_MAX + 1), "at most 6144 characters"),
    ],
)
def test_what_is_no_policy_is_refused(document: str, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        read_policy(document)


@given(st.text("ab*?", max_size=8), st.text("ab/", max_size=8))
def test_patterns_are_those_of_the_shell_without_brackets(pattern: str, text: str) -> None:
    assert _matches(pattern, text) == fnmatchcase(text, pattern)


def test_no_pattern_is_slow() -> None:
    assert not _matches("*a" * 20 + "b", "a" * 200)
