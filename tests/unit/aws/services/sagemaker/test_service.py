"""The control plane's operations with parameters as botocore shapes them, down to the fakes; answers fit their shapes."""

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Any

import botocore.session
import pytest
from tests.support.control import ROLE, TOPIC, World

from tarry.aws.call import Call, Reply, Service
from tarry.aws.services.sagemaker import sagemaker_service
from tarry.core.catalog import WEIGHT_MAX, ModelDataSource
from tarry.core.endpoint import EndpointStatus
from tarry.core.errors import InstanceStartError, InvalidRequest
from tarry.ports import AlarmState

SPEC = botocore.session.get_session().get_service_model("sagemaker")
IMAGE = "683313688378.dkr.ecr.us-east-1.amazonaws.com/stub:0.90-1-cpu-py3"
ASYNC = {
    "OutputConfig": {
        "S3OutputPath": "s3://b/out",
        "S3FailurePath": "s3://b/bad",
        "KmsKeyId": "alias/k",
        "NotificationConfig": {
            "SuccessTopic": TOPIC,
            "ErrorTopic": TOPIC,
            "IncludeInferenceResponseIn": ["SUCCESS_NOTIFICATION_TOPIC"],
        },
    },
    "ClientConfig": {"MaxConcurrentInvocationsPerInstance": 7},
}
VARIANT = {"VariantName": "variant1", "ModelName": "m", "InstanceType": "ml.m5.xlarge", "InitialInstanceCount": 1}


