"""The endpoint that is measured: the stub image, which answers at once with what it was sent."""

import sqlite3
from collections.abc import Sequence

from tests.support.server_process import ServerProcess

NAME, BUCKET = "bench", "bench"
WAITER = {"Delay": 0.1, "MaxAttempts": 600}


def endpoint(server: ServerProcess, *, instances: int, concurrency: int = 4) -> None:
    """Deploy and wait until it is in service with this many instances."""
    endpoints(server, [NAME], concurrency=concurrency)
    if instances != 1:
        scale(server, instances=instances)


def scale(server: ServerProcess, *, instances: int) -> None:
    """Have so many instances, and wait until it is so."""
    sagemaker = server.client("sagemaker")
    wanted = [{"VariantName": "v", "DesiredInstanceCount": instances}]
    sagemaker.update_endpoint_weights_and_capacities(EndpointName=NAME, DesiredWeightsAndCapacities=wanted)
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=NAME, WaiterConfig=WAITER)


def endpoints(server: ServerProcess, names: Sequence[str], *, concurrency: int = 4) -> None:
    """Deploy endpoints of one configuration, an instance each, and wait until all are in service."""
    sagemaker = server.client("sagemaker")
    _config(server, concurrency)
    for name in names:
        sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=NAME)
    for name in names:
        sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=name, WaiterConfig=WAITER)


def _config(server: ServerProcess, concurrency: int) -> None:
    sagemaker = server.client("sagemaker")
    server.client("s3").create_bucket(Bucket=BUCKET)
    topic = server.client("sns").create_topic(Name="bench")["TopicArn"]
    role = "arn:aws:iam::123456789012:role/bench"
    sagemaker.create_model(ModelName=NAME, ExecutionRoleArn=role, PrimaryContainer={"Image": "stub:1"})
    sagemaker.create_endpoint_config(
        EndpointConfigName=NAME,
        ProductionVariants=[{"VariantName": "v", "ModelName": NAME, "InstanceType": "ml.m5.xlarge", "InitialInstanceCount": 1}],
        AsyncInferenceConfig={
            "OutputConfig": {
                "S3OutputPath": f"s3://{BUCKET}/out",
                "NotificationConfig": {"SuccessTopic": topic, "ErrorTopic": topic},
            },
            "ClientConfig": {"MaxConcurrentInvocationsPerInstance": concurrency},
        },
    )


def count(server: ServerProcess, state: str) -> int:
    """How many invocations are in a state, read beside the server."""
    connection = sqlite3.connect(f"file:{server.data_dir / 'tarry.db'}?mode=ro", uri=True)
    try:
        (number,) = connection.execute("SELECT count(*) FROM invocation WHERE state = ?", (state,)).fetchone()
        return int(number)
    finally:
        connection.close()
