"""No member can be forgotten: botocore's shapes are walked against the tables, and the tables against what the door hands on."""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from typing import Any

import botocore.session
import pytest

from tarry.aws.call import Call
from tarry.aws.services.sagemaker import sagemaker_service
from tarry.aws.services.sagemaker.members import HONOURED, MEMBERS, DescribedBack, take
from tarry.aws.services.sagemaker_runtime import sagemaker_runtime_service
from tarry.core.errors import NotSupported

SESSION = botocore.session.get_session()
SPEC, RUNTIME = SESSION.get_service_model("sagemaker"), SESSION.get_service_model("sagemaker-runtime")


class HandedOnError(Exception):
    """What the door gave to a command."""


class Commands:
    """All commands of all kinds: each ends with what it was given."""

    def __getattr__(self, name: str) -> Any:
        return self

    async def __call__(self, *given: Any) -> Any:
        raise HandedOnError(*given)


DOOR = {
    **sagemaker_service(Commands()).operations,  # type: ignore[arg-type]
    "InvokeEndpointAsync": sagemaker_runtime_service(Commands(), Commands()).operations["InvokeEndpointAsync"],  # type: ignore[arg-type]
}


def _input(operation: str) -> Any:
    return (SPEC if operation in SPEC.operation_names else RUNTIME).operation_model(operation).input_shape


def _structures(shape: Any, seen: set[str]) -> Iterator[Any]:
    """The structure and all that its honoured and described members lead to."""
    while shape.type_name == "list":
        shape = shape.member
    if shape.type_name != "structure" or shape.name in seen:
        return
    seen.add(shape.name)
    yield shape
    for name, member in shape.members.items():
        if MEMBERS.get(shape.name, {}).get(name) is HONOURED:
            yield from _structures(member, seen)


@pytest.mark.parametrize("operation", DOOR)
def test_every_member_is_honoured_described_back_or_refused(operation: str) -> None:
    for shape in _structures(_input(operation), set()):
        assert set(MEMBERS[shape.name]) == set(shape.members), shape.name


def test_every_table_belongs_to_a_request() -> None:
    reached = {shape.name for operation in DOOR for shape in _structures(_input(operation), set())}
    assert set(MEMBERS) - reached == {"ModelAccessConfig"}  # inside of a member that is described back as a whole


def test_a_refusal_names_the_member_and_the_reason() -> None:
    with pytest.raises(NotSupported, match=r"^ServerlessConfig is not supported: asynchronous endpoints run on instances"):
        take("ProductionVariant", {"VariantName": "A", "ServerlessConfig": {}})


def test_a_member_of_a_newer_botocore_is_refused() -> None:
    with pytest.raises(NotSupported, match=r"^Quantum is not supported"):
        take("ProductionVariant", {"Quantum": 1})


def test_what_has_no_meaning_here_is_kept() -> None:
    assert take("ProductionVariant", {"VariantName": "A", "VolumeSizeInGB": 5, "EnableSSMAccess": None}) == {"VolumeSizeInGB": 5}


# ------------------------------------------------------------------------------------------- what the door does with each


class Either(tuple[Any, Any]):
    """A member's value, and another one for it."""

    __slots__ = ()


def either(one: Any, other: Any) -> Either:
    return Either((one, other))