class Door:
    """Calls operations and holds each answer to its shape."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.service: Service = sagemaker_service(world.commands)

    async def __call__(self, operation: str, **params: Any) -> Mapping[str, Any]:
        call = Call(service="sagemaker", operation=operation, request_id="r", caller=None, headers={}, public_url="http://x")
        answer = await self.service.operations[operation](call, params)
        assert not isinstance(answer, Reply)
        shape = SPEC.operation_model(operation).output_shape
        if shape is None:
            assert not answer
        else:
            _fits(shape, answer)
        return answer

    async def model(self, name: str = "m") -> None:
        container = {"Image": IMAGE, "ModelDataUrl": "s3://b/m.tar.gz"}
        await self("CreateModel", ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer=container)

    async def endpoint(self, name: str = "Ep") -> None:
        await self.model()
        await self("CreateEndpointConfig", EndpointConfigName="c", ProductionVariants=[VARIANT], AsyncInferenceConfig=ASYNC)
        await self("CreateEndpoint", EndpointName=name, EndpointConfigName="c")


def _fits(shape: Any, value: Any) -> None:
    if shape.type_name == "structure":
        assert set(shape.required_members) <= set(value) <= set(shape.members), (shape.name, value)
        for name, member in value.items():
            _fits(shape.members[name], member)
    elif shape.type_name == "list":
        for item in value:
            _fits(shape.member, item)
    else:
        types = {"timestamp": datetime, "string": str, "integer": int, "float": float, "boolean": bool, "map": Mapping}
        assert isinstance(value, types[shape.type_name]), (shape.name, value)


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    world = World()
    yield Door(world)
    await world.reconciler.close()


async def test_a_model_is_described_as_it_came(door: Door) -> None:
    given = {
        "ModelName": "Mine",
        "ExecutionRoleArn": ROLE,
        "PrimaryContainer": {
            "Image": IMAGE,
            "ModelDataUrl": "s3://b/m.tar.gz",
            "Environment": {"TS_MAX_REQUEST_SIZE": "100000000"},
            "ContainerHostname": "host",
            "Mode": "SingleModel",
            "ImageConfig": {"RepositoryAccessMode": "Platform"},
        },
        "VpcConfig": {"SecurityGroupIds": ["sg-1"], "Subnets": ["s-1"]},
        "EnableNetworkIsolation": True,
    }
    answer = await door("CreateModel", **given, Tags=[{"Key": "k", "Value": "v"}])
    assert answer == {"ModelArn": "arn:aws:sagemaker:us-east-1:123456789012:model/mine"}
    described = await door("DescribeModel", ModelName="mine")
    assert described == {**given, **answer, "CreationTime": described["CreationTime"]}
    assert described["CreationTime"].tzinfo is UTC
    assert await door("ListTags", ResourceArn=answer["ModelArn"]) == {"Tags": [{"Key": "k", "Value": "v"}]}


async def test_one_entry_of_containers_is_a_model_too(door: Door) -> None:
    source = {"S3DataSource": {"S3Uri": "s3://b/m.tar.gz", "S3DataType": "S3Object", "CompressionType": "Gzip"}}
    containers = [{"Image": IMAGE, "ModelDataSource": source}]
    await door("CreateModel", ModelName="m", Containers=containers)
    described = await door("DescribeModel", ModelName="m")
    assert described["Containers"] == containers
    assert "PrimaryContainer" not in described
    stored = await door.world.commands.models.describe("m")
    assert stored.containers[0].model_data == ModelDataSource(s3_uri="s3://b/m.tar.gz")


def _source(**changes: Any) -> dict[str, Any]:
    place = {"S3Uri": "s3://b/m", "S3DataType": "S3Object", "CompressionType": "Gzip", **changes}
    return {"PrimaryContainer": {"Image": IMAGE, "ModelDataSource": {"S3DataSource": place}}}


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({}, "Exactly one of PrimaryContainer and Containers must be given, got neither"),
        ({"Containers": []}, "got neither"),
        ({"PrimaryContainer": {"Image": IMAGE}, "Containers": [{"Image": IMAGE}]}, "got both"),
        (
            {"Containers": [{"Image": IMAGE}, {"Image": IMAGE}], "InferenceExecutionConfig": {"Mode": "Direct"}},
            "Direct is not supported",
        ),
        ({"Containers": [{"Image": IMAGE, "ContainerHostname": "a"}, {"Image": IMAGE}]}, "ContainerHostname of its own"),
        ({"Containers": [{"Image": IMAGE, "ContainerHostname": "a"}] * 2}, "ContainerHostname of its own"),
        ({"PrimaryContainer": {"ModelDataUrl": "s3://b/k"}}, "must have an Image"),
        (
            {"Containers": [{"Image": IMAGE, "Mode": "MultiModel"}, {"Image": IMAGE}]},
            "^More than one container in MultiModel mode is not supported with inference pipeline.$",
        ),
        ({"PrimaryContainer": {"ModelPackageName": "p"}}, "ModelPackageName is not supported"),
        (_source(S3DataType="S3Prefix", CompressionType="None"), "must end with a forward slash"),
        (_source(S3DataType="S3Prefix", CompressionType="Gzip"), "With S3Prefix give CompressionType None"),
        (_source(S3DataType="S3Prefix", CompressionType="None", S3Uri="s3://b/m/", ETag="e"), "a prefix has none"),
        (_source(CompressionType="None", S3Uri="s3://b/m/"), "names one object"),
        (_source(HubAccessConfig={"HubContentArn": "x"}), "HubAccessConfig is not supported"),
        (
            {"PrimaryContainer": {"Image": IMAGE, "ModelDataUrl": "s3://b/k", "ModelDataSource": {}}},
            "At most one of ModelDataUrl and ModelDataSource",
        ),
    ],
)
async def test_models_that_cannot_be(door: Door, params: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        await door("CreateModel", ModelName="m", **params)


async def test_an_endpoint_configuration_is_described_as_it_came(door: Door) -> None:
    await door.model()
    variants = [
        VARIANT,
        {
            **VARIANT,
            "VariantName": "variant2",
            "InitialVariantWeight": 2.5,
            "VolumeSizeInGB": 5,
            "AcceleratorType": "ml.eia2.medium",
            "ModelDataDownloadTimeoutInSeconds": 61,
            "ContainerStartupHealthCheckTimeoutInSeconds": 62,
            "EnableSSMAccess": False,
            "RoutingConfig": {"RoutingStrategy": "RANDOM"},
        },
    ]
    given = {"EndpointConfigName": "C", "KmsKeyId": "alias/disk", "AsyncInferenceConfig": ASYNC}
    answer = await door("CreateEndpointConfig", ProductionVariants=variants, **given)
    described = await door("DescribeEndpointConfig", EndpointConfigName="c")
    variants[0] = {**VARIANT, "InitialVariantWeight": 1.0}
    assert described == {**given, **answer, "ProductionVariants": variants, "CreationTime": described["CreationTime"]}
    stored = await door.world.commands.endpoint_configs.describe("C")
    assert (stored.variants[1].model_data_timeout_s, stored.variants[1].startup_timeout_s) == (61, 62)
    assert stored.async_inference.success_topic == stored.async_inference.error_topic == TOPIC
    assert stored.async_inference.include_response_on_success
    assert not stored.async_inference.include_response_on_error


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"AsyncInferenceConfig": None}, "Tarry serves asynchronous endpoints"),
        ({"AsyncInferenceConfig": {"OutputConfig": {}}}, "must have an S3OutputPath"),
        ({"DataCaptureConfig": {}}, "DataCaptureConfig is not supported"),
        ({"ShadowProductionVariants": [VARIANT]}, "ShadowProductionVariants is not supported"),
        ({"ProductionVariants": [{**VARIANT, "ServerlessConfig": {}}]}, "ServerlessConfig is not supported"),
        (
            {"ProductionVariants": [{**VARIANT, "ManagedInstanceScaling": {}}]},
            r"^ManagedInstanceScaling is only supported for inference component endpoints\.$",
        ),
        ({"ProductionVariants": [{"VariantName": "v"}]}, "The variant v must have ModelName"),
    ],
)
async def test_configurations_that_cannot_be(door: Door, changes: dict[str, Any], words: str) -> None:
    await door.model()
    params = {"EndpointConfigName": "c", "ProductionVariants": [VARIANT], "AsyncInferenceConfig": ASYNC, **changes}
    with pytest.raises(InvalidRequest, match=words):
        await door("CreateEndpointConfig", **params)


async def test_the_life_of_an_endpoint(door: Door) -> None:
    await door.endpoint()
    creating = await door("DescribeEndpoint", EndpointName="ep")
    assert (creating["EndpointName"], creating["EndpointStatus"], creating["EndpointConfigName"]) == ("Ep", "Creating", "c")
    assert "ProductionVariants" not in creating
    (pending,) = creating["PendingDeploymentSummary"]["ProductionVariants"]
    assert (pending["CurrentInstanceCount"], pending["DesiredInstanceCount"]) == (0, 1)
    assert pending["InstanceType"] == "ml.m5.xlarge"

    await door.world.settle()
    serving = await door("DescribeEndpoint", EndpointName="Ep")
    assert serving["EndpointStatus"] == "InService"
    assert "PendingDeploymentSummary" not in serving
    assert "FailureReason" not in serving
    assert serving["AsyncInferenceConfig"] == ASYNC
    (variant,) = serving["ProductionVariants"]
    assert variant["DeployedImages"][0]["SpecifiedImage"] == IMAGE
    assert (variant["CurrentWeight"], variant["DesiredWeight"]) == (1.0, 1.0)
    assert (variant["CurrentInstanceCount"], variant["DesiredInstanceCount"]) == (1, 1)

    wanted = [{"VariantName": "variant1", "DesiredInstanceCount": 0, "DesiredWeight": 2}]
    await door("UpdateEndpointWeightsAndCapacities", EndpointName="Ep", DesiredWeightsAndCapacities=wanted)
    rescaling = await door("DescribeEndpoint", EndpointName="Ep")
    assert rescaling["EndpointStatus"] == "Updating"
    assert rescaling["ProductionVariants"][0]["VariantStatus"][0]["Status"] == "Updating"
    assert rescaling["ProductionVariants"][0]["CurrentInstanceCount"] == 1
    await door.world.settle()
    (variant,) = (await door("DescribeEndpoint", EndpointName="Ep"))["ProductionVariants"]
    assert (variant["CurrentInstanceCount"], variant["DesiredInstanceCount"], variant["DesiredWeight"]) == (0, 0, 2.0)

    await door("UpdateEndpoint", EndpointName="Ep", EndpointConfigName="c", RetainDeploymentConfig=True)
    updating = await door("DescribeEndpoint", EndpointName="Ep")
    assert updating["PendingDeploymentSummary"]["EndpointConfigName"] == "c"
    assert updating["ProductionVariants"][0]["DesiredInstanceCount"] == 0
    await door.world.settle()
    assert await door("DeleteEndpoint", EndpointName="Ep") == {}
    await door.world.settle()
    assert (await door("ListEndpoints"))["Endpoints"] == []
    assert await door("DeleteEndpointConfig", EndpointConfigName="c") == {}
    assert await door("DeleteModel", ModelName="m") == {}


@pytest.mark.parametrize(
    ("retain", "counts_and_weights"),
    [
        ({}, (1, 1.0)),
        ({"RetainAllVariantProperties": True}, (3, 4.0)),
        (
            {
                "RetainAllVariantProperties": True,
                "ExcludeRetainedVariantProperties": [{"VariantPropertyType": "DesiredInstanceCount"}],
            },
            (1, 4.0),
        ),
        (
            {"RetainAllVariantProperties": True, "ExcludeRetainedVariantProperties": [{"VariantPropertyType": "DesiredWeight"}]},
            (3, 1.0),
        ),
    ],
)
async def test_retained_properties(door: Door, retain: dict[str, Any], counts_and_weights: tuple[int, float]) -> None:
    await door.endpoint()
    await door.world.settle()
    wanted = [{"VariantName": "variant1", "DesiredInstanceCount": 3, "DesiredWeight": 4.0}]
    await door("UpdateEndpointWeightsAndCapacities", EndpointName="Ep", DesiredWeightsAndCapacities=wanted)
    await door.world.settle()
    await door("UpdateEndpoint", EndpointName="Ep", EndpointConfigName="c", **retain)
    (pending,) = (await door("DescribeEndpoint", EndpointName="Ep"))["PendingDeploymentSummary"]["ProductionVariants"]
    assert (pending["DesiredInstanceCount"], pending["DesiredWeight"]) == counts_and_weights


BLUE_GREEN = {
    "BlueGreenUpdatePolicy": {
        "TrafficRoutingConfiguration": {
            "Type": "CANARY",
            "WaitIntervalInSeconds": 60,
            "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 10},
        },
        "TerminationWaitInSeconds": 5,
        "MaximumExecutionTimeoutInSeconds": 600,
    },
    "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "errors"}]},
}
ROLLING = {
    "RollingUpdatePolicy": {
        "MaximumBatchSize": {"Type": "INSTANCE_COUNT", "Value": 1},
        "WaitIntervalInSeconds": 0,
        "RollbackMaximumBatchSize": {"Type": "CAPACITY_PERCENT", "Value": 50},
    },
}


@pytest.mark.parametrize("config", [BLUE_GREEN, ROLLING])
async def test_a_deployment_config_is_shown_as_it_was_given(door: Door, config: Mapping[str, Any]) -> None:
    door.world.alarms.known["errors"] = AlarmState.OK
    await door.endpoint()
    await door.world.settle()
    await door("UpdateEndpoint", EndpointName="Ep", EndpointConfigName="c", DeploymentConfig=config)
    described = await door("DescribeEndpoint", EndpointName="Ep")
    shown = dict(described["LastDeploymentConfig"])
    assert shown == config


async def test_a_canary_is_seen_in_weights_and_statuses(door: Door) -> None:
    door.world.alarms.known["errors"] = AlarmState.OK
    await door.endpoint()
    await door.world.settle()
    await door("UpdateEndpoint", EndpointName="Ep", EndpointConfigName="c", DeploymentConfig=BLUE_GREEN)
    described = await door("DescribeEndpoint", EndpointName="Ep")
    (pending,) = described["PendingDeploymentSummary"]["ProductionVariants"]
    assert (pending["VariantStatus"][0]["Status"], pending["CurrentWeight"]) == ("Creating", 0.0)
    await door.world.settle()
    described = await door("DescribeEndpoint", EndpointName="Ep")
    (active,) = described["ProductionVariants"]
    (pending,) = described["PendingDeploymentSummary"]["ProductionVariants"]
    assert pending["VariantStatus"][0]["Status"] == "Baking"
    assert (pending["CurrentWeight"], active["CurrentWeight"]) == pytest.approx((0.1, 0.9))


async def test_a_step_size_of_another_type_is_refused(door: Door) -> None:
    await door.endpoint()
    await door.world.settle()
    traffic = {
        "Type": "LINEAR",
        "WaitIntervalInSeconds": 0,
        "LinearStepSize": {"Type": "CAPACITY_PERCENT", "Value": 50},
        "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 10},
    }
    config = {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": traffic}}
    with pytest.raises(InvalidRequest, match="CanarySize is for TrafficRoutingConfiguration of type CANARY, got type LINEAR"):
        await door("UpdateEndpoint", EndpointName="Ep", EndpointConfigName="c", DeploymentConfig=config)


@pytest.mark.parametrize(
    ("traffic", "words"),
    [
        ({"Type": "CANARY", "WaitIntervalInSeconds": 0}, "type CANARY must have a CanarySize"),
        ({"Type": "LINEAR", "WaitIntervalInSeconds": 0}, "type LINEAR must have a LinearStepSize"),
    ],
)
async def test_a_step_without_a_size_is_refused(door: Door, traffic: dict[str, Any], words: str) -> None:
    await door.endpoint()
    await door.world.settle()
    config = {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": traffic}}
    with pytest.raises(InvalidRequest, match=words):
        await door("UpdateEndpoint", EndpointName="Ep", EndpointConfigName="c", DeploymentConfig=config)


async def test_an_alarm_without_a_name_is_refused(door: Door) -> None:
    await door.endpoint()
    await door.world.settle()
    config: dict[str, Any] = {"AutoRollbackConfiguration": {"Alarms": [{}]}}
    with pytest.raises(InvalidRequest, match="must have an AlarmName"):
        await door("UpdateEndpoint", EndpointName="Ep", EndpointConfigName="c", DeploymentConfig=config)


async def test_a_failed_endpoint_tells_why(door: Door) -> None:
    door.world.images.known = set()
    await door.endpoint()
    await door.world.settle()
    described = await door("DescribeEndpoint", EndpointName="Ep")
    assert described["EndpointStatus"] == "Failed"
    assert described["FailureReason"].startswith(f'No image is known for "{IMAGE}"')
    assert "ProductionVariants" not in described
    (listed,) = (await door("ListEndpoints", StatusEquals="Failed"))["Endpoints"]
    assert listed["EndpointName"] == "Ep"


async def test_lists_default_to_ten_newest_first(door: Door) -> None:
    for number in range(12):
        await door.model(f"m{number:02}")
        door.world.clock.advance(60)
    first = await door("ListModels")
    assert [it["ModelName"] for it in first["Models"]] == [f"m{number:02}" for number in range(11, 1, -1)]
    rest = await door("ListModels", NextToken=first["NextToken"])
    assert [it["ModelName"] for it in rest["Models"]] == ["m01", "m00"]
    assert "NextToken" not in rest
    by_name = await door("ListModels", SortBy="Name", SortOrder="Ascending", MaxResults=1, NameContains="1")
    assert [it["ModelName"] for it in by_name["Models"]] == ["m01"]
    third = (await door("DescribeModel", ModelName="m03"))["CreationTime"]
    older = await door("ListModels", CreationTimeBefore=third)
    assert [it["ModelName"] for it in older["Models"]] == ["m02", "m01", "m00"]
    newer = await door("ListModels", CreationTimeAfter=third, MaxResults=100)
    assert len(newer["Models"]) == 8


async def test_tags(door: Door) -> None:
    await door.model()
    arn = (await door("DescribeModel", ModelName="m"))["ModelArn"]
    assert await door("AddTags", ResourceArn=arn, Tags=[{"Key": "a", "Value": "1"}]) == {"Tags": [{"Key": "a", "Value": "1"}]}
    assert await door("DeleteTags", ResourceArn=arn, TagKeys=["a"]) == {}
    assert await door("ListTags", ResourceArn=arn, MaxResults=50) == {"Tags": []}
    with pytest.raises(InvalidRequest, match="NextToken"):
        await door("ListTags", ResourceArn=arn, NextToken="x")


def test_every_operation_is_one_of_sagemakers(door: Door) -> None:
    assert set(door.service.operations) <= set(SPEC.operation_names)


async def test_weights_at_the_limit_are_described_as_numbers(door: Door) -> None:
    await door.model()
    variants = [{**VARIANT, "VariantName": name, "InitialVariantWeight": WEIGHT_MAX} for name in "AB"]
    await door("CreateEndpointConfig", EndpointConfigName="c", ProductionVariants=variants, AsyncInferenceConfig=ASYNC)
    await door("CreateEndpoint", EndpointName="Ep", EndpointConfigName="c")
    await door.world.settle()
    wanted = [{"VariantName": "A", "DesiredInstanceCount": 0}]
    await door("UpdateEndpointWeightsAndCapacities", EndpointName="Ep", DesiredWeightsAndCapacities=wanted)
    await door.world.settle()
    described = await door("DescribeEndpoint", EndpointName="Ep")
    assert [one["CurrentWeight"] for one in described["ProductionVariants"]] == [0.0, WEIGHT_MAX]


def statuses(variants: list[Mapping[str, Any]]) -> list[str | None]:
    return [one["VariantStatus"][0]["Status"] if "VariantStatus" in one else None for one in variants]


async def test_a_rollback_and_what_is_left_when_it_fails_are_described(door: Door) -> None:
    world = door.world
    world.alarms.known["errors"] = AlarmState.OK
    await door.model()
    variant = {**VARIANT, "InitialInstanceCount": 2}
    for name in ("c", "new"):
        await door("CreateEndpointConfig", EndpointConfigName=name, ProductionVariants=[variant], AsyncInferenceConfig=ASYNC)
    await door("CreateEndpoint", EndpointName="Ep", EndpointConfigName="c")
    await world.settle()
    half = {"Type": "INSTANCE_COUNT", "Value": 1}
    rolling = {"MaximumBatchSize": half, "WaitIntervalInSeconds": 60, "RollbackMaximumBatchSize": half}
    config = {"RollingUpdatePolicy": rolling, "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "errors"}]}}
    await door("UpdateEndpoint", EndpointName="Ep", EndpointConfigName="new", DeploymentConfig=config)
    await world.settle()
    await world.pass_time(62)
    world.engine.failures += [InstanceStartError("no room")] * 4
    world.alarms.known["errors"] = AlarmState.ALARM
    await world.until(lambda: world.endpoint().status is EndpointStatus.ROLLING_BACK)
    back = await door("DescribeEndpoint", EndpointName="Ep")
    assert statuses(back["PendingDeploymentSummary"]["ProductionVariants"]) == ["Deleting"]
    assert statuses(back["ProductionVariants"]) == [None]

    await world.until(lambda: world.endpoint().status is EndpointStatus.UPDATE_ROLLBACK_FAILED)
    mixed = await door("DescribeEndpoint", EndpointName="Ep")
    assert (mixed["EndpointStatus"], mixed["EndpointConfigName"]) == ("UpdateRollbackFailed", "c")
    assert "PendingDeploymentSummary" not in mixed
    old, new = mixed["ProductionVariants"]
    assert old["VariantName"] == new["VariantName"] == "variant1"
    assert (old["CurrentInstanceCount"], new["CurrentInstanceCount"]) == (1, 1)  # it had come half of the way back
    assert (old["CurrentWeight"], new["CurrentWeight"]) == (0.5, 0.5)

    await door("DeleteEndpoint", EndpointName="Ep")
    deleting = await door("DescribeEndpoint", EndpointName="Ep")
    assert deleting["EndpointStatus"] == "Deleting"
    assert statuses(deleting["ProductionVariants"])[0] == "Deleting"
    await world.settle()


async def test_what_is_waited_for_is_told(door: Door) -> None:
    door.world.models.unhealthy |= {"http://127.0.0.1:20001", "http://127.0.0.1:20002"}
    await door.endpoint()
    await door.world.settle()
    described = await door("DescribeEndpoint", EndpointName="Ep")
    (pending,) = described["PendingDeploymentSummary"]["ProductionVariants"]
    told = "instances are in service, 1 are starting (image and model data, then GET /ping)."
    assert pending["VariantStatus"][0]["StatusMessage"] == f"0 of 1 {told}"
    door.world.models.unhealthy.discard("http://127.0.0.1:20001")
    await door.world.pass_time(2)
    wanted = [{"VariantName": "variant1", "DesiredInstanceCount": 2}]
    await door("UpdateEndpointWeightsAndCapacities", EndpointName="Ep", DesiredWeightsAndCapacities=wanted)
    await door.world.settle()
    (active,) = (await door("DescribeEndpoint", EndpointName="Ep"))["ProductionVariants"]
    assert active["VariantStatus"][0]["StatusMessage"] == f"1 of 2 {told}"


async def test_deployed_images_are_those_that_run(door: Door) -> None:
    world = door.world
    world.images.known |= {"small:1", IMAGE}
    await door.model()
    await door("CreateModel", ModelName="small", PrimaryContainer={"Image": "small:1"})
    gpu, cpu = "ml.g5.xlarge", "ml.m5.xlarge"
    pools = [{"InstanceType": gpu, "Priority": 1}, {"InstanceType": cpu, "Priority": 2, "ModelNameOverride": "small"}]
    variant = {"VariantName": "A", "ModelName": "m", "InstancePools": pools, "InitialInstanceCount": 2}
    await door("CreateEndpointConfig", EndpointConfigName="c", ProductionVariants=[variant], AsyncInferenceConfig=ASYNC)
    world.engine.capacity[gpu] = 1
    await door("CreateEndpoint", EndpointName="Ep", EndpointConfigName="c")

    async def shown(summary: str | None = None) -> tuple[list[str], list[int]]:
        described = await door("DescribeEndpoint", EndpointName="Ep")
        (one,) = (described[summary] if summary else described)["ProductionVariants"]
        images = [image["SpecifiedImage"] for image in one["DeployedImages"]]
        return images, [pool["CurrentInstanceCount"] for pool in one["InstancePools"]]

    assert await shown("PendingDeploymentSummary") == ([IMAGE], [0, 0])
    await world.pass_time(2)
    assert await shown() == ([IMAGE, "small:1"], [1, 1])
    world.engine.capacity[gpu] = 0
    world.engine.end(next(row.id for row in world.instances("InService") if row.instance_type == gpu))
    await world.pass_time(5)
    assert await shown() == (["small:1"], [0, 2])


async def test_a_multi_model_is_kept_and_refused_by_a_configuration(door: Door) -> None:
    container = {"Image": IMAGE, "Mode": "MultiModel", "MultiModelConfig": {"ModelCacheSetting": "Enabled"}}
    await door("CreateModel", ModelName="m", ExecutionRoleArn=ROLE, PrimaryContainer=container)
    assert (await door("DescribeModel", ModelName="m"))["PrimaryContainer"] == container
    with pytest.raises(InvalidRequest, match="MultiModel mode, which is not supported"):
        await door("CreateEndpointConfig", EndpointConfigName="c", ProductionVariants=[VARIANT], AsyncInferenceConfig=ASYNC)
