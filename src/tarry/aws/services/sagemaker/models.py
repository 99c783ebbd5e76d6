"""CreateModel, DescribeModel, ListModels, DeleteModel."""

from collections.abc import Mapping
from typing import Any

from tarry.aws.call import Call, Operation, Params
from tarry.aws.services.sagemaker.members import take
from tarry.aws.services.sagemaker.values import given, moment, read_page, read_tags
from tarry.control.models import ModelCommands
from tarry.control.requests import CreateModel
from tarry.core.catalog import Container, Model, ModelDataSource
from tarry.core.errors import InvalidRequest, NotSupported


def model_operations(models: ModelCommands) -> dict[str, Operation]:
    """The operations on models, by name."""

    async def create_model(call: Call, params: Params) -> Mapping[str, Any]:
        return {"ModelArn": (await models.create(_create_request(params))).arn}

    async def describe_model(call: Call, params: Params) -> Mapping[str, Any]:
        return _describe(await models.describe(params["ModelName"]))

    async def list_models(call: Call, params: Params) -> Mapping[str, Any]:
        page = await models.list(read_page(params))
        items = [{"ModelName": it.name, "ModelArn": it.arn, "CreationTime": moment(it.created_at_us)} for it in page.items]
        return given(Models=items, NextToken=page.next_token)

    async def delete_model(call: Call, params: Params) -> Mapping[str, Any]:
        await models.delete(params["ModelName"])
        return {}

    return {
        "CreateModel": create_model,
        "DescribeModel": describe_model,
        "ListModels": list_models,
        "DeleteModel": delete_model,
    }


def _create_request(params: Params) -> CreateModel:
    described_back = take("CreateModelInput", params)
    primary, several = params.get("PrimaryContainer"), params.get("Containers")
    if (primary is None) == (not several):
        came = "neither" if primary is None else "both"
        raise InvalidRequest(f"Exactly one of PrimaryContainer and Containers must be given, got {came}.")
    if several and len(several) > 1:
        raise NotSupported(
            f"Containers with {len(several)} entries is not supported: inference pipelines cannot be invoked asynchronously. "
            "Give one container."
        )
    return CreateModel(
        name=params["ModelName"],
        containers=tuple(_container(one) for one in (several or [primary or {}])),
        container_is_primary=primary is not None,
        execution_role_arn=params.get("ExecutionRoleArn"),
        network_isolation=bool(params.get("EnableNetworkIsolation")),
        described_back=described_back,
        tags=read_tags(params.get("Tags")),
    )


def _container(definition: Mapping[str, Any]) -> Container:
    described_back = take("ContainerDefinition", definition)
    if (mode := definition.get("Mode")) is not None:
        if mode != "SingleModel":
            raise NotSupported(f"Mode {mode} is not supported: InvokeEndpointAsync cannot name a model. Use SingleModel.")
        described_back["Mode"] = mode
    image = definition.get("Image")
    if image is None:
        raise InvalidRequest("A container must have an Image.")
    url, source = definition.get("ModelDataUrl"), definition.get("ModelDataSource")
    if url is not None and source is not None:
        raise InvalidRequest("At most one of ModelDataUrl and ModelDataSource can be given, got both.")
    if source is not None:
        url = _archive_of(source)
        described_back["ModelDataSource"] = source
    return Container(
        image=image,
        hostname=definition.get("ContainerHostname"),
        model_data=None if url is None else ModelDataSource(s3_uri=url),
        environment=definition.get("Environment") or {},
        described_back=described_back,
    )


def _archive_of(source: Mapping[str, Any]) -> str | None:
    """The one archive that a ModelDataSource names: with S3Object and Gzip it means what ModelDataUrl means."""
    take("ModelDataSource", source)
    place = source.get("S3DataSource")
    if place is None:
        return None
    take("S3ModelDataSource", place)
    take("ModelAccessConfig", place.get("ModelAccessConfig") or {})
    form = (place["S3DataType"], place["CompressionType"])
    if form != ("S3Object", "Gzip"):
        raise NotSupported(
            f"ModelDataSource with S3DataType {form[0]} and CompressionType {form[1]} is not supported: "
            "pack the model into one .tar.gz and use S3Object and Gzip, or ModelDataUrl."
        )
    uri: str = place["S3Uri"]
    return uri


def _describe(model: Model) -> Mapping[str, Any]:
    containers = [_describe_container(container) for container in model.containers]
    return {
        "ModelName": model.name,
        "ModelArn": model.arn,
        **({"PrimaryContainer": containers[0]} if model.container_is_primary else {"Containers": containers}),
        **given(ExecutionRoleArn=model.execution_role_arn),
        "EnableNetworkIsolation": model.network_isolation,
        **model.described_back,
        "CreationTime": moment(model.created_at_us),
    }


def _describe_container(container: Container) -> Mapping[str, Any]:
    members = {
        **given(ContainerHostname=container.hostname),
        "Image": container.image,
        **container.described_back,
        **({"Environment": container.environment} if container.environment else {}),
    }
    if container.model_data is not None and "ModelDataSource" not in members:
        members["ModelDataUrl"] = container.model_data.s3_uri
    return members
