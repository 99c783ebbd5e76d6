"""CreateEndpointConfig, DescribeEndpointConfig, ListEndpointConfigs, DeleteEndpointConfig."""

from collections.abc import Mapping
from typing import Any

from tarry.aws.call import Call, Operation, Params
from tarry.aws.services.sagemaker.members import take
from tarry.aws.services.sagemaker.values import read_page, read_tags
from tarry.aws.services.values import given, moment
from tarry.control.endpoint_configs import EndpointConfigCommands
from tarry.control.requests import CreateEndpointConfig
from tarry.core.catalog import AsyncInferenceConfig, EndpointConfig, InstancePool, Variant
from tarry.core.errors import InvalidRequest, NotSupported

_DOWNLOAD_TIMEOUT = "ModelDataDownloadTimeoutInSeconds"
_STARTUP_TIMEOUT = "ContainerStartupHealthCheckTimeoutInSeconds"
_PROVISION_TIMEOUT = "VariantInstanceProvisionTimeoutInSeconds"
_TIMEOUTS = (_DOWNLOAD_TIMEOUT, _STARTUP_TIMEOUT, _PROVISION_TIMEOUT)
_SUCCESS, _ERROR = "SUCCESS_NOTIFICATION_TOPIC", "ERROR_NOTIFICATION_TOPIC"


def endpoint_config_operations(configs: EndpointConfigCommands) -> dict[str, Operation]:
    """The operations on endpoint configurations, by name."""

    async def create_endpoint_config(call: Call, params: Params) -> Mapping[str, Any]:
        return {"EndpointConfigArn": (await configs.create(_create_request(params))).arn}

    async def describe_endpoint_config(call: Call, params: Params) -> Mapping[str, Any]:
        return _describe(await configs.describe(params["EndpointConfigName"]))

    async def list_endpoint_configs(call: Call, params: Params) -> Mapping[str, Any]:
        page = await configs.list(read_page(params))
        items = [
            {"EndpointConfigName": it.name, "EndpointConfigArn": it.arn, "CreationTime": moment(it.created_at_us)}
            for it in page.items
        ]
        return given(EndpointConfigs=items, NextToken=page.next_token)

    async def delete_endpoint_config(call: Call, params: Params) -> Mapping[str, Any]:
        await configs.delete(params["EndpointConfigName"])
        return {}

    return {
        "CreateEndpointConfig": create_endpoint_config,
        "DescribeEndpointConfig": describe_endpoint_config,
        "ListEndpointConfigs": list_endpoint_configs,
        "DeleteEndpointConfig": delete_endpoint_config,
    }


def _create_request(params: Params) -> CreateEndpointConfig:
    described_back = take("CreateEndpointConfigInput", params)
    config = params.get("AsyncInferenceConfig")
    if config is None:
        raise NotSupported(
            "An endpoint configuration without AsyncInferenceConfig is not supported: Tarry serves asynchronous endpoints. "
            "Give AsyncInferenceConfig with OutputConfig.S3OutputPath."
        )
    return CreateEndpointConfig(
        name=params["EndpointConfigName"],
        variants=tuple(_variant(variant) for variant in params["ProductionVariants"]),
        async_inference=_async_inference(config),
        network_isolation=bool(params.get("EnableNetworkIsolation")),
        described_back=described_back,
        tags=read_tags(params.get("Tags")),
    )


def _variant(variant: Mapping[str, Any]) -> Variant:
    described_back = take("ProductionVariant", variant)
    name = variant["VariantName"]
    for member in ("ModelName", "InitialInstanceCount"):
        if variant.get(member) is None:
            # OURS: both are needed to start anything; AWS lets some of them out for what is not supported here.
            raise InvalidRequest(f"The variant {name} must have {member}.")
    if (variant.get("InstanceType") is None) == (not variant.get("InstancePools")):
        raise InvalidRequest(f"The variant {name} must have exactly one of InstanceType and InstancePools.")
    timeouts = {member: variant[member] for member in _TIMEOUTS if variant.get(member) is not None}
    settings: dict[str, Any] = {}
    if _DOWNLOAD_TIMEOUT in timeouts:
        settings["model_data_timeout_s"] = timeouts[_DOWNLOAD_TIMEOUT]
    if _STARTUP_TIMEOUT in timeouts:
        settings["startup_timeout_s"] = timeouts[_STARTUP_TIMEOUT]
    if variant.get(_PROVISION_TIMEOUT) is not None:
        settings["provision_timeout_s"] = variant[_PROVISION_TIMEOUT]
    if variant.get("InitialVariantWeight") is not None:
        settings["initial_weight"] = float(variant["InitialVariantWeight"])
    return Variant(
        name=name,
        model_name=variant["ModelName"],
        instance_type=variant.get("InstanceType"),
        pools=tuple(_pool(pool) for pool in variant.get("InstancePools") or ()),
        initial_instance_count=variant["InitialInstanceCount"],
        described_back=described_back | timeouts,  # Describe shows them only where they were given
        **settings,
    )