AUGUST, MAY = datetime(2025, 8, 1, tzinfo=UTC), datetime(2025, 5, 1, tzinfo=UTC)
S3_OBJECT = {
    "S3Uri": either("s3://b/k", "s3://b/l"),
    "S3DataType": "S3Object",
    "CompressionType": either("Gzip", "None"),
    "ETag": either("a", "b"),
    "ModelAccessConfig": {"AcceptEula": True},
}
CONTAINER = {
    "Image": either("i", "j"),
    "ContainerHostname": either("h", "g"),
    "Mode": either("SingleModel", "MultiModel"),
    "ModelDataUrl": either("s3://b/k", "s3://b/l"),
    "AdditionalModelDataSources": [{"ChannelName": either("c", "d"), "S3DataSource": S3_OBJECT}],
    "Environment": either({"A": "1"}, {"A": "2"}),
}
SOURCE = {"Image": "i", "ModelDataSource": {"S3DataSource": S3_OBJECT}}
PREFIX = {"S3Uri": "s3://b/k/", "S3DataType": "S3Prefix", "CompressionType": "None"}
TAGS = [{"Key": either("k", "l"), "Value": either("v", "w")}]
VARIANT = {
    "VariantName": either("v", "w"),
    "ModelName": either("m", "n"),
    "InitialInstanceCount": either(1, 2),
    "InstanceType": either("ml.m5.large", "ml.m5.xlarge"),
    "InitialVariantWeight": either(1.0, 2.0),
    "VariantInstanceProvisionTimeoutInSeconds": either(300, 301),
    "ModelDataDownloadTimeoutInSeconds": either(300, 301),
    "ContainerStartupHealthCheckTimeoutInSeconds": either(300, 301),
}
POOL = {
    "InstanceType": either("ml.m5.large", "ml.m5.xlarge"),
    "Priority": either(1, 2),
    "ModelNameOverride": either("m", "n"),
}
POOLS = {"VariantName": "v", "ModelName": "m", "InitialInstanceCount": 1, "InstancePools": [POOL]}
ASYNC = {
    "ClientConfig": {"MaxConcurrentInvocationsPerInstance": either(1, 2)},
    "OutputConfig": {
        "S3OutputPath": either("s3://b/o", "s3://b/p"),
        "S3FailurePath": either("s3://b/o", "s3://b/p"),
        "NotificationConfig": {
            "SuccessTopic": either("t", "u"),
            "ErrorTopic": either("t", "u"),
            "IncludeInferenceResponseIn": either(["SUCCESS_NOTIFICATION_TOPIC"], ["ERROR_NOTIFICATION_TOPIC"]),
        },
    },
}
SIZE = {"Type": either("INSTANCE_COUNT", "CAPACITY_PERCENT"), "Value": either(1, 2)}
ALARMS = {"Alarms": [{"AlarmName": either("a", "b")}]}


def _blue_green(kind: Any, **step: Any) -> dict[str, Any]:
    routing = {"Type": kind, "WaitIntervalInSeconds": either(10, 11), **step}
    policy = {
        "TrafficRoutingConfiguration": routing,
        "TerminationWaitInSeconds": either(1, 2),
        "MaximumExecutionTimeoutInSeconds": either(900, 901),
    }
    return {"BlueGreenUpdatePolicy": policy, "AutoRollbackConfiguration": ALARMS}


ROLLING = {
    "RollingUpdatePolicy": {
        "MaximumBatchSize": SIZE,
        "WaitIntervalInSeconds": either(10, 11),
        "MaximumExecutionTimeoutInSeconds": either(900, 901),
        "RollbackMaximumBatchSize": SIZE,
    }
}
UPDATE = {
    "EndpointName": either("e", "f"),
    "EndpointConfigName": either("c", "d"),
    "RetainAllVariantProperties": either(True, False),
    "ExcludeRetainedVariantProperties": [{"VariantPropertyType": either("DesiredWeight", "DesiredInstanceCount")}],
    "RetainDeploymentConfig": either(True, False),
}
PAGE = {
    "SortBy": either("Name", "CreationTime"),
    "SortOrder": either("Ascending", "Descending"),
    "NextToken": either("t", "u"),
    "MaxResults": either(1, 2),
    "NameContains": either("a", "b"),
    "CreationTimeBefore": either(AUGUST, MAY),
    "CreationTimeAfter": either(AUGUST, MAY),
}
TIMES = {"LastModifiedTimeBefore": either(AUGUST, MAY), "LastModifiedTimeAfter": either(AUGUST, MAY)}
ARN = either("arn:aws:sagemaker:us-east-1:123456789012:model/m", "arn:aws:sagemaker:us-east-1:123456789012:model/n")
INVOKE = {
    "EndpointName": either("e", "f"),
    "ContentType": either("a", "b"),
    "Accept": either("a", "b"),
    "CustomAttributes": either("a", "b"),
    "InferenceId": either("a", "b"),
    "S3OutputPathExtension": either("a", "b"),
    "Filename": either("a", "b"),
    "RequestTTLSeconds": either(60, 61),
    "InvocationTimeoutSeconds": either(1, 2),
}

