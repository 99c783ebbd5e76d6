"""Patterns of a policy that match nothing here are told; all others are not."""

import json

import pytest
from tests.support.signing import SCOPE

from tarry.aws.policy_review import unmatched
from tarry.core.names import Scope
from tarry.core.policy import read_policy

CHINA = Scope(account_id="123456789012", region="cn-north-1")


def warnings(element: str, pattern: str, scope: Scope = SCOPE) -> list[str]:
    statement = {"Effect": "Deny", "Action": "*", "Resource": "*"}
    if element.startswith("Not"):
        del statement[element.removeprefix("Not")]
    return list(unmatched(read_policy(json.dumps({"Statement": [{**statement, element: pattern}]})), scope))


@pytest.mark.parametrize("element", ["Action", "NotAction"])
@pytest.mark.parametrize(
    ("pattern", "warned"),
    [
        ("*", False),
        ("sagemaker:*", False),
        ("SageMaker:invokeendpointasync", False),
        ("s3:ListAllMyBuckets", False),
        ("tarry:Rotate*", False),
        ("sagemaker:NoSuchThing", True),
        ("ec2:*", True),
        ("s3:HeadObject", True),
    ],
)
def test_actions(element: str, pattern: str, warned: bool) -> None:
    expected = [f"statement 1: no operation of this server needs the action {pattern!r}."] if warned else []
    assert warnings(element, pattern) == expected


@pytest.mark.parametrize("element", ["Resource", "NotResource"])
@pytest.mark.parametrize(
    ("pattern", "warned"),
    [
        ("*", False),
        ("arn:aws:s3:::bucket/*", False),
        ("arn:*:*:*:*:*", False),
        ("arn:aws:sagemaker:us-east-1:123456789012:endpoint/E", False),
        ("arn:aws:sagemaker:*:*:endpoint/E", False),
        ("arn:aws:iam::123456789012:role/a:b", False),
        ("arn:aws:sagemaker:us-west-2:123456789012:endpoint/E", True),
        ("arn:aws:sns:us-east-1:210987654321:t", True),
        ("arn:aws-cn:s3:::bucket/*", True),
        ("arn:aws:s3:us-east-1:123456789012:bucket/*", True),
        ("arn:aws:ec2:us-east-1:123456789012:instance/i", True),
    ],
)
def test_resources(element: str, pattern: str, warned: bool) -> None:
    told = warnings(element, pattern)
    assert len(told) == warned
    if warned:
        assert f"no resource of this server is called {pattern!r}" in told[0]
        assert "arn:aws:sagemaker:us-east-1:123456789012:, arn:aws:s3:::," in told[0]


def test_another_partition() -> None:
    assert warnings("Resource", "arn:aws-cn:s3:::bucket/*", CHINA) == []
    assert len(warnings("Resource", "arn:aws:s3:::bucket/*", CHINA)) == 1
