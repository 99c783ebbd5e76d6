"""CreateEndpoint, DescribeEndpoint, ListEndpoints, UpdateEndpoint, UpdateEndpointWeightsAndCapacities, DeleteEndpoint."""

from collections.abc import Mapping
from typing import Any

from tarry.aws.call import Call, Operation, Params
from tarry.aws.services.sagemaker.deployment_configs import read_deployment_config
from tarry.aws.services.sagemaker.describe import describe_endpoint
from tarry.aws.services.sagemaker.members import take
from tarry.aws.services.sagemaker.values import read_page, read_tags
from tarry.aws.services.values import given, moment
from tarry.control.endpoints import EndpointCommands
from tarry.control.requests import CreateEndpoint, UpdateEndpoint
from tarry.core.deployment import DesiredCapacity
from tarry.core.endpoint import Endpoint


def endpoint_operations(endpoints: EndpointCommands) -> dict[str, Operation]:
    """The operations on endpoints, by name."""

    async def create(call: Call, params: Params) -> Mapping[str, Any]:
        return _arn(await endpoints.create(_create_request(params)))

    async def describe(call: Call, params: Params) -> Mapping[str, Any]:
        return describe_endpoint(await endpoints.describe(params["EndpointName"]))

    async def list_endpoints(call: Call, params: Params) -> Mapping[str, Any]:
        page = await endpoints.list(read_page(params))
        return given(Endpoints=[_summary(endpoint) for endpoint in page.items], NextToken=page.next_token)

    async def update(call: Call, params: Params) -> Mapping[str, Any]:
        return _arn(await endpoints.update(_update_request(params)))

    async def update_capacities(call: Call, params: Params) -> Mapping[str, Any]:
        wanted = [_capacity(one) for one in params["DesiredWeightsAndCapacities"]]
        return _arn(await endpoints.update_capacities(params["EndpointName"], wanted))

    async def delete(call: Call, params: Params) -> Mapping[str, Any]:
        await endpoints.delete(params["EndpointName"])
        return {}

    return {
        "CreateEndpoint": create,
        "DescribeEndpoint": describe,
        "ListEndpoints": list_endpoints,
        "UpdateEndpoint": update,
        "UpdateEndpointWeightsAndCapacities": update_capacities,
        "DeleteEndpoint": delete,
    }


def _arn(endpoint: Endpoint) -> Mapping[str, Any]:
    return {"EndpointArn": endpoint.arn}


def _create_request(params: Params) -> CreateEndpoint:
    return CreateEndpoint(
        name=params["EndpointName"],
        config_name=params["EndpointConfigName"],
        deployment_config=read_deployment_config(params.get("DeploymentConfig")),
        tags=read_tags(params.get("Tags")),
    )


def _update_request(params: Params) -> UpdateEndpoint:
    excluded = set()
    for excluded_property in params.get("ExcludeRetainedVariantProperties") or ():
        take("VariantProperty", excluded_property)
        excluded.add(excluded_property["VariantPropertyType"])
    retain = bool(params.get("RetainAllVariantProperties"))
    return UpdateEndpoint(
        name=params["EndpointName"],
        config_name=params["EndpointConfigName"],
        retain_counts=retain and "DesiredInstanceCount" not in excluded,
        retain_weights=retain and "DesiredWeight" not in excluded,
        deployment_config=read_deployment_config(params.get("DeploymentConfig")),
        retain_deployment_config=bool(params.get("RetainDeploymentConfig")),
    )


def _capacity(member: Mapping[str, Any]) -> DesiredCapacity:
    take("DesiredWeightAndCapacity", member)
    weight = member.get("DesiredWeight")
    return DesiredCapacity(
        variant_name=member["VariantName"],
        weight=None if weight is None else float(weight),
        instance_count=member.get("DesiredInstanceCount"),
    )


def _summary(endpoint: Endpoint) -> Mapping[str, Any]:
    return {
        "EndpointName": endpoint.name,
        "EndpointArn": endpoint.arn,
        "CreationTime": moment(endpoint.created_at_us),
        "LastModifiedTime": moment(endpoint.modified_at_us),
        "EndpointStatus": str(endpoint.status),
    }
