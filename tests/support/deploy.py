"""Deploying the stub image with unmodified boto3, as a user's program would."""

import json
from collections.abc import Mapping
from typing import Any

from tests.support.server_process import ServerProcess

Environment = Mapping[str, str] | None

ROLE = "arn:aws:iam::123456789012:role/test"
WAITER = {"Delay": 0.05, "MaxAttempts": 1200}


def bucket(server: ServerProcess, name: str) -> str:
    """A new bucket."""
    server.client("s3").create_bucket(Bucket=name)
    return name


def model(server: ServerProcess, name: str, environment: Environment = None, image: str = "stub:1", **over: Any) -> None:
    """A model of the stub image."""
    container = {"Image": image, "Environment": dict(environment or {}), **over}
    server.client("sagemaker").create_model(ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer=container)


def config(server: ServerProcess, name: str, model_name: str, bucket_name: str, **over: Any) -> None:
    """A configuration with one variant; ``topics``, ``concurrency``, ``failure_path`` and ``startup_s`` are optional."""
    output: dict[str, Any] = {"S3OutputPath": f"s3://{bucket_name}/out"}
    if topics := over.get("topics"):
        output["NotificationConfig"] = topics
    if failure_path := over.get("failure_path"):
        output["S3FailurePath"] = failure_path
    inference: dict[str, Any] = {"OutputConfig": output}
    if concurrency := over.get("concurrency"):
        inference["ClientConfig"] = {"MaxConcurrentInvocationsPerInstance": concurrency}
    variant = {
        "VariantName": "v",
        "ModelName": model_name,
        "InstanceType": "ml.m5.xlarge",
        "InitialInstanceCount": over.get("instances", 1),
        "ContainerStartupHealthCheckTimeoutInSeconds": over.get("startup_s", 60),
    }
    server.client("sagemaker").create_endpoint_config(
        EndpointConfigName=name, ProductionVariants=[variant], AsyncInferenceConfig=inference
    )


def endpoint(server: ServerProcess, name: str, bucket_name: str, environment: Environment = None, **over: Any) -> None:
    """Model, configuration and endpoint of one name, in service."""
    model(server, name, environment)
    config(server, name, name, bucket_name, **over)
    server.client("sagemaker").create_endpoint(EndpointName=name, EndpointConfigName=name)
    in_service(server, name)


def in_service(server: ServerProcess, name: str) -> dict[str, Any]:
    """Wait until the endpoint is in service; its description."""
    sagemaker = server.client("sagemaker")
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=name, WaiterConfig=WAITER)
    described: dict[str, Any] = sagemaker.describe_endpoint(EndpointName=name)
    return described


def read(server: ServerProcess, uri: str) -> bytes:
    """Wait for an object and read it."""
    s3 = server.client("s3")
    _, _, bucket_name, key = uri.split("/", 3)
    s3.get_waiter("object_exists").wait(Bucket=bucket_name, Key=key, WaiterConfig=WAITER)
    body: bytes = s3.get_object(Bucket=bucket_name, Key=key)["Body"].read()
    return body


def wish(**wishes: Any) -> bytes:
    """A body that makes the stub behave."""
    return json.dumps({"stub": wishes}).encode()