REQUESTS: list[tuple[str, dict[str, Any]]] = [
    ("CreateModel", {"ModelName": either("m", "n"), "PrimaryContainer": CONTAINER, "ExecutionRoleArn": either("r", "s")}),
    ("CreateModel", {"ModelName": "m", "PrimaryContainer": SOURCE, "Tags": TAGS}),
    ("CreateModel", {"ModelName": "m", "Containers": [CONTAINER]}),
    (
        "CreateEndpointConfig",
        {"EndpointConfigName": either("c", "d"), "ProductionVariants": [VARIANT], "AsyncInferenceConfig": ASYNC},
    ),
    (
        "CreateEndpointConfig",
        {"EndpointConfigName": "c", "ProductionVariants": [POOLS], "AsyncInferenceConfig": ASYNC, "Tags": TAGS},
    ),
    ("CreateEndpoint", {"EndpointName": either("e", "f"), "EndpointConfigName": either("c", "d"), "Tags": TAGS}),
    ("CreateEndpoint", {"EndpointName": "e", "EndpointConfigName": "c", "DeploymentConfig": ROLLING}),
    ("UpdateEndpoint", UPDATE),
    ("UpdateEndpoint", {**UPDATE, "DeploymentConfig": _blue_green("CANARY", CanarySize=SIZE)}),
    ("UpdateEndpoint", {**UPDATE, "DeploymentConfig": _blue_green("LINEAR", LinearStepSize=SIZE)}),
    ("UpdateEndpoint", {**UPDATE, "DeploymentConfig": _blue_green("ALL_AT_ONCE")}),
    ("UpdateEndpoint", {**UPDATE, "DeploymentConfig": ROLLING}),
    (
        "UpdateEndpointWeightsAndCapacities",
        {
            "EndpointName": either("e", "f"),
            "DesiredWeightsAndCapacities": [
                {"VariantName": either("v", "w"), "DesiredWeight": either(1.0, 2.0), "DesiredInstanceCount": either(1, 2)}
            ],
        },
    ),
    *[(f"List{kind}", PAGE) for kind in ("Models", "EndpointConfigs", "Endpoints")],
    ("ListEndpoints", {**TIMES, "StatusEquals": either("Failed", "InService")}),
    *[
        (f"{verb}{kind}", {f"{kind}Name": either("a", "b")})
        for verb in ("Describe", "Delete")
        for kind in ("Model", "EndpointConfig", "Endpoint")
    ],
    ("AddTags", {"ResourceArn": ARN, "Tags": TAGS}),
    ("ListTags", {"ResourceArn": ARN, "MaxResults": 50}),
    ("DeleteTags", {"ResourceArn": ARN, "TagKeys": either(["a"], ["b"])}),
    ("InvokeEndpointAsync", {**INVOKE, "InputLocation": either("s3://b/k", "s3://b/l")}),
    ("InvokeEndpointAsync", {**INVOKE, "Body": either(b"a", b"b")}),
]

NOT_HANDED_ON = {
    # the only choice there is, or a token that this server never hands out
    ("S3ModelDataSource", "S3DataType"),
    ("ListTagsInput", "MaxResults"),
    ("ListTagsInput", "NextToken"),
    # each type wants a size of its own, so that none can be another's: see below
    ("TrafficRoutingConfig", "Type"),
}


def _leaves(shape: Any, value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[str, str, tuple[Any, ...]]]:
    """Structure, member and path of every value of a request that can be another one."""
    if shape.type_name == "list" and not isinstance(value, Either):
        for index, item in enumerate(value):
            yield from _leaves(shape.member, item, (*path, index))
    if shape.type_name == "structure":
        for name, member in value.items():
            if isinstance(member, Either):
                yield shape.name, name, (*path, name)
            else:
                yield from _leaves(shape.members[name], member, (*path, name))


def _with(value: Any, other: tuple[Any, ...] | None) -> Any:
    """The request with first values everywhere, and the second one at one path."""
    if isinstance(value, Either):
        return copy.deepcopy(value[1 if other == () else 0])
    rest = None if other is None else other[1:]
    if isinstance(value, Mapping):
        return {name: _with(item, rest if other and other[0] == name else None) for name, item in value.items()}
    if isinstance(value, list):
        return [_with(item, rest if other and other[0] == index else None) for index, item in enumerate(value)]
    return value