def _pool(pool: Mapping[str, Any]) -> InstancePool:
    take("InstancePool", pool)
    return InstancePool(instance_type=pool["InstanceType"], priority=pool["Priority"], model_name=pool.get("ModelNameOverride"))


def _describe_pool(pool: InstancePool) -> Mapping[str, Any]:
    return given(InstanceType=pool.instance_type, Priority=pool.priority, ModelNameOverride=pool.model_name)


def _async_inference(config: Mapping[str, Any]) -> AsyncInferenceConfig:
    take("AsyncInferenceConfig", config)
    client, output = config.get("ClientConfig") or {}, config["OutputConfig"]
    notification = output.get("NotificationConfig") or {}
    take("AsyncInferenceClientConfig", client)
    take("AsyncInferenceOutputConfig", output)
    take("AsyncInferenceNotificationConfig", notification)
    if not output.get("S3OutputPath"):
        # OURS: optional in AWS's model; its first guides and Terraform's provider require it, and there is no bucket to fall
        # back on here.
        raise InvalidRequest("AsyncInferenceConfig.OutputConfig must have an S3OutputPath.")
    include = notification.get("IncludeInferenceResponseIn") or ()
    return AsyncInferenceConfig(
        s3_output_path=output["S3OutputPath"],
        s3_failure_path=output.get("S3FailurePath") or None,
        kms_key_id=output.get("KmsKeyId"),
        success_topic=notification.get("SuccessTopic") or None,
        error_topic=notification.get("ErrorTopic") or None,
        include_response_on_success=_SUCCESS in include,
        include_response_on_error=_ERROR in include,
        max_concurrent_invocations_per_instance=client.get("MaxConcurrentInvocationsPerInstance"),
    )


def describe_async_inference(config: AsyncInferenceConfig) -> Mapping[str, Any]:
    """The AsyncInferenceConfig member of an answer."""
    flags = ((_SUCCESS, config.include_response_on_success), (_ERROR, config.include_response_on_error))
    notification = given(
        SuccessTopic=config.success_topic,
        ErrorTopic=config.error_topic,
        IncludeInferenceResponseIn=[name for name, included in flags if included] or None,
    )
    output = given(
        S3OutputPath=config.s3_output_path,
        S3FailurePath=config.s3_failure_path,
        KmsKeyId=config.kms_key_id,
        NotificationConfig=notification or None,
    )
    concurrency = config.max_concurrent_invocations_per_instance
    client = None if concurrency is None else {"MaxConcurrentInvocationsPerInstance": concurrency}
    return given(ClientConfig=client, OutputConfig=output)


def _describe(config: EndpointConfig) -> Mapping[str, Any]:
    return {
        "EndpointConfigName": config.name,
        "EndpointConfigArn": config.arn,
        "ProductionVariants": [_describe_variant(variant) for variant in config.variants],
        "AsyncInferenceConfig": describe_async_inference(config.async_inference),
        **config.described_back,
        "CreationTime": moment(config.created_at_us),
    }


def _describe_variant(variant: Variant) -> Mapping[str, Any]:
    return {
        "VariantName": variant.name,
        "ModelName": variant.model_name,
        **given(InstanceType=variant.instance_type, InstancePools=[_describe_pool(pool) for pool in variant.pools] or None),
        "InitialInstanceCount": variant.initial_instance_count,
        "InitialVariantWeight": variant.initial_weight,
        **variant.described_back,
    }
