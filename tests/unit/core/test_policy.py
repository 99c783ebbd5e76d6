"""IAM's policy language: what allows, what denies, and what is no policy."""

import json
from typing import Any

import pytest

from tarry.core.errors import InvalidRequest
from tarry.core.policy import DOCUMENT_CHARS_MAX, Verdict, kept_policy, read_policy

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
        (json.dumps({"Statement": allow(Resource="bucket/*")}), "an ARN with six fields"),
        (json.dumps({"Statement": allow(Resource=["*", "**"])}), "an ARN with six fields"),
        (json.dumps({"Statement": allow(Resource="arn:aws:s3:*")}), "an ARN with six fields"),
        (json.dumps({"Statement": allow(Resource="arn:aws:s3:::")}), "an ARN with six fields"),
        (json.dumps({"Statement": {"Effect": "Deny", "Action": "*", "NotResource": "mine"}}), "an ARN with six fields"),
        (json.dumps({"Statement": allow(Resource="arn:aws:s3:::${aws:username}/*")}), "Policy variables"),
        (json.dumps({"Statement": allow(Resource="arn:aws:s3:::b/${*}")}), "Policy variables"),
        (json.dumps({"Statement": allow(Action="s3:${aws:username}")}), "such as s3:GetObject"),
        ('{"Statement": {"Effect": "Deny", "Effect": "Allow", "Action": "*", "Resource": "*"}}', "element 'Effect' twice"),
        ('{"Statement": [], "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}', "element 'Statement' twice"),
        (" " * (DOCUMENT_CHARS_MAX + 1), "at most 6144 characters"),
    ],
)
def test_what_is_no_policy_is_refused(document: str, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        read_policy(document)


ENDPOINT = "arn:aws:sagemaker:us-east-1:123456789012:endpoint/myendpoint"
KEY = "arn:aws:tarry:us-east-1:123456789012:access-key/First"


@pytest.mark.parametrize(
    ("pattern", "resource", "meant"),
    [
        (ENDPOINT.replace("myendpoint", "MyEndpoint"), ENDPOINT, True),
        (ENDPOINT.replace("myendpoint", "My*"), ENDPOINT, True),
        (ENDPOINT, ENDPOINT.replace("myendpoint", "MyEndpoint"), True),
        (ENDPOINT.replace("myendpoint", "Mine*"), ENDPOINT, False),
        (KEY.replace("First", "first"), KEY, True),
        (KEY.replace("First", "FIRST"), KEY, True),
        ("arn:aws:s3:::bucket/A/*", OBJECT, False),
        ("arn:aws:sns:us-east-1:123456789012:TOLD", "arn:aws:sns:us-east-1:123456789012:told", False),
        ("arn:aws:tarry:us-east-1:123456789012:invocation/ID", "arn:aws:tarry:us-east-1:123456789012:invocation/id", False),
    ],
)
def test_names_that_are_unique_without_case_are_compared_without_it(pattern: str, resource: str, meant: bool) -> None:
    assert judge(allow(Resource=pattern), "x:Y", resource) is (ALLOWED if meant else NOT_ALLOWED)
    assert judge([allow(), {**DENY_ALL, "Resource": pattern}], "x:Y", resource) is (DENIED if meant else ALLOWED)
    others = {"Effect": "Deny", "Action": "*", "NotResource": pattern}
    assert judge([allow(), others], "x:Y", resource) is (ALLOWED if meant else DENIED)


MINE, S3 = {"Resource": ENDPOINT}, {"Effect": "Deny", "Action": "s3:*", "Resource": "*"}


@pytest.mark.parametrize(
    ("statement", "verdict"),
    [
        (allow(), ALLOWED),
        (allow(Action="TARRY:List*"), ALLOWED),
        (allow(Action="tarry:Describe*"), NOT_ALLOWED),
        (allow(Resource=[ENDPOINT, "*"]), ALLOWED),
        ([allow(**MINE), allow()], ALLOWED),
        (allow(**MINE), NOT_ALLOWED),
        ({"Effect": "Allow", "Action": "*", "NotResource": ENDPOINT}, NOT_ALLOWED),
        ({"Effect": "Allow", "Action": "*", "NotResource": "*"}, NOT_ALLOWED),
        ({"Effect": "Allow", "NotAction": "s3:*", "Resource": "*"}, ALLOWED),
        ({"Effect": "Allow", "NotAction": "tarry:*", "Resource": "*"}, NOT_ALLOWED),
        ([allow(), S3], ALLOWED),
        ([allow(), {**DENY_ALL, **MINE}], DENIED),
        ([{**DENY_ALL, "Action": "tarry:ListInvocations", **MINE}, allow()], DENIED),
        ([allow(), {**DENY_ALL, "Action": "tarry:StopInvocation", **MINE}], ALLOWED),
        ([allow(), {"Effect": "Deny", "Action": "*", "NotResource": ENDPOINT}], DENIED),
        ([allow(), {"Effect": "Deny", "NotAction": "s3:*", **MINE}], DENIED),
        ([allow(), {"Effect": "Deny", "NotAction": "tarry:*", **MINE}], ALLOWED),
    ],
)
def test_an_action_on_everything_is_allowed_on_all_and_denied_on_none(statement: Any, verdict: Verdict) -> None:
    assert read_policy(json.dumps({"Statement": statement})).judge_all("tarry:ListInvocations") is verdict


def test_what_is_longer_than_any_resource_is_allowed_by_nothing() -> None:
    assert judge(allow(), resource="arn:aws:s3:::" + "b" * 63 + "/" + "k" * 1024) is ALLOWED
    assert judge(allow(), resource="arn:aws:s3:::b/" + "k" * 4096) is NOT_ALLOWED


def test_a_kept_policy_that_would_be_refused_today_allows_nothing() -> None:
    document = json.dumps({"Statement": [allow(), {**DENY_ALL, "Resource": "arn:aws:s3:::${aws:username}/*"}]})
    kept = kept_policy(document)
    assert kept.document == document
    assert kept.judge("s3:GetObject", OBJECT) is NOT_ALLOWED
    assert kept_policy(json.dumps({"Statement": allow()})).judge("s3:GetObject", OBJECT) is ALLOWED
