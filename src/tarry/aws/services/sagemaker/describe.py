"""DescribeEndpoint: an endpoint as it is now, in AWS's form."""

from collections.abc import Mapping
from typing import Any

from tarry.aws.services.sagemaker.endpoint_configs import describe_async_inference
from tarry.aws.services.sagemaker.values import given, moment
from tarry.control.endpoints import EndpointDescription
from tarry.core.deployment import DeployedVariant, Deployment
from tarry.core.endpoint import EndpointStatus


def describe_endpoint(described: EndpointDescription) -> Mapping[str, Any]:
    """The answer to DescribeEndpoint. ProductionVariants is absent while nothing has ever served."""
    endpoint, shown = described.endpoint, described.active or described.latest
    return given(
        EndpointName=endpoint.name,
        EndpointArn=endpoint.arn,
        EndpointConfigName=endpoint.config_name,
        ProductionVariants=_active_variants(described),
        EndpointStatus=str(endpoint.status),
        FailureReason=endpoint.failure_reason,
        CreationTime=moment(endpoint.created_at_us),
        LastModifiedTime=moment(endpoint.modified_at_us),
        AsyncInferenceConfig=describe_async_inference(shown.config.async_inference) if shown is not None else None,
        PendingDeploymentSummary=_pending(described),
    )


def _active_variants(described: EndpointDescription) -> list[Mapping[str, Any]] | None:
    active = described.active
    if active is None:
        return None
    rescaling = described.endpoint.status is EndpointStatus.UPDATING and described.pending is None
    status = [{"Status": "Updating", "StartTime": moment(described.endpoint.modified_at_us)}] if rescaling else None
    return [
        given(
            **_variant(active, variant),
            CurrentWeight=variant.desired_weight,  # the routing follows within a second
            CurrentInstanceCount=described.running.get((active.id, variant.variant.name), 0),
            RoutingConfig=variant.variant.described_back.get("RoutingConfig"),
            VariantStatus=status,
        )
        for variant in active.variants
    ]


def _pending(described: EndpointDescription) -> Mapping[str, Any] | None:
    """Only while a new configuration is being started (DescribeEndpoint API reference)."""
    pending = described.pending
    if pending is None:
        return None
    started = moment(pending.created_at_us)
    variants = [
        given(
            **_variant(pending, variant),
            CurrentWeight=0.0,
            CurrentInstanceCount=described.running.get((pending.id, variant.variant.name), 0),
            InstanceType=variant.variant.instance_type,
            AcceleratorType=variant.variant.described_back.get("AcceleratorType"),
            RoutingConfig=variant.variant.described_back.get("RoutingConfig"),
            VariantStatus=[{"Status": "Creating", "StartTime": started}],
        )
        for variant in pending.variants
    ]
    return {"EndpointConfigName": pending.config.name, "ProductionVariants": variants, "StartTime": started}


def _variant(deployment: Deployment, variant: DeployedVariant) -> dict[str, Any]:
    # OURS: no ResolvedImage: nothing was pulled by digest, and an invented one would be a lie.
    resolved = moment(deployment.created_at_us)
    images = [{"SpecifiedImage": container.image, "ResolutionTime": resolved} for container in variant.model.containers]
    return {
        "VariantName": variant.variant.name,
        "DeployedImages": images,
        "DesiredWeight": variant.desired_weight,
        "DesiredInstanceCount": variant.desired_count,
    }
