"""Every error that callers of the control plane match on, as an unmodified boto3 sees it: code, status, text."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.support.control import ROLE, World
from tests.support.door import client, make_app, serving

from tarry.aws.services.sagemaker import sagemaker_service

IMAGE = "stub:1"
ARN = "arn:aws:sagemaker:us-east-1:123456789012"
OUTPUT = {"OutputConfig": {"S3OutputPath": "s3://b/out"}}
VARIANT = {"VariantName": "A", "ModelName": "Mine", "InstanceType": "ml.m5.xlarge", "InitialInstanceCount": 1}
TRAFFIC = {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0}


@dataclass
class Caller:
    world: World
    boto: Any

    async def __call__(self, operation: str, **params: Any) -> dict[str, Any]:
        answer: dict[str, Any] = await asyncio.to_thread(getattr(self.boto, operation), **params)
        return answer

    async def refused(self, operation: str, **params: Any) -> tuple[str, int, str]:
        with pytest.raises(ClientError) as caught:
            await self(operation, **params)
        response = caught.value.response
        return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Message"]


@pytest.fixture
async def aws() -> AsyncIterator[Caller]:
    """A model Mine, a configuration Mine and an endpoint Mine that is in service."""
    world = World()
    async with serving(make_app({"sagemaker": sagemaker_service(world.commands)})) as url:
        boto = client("sagemaker", url, config={"parameter_validation": False})
        caller = Caller(world, boto)
        await caller("create_model", ModelName="Mine", ExecutionRoleArn=ROLE, PrimaryContainer={"Image": IMAGE})
        await caller(
            "create_endpoint_config", EndpointConfigName="Mine", ProductionVariants=[VARIANT], AsyncInferenceConfig=OUTPUT
        )
        await caller("create_endpoint", EndpointName="Mine", EndpointConfigName="Mine")
        await world.settle()
        yield caller
        boto.close()
    await world.reconciler.close()


def weights(name: str = "A", **more: Any) -> dict[str, Any]:
    return {"DesiredWeightsAndCapacities": [{"VariantName": name, "DesiredWeight": 1.0, **more}]}


def config(**changes: Any) -> dict[str, Any]:
    variant = {**VARIANT, **changes.pop("variant", {})}
    return {
        "EndpointConfigName": "new",
        "ProductionVariants": [{name: value for name, value in variant.items() if value is not None}],
        "AsyncInferenceConfig": OUTPUT,
        **changes,
    }


NO_ENDPOINT = f'Could not find endpoint "{ARN}:endpoint/none".'
NO_CONFIG = f'Could not find endpoint configuration "{ARN}:endpoint-config/none".'
NO_MODEL = f'Could not find model "{ARN}:model/none".'

VALIDATION: dict[str, tuple[str, dict[str, Any], str]] = {
    # missing
    "a model of data that are not there": (
        "create_model",
        {"ModelName": "m", "ExecutionRoleArn": ROLE, "PrimaryContainer": {"Image": IMAGE, "ModelDataUrl": "s3://b/none.tar.gz"}},
        "Could not find model data at s3://b/none.tar.gz.",
    ),
    "describe a missing endpoint": ("describe_endpoint", {"EndpointName": "None"}, NO_ENDPOINT),
    "delete a missing endpoint": ("delete_endpoint", {"EndpointName": "none"}, NO_ENDPOINT),
    "update a missing endpoint": ("update_endpoint", {"EndpointName": "none", "EndpointConfigName": "Mine"}, NO_ENDPOINT),
    "rescale a missing endpoint": (
        "update_endpoint_weights_and_capacities",
        {"EndpointName": "none", **weights()},
        NO_ENDPOINT,
    ),
    "describe a missing configuration": ("describe_endpoint_config", {"EndpointConfigName": "none"}, NO_CONFIG),
    "delete a missing configuration": ("delete_endpoint_config", {"EndpointConfigName": "none"}, NO_CONFIG),
    "create with a missing configuration": (
        "create_endpoint",
        {"EndpointName": "new", "EndpointConfigName": "none"},
        NO_CONFIG,
    ),
    "update to a missing configuration": ("update_endpoint", {"EndpointName": "Mine", "EndpointConfigName": "none"}, NO_CONFIG),
    "describe a missing model": ("describe_model", {"ModelName": "none"}, NO_MODEL),
    "delete a missing model": ("delete_model", {"ModelName": "none"}, NO_MODEL),
    "configure a missing model": ("create_endpoint_config", config(variant={"ModelName": "none"}), NO_MODEL),
    # twice, whatever the case
    "create an endpoint twice": (
        "create_endpoint",
        {"EndpointName": "mINE", "EndpointConfigName": "Mine"},
        f'Cannot create already existing endpoint "{ARN}:endpoint/mine".',
    ),
    "create a configuration twice": (
        "create_endpoint_config",
        config(EndpointConfigName="MINE"),
        f'Cannot create already existing endpoint configuration "{ARN}:endpoint-config/mine".',
    ),
    "create a model twice": (
        "create_model",
        {"ModelName": "mine", "ExecutionRoleArn": ROLE, "PrimaryContainer": {"Image": IMAGE}},
        f'Cannot create already existing model "{ARN}:model/mine".',
    ),
    # variants
    "a variant twice in one request": (
        "update_endpoint_weights_and_capacities",
        {"EndpointName": "Mine", "DesiredWeightsAndCapacities": [{"VariantName": "A"}, {"VariantName": "A"}]},
        'The variant name "A" was non-unique within the request.',
    ),
    "a variant that is not there": (
        "update_endpoint_weights_and_capacities",
        {"EndpointName": "Mine", **weights("V")},
        'The variant name(s) "V" is/are not present within endpoint configuration "Mine".',
    ),
    "managed scaling": (
        "create_endpoint_config",
        config(variant={"ManagedInstanceScaling": {"Status": "ENABLED"}}),
        "ManagedInstanceScaling is only supported for inference component endpoints.",
    ),
    "several multi-models": (
        "create_model",
        {"ModelName": "new", "Containers": [{"Image": IMAGE, "Mode": "MultiModel"}, {"Image": IMAGE, "Mode": "MultiModel"}]},
        "More than one container in MultiModel mode is not supported with inference pipeline.",
    ),
    # shapes
    "a name that is none": (
        "create_endpoint",
        {"EndpointName": "-bad", "EndpointConfigName": "Mine"},
        "1 validation error detected: Value '-bad' at 'endpointName' failed to satisfy constraint: Member must satisfy regular "
        "expression pattern: [a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}",
    ),
    "a name that is too long": (
        "create_model",
        {"ModelName": "x" * 64, "PrimaryContainer": {"Image": IMAGE}},
        f"1 validation error detected: Value '{'x' * 64}' at 'modelName' failed to satisfy constraint: Member must have length "
        "less than or equal to 63",
    ),
    "a name that is missing": (
        "describe_endpoint",
        {},
        "1 validation error detected: Value null at 'endpointName' failed to satisfy constraint: Member must not be null",
    ),
    "a count below its range": (
        "create_endpoint_config",
        config(variant={"InitialInstanceCount": 0}),
        "1 validation error detected: Value '0' at 'productionVariants.1.member.initialInstanceCount' failed to satisfy "
        "constraint: Member must have value greater than or equal to 1",
    ),
    "several violations at once": (
        "create_endpoint",
        {"EndpointName": "-", "EndpointConfigName": None},
        "2 validation errors detected: Value '-' at 'endpointName' failed to satisfy constraint: Member must satisfy regular "
        "expression pattern: [a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}; Value null at 'endpointConfigName' failed to satisfy constraint: "
        "Member must not be null",
    ),
    "a role that is none": (
        "create_model",
        {"ModelName": "new", "ExecutionRoleArn": "arn:aws:iam::123456789012:role/*", "PrimaryContainer": {"Image": IMAGE}},
        "1 validation error detected: Value 'arn:aws:iam::123456789012:role/*' at 'executionRoleArn' failed to satisfy "
        r"constraint: Member must satisfy regular expression pattern: arn:aws[a-z\-]*:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+",
    ),
}


@pytest.mark.parametrize("case", VALIDATION)
async def test_a_row_of_the_table(aws: Caller, case: str) -> None:
    operation, params, message = VALIDATION[case]
    assert await aws.refused(operation, **params) == ("ValidationException", 400, message)


STARTS_WITH: dict[str, tuple[str, dict[str, Any], str]] = {
    "an instance type that is none": (
        "create_endpoint_config",
        config(variant={"InstanceType": "ml.huge"}),
        "1 validation error detected: Value 'ml.huge' at 'productionVariants.1.member.instanceType' failed to satisfy "
        "constraint: Member must satisfy enum value set: [",
    ),
    "no asynchronous configuration": (
        "create_endpoint_config",
        {"EndpointConfigName": "new", "ProductionVariants": [VARIANT]},
        "An endpoint configuration without AsyncInferenceConfig is not supported",
    ),
    "shadow variants": (
        "create_endpoint_config",
        config(ShadowProductionVariants=[{**VARIANT, "VariantName": "shadow"}]),
        "ShadowProductionVariants is not supported",
    ),
    "serverless": (
        "create_endpoint_config",
        config(variant={"ServerlessConfig": {"MemorySizeInMB": 1024, "MaxConcurrency": 1}, "InstanceType": None}),
        "ServerlessConfig is not supported",
    ),
    "data capture": (
        "create_endpoint_config",
        config(
            DataCaptureConfig={
                "InitialSamplingPercentage": 1,
                "DestinationS3Uri": "s3://b/c",
                "CaptureOptions": [{"CaptureMode": "Input"}],
            }
        ),
        "DataCaptureConfig is not supported",
    ),
    "both policies of a deployment": (
        "update_endpoint",
        {
            "EndpointName": "Mine",
            "EndpointConfigName": "Mine",
            "DeploymentConfig": {
                "BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": TRAFFIC},
                "RollingUpdatePolicy": {
                    "MaximumBatchSize": {"Type": "INSTANCE_COUNT", "Value": 1},
                    "WaitIntervalInSeconds": 0,
                },
            },
        },
        "A DeploymentConfig has a BlueGreenUpdatePolicy or a RollingUpdatePolicy",
    ),
    "a token that is none": ("list_models", {"NextToken": "no-such-token"}, "The token of the next page was not given out by"),
    "a tag of AWS's own": (
        "add_tags",
        {"ResourceArn": f"{ARN}:model/mine", "Tags": [{"Key": "aws:x", "Value": "y"}]},
        "The tag key 'aws:x' is not possible",
    ),
}


@pytest.mark.parametrize("case", STARTS_WITH)
async def test_a_refusal_in_words_of_our_own(aws: Caller, case: str) -> None:
    operation, params, start = STARTS_WITH[case]
    code, status, message = await aws.refused(operation, **params)
    assert (code, status) == ("ValidationException", 400)
    assert message.startswith(start)


@pytest.mark.parametrize(
    ("operation", "more"),
    [
        ("update_endpoint", {"EndpointConfigName": "Mine"}),
        ("update_endpoint_weights_and_capacities", weights()),
        ("delete_endpoint", {}),
    ],
)
async def test_an_endpoint_in_progress(aws: Caller, operation: str, more: dict[str, Any]) -> None:
    await aws("create_endpoint", EndpointName="Slow", EndpointConfigName="Mine")
    expected = f'Cannot update in-progress endpoint "{ARN}:endpoint/slow".'
    assert await aws.refused(operation, EndpointName="Slow", **more) == ("ValidationException", 400, expected)


async def test_too_many_instances_are_a_limit(aws: Caller) -> None:
    code, status, message = await aws.refused("create_endpoint_config", **config(variant={"InitialInstanceCount": 101}))
    assert (code, status) == ("ResourceLimitExceeded", 400)
    assert "at most 100 instances" in message


async def test_describe_keeps_the_callers_case_and_arns_are_in_lower_case(aws: Caller) -> None:
    described = await aws("describe_endpoint", EndpointName="MINE")
    assert (described["EndpointName"], described["EndpointArn"]) == ("Mine", f"{ARN}:endpoint/mine")
    assert described["EndpointConfigName"] == "Mine"
    model = await aws("describe_model", ModelName="mine")
    assert (model["ModelName"], model["ModelArn"]) == ("Mine", f"{ARN}:model/mine")


async def test_tags_are_found_by_an_arn_in_any_case(aws: Caller) -> None:
    await aws("add_tags", ResourceArn=f"{ARN}:endpoint/MINE", Tags=[{"Key": "k", "Value": "ü"}])
    assert (await aws("list_tags", ResourceArn=f"{ARN}:endpoint/mine"))["Tags"] == [{"Key": "k", "Value": "ü"}]
    await aws("delete_tags", ResourceArn=f"{ARN}:endpoint/mine", TagKeys=["k", "not there"])
    assert (await aws("list_tags", ResourceArn=f"{ARN}:endpoint/mine"))["Tags"] == []


async def test_lists_filter_sort_and_page(aws: Caller) -> None:
    for name in ("alpha", "Beta", "gamma"):
        aws.world.clock.advance(10)
        await aws("create_model", ModelName=name, PrimaryContainer={"Image": IMAGE})

    def names(answer: dict[str, Any]) -> list[str]:
        return [model["ModelName"] for model in answer["Models"]]

    assert names(await aws("list_models")) == ["gamma", "Beta", "alpha", "Mine"]
    assert names(await aws("list_models", SortBy="Name", SortOrder="Ascending")) == ["alpha", "Beta", "gamma", "Mine"]
    assert names(await aws("list_models", NameContains="A", SortBy="Name", SortOrder="Ascending")) == ["alpha", "Beta", "gamma"]
    created = (await aws("describe_model", ModelName="beta"))["CreationTime"]
    assert names(await aws("list_models", CreationTimeAfter=created)) == ["gamma"]
    assert names(await aws("list_models", CreationTimeBefore=created)) == ["alpha", "Mine"]
    first = await aws("list_models", MaxResults=2)
    await aws("create_model", ModelName="newest", PrimaryContainer={"Image": IMAGE})
    await aws("delete_model", ModelName="Beta")
    assert names(first) == ["gamma", "Beta"]
    assert names(await aws("list_models", MaxResults=2, NextToken=first["NextToken"])) == ["alpha", "Mine"]
    pages = await asyncio.to_thread(
        lambda: list(aws.boto.get_paginator("list_models").paginate(PaginationConfig={"PageSize": 1}))
    )
    assert [name for page in pages for name in names(page)] == ["newest", "gamma", "alpha", "Mine"]
    long_ago = datetime(1970, 1, 1, tzinfo=UTC)
    in_service = await aws("list_endpoints", StatusEquals="InService", LastModifiedTimeAfter=long_ago)
    assert [endpoint["EndpointName"] for endpoint in in_service["Endpoints"]] == ["Mine"]
    assert (await aws("list_endpoints", StatusEquals="Failed"))["Endpoints"] == []