def _effective(value: Any) -> Any:
    """A value without what is only described back."""
    if is_dataclass(value):
        return {each.name: _effective(getattr(value, each.name)) for each in fields(value) if each.name != "described_back"}
    if isinstance(value, Mapping):
        return {name: _effective(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_effective(item) for item in value]
    return value


async def _handed_on(operation: str, params: Mapping[str, Any]) -> Any:
    call = Call(service="sagemaker", operation=operation, request_id="r", caller=None, headers={}, public_url="http://x")
    with pytest.raises(HandedOnError) as caught:
        await DOOR[operation](call, params)
    return _effective(caught.value.args)


@pytest.mark.parametrize("operation", ["CreateModel", "CreateEndpointConfig"])
async def test_isolation_reaches_the_command(operation: str) -> None:
    """Described back as far as an engine cannot obey; for those that can it is handed on."""
    request = next(request for name, request in REQUESTS if name == operation)
    [plain] = await _handed_on(operation, _with(request, None))
    [isolated] = await _handed_on(operation, {**_with(request, None), "EnableNetworkIsolation": True})
    assert (plain["network_isolation"], isolated["network_isolation"]) == (False, True)


CASES = [
    pytest.param(operation, request, path, id=f"{number} {operation} {'.'.join(map(str, path))}")
    for number, (operation, request) in enumerate(REQUESTS)
    for _, _, path in _leaves(_input(operation), request)
]


@pytest.mark.parametrize(("operation", "request_", "path"), CASES)
async def test_a_member_that_is_honoured_reaches_the_command(operation: str, request_: Any, path: tuple[Any, ...]) -> None:
    before, after = _with(request_, None), _with(request_, path)
    assert await _handed_on(operation, before) != await _handed_on(operation, after)


async def test_the_type_of_a_traffic_routing_reaches_the_command() -> None:
    sizes = {"ALL_AT_ONCE": {}, "CANARY": {"CanarySize": SIZE}, "LINEAR": {"LinearStepSize": SIZE}}
    handed = [
        await _handed_on("UpdateEndpoint", _with({**UPDATE, "DeploymentConfig": _blue_green(kind, **size)}, None))
        for kind, size in sizes.items()
    ]
    assert [str(each).count(f"'{kind}'") for kind, each in zip(sizes, handed, strict=True)] == [1, 1, 1]


def test_all_honoured_members_are_among_those() -> None:
    tried = {(shape, name) for operation, request in REQUESTS for shape, name, _ in _leaves(_input(operation), request)}
    plain = {
        (shape.name, name)
        for operation in DOOR
        for shape in _structures(_input(operation), set())
        for name, member in shape.members.items()
        if MEMBERS[shape.name][name] is HONOURED and not list(_structures(member, set()))
    }
    assert plain - tried == NOT_HANDED_ON
    assert not {pair for pair in tried if isinstance(MEMBERS[pair[0]][pair[1]], DescribedBack)}


def _places(shape: Any, value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of the structures of a request."""
    if shape.type_name == "list" and not isinstance(value, Either):
        for index, item in enumerate(value):
            yield from _places(shape.member, item, (*path, index))
    if shape.type_name == "structure":
        yield path
        for name, member in value.items():
            yield from _places(shape.members[name], member, (*path, name))


PLACES = [
    pytest.param(operation, request, path, id=f"{number} {operation} {'.'.join(map(str, path))}")
    for number, (operation, request) in enumerate(REQUESTS)
    for path in _places(_input(operation), request)
]


@pytest.mark.parametrize(("operation", "request_", "path"), PLACES)
async def test_a_member_that_nobody_knows_is_refused_in_every_structure(
    operation: str, request_: Any, path: tuple[Any, ...]
) -> None:
    params = copy.deepcopy(_with(request_, None))
    place = params
    for step in path:
        place = place[step]
    place["Quantum"] = 1
    call = Call(service="sagemaker", operation=operation, request_id="r", caller=None, headers={}, public_url="http://x")
    with pytest.raises(NotSupported, match=r"^Quantum is not supported"):
        await DOOR[operation](call, params)
