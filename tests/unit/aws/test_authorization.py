"""What every operation asks to be allowed, written out; and how a key's policy answers it."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from tests.support.door import no_invocations
from tests.support.signing import KEY, SCOPE

from tarry.aws.authorization import Asked, actions_known, authorise, demands_of, may_list, operations_known
from tarry.bootstrap.build import all_services
from tarry.core.errors import AccessDenied, Bug
from tarry.core.policy import read_policy
from tarry.testing.keyring import FakeKeyring

HERE = "us-east-1:123456789012"
MODEL, CONFIG, ENDPOINT = (f"arn:aws:sagemaker:{HERE}:{kind}/my-own" for kind in ("model", "endpoint-config", "endpoint"))
BUCKET, OBJECT = "arn:aws:s3:::b", "arn:aws:s3:::b/k/1"
TOPIC = f"arn:aws:sns:{HERE}:Told"
INVOCATION = f"arn:aws:tarry:{HERE}:invocation/i-1"
ACCESS_KEY = f"arn:aws:tarry:{HERE}:access-key/First"
TAGS = [{"Key": "a", "Value": "b"}]
IN_BUCKET, IN_OBJECT = {"Bucket": "b"}, {"Bucket": "b", "Key": "k/1"}
COPY = {**IN_OBJECT, "CopySource": "/from/a%20b"}
OF_TOPIC = {"TopicArn": TOPIC}
M, C, E = {"ModelName": "My-Own"}, {"EndpointConfigName": "My-Own"}, {"EndpointName": "My-Own"}
RESOURCE = {"ResourceArn": ENDPOINT.replace("my-own", "My-Own")}


def data(key: str, data_type: str = "S3Prefix") -> Mapping[str, Any]:
    return {"S3DataSource": {"S3Uri": f"s3://b/{key}", "S3DataType": data_type}}


TABLE: list[tuple[str, str, Mapping[str, Any], list[tuple[str, str]]]] = [
    ("sagemaker", "CreateModel", M, [("sagemaker:CreateModel", MODEL)]),
    ("sagemaker", "CreateModel", {**M, "Tags": TAGS}, [("sagemaker:CreateModel", MODEL), ("sagemaker:AddTags", MODEL)]),
    (
        "sagemaker",
        "CreateModel",
        {**M, "PrimaryContainer": {"ModelDataUrl": "s3://b/k/1"}},
        [("sagemaker:CreateModel", MODEL), ("s3:GetObject", OBJECT)],
    ),
    (
        "sagemaker",
        "CreateModel",
        {**M, "PrimaryContainer": {"ModelDataUrl": "https://b.s3.us-east-1.amazonaws.com/k/1", "Mode": "MultiModel"}},
        [("sagemaker:CreateModel", MODEL), ("s3:GetObject", OBJECT), ("s3:ListBucket", BUCKET)],
    ),
    (
        "sagemaker",
        "CreateModel",
        {**M, "Containers": [{}, {"ModelDataSource": data("k/1", "S3Object"), "AdditionalModelDataSources": [data("l/")]}]},
        [
            ("sagemaker:CreateModel", MODEL),
            ("s3:GetObject", OBJECT),
            ("s3:GetObject", "arn:aws:s3:::b/l/"),
            ("s3:ListBucket", BUCKET),
        ],
    ),
    ("sagemaker", "DescribeModel", M, [("sagemaker:DescribeModel", MODEL)]),
    ("sagemaker", "DeleteModel", M, [("sagemaker:DeleteModel", MODEL)]),
    ("sagemaker", "CreateEndpointConfig", {**C, "Tags": []}, [("sagemaker:CreateEndpointConfig", CONFIG)]),
    (
        "sagemaker",
        "CreateEndpointConfig",
        {**C, "Tags": TAGS},
        [("sagemaker:CreateEndpointConfig", CONFIG), ("sagemaker:AddTags", CONFIG)],
    ),
    ("sagemaker", "DescribeEndpointConfig", C, [("sagemaker:DescribeEndpointConfig", CONFIG)]),
    ("sagemaker", "DeleteEndpointConfig", C, [("sagemaker:DeleteEndpointConfig", CONFIG)]),
    (
        "sagemaker",
        "CreateEndpoint",
        {**E, **C, "Tags": TAGS},
        [("sagemaker:CreateEndpoint", ENDPOINT), ("sagemaker:CreateEndpoint", CONFIG), ("sagemaker:AddTags", ENDPOINT)],
    ),
    ("sagemaker", "CreateEndpoint", {**E, **C}, [("sagemaker:CreateEndpoint", ENDPOINT), ("sagemaker:CreateEndpoint", CONFIG)]),
    ("sagemaker", "UpdateEndpoint", {**E, **C}, [("sagemaker:UpdateEndpoint", ENDPOINT), ("sagemaker:UpdateEndpoint", CONFIG)]),
    ("sagemaker", "DescribeEndpoint", E, [("sagemaker:DescribeEndpoint", ENDPOINT)]),
    ("sagemaker", "DeleteEndpoint", E, [("sagemaker:DeleteEndpoint", ENDPOINT)]),
    ("sagemaker", "UpdateEndpointWeightsAndCapacities", E, [("sagemaker:UpdateEndpointWeightsAndCapacities", ENDPOINT)]),
    ("sagemaker", "ListModels", {}, [("sagemaker:ListModels", "*")]),
    ("sagemaker", "ListEndpointConfigs", {}, [("sagemaker:ListEndpointConfigs", "*")]),
    ("sagemaker", "ListEndpoints", {}, [("sagemaker:ListEndpoints", "*")]),
    ("sagemaker", "AddTags", {**RESOURCE, "Tags": TAGS}, [("sagemaker:AddTags", ENDPOINT)]),
    ("sagemaker", "ListTags", RESOURCE, [("sagemaker:ListTags", ENDPOINT)]),
    ("sagemaker", "DeleteTags", RESOURCE, [("sagemaker:DeleteTags", ENDPOINT)]),
    ("sagemaker-runtime", "InvokeEndpoint", E, [("sagemaker:InvokeEndpoint", ENDPOINT)]),
    ("sagemaker-runtime", "InvokeEndpointAsync", E, [("sagemaker:InvokeEndpointAsync", ENDPOINT)]),
    (
        "sagemaker-runtime",
        "InvokeEndpointWithResponseStream",
        E,
        [("sagemaker:InvokeEndpointWithResponseStream", ENDPOINT)],
    ),
    ("s3", "ListBuckets", {}, [("s3:ListAllMyBuckets", "*")]),
    ("s3", "CreateBucket", IN_BUCKET, [("s3:CreateBucket", BUCKET)]),
    ("s3", "DeleteBucket", IN_BUCKET, [("s3:DeleteBucket", BUCKET)]),
    ("s3", "GetBucketLocation", IN_BUCKET, [("s3:GetBucketLocation", BUCKET)]),
    ("s3", "HeadBucket", IN_BUCKET, [("s3:ListBucket", BUCKET)]),
    ("s3", "ListObjects", IN_BUCKET, [("s3:ListBucket", BUCKET)]),
    ("s3", "ListObjectsV2", IN_BUCKET, [("s3:ListBucket", BUCKET)]),
    ("s3", "ListMultipartUploads", IN_BUCKET, [("s3:ListBucketMultipartUploads", BUCKET)]),
    ("s3", "GetObject", IN_OBJECT, [("s3:GetObject", OBJECT)]),
    ("s3", "HeadObject", IN_OBJECT, [("s3:GetObject", OBJECT)]),
    ("s3", "GetObjectAttributes", IN_OBJECT, [("s3:GetObject", OBJECT)]),
    ("s3", "PutObject", IN_OBJECT, [("s3:PutObject", OBJECT)]),
    ("s3", "CreateMultipartUpload", IN_OBJECT, [("s3:PutObject", OBJECT)]),
    ("s3", "UploadPart", IN_OBJECT, [("s3:PutObject", OBJECT)]),
    ("s3", "CompleteMultipartUpload", IN_OBJECT, [("s3:PutObject", OBJECT)]),
    ("s3", "AbortMultipartUpload", IN_OBJECT, [("s3:AbortMultipartUpload", OBJECT)]),
    ("s3", "ListParts", IN_OBJECT, [("s3:ListMultipartUploadParts", OBJECT)]),
    ("s3", "CopyObject", COPY, [("s3:GetObject", "arn:aws:s3:::from/a b"), ("s3:PutObject", OBJECT)]),
    ("s3", "UploadPartCopy", COPY, [("s3:GetObject", "arn:aws:s3:::from/a b"), ("s3:PutObject", OBJECT)]),
    ("s3", "DeleteObject", IN_OBJECT, [("s3:DeleteObject", OBJECT)]),
    (
        "s3",
        "DeleteObjects",
        {**IN_BUCKET, "Delete": {"Objects": [{"Key": "k/1"}, {"Key": "k/2"}]}},
        [("s3:DeleteObject", OBJECT), ("s3:DeleteObject", "arn:aws:s3:::b/k/2")],
    ),
    ("sns", "CreateTopic", {"Name": "Told"}, [("sns:CreateTopic", TOPIC)]),
    ("sns", "ConfirmSubscription", OF_TOPIC, [("sns:ConfirmSubscription", TOPIC)]),
    ("sns", "DeleteTopic", OF_TOPIC, [("sns:DeleteTopic", TOPIC)]),
    ("sns", "GetTopicAttributes", OF_TOPIC, [("sns:GetTopicAttributes", TOPIC)]),
    ("sns", "ListSubscriptionsByTopic", OF_TOPIC, [("sns:ListSubscriptionsByTopic", TOPIC)]),
    ("sns", "Publish", OF_TOPIC, [("sns:Publish", TOPIC)]),
    ("sns", "Publish", {"TargetArn": TOPIC}, [("sns:Publish", TOPIC)]),
    ("sns", "Publish", {"TopicArn": TOPIC, "TargetArn": "another"}, [("sns:Publish", TOPIC)]),
    ("sns", "Publish", {"PhoneNumber": "1"}, [("sns:Publish", "*")]),
    ("sns", "PublishBatch", OF_TOPIC, [("sns:PublishBatch", TOPIC)]),
    ("sns", "SetTopicAttributes", OF_TOPIC, [("sns:SetTopicAttributes", TOPIC)]),
    ("sns", "Subscribe", OF_TOPIC, [("sns:Subscribe", TOPIC)]),
    ("sns", "ListTagsForResource", {"ResourceArn": TOPIC}, [("sns:ListTagsForResource", TOPIC)]),
    ("sns", "TagResource", {"ResourceArn": TOPIC}, [("sns:TagResource", TOPIC)]),
    ("sns", "UntagResource", {"ResourceArn": TOPIC}, [("sns:UntagResource", TOPIC)]),
    ("sns", "GetSubscriptionAttributes", {}, [("sns:GetSubscriptionAttributes", "*")]),
    ("sns", "ListSubscriptions", {}, [("sns:ListSubscriptions", "*")]),
    ("sns", "ListTopics", {}, [("sns:ListTopics", "*")]),
    ("sns", "SetSubscriptionAttributes", {}, [("sns:SetSubscriptionAttributes", "*")]),
    ("sns", "Unsubscribe", {}, [("sns:Unsubscribe", "*")]),
    ("iam", "GetRole", {"RoleName": "R"}, [("iam:GetRole", "arn:aws:iam::123456789012:role/R")]),
    ("sts", "GetCallerIdentity", {}, []),
    ("tarry", "DescribeInvocation", {"InvocationId": "i-1"}, [("tarry:DescribeInvocation", INVOCATION)]),
    ("tarry", "WaitInvocation", {"InvocationId": "i-1"}, [("tarry:WaitInvocation", INVOCATION)]),
    ("tarry", "StopInvocation", {"InferenceId": "x"}, [("tarry:StopInvocation", "*")]),
    ("tarry", "RedriveInvocations", {"InferenceIds": ["x"]}, [("tarry:RedriveInvocations", "*")]),
    ("tarry", "DescribeInvocation", {"InferenceId": "i-1"}, [("tarry:DescribeInvocation", "*")]),
    ("tarry", "StopInvocation", {"InvocationId": "i-1"}, [("tarry:StopInvocation", INVOCATION)]),
    ("tarry", "SetPriority", {"InvocationId": "i-1"}, [("tarry:SetPriority", INVOCATION)]),
    ("tarry", "ListInvocations", E, [("tarry:ListInvocations", ENDPOINT)]),
    ("tarry", "ListInvocations", {}, [("tarry:ListInvocations", "*")]),
    ("tarry", "DescribeQueue", E, [("tarry:DescribeQueue", ENDPOINT)]),
    ("tarry", "PurgeQueue", E, [("tarry:PurgeQueue", ENDPOINT)]),
    ("tarry", "PutRetryPolicy", E, [("tarry:PutRetryPolicy", ENDPOINT)]),
    ("tarry", "DeleteRetryPolicy", E, [("tarry:DeleteRetryPolicy", ENDPOINT)]),
    ("tarry", "ListInstanceLogs", E, [("tarry:ListInstanceLogs", ENDPOINT)]),
    ("tarry", "ReadInstanceLog", E, [("tarry:ReadInstanceLog", ENDPOINT)]),
    ("tarry", "RedriveInvocations", {"InvocationIds": ["i-1"]}, [("tarry:RedriveInvocations", INVOCATION)]),
    ("tarry", "RedriveInvocations", E, [("tarry:RedriveInvocations", ENDPOINT)]),
    ("tarry", "ListAccessKeys", {}, [("tarry:ListAccessKeys", "*")]),
    ("tarry", "CreateAccessKey", {"Name": "First"}, [("tarry:CreateAccessKey", ACCESS_KEY)]),
    ("tarry", "UpdateAccessKey", {"AccessKeyId": "First"}, [("tarry:UpdateAccessKey", ACCESS_KEY)]),
    ("tarry", "RotateAccessKey", {"Name": "First"}, [("tarry:RotateAccessKey", ACCESS_KEY)]),
    ("tarry", "PutAccessKeyPolicy", {"Name": "First"}, [("tarry:PutAccessKeyPolicy", ACCESS_KEY)]),
    ("tarry", "DeleteAccessKeyPolicy", {"Name": "First"}, [("tarry:DeleteAccessKeyPolicy", ACCESS_KEY)]),
]


def asked(service: str, operation: str, params: Mapping[str, Any]) -> Asked:
    return Asked(service=service, operation=operation, params=params, scope=SCOPE)


@pytest.mark.parametrize(("service", "operation", "params", "demands"), TABLE)
def test_what_an_operation_demands(
    service: str, operation: str, params: Mapping[str, Any], demands: list[tuple[str, str]]
) -> None:
    assert list(demands_of(asked(service, operation, params))) == demands


def test_the_tables_have_exactly_what_is_served() -> None:
    served = {name: set(service.operations) for name, service in all_services().items()}
    assert {name: set(operations) for name, operations in operations_known().items()} == served
    here: dict[str, set[str]] = {name: set() for name in served}
    for service, operation, _, _ in TABLE:
        here[service].add(operation)
    assert here == served
    assert actions_known() == {action for _, _, _, demands in TABLE for action, _ in demands}
    with pytest.raises(Bug, match="sts:AssumeRole"):
        list(demands_of(asked("sts", "AssumeRole", {})))


def limited(*statements: tuple[str, str, str]) -> Any:
    """The key of these tests with a policy of (effect, action, resource)."""
    given = [{"Effect": effect, "Action": action, "Resource": resource} for effect, action, resource in statements]
    return replace(KEY, policy=read_policy(json.dumps({"Statement": given})))


@pytest.mark.parametrize("missing", range(3))
async def test_every_demand_has_to_be_allowed(missing: int) -> None:
    request = asked("sagemaker", "CreateEndpoint", {**E, **C, "Tags": TAGS})
    demands = list(demands_of(request))
    key = limited(*(("Allow", *demand) for demand in demands))
    await authorise(key, request, FakeKeyring(key), no_invocations)
    key = limited(*(("Allow", *demand) for number, demand in enumerate(demands) if number != missing))
    action, resource = demands[missing]
    with pytest.raises(AccessDenied) as caught:
        await authorise(key, request, FakeKeyring(key), no_invocations)
    assert str(caught.value) == (
        f"User: arn:aws:iam::123456789012:user/test is not authorized to perform: {action} on resource: {resource} because no "
        f"identity-based policy allows the {action} action"
    )


async def test_a_deny_wins_and_is_told_and_objects_are_quoted() -> None:
    key = limited(("Allow", "*", "*"), ("Deny", "s3:DeleteObject", OBJECT))
    await authorise(key, asked("s3", "GetObject", IN_OBJECT), FakeKeyring(key), no_invocations)
    with pytest.raises(AccessDenied, match='on resource: "arn:aws:s3:::b/k/1" with an explicit deny in an identity-based policy'):
        await authorise(key, asked("s3", "DeleteObject", IN_OBJECT), FakeKeyring(key), no_invocations)


async def test_a_key_without_a_policy_is_asked_nothing() -> None:
    await authorise(KEY, asked("sts", "NoSuchThing", {}), FakeKeyring(), no_invocations)


def test_who_may_list() -> None:
    assert may_list(KEY, "b", SCOPE)
    assert may_list(limited(("Allow", "s3:ListBucket", BUCKET)), "b", SCOPE)
    assert not may_list(limited(("Allow", "s3:ListBucket", BUCKET)), "c", SCOPE)
    assert not may_list(limited(("Allow", "s3:*", "*"), ("Deny", "s3:ListBucket", BUCKET)), "b", SCOPE)


@pytest.mark.parametrize("pattern", ["First", "first", "FIRST", "fi*"])
@pytest.mark.parametrize(
    ("operation", "params"),
    [
        ("CreateAccessKey", {"Name": "fIRST"}),
        ("UpdateAccessKey", {"AccessKeyId": "AKIA0000000000000001"}),
        ("RotateAccessKey", {"Name": "FIRST"}),
        ("PutAccessKeyPolicy", {"Name": "first"}),
        ("DeleteAccessKeyPolicy", {"Name": "First"}),
    ],
)
async def test_a_key_is_itself_however_it_is_named(pattern: str, operation: str, params: Mapping[str, Any]) -> None:
    first = replace(KEY, id="AKIA0000000000000001", name="First")
    named = ACCESS_KEY.replace("First", pattern)
    key = limited(("Allow", "tarry:*", "*"), ("Deny", "tarry:*", named))
    request = asked("tarry", operation, params)
    with pytest.raises(AccessDenied, match=f"tarry:{operation} on resource: {ACCESS_KEY} with an explicit deny"):
        await authorise(key, request, FakeKeyring(key, first), no_invocations)
    key = limited(("Allow", "tarry:*", named))
    await authorise(key, request, FakeKeyring(key, first), no_invocations)
    another = limited(("Allow", "tarry:*", ACCESS_KEY.replace("First", KEY.name)))
    with pytest.raises(AccessDenied):
        await authorise(another, request, FakeKeyring(another, first), no_invocations)


async def test_a_key_that_does_not_exist_is_called_what_the_caller_calls_it() -> None:
    key = limited(("Allow", "tarry:*", ACCESS_KEY.replace("First", "new*")))
    await authorise(key, asked("tarry", "CreateAccessKey", {"Name": "newest"}), FakeKeyring(key), no_invocations)
    request = asked("tarry", "UpdateAccessKey", {"AccessKeyId": "AKIA0000000000000009"})
    with pytest.raises(AccessDenied, match="access-key/AKIA0000000000000009 because"):
        await authorise(key, request, FakeKeyring(key), no_invocations)


SECRET = ENDPOINT.replace("my-own", "secret")
NO_STATEMENT = "because no identity-based policy allows the tarry:StopInvocation action"


async def whose(id: str) -> str | None:
    return {"i-1": "My-Own", "i-2": "Secret"}.get(id)


def stopping(id: str) -> Asked:
    return asked("tarry", "StopInvocation", {"InvocationId": id})


@pytest.mark.parametrize("allowed", [ENDPOINT, ENDPOINT.replace("own", "*"), "*"])
async def test_who_may_ask_of_an_endpoint_may_ask_of_its_invocations(allowed: str) -> None:
    key = limited(("Allow", "tarry:*", allowed))
    await authorise(key, stopping("i-1"), FakeKeyring(key), whose)
    await authorise(key, asked("tarry", "RedriveInvocations", {"InvocationIds": ["i-1"]}), FakeKeyring(key), whose)


@pytest.mark.parametrize("denied", [(), (("Deny", "tarry:*", SECRET),)])
@pytest.mark.parametrize("id", ["i-2", "i-3"], ids=["another's", "nobody's"])
async def test_a_refusal_does_not_tell_whether_there_is_such_an_invocation(
    id: str, denied: tuple[tuple[str, str, str], ...]
) -> None:
    key = limited(("Allow", "tarry:*", ENDPOINT), ("Allow", "tarry:*", INVOCATION.replace("i-1", "*")), *denied)
    with pytest.raises(AccessDenied) as caught:
        await authorise(key, stopping(id), FakeKeyring(key), whose)
    arn = INVOCATION.replace("i-1", id)
    assert str(caught.value).endswith(f"to perform: tarry:StopInvocation on resource: {arn} {NO_STATEMENT}")
    both = asked("tarry", "RedriveInvocations", {"InvocationIds": ["i-1", id]})
    with pytest.raises(AccessDenied):
        await authorise(key, both, FakeKeyring(key), whose)


@pytest.mark.parametrize("effect", ["Deny", "NotResource"])
async def test_an_endpoint_that_is_denied_covers_its_invocations(effect: str) -> None:
    key = limited(("Allow", "tarry:*", "*"), ("Deny", "tarry:*", SECRET))
    if effect == "NotResource":
        statement = {"Effect": "Allow", "Action": "tarry:*", "NotResource": SECRET}
        key = replace(KEY, policy=read_policy(json.dumps({"Statement": statement})))
    await authorise(key, stopping("i-1"), FakeKeyring(key), whose)
    await authorise(key, stopping("i-3"), FakeKeyring(key), whose)
    with pytest.raises(AccessDenied):
        await authorise(key, stopping("i-2"), FakeKeyring(key), whose)


EXCLUDING = {
    "a deny": [{"Effect": "Allow", "Action": "*", "Resource": "*"}, {"Effect": "Deny", "Action": "tarry:*", "Resource": SECRET}],
    "all but it": [{"Effect": "Allow", "Action": "tarry:*", "NotResource": SECRET}],
    "all but mine denied": [
        {"Effect": "Allow", "Action": "tarry:*", "Resource": "*"},
        {"Effect": "Deny", "Action": "tarry:*", "NotResource": ENDPOINT},
    ],
}
NAMING_NONE: dict[str, list[Mapping[str, Any]]] = {
    "DescribeInvocation": [{"InferenceId": "x"}],
    "WaitInvocation": [{"InferenceId": "x"}],
    "StopInvocation": [{"InferenceId": "x"}],
    "SetPriority": [{"InferenceId": "x", "Priority": 1}],
    "ListInvocations": [{}, {"InferenceId": "x"}, {"States": ["Failed"]}],
    "RedriveInvocations": [{"InferenceIds": ["x"], "DryRun": True}, {"InvocationIds": ["i-1"], "InferenceIds": ["x"]}, {}],
    "ListAccessKeys": [{}],
}


@pytest.mark.parametrize("policy", EXCLUDING)
async def test_what_names_no_endpoint_does_not_reach_one_that_is_excluded(policy: str) -> None:
    excluding = replace(KEY, policy=read_policy(json.dumps({"Statement": EXCLUDING[policy]})))
    all_, other = limited(("Allow", "tarry:*", "*")), limited(("Allow", "*", "*"), ("Deny", "sagemaker:*", SECRET))
    for operation, all_params in NAMING_NONE.items():
        for params in all_params:
            request = asked("tarry", operation, params)
            await authorise(all_, request, FakeKeyring(all_), whose)
            await authorise(other, request, FakeKeyring(other), whose)
            with pytest.raises(AccessDenied, match=rf"tarry:{operation} on resource: \* .*name .* the EndpointName or the Invo"):
                await authorise(excluding, request, FakeKeyring(excluding), whose)
    await authorise(excluding, asked("tarry", "ListInvocations", {**E, "InferenceId": "x"}), FakeKeyring(excluding), whose)
    await authorise(excluding, stopping("i-1"), FakeKeyring(excluding), whose)


def test_these_are_all_operations_of_ours_that_may_name_none() -> None:
    all_params = {"InferenceId": "x", "InferenceIds": ["x"], "Name": "n"}
    naming_none = set()
    for operation in operations_known()["tarry"]:
        if ("tarry:" + operation, "*") in demands_of(asked("tarry", operation, all_params)):
            naming_none.add(operation)
    required = {"DescribeQueue", "PurgeQueue", "PutRetryPolicy", "DeleteRetryPolicy", "ListInstanceLogs", "ReadInstanceLog"}
    assert naming_none == NAMING_NONE.keys() | required


async def test_others_have_their_turn_while_a_long_request_is_judged() -> None:
    objects = [{"Key": f"{'a' * 1000}{number}"} for number in range(100)]
    patterns = [f"arn:aws:s3:::*{'a' * 400}{letter}" for letter in "bcdefghijklm"]
    key = limited(("Allow", "*", "*"), *(("Deny", "s3:*", pattern) for pattern in patterns))
    request = asked("s3", "DeleteObjects", {"Bucket": "b", "Delete": {"Objects": objects}})
    judging = asyncio.create_task(authorise(key, request, FakeKeyring(key), no_invocations))
    turns = 0
    while not judging.done():
        await asyncio.sleep(0)
        turns += 1
    await judging
    assert turns >= 99
