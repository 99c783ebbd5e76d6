"""Updates under load: whatever the way from one fleet to the next, no request is lost, answered twice or refused."""

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tests.support import deploy
from tests.support.server_process import ServerProcess
from tests.support.subscriber import Subscriber

HALF = {"Type": "CAPACITY_PERCENT", "Value": 50}
ONE = {"Type": "INSTANCE_COUNT", "Value": 1}
slow = pytest.mark.slow


def blue_green(kind: str, **size: Any) -> dict[str, Any]:
    traffic = {"Type": kind, "WaitIntervalInSeconds": 1, **size}
    return {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": traffic, "TerminationWaitInSeconds": 1}}


DEPLOYMENTS: dict[str, dict[str, Any] | None] = {
    "plain": None,
    "all-at-once": blue_green("ALL_AT_ONCE"),
    "canary": blue_green("CANARY", CanarySize=HALF),
    "linear": blue_green("LINEAR", LinearStepSize=HALF),
    "rolling": {"RollingUpdatePolicy": {"MaximumBatchSize": ONE, "WaitIntervalInSeconds": 1}},
}
WAYS = [pytest.param(name, marks=[] if name in {"linear", "rolling"} else [slow]) for name in DEPLOYMENTS]


class Load:
    """Requests one after the other, until told to stop. ``sent`` maps where the answer will be to what it should say."""

    def __init__(self, server: ServerProcess, endpoint: str) -> None:
        self._runtime = server.client("sagemaker-runtime")
        self._endpoint = endpoint
        self._stop = threading.Event()
        self.sent: dict[str, str] = {}
        self.refused: list[Exception] = []

    def send(self) -> None:
        for number in itertools.count():
            if self._stop.is_set():
                return
            text = f"request {number}"
            try:
                answer = self._runtime.invoke_endpoint_async(EndpointName=self._endpoint, Body=text.encode())
            except Exception as error:  # noqa: BLE001 - whatever it is, the test shows it
                self.refused.append(error)
            else:
                self.sent[answer["OutputLocation"]] = text

    @contextmanager
    def running(self) -> Iterator[None]:
        thread = threading.Thread(target=self.send)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()


def objects_of(server: ServerProcess, bucket: str) -> list[str]:
    pages = server.client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket)
    return [item["Key"] for page in pages for item in page.get("Contents", [])]


def update_under_load(server: ServerProcess, name: str, environment: dict[str, str]) -> dict[str, Any]:
    """An update of an endpoint of two instances under load; every request has been answered once when this returns."""
    bucket = deploy.bucket(server, f"updates-{name}")
    topics = {"SuccessTopic": server.client("sns").create_topic(Name=name)["TopicArn"]}
    deploy.endpoint(server, name, bucket, {"STUB_DEFAULT": '{"sleep": 0.02}'}, instances=2, topics=topics)
    deploy.model(server, f"{name}-2", environment)
    deploy.config(server, f"{name}-2", f"{name}-2", bucket, instances=2, topics=topics)
    deployment = DEPLOYMENTS[name.removeprefix("failing-")]
    options = {} if deployment is None else {"DeploymentConfig": deployment}
    load = Load(server, name)
    with Subscriber() as inbox:
        inbox.subscribe(server.client("sns"), topics["SuccessTopic"])
        described = _update(server, name, options, load)
        inbox.wait(lambda: set(inbox.results("Completed")) >= set(load.sent), "a message for each answer")
        # An object's key is one for each invocation, so that a second answer would hide the first; its message would not.
        told = {envelope["MessageId"] for envelope in inbox.envelopes if "InferenceResult" in envelope["Message"]}
    assert len(told) == len(load.sent)
    assert sorted(f"s3://{bucket}/{key}" for key in objects_of(server, bucket)) == sorted(load.sent)
    return described


def _update(server: ServerProcess, name: str, options: dict[str, Any], load: Load) -> dict[str, Any]:
    with load.running():
        server.client("sagemaker").update_endpoint(EndpointName=name, EndpointConfigName=f"{name}-2", **options)
        described = deploy.in_service(server, name)
    assert load.refused == []
    assert len(load.sent) > 10
    for location, text in load.sent.items():
        assert deploy.read(server, location).decode().lower() == text
    return described


@pytest.mark.parametrize("name", WAYS)
def test_an_update_under_load(server: ServerProcess, name: str) -> None:
    described = update_under_load(server, name, {"STUB_DEFAULT": '{"upper": true}'})
    assert described["EndpointConfigName"] == f"{name}-2"
    assert "FailureReason" not in described
    deployment = DEPLOYMENTS[name]
    assert described.get("LastDeploymentConfig") == deployment
    answer = server.client("sagemaker-runtime").invoke_endpoint_async(EndpointName=name, Body=b"after")
    assert deploy.read(server, answer["OutputLocation"]) == b"AFTER"


@pytest.mark.parametrize("name", [pytest.param(name, marks=[] if name == "rolling" else [slow]) for name in DEPLOYMENTS])
def test_an_update_to_a_fleet_that_cannot_start(server: ServerProcess, name: str) -> None:
    described = update_under_load(server, f"failing-{name}", {"STUB_CRASH": "no module named torch"})
    assert described["EndpointConfigName"] == f"failing-{name}"
    assert "no module named torch" in described["FailureReason"]
