"""Instances that hang: what they hold ends or goes elsewhere, they are replaced, and the others serve on meanwhile."""

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
from tests.support import deploy
from tests.support.deploy import wish
from tests.support.server_process import ServerProcess

BUCKET = "stuck-test"
WAIT_S = 240
UNANSWERED_S = 15
SETTINGS = {"TARRY_ENGINE__UNANSWERED_S": str(UNANSWERED_S), "TARRY_ENGINE__STOP_GRACE_S": "300"}
"""The grace is longer than anybody here waits: no test depends on it."""
NO_ANSWER = "without an answer to GET /ping"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("stuck") / "data", settings=SETTINGS) as running:
        deploy.bucket(running, BUCKET)
        yield running


class Endpoint:
    """An endpoint of the stub image, and what became of its invocations."""

    def __init__(self, server: ServerProcess, name: str, **over: int) -> None:
        self.name = name
        self._server = server
        self._runtime, self._tarry = server.client("sagemaker-runtime"), server.client("tarry")
        self._sagemaker = server.client("sagemaker")
        deploy.endpoint(server, name, BUCKET, {"STUB_NAME": name}, **over)

    def ask(self, body: bytes, **params: Any) -> str:
        answer = self._runtime.invoke_endpoint_async(EndpointName=self.name, Body=body, **params)
        invocation_id: str = answer["ResponseMetadata"]["HTTPHeaders"]["x-tarry-invocation-id"]
        return invocation_id

    def ended(self, invocation_id: str) -> dict[str, Any]:
        deadline = time.monotonic() + WAIT_S
        while True:
            found: dict[str, Any] = self._tarry.wait_invocation(InvocationId=invocation_id, WaitSeconds=10)["Invocation"]
            if found["State"] in {"Completed", "Failed", "Expired", "Stopped"}:
                return found
            assert time.monotonic() < deadline, f"{invocation_id} never ended: {found}"

    def wait_for(self, count: int, message: str) -> None:
        """Until DescribeEndpoint tells of so many instances in service, and this of those that run or lack or have failed."""
        deadline = time.monotonic() + WAIT_S
        while True:
            (variant,) = self._sagemaker.describe_endpoint(EndpointName=self.name)["ProductionVariants"]
            status = variant.get("VariantStatus", [{}])[0].get("StatusMessage", "")
            if variant["CurrentInstanceCount"] == count and message in status:
                return
            assert time.monotonic() < deadline, f"never {count} and {message!r}: {variant}"
            os.sched_yield()

    def process(self) -> psutil.Process:
        """The model server of the only instance."""
        (found,) = [
            process
            for process in psutil.Process(self._server.pid).children(recursive=True)
            if process.environ().get("STUB_NAME") == self.name
        ]
        return found


def _instances(invocation: dict[str, Any]) -> list[str]:
    return [attempt["InstanceId"] for attempt in invocation["Attempts"]]


@pytest.mark.timeout(600)
def test_an_instance_that_hangs_for_ever_is_replaced_while_the_other_serves(server: ServerProcess) -> None:
    endpoint = Endpoint(server, "Hangs", instances=2, concurrency=1)
    fatal = endpoint.ended(endpoint.ask(wish(hang=True), InvocationTimeoutSeconds=1))
    assert (fatal["State"], len(fatal["Attempts"])) == ("Failed", 1)
    assert "did not answer within 1 seconds" in fatal["Reason"]
    (hanging,) = _instances(fatal)
    meanwhile = [endpoint.ended(endpoint.ask(b"meanwhile")) for _ in range(5)]
    assert {each["State"] for each in meanwhile} == {"Completed"}
    assert hanging not in {instance for each in meanwhile for instance in _instances(each)}
    endpoint.wait_for(2, NO_ANSWER)
    endpoint.wait_for(2, "2 of 2 instances are in service. An instance failed")
    later = [endpoint.ask(wish(sleep=0.2)) for _ in range(10)]
    used = {instance for each in later for instance in _instances(endpoint.ended(each))}
    assert len(used) == 2
    assert hanging not in used
    said = server.log.read_text()
    assert f"did not answer GET /ping with 200 for {UNANSWERED_S} s" in said
    assert said.count(hanging) >= 2


def test_workers_that_die_behind_a_healthy_ping_are_told_of(server: ServerProcess) -> None:
    """As TorchServe's did where a module was missing: nobody but the log can say why nothing is answered."""
    deploy.endpoint(server, "Workers", BUCKET, {"STUB_WORKERS_DIE": "No module named 'yaml'"})
    runtime = server.client("sagemaker-runtime")
    answer = runtime.invoke_endpoint_async(EndpointName="Workers", Body=b"x", InvocationTimeoutSeconds=1)
    failure = json.loads(deploy.read(server, answer["FailureLocation"]))
    assert "did not answer within 1 seconds" in failure["failureReason"]
    server.wait_for_log("do the model server's workers die? See its logs")
    [line] = [line for line in server.log.read_text().splitlines() if "workers die?" in line and "Workers" in line]
    [log] = (server.data_dir / "logs/Workers/v").glob("*.log")
    assert f"tarry logs Workers --instance {log.stem}" in line
    assert "No module named 'yaml'" in log.read_text()
    assert deploy.in_service(server, "Workers")["EndpointStatus"] == "InService"


@pytest.mark.timeout(600)
def test_what_a_stopped_process_holds_goes_to_its_successor(server: ServerProcess) -> None:
    endpoint = Endpoint(server, "Stops", concurrency=2)
    with socket.create_server(("127.0.0.1", 0)) as meeting:
        meeting.settimeout(WAIT_S)
        held = endpoint.ask(wish(meet=meeting.getsockname()[1]))
        first, _ = meeting.accept()
        with first:
            process = endpoint.process()
            process.send_signal(signal.SIGSTOP)
            queued = [endpoint.ask(b"queued") for _ in range(5)]
            endpoint.wait_for(1, NO_ANSWER)
            again, _ = meeting.accept()  # as it is with its successor now
            again.close()
    found = endpoint.ended(held)
    assert found["State"] == "Completed"
    assert [attempt["Result"] for attempt in found["Attempts"]] == ["Lost", "Decided"]
    assert len(set(_instances(found))) == 2
    assert {endpoint.ended(each)["State"] for each in queued} == {"Completed"}
    assert not process.is_running(), "the grace is for those who can hear"
    endpoint.wait_for(1, "1 of 1 instances are in service. An instance failed")
