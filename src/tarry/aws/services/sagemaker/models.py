"""CreateModel, DescribeModel, ListModels, DeleteModel."""

from collections.abc import Mapping, Sequence
from typing import Any

from tarry.aws.call import Call, Operation, Params
from tarry.aws.services.sagemaker.members import take
from tarry.aws.services.sagemaker.values import read_page, read_tags
from tarry.aws.services.values import given, moment
from tarry.control.models import ModelCommands
from tarry.control.requests import CreateModel
from tarry.core.catalog import Container, DataForm, Model, ModelDataSource
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
    if (mode := (params.get("InferenceExecutionConfig") or {}).get("Mode")) == "Direct" and several and len(several) > 1:
        raise NotSupported(
            f"InferenceExecutionConfig with Mode {mode} is not supported: InvokeEndpointAsync cannot name a container."
        )
    if several and len(several) > 1 and any(one.get("Mode") == "MultiModel" for one in several):
        # AWS: the sentence as reported by OElesin/sagemaker-autopilot-step-functions#10.
        raise InvalidRequest("More than one container in MultiModel mode is not supported with inference pipeline.")
    _check_hostnames(several or ())
    return CreateModel(
        name=params["ModelName"],
        containers=tuple(_container(one) for one in (several or [primary or {}])),
        container_is_primary=primary is not None,
        execution_role_arn=params.get("ExecutionRoleArn"),
        network_isolation=bool(params.get("EnableNetworkIsolation")),
        described_back=described_back,
        tags=read_tags(params.get("Tags")),
    )


def _check_hostnames(containers: Sequence[Mapping[str, Any]]) -> None:
    """AWS: ContainerDefinition, API reference: all containers of a pipeline have a name of their own, or none has."""
    names = [one["ContainerHostname"] for one in containers if one.get("ContainerHostname") is not None]
    if len(containers) > 1 and names and (len(names) < len(containers) or len(set(names)) < len(names)):
        raise InvalidRequest("Either every container of a pipeline has a ContainerHostname of its own, or none has one.")


def _container(definition: Mapping[str, Any]) -> Container:
    described_back = take("ContainerDefinition", definition)
    if (mode := definition.get("Mode")) is not None:
        described_back["Mode"] = mode
    image = definition.get("Image")
    if image is None:
        raise InvalidRequest("A container must have an Image.")
    source = _model_data(definition)
    additional = _additional_model_data(definition.get("AdditionalModelDataSources") or ())
    described_back |= {
        name: definition[name] for name in ("ModelDataSource", "AdditionalModelDataSources") if definition.get(name) is not None
    }
    return Container(
        image=image,
        hostname=definition.get("ContainerHostname"),
        model_data=source,
        additional_model_data=additional,
        environment=definition.get("Environment") or {},
        multi_model=mode == "MultiModel",
        described_back=described_back,
    )


def _model_data(definition: Mapping[str, Any]) -> ModelDataSource | None:
    url, source = definition.get("ModelDataUrl"), definition.get("ModelDataSource")
    if url is not None and source is not None:
        raise InvalidRequest("At most one of ModelDataUrl and ModelDataSource can be given, got both.")
    if url is not None:
        return ModelDataSource(s3_uri=url)
    if source is None:
        return None
    take("ModelDataSource", source)
    place = source.get("S3DataSource")
    return None if place is None else _s3_source(place)


def _additional_model_data(sources: Sequence[Mapping[str, Any]]) -> dict[str, ModelDataSource]:
    channels: dict[str, ModelDataSource] = {}
    for source in sources:
        take("AdditionalModelDataSource", source)
        name = source["ChannelName"]
        if name in channels or name in {".", ".."}:
            raise InvalidRequest(
                f'The ChannelName "{name}" of AdditionalModelDataSources is not unique, or cannot be a directory.'
            )
        channels[name] = _s3_source(source["S3DataSource"])
    return channels


def _s3_source(place: Mapping[str, Any]) -> ModelDataSource:
    """AWS: S3ModelDataSource, API reference, says which combinations there are."""
    take("S3ModelDataSource", place)
    take("ModelAccessConfig", place.get("ModelAccessConfig") or {})  # described back as a part of the whole source
    uri, data_type, compression = place["S3Uri"], place["S3DataType"], place["CompressionType"]
    if data_type == "S3Prefix":
        if compression != "None":
            raise InvalidRequest(
                "CompressionType Gzip is for S3DataType S3Object: one archive. With S3Prefix give CompressionType None."
            )
        if not uri.endswith("/"):
            raise InvalidRequest(f'With S3DataType S3Prefix the S3Uri must end with a forward slash, got "{uri}".')
        if place.get("ETag") is not None:
            raise InvalidRequest("ETag is for S3DataType S3Object: a prefix has none.")
        return ModelDataSource(s3_uri=uri, form=DataForm.PREFIX)
    form = DataForm.ARCHIVE if compression == "Gzip" else DataForm.OBJECT
    if form is DataForm.OBJECT and not uri.rpartition("/")[2]:
        raise InvalidRequest(f'With S3DataType S3Object the S3Uri names one object, got "{uri}". For a prefix use S3Prefix.')
    return ModelDataSource(s3_uri=uri, form=form, etag=place.get("ETag"))


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
