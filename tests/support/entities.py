"""Entities for tests: each function gives a valid one, and takes what the test cares about."""

from typing import Any

from tarry.core.catalog import AsyncInferenceConfig, Container, EndpointConfig, Model, ModelDataSource, TagSet, Variant
from tarry.core.deployment import DeployedVariant, Deployment, DeploymentState, Routing, split_buckets
from tarry.core.endpoint import Endpoint, EndpointStatus
from tarry.core.instance import Instance, InstanceState
from tarry.core.invocation import Invocation, InvocationState, Outcome, bucket_of
from tarry.core.names import S3Location
from tarry.core.notifications import Notification
from tarry.ports import Decision, Staged

NOW_US = 1_750_000_000_000_000


def model(name: str = "m", **over: Any) -> Model:
    values: dict[str, Any] = {
        "id": f"model-{name}",
        "arn": f"arn:aws:sagemaker:us-east-1:123456789012:model/{name.lower()}",
        "containers": (
            Container(
                image="image:1",
                model_data=ModelDataSource(s3_uri="s3://b/m.tar.gz"),
                environment={"A": "ä", "B": ""},
            ),
        ),
        "execution_role_arn": None,
        "created_at_us": NOW_US,
        "described_back": {"VpcConfig": {"Subnets": ["s"], "N": [1, 1.5, None, True]}},
    }
    return Model(name=name, **(values | over))


def variant(name: str = "v", **over: Any) -> Variant:
    return Variant(name=name, model_name="m", instance_type="ml.m5.xlarge", initial_instance_count=1, **over)


def config(name: str = "c", **over: Any) -> EndpointConfig:
    values: dict[str, Any] = {
        "id": f"config-{name}",
        "arn": f"arn:aws:sagemaker:us-east-1:123456789012:endpoint-config/{name.lower()}",
        "variants": (variant(), variant("w", initial_weight=0.25)),
        "async_inference": AsyncInferenceConfig(s3_output_path="s3://b/out", success_topic="arn:ok"),
        "created_at_us": NOW_US,
    }
    return EndpointConfig(name=name, **(values | over))


def endpoint(name: str = "e", **over: Any) -> Endpoint:
    values: dict[str, Any] = {
        "id": f"endpoint-{name}",
        "arn": f"arn:aws:sagemaker:us-east-1:123456789012:endpoint/{name.lower()}",
        "config_name": "c",
        "status": EndpointStatus.IN_SERVICE,
        "created_at_us": NOW_US,
        "modified_at_us": NOW_US,
    }
    return Endpoint(name=name, **(values | over))


def deployment(id: str = "d", endpoint_id: str = "endpoint-e", **over: Any) -> Deployment:
    values: dict[str, Any] = {
        "generation": 1,
        "config": config(),
        "variants": (DeployedVariant(variant=variant(), model=model(), desired_weight=1.0, desired_count=1),),
        "state": DeploymentState.ACTIVE,
        "created_at_us": NOW_US,
    }
    return Deployment(id=id, endpoint_id=endpoint_id, **(values | over))


def instance(id: str = "i", **over: Any) -> Instance:
    values: dict[str, Any] = {
        "endpoint_id": "endpoint-e",
        "deployment_id": "d",
        "variant_name": "v",
        "state": InstanceState.IN_SERVICE,
        "concurrency": 4,
        "created_at_us": NOW_US,
    }
    return Instance(id=id, **(values | over))


def routing(endpoint_id: str = "endpoint-e", weights: dict[tuple[str, str], float] | None = None) -> Routing:
    return Routing(id=endpoint_id, shares=split_buckets(weights or {("d", "v"): 1.0}))


def tag_set(arn: str = "arn:x", **tags: str) -> TagSet:
    return TagSet(id=arn, tags=tags)


def invocation(id: str, **over: Any) -> Invocation:
    values: dict[str, Any] = {
        "endpoint_id": "endpoint-e",
        "endpoint_name": "e",
        "region": "us-east-1",
        "bucket": bucket_of(id),
        "inference_id": id,
        "received_at_us": NOW_US,
        "expires_at_us": NOW_US + 60_000_000,
        "timeout_s": 900,
        "output_location": f"s3://b/out/{id}.out",
        "failure_location": f"s3://b/out/{id}-error.out",
        "input_location": f"s3://b/in/{id}",
        "success_topic": "arn:ok",
        "error_topic": "arn:error",
    }
    return Invocation(id=id, **(values | over))


def decision(
    id: str, state: InvocationState = InvocationState.COMPLETED, *, inline: bytes | None = b"answer", told: bool = True
) -> Decision:
    """The decision of an invocation: small answers inline, None: staged under a handle."""
    reason = None if state is InvocationState.COMPLETED else "because"
    staged = Staged(
        location=S3Location("b", f"out/{id}.out"),
        content_type="text/csv",
        metadata={"x-amz-meta-tarry-invocation": id},
        inline=inline,
        handle=None if inline is not None else f"handle-{id}",
    )
    outcome = Outcome(state=state, ended_at_us=NOW_US, reason=reason, content_type="text/csv", container_status=200)
    notification = Notification(id=id, topic_arn="arn:ok", message=f'{{"id":"{id}"}}')
    return Decision(invocation_id=id, outcome=outcome, staged=staged, notification=notification if told else None)
