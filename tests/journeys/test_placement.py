"""What has no room: it waits and says why, takes the room that others leave, falls to the next pool, or fails in AWS's words."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, WaiterError
from tests.support import deploy
from tests.support.server_process import ServerProcess

BUCKET = "placement-test"
M5, G5 = "ml.m5.xlarge", "ml.g5.xlarge"
AWS_WORDS = (
    "CapacityError: Unable to provision requested ML compute capacity due to InsufficientInstanceCapacity error. "
    "Please retry using a different ML instance type."
)


def _server(directory: Path, **engine: str) -> Iterator[ServerProcess]:
    settings = {f"TARRY_ENGINE__{name.upper()}": value for name, value in engine.items()}
    with ServerProcess(directory / "data", settings=settings) as running:
        deploy.bucket(running, BUCKET)
        deploy.model(running, "m")
        yield running


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Two instances at most, of which one is of the types ml.g5.*; room is waited for for longer than a test may take."""
    yield from _server(tmp_path_factory.mktemp("server"), instances_max='{"ml.g5.*": 1, "*": 2}', provision_timeout_s="3000")


def _config(server: ServerProcess, name: str, **variant: Any) -> None:
    server.client("sagemaker").create_endpoint_config(
        EndpointConfigName=name,
        ProductionVariants=[{"VariantName": "v", "ModelName": "m", "InitialInstanceCount": 1, **variant}],
        AsyncInferenceConfig={"OutputConfig": {"S3OutputPath": f"s3://{BUCKET}/out"}},
    )


def _create(server: ServerProcess, name: str, **variant: Any) -> None:
    _config(server, name, **variant)
    server.client("sagemaker").create_endpoint(EndpointName=name, EndpointConfigName=name)


def _waits_because(server: ServerProcess, name: str, words: str) -> None:
    """Wait until the endpoint says this of its variant, while it is Creating."""
    deadline = time.monotonic() + 60
    message = ""
    while words not in message:
        assert time.monotonic() < deadline, f"it says {message!r}"
        described = server.client("sagemaker").describe_endpoint(EndpointName=name)
        assert described["EndpointStatus"] == "Creating"
        (variant,) = described["PendingDeploymentSummary"]["ProductionVariants"]
        message = variant["VariantStatus"][0].get("StatusMessage", "")


def _fails_because(server: ServerProcess, name: str) -> str:
    with pytest.raises(WaiterError):
        deploy.in_service(server, name)
    described = server.client("sagemaker").describe_endpoint(EndpointName=name)
    assert described["EndpointStatus"] == "Failed"
    reason: str = described["FailureReason"]
    return reason


def test_an_endpoint_waits_for_room_and_takes_what_another_leaves(patient: ServerProcess) -> None:
    sagemaker = patient.client("sagemaker")
    pools = [{"InstanceType": G5, "Priority": 1}, {"InstanceType": M5, "Priority": 2}]
    _create(patient, "first", InstancePools=pools)
    deploy.in_service(patient, "first")
    _create(patient, "next", InstancePools=pools)
    (variant,) = deploy.in_service(patient, "next")["ProductionVariants"]
    counts = {pool["InstanceType"]: pool["CurrentInstanceCount"] for pool in variant["InstancePools"]}
    assert counts == {G5: 0, M5: 1}  # the first endpoint has the one ml.g5.xlarge
    _create(patient, "late", InstanceType="local")
    _waits_because(patient, "late", "There is no capacity for more on local; it is asked for again every 30 s, and when")
    _waits_because(patient, "late", f"{AWS_WORDS} (Here: At most 2 instances may run here: [engine] instances_max.)")
    sagemaker.delete_endpoint(EndpointName="next")
    deploy.in_service(patient, "late")
    assert sagemaker.describe_endpoint_config(EndpointConfigName="late")["ProductionVariants"][0]["InstanceType"] == "local"
    answer = patient.client("sagemaker-runtime").invoke_endpoint_async(EndpointName="late", Body=b"here I am")
    assert deploy.read(patient, answer["OutputLocation"]) == b"here I am"


@pytest.mark.parametrize(
    ("engine", "words"),
    [
        ({"memory_reserve": "1 PiB"}, "MiB of free memory, less than the 1073741824 MiB of [engine] memory_reserve."),
        ({"capacity": "strict"}, '[engine] capacity = "strict" ml.p5.48xlarge needs 192 vCPUs and 2048 GiB; this machine has'),
    ],
)
def test_after_the_wait_the_creation_fails_in_the_words_of_aws(tmp_path: Path, engine: dict[str, str], words: str) -> None:
    for server in _server(tmp_path, provision_timeout_s="1", **engine):
        _create(server, "big", InstanceType="ml.p5.48xlarge")
        reason = _fails_because(server, "big")
        assert reason.startswith(f"{AWS_WORDS} (Here: ")
        assert words in reason


def test_a_type_that_is_none_is_refused_and_local_is_named(patient: ServerProcess) -> None:
    with pytest.raises(ClientError, match=r"Member must satisfy enum value set: \[.*ml\.m5\.xlarge.*, local\]"):
        _config(patient, "none", InstanceType="locally")
