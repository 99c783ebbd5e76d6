"""Several variants on one queue: weights split it, and move the split at once."""

from collections import Counter
from typing import Any

from tests.support import deploy
from tests.support.server_process import ServerProcess

BUCKET = "variants-test"


def _answers(server: ServerProcess, locations: list[str]) -> Counter[bytes]:
    return Counter(deploy.read(server, location) for location in locations)


def test_weights_split_the_queue_and_move_what_waits(server: ServerProcess) -> None:
    deploy.bucket(server, BUCKET)
    sagemaker, runtime = server.client("sagemaker"), server.client("sagemaker-runtime")
    for name in ("left", "right"):
        deploy.model(server, name, {"STUB_DEFAULT": f'{{"answer": "{name}"}}'})
    variants = [
        {
            "VariantName": name,
            "ModelName": name,
            "InstanceType": "ml.m5.large",
            "InitialInstanceCount": 1,
            "InitialVariantWeight": 1,
        }
        for name in ("left", "right")
    ]
    output = {"OutputConfig": {"S3OutputPath": f"s3://{BUCKET}/out"}}
    sagemaker.create_endpoint_config(EndpointConfigName="two", ProductionVariants=variants, AsyncInferenceConfig=output)
    sagemaker.create_endpoint(EndpointName="two", EndpointConfigName="two")
    deploy.in_service(server, "two")

    def send(count: int) -> list[str]:
        return [runtime.invoke_endpoint_async(EndpointName="two", Body=b"x")["OutputLocation"] for _ in range(count)]

    def desire(**capacity: Any) -> None:
        wanted = [{"VariantName": name, **capacity[name]} for name in capacity]
        sagemaker.update_endpoint_weights_and_capacities(EndpointName="two", DesiredWeightsAndCapacities=wanted)
        deploy.in_service(server, "two")

    both = _answers(server, send(120))
    assert set(both) == {b"left", b"right"}
    assert min(both.values()) > 25  # 120 throws of a fair coin: 25 is more than six standard deviations away
    desire(left={"DesiredWeight": 0}, right={"DesiredWeight": 1})
    assert set(_answers(server, send(20))) == {b"right"}
    desire(left={"DesiredInstanceCount": 0, "DesiredWeight": 1}, right={"DesiredInstanceCount": 0})
    waiting = send(20)  # half of their buckets are the left one's by weight, and it has no instance
    desire(right={"DesiredInstanceCount": 1})
    assert set(_answers(server, waiting)) == {b"right"}
    weights = {
        one["VariantName"]: one["CurrentWeight"] for one in sagemaker.describe_endpoint(EndpointName="two")["ProductionVariants"]
    }
    assert weights == {"left": 0.0, "right": 2.0}
