"""DescribeEndpoint: an endpoint as it is now, in AWS's form."""

from collections.abc import Mapping
from typing import Any

from tarry.aws.services.sagemaker.deployment_configs import write_deployment_config
from tarry.aws.services.sagemaker.endpoint_configs import describe_async_inference
from tarry.aws.services.values import given, moment
from tarry.control.endpoints import EndpointDescription
from tarry.core.catalog import WEIGHT_MAX
from tarry.core.deployment import BUCKETS, DeployedVariant, Deployment, DeploymentState, Share
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
        LastDeploymentConfig=write_deployment_config(endpoint.deployment_config),
        PendingDeploymentSummary=_pending(described),
    )


def _active_variants(described: EndpointDescription) -> list[Mapping[str, Any]] | None:
    active = described.active
    if active is None:
        return None
    shown: list[Mapping[str, Any]] = [
        given(
            **_variant(described, active, variant),
            VariantStatus=_active_variant_status(described, active, variant),
        )
        for variant in active.variants
    ]
    mixed = described.mixed
    if mixed is not None:  # a rollback that failed: what serves comes from two configurations
        shown += [given(**_variant(described, mixed, variant)) for variant in mixed.variants]
    return shown


def _active_variant_status(
    described: EndpointDescription, active: Deployment, variant: DeployedVariant
) -> list[Mapping[str, Any]] | None:
    if (status := _active_status(described)) is not None:
        return [_with_message(described, active, variant, status)]
    message = described.waiting_for.get((active.id, variant.variant.name))
    if described.endpoint.status is not EndpointStatus.IN_SERVICE or message is None:
        return None
    # OURS: AWS says nothing where instances of an endpoint that is InService do not answer, are replaced, or have failed lately.
    return [{"Status": "Updating", "StatusMessage": message}]


def _active_status(described: EndpointDescription) -> Mapping[str, Any] | None:
    endpoint = described.endpoint
    if endpoint.status is EndpointStatus.DELETING:
        return {"Status": "Deleting", "StartTime": moment(endpoint.modified_at_us)}
    rescaling = endpoint.status in {EndpointStatus.UPDATING, EndpointStatus.ROLLING_BACK} and described.pending is None
    return {"Status": "Updating", "StartTime": moment(endpoint.modified_at_us)} if rescaling else None


def _with_message(
    described: EndpointDescription, deployment: Deployment, variant: DeployedVariant, status: Mapping[str, Any]
) -> Mapping[str, Any]:
    """While instances are being started: what is waited for."""
    if status["Status"] not in {"Creating", "Updating", "ActivatingTraffic"}:
        return status
    return {**status, **given(StatusMessage=described.waiting_for.get((deployment.id, variant.variant.name)))}


def _pending(described: EndpointDescription) -> Mapping[str, Any] | None:
    """Only while a new configuration is being started or given its work (DescribeEndpoint API reference)."""
    pending = described.pending
    if pending is None:
        return None
    status = _pending_status(pending, described.now_us)
    variants = [
        given(
            **_variant(described, pending, variant),
            InstanceType=variant.variant.instance_type,
            AcceleratorType=variant.variant.described_back.get("AcceleratorType"),
            VariantStatus=[_with_message(described, pending, variant, status)],
        )
        for variant in pending.variants
    ]
    return {
        "EndpointConfigName": pending.config.name,
        "ProductionVariants": variants,
        "StartTime": moment(pending.created_at_us),
    }


def _pending_status(pending: Deployment, now_us: int) -> Mapping[str, Any]:
    """AWS: ProductionVariantStatus, API reference: Creating, ActivatingTraffic (it shifts), Baking (it is watched)."""
    rollout = pending.rollout
    if pending.state is DeploymentState.SHIFTING and rollout.stepped_at_us is not None:
        word = "ActivatingTraffic" if rollout.watched(now_us) else "Baking"
        return {"Status": word, "StartTime": moment(rollout.stepped_at_us)}
    if pending.state is DeploymentState.ROLLING_BACK:
        return {"Status": "Deleting", "StartTime": moment(rollout.back_since_us or pending.created_at_us)}
    return {"Status": "Creating", "StartTime": moment(pending.created_at_us)}


def _current_weight(described: EndpointDescription, deployment: Deployment, variant: DeployedVariant) -> float:
    """The weight as it really is: the desired one, or less while others have a part of the variant's work.

    Without any routing (nothing runs) it is what will be as soon as something does.
    """
    shares = described.routing.shares if described.routing is not None else ()
    total = sum(min(one.desired_weight, WEIGHT_MAX) for one in deployment.variants)
    if deployment is described.pending and not shares:
        return 0.0
    if not shares or total <= 0:
        return variant.desired_weight
    buckets = sum(len(share.buckets) for share in shares if _owner(share) == (deployment.id, variant.variant.name))
    wanted = variant.desired_weight / total * BUCKETS
    # What others lend can make it larger than a Float can hold.
    return variant.desired_weight if abs(buckets - wanted) < 1 else min(round(buckets / BUCKETS * total, 4), WEIGHT_MAX)


def _owner(share: Share) -> tuple[str, str]:
    return share.deployment_id, share.variant_name


def _pools(described: EndpointDescription, deployment: Deployment, variant: DeployedVariant) -> list[Mapping[str, Any]]:
    name = variant.variant.name
    return [
        {
            "InstanceType": pool.instance_type,
            "CurrentInstanceCount": described.running_on.get((deployment.id, name, pool.instance_type), 0),
        }
        for pool in variant.variant.pools
    ]


def _images(described: EndpointDescription, deployment: Deployment, variant: DeployedVariant) -> list[str]:
    """Those that run: a pool may bring a model of its own. While nothing does, those of the type that is tried first."""
    types = [pool.instance_type for pool in variant.variant.types]
    running = [kind for kind in types if described.running_on.get((deployment.id, variant.variant.name, kind))]
    models = [variant.model_for(kind) for kind in running or types[:1]]
    distinct = {model.id: model for model in models}
    return [container.image for model in distinct.values() for container in model.containers]


def _variant(described: EndpointDescription, deployment: Deployment, variant: DeployedVariant) -> dict[str, Any]:
    # OURS: no ResolvedImage: nothing was pulled by digest, and an invented one would be a lie.
    resolved = moment(deployment.created_at_us)
    images = [{"SpecifiedImage": image, "ResolutionTime": resolved} for image in _images(described, deployment, variant)]
    return {
        "VariantName": variant.variant.name,
        "DeployedImages": images,
        "CurrentWeight": _current_weight(described, deployment, variant),
        "DesiredWeight": variant.desired_weight,
        "CurrentInstanceCount": described.running.get((deployment.id, variant.variant.name), 0),
        "DesiredInstanceCount": variant.desired_count,
        "InstancePools": _pools(described, deployment, variant) or None,
        "RoutingConfig": variant.variant.described_back.get("RoutingConfig"),
    }
