"""The life of endpoints on a real server: created, updated, scaled, failed, deleted, started again."""

import json
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, WaiterError
from tests.support import deploy
from tests.support.deploy import wish
from tests.support.server_process import ServerProcess
from tests.support.subscriber import Subscriber

BUCKET = "endpoint-test"


@pytest.fixture(scope="module", autouse=True)
def _bucket(server: ServerProcess) -> None:
    deploy.bucket(server, BUCKET)


def _invoke(server: ServerProcess, endpoint: str, body: bytes) -> str:
    location: str = server.client("sagemaker-runtime").invoke_endpoint_async(EndpointName=endpoint, Body=body)["OutputLocation"]
    return location


def test_an_update_loses_and_refuses_nothing(server: ServerProcess) -> None:
    deploy.endpoint(server, "update", BUCKET, {"STUB_DEFAULT": '{"sleep": 0.1}'})
    deploy.model(server, "update-2", {"STUB_DEFAULT": '{"upper": true}'})
    deploy.config(server, "update-2", "update-2", BUCKET)
    sagemaker = server.client("sagemaker")
    expected = [(_invoke(server, "update", f"before {number}".encode()), f"before {number}") for number in range(20)]
    sagemaker.update_endpoint(EndpointName="update", EndpointConfigName="update-2")
    number = 0
    while sagemaker.describe_endpoint(EndpointName="update")["EndpointStatus"] == "Updating":
        expected.append((_invoke(server, "update", f"during {number}".encode()), f"during {number}"))
        number += 1
    assert sagemaker.describe_endpoint(EndpointName="update")["EndpointConfigName"] == "update-2"
    expected.append((_invoke(server, "update", b"after"), "AFTER"))
    for location, text in expected:
        assert deploy.read(server, location).decode().lower() == text.lower()
    assert deploy.read(server, expected[-1][0]) == b"AFTER"


def test_a_failed_update_leaves_the_old_configuration_in_service(server: ServerProcess) -> None:
    deploy.endpoint(server, "steady", BUCKET)
    deploy.model(server, "broken", {"STUB_CRASH": "no module named torch"})
    deploy.config(server, "broken", "broken", BUCKET)
    sagemaker = server.client("sagemaker")
    sagemaker.update_endpoint(EndpointName="steady", EndpointConfigName="broken")
    described = deploy.in_service(server, "steady")
    assert described["EndpointConfigName"] == "steady"
    assert "no module named torch" in described["FailureReason"]
    assert deploy.read(server, _invoke(server, "steady", b"works")) == b"works"


@pytest.mark.parametrize(
    ("name", "container", "words"),
    [
        ("crash", {"Environment": {"STUB_CRASH": "no module named torch"}}, "no module named torch"),
        ("unknown", {"Image": "nobody/knows:1"}, "nobody/knows:1"),
        ("bad-data", {"ModelDataUrl": f"s3://{BUCKET}/bad.tar.gz"}, "bad.tar.gz"),
    ],
)
def test_a_start_that_fails_says_why_and_can_be_deleted(
    server: ServerProcess, name: str, container: dict[str, Any], words: str
) -> None:
    server.client("s3").put_object(Bucket=BUCKET, Key="bad.tar.gz", Body=b"this is no archive")
    sagemaker = server.client("sagemaker")
    sagemaker.create_model(ModelName=name, ExecutionRoleArn=deploy.ROLE, PrimaryContainer={"Image": "stub:1", **container})
    deploy.config(server, name, name, BUCKET)
    sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    with pytest.raises(WaiterError):
        deploy.in_service(server, name)
    described = sagemaker.describe_endpoint(EndpointName=name)
    assert described["EndpointStatus"] == "Failed"
    assert words in described["FailureReason"]
    sagemaker.delete_endpoint(EndpointName=name)
    sagemaker.get_waiter("endpoint_deleted").wait(EndpointName=name, WaiterConfig=deploy.WAITER)


def test_capacity_goes_up_and_to_zero_and_requests_wait(server: ServerProcess) -> None:
    deploy.endpoint(server, "scale", BUCKET)
    sagemaker = server.client("sagemaker")

    def scale(count: int) -> dict[str, Any]:
        wanted = [{"VariantName": "v", "DesiredInstanceCount": count}]
        sagemaker.update_endpoint_weights_and_capacities(EndpointName="scale", DesiredWeightsAndCapacities=wanted)
        variant: dict[str, Any] = deploy.in_service(server, "scale")["ProductionVariants"][0]
        return variant

    assert scale(2)["CurrentInstanceCount"] == 2
    assert scale(0)["CurrentInstanceCount"] == 0
    waiting = _invoke(server, "scale", b"patient")
    assert scale(1)["CurrentInstanceCount"] == 1
    assert deploy.read(server, waiting) == b"patient"


def test_topics_are_tested_once_for_each_member(server: ServerProcess) -> None:
    sns = server.client("sns")
    topic = sns.create_topic(Name="tested")["TopicArn"]
    with Subscriber() as subscriber:
        subscriber.subscribe(sns, topic)
        deploy.endpoint(server, "tested", BUCKET, topics={"SuccessTopic": topic, "ErrorTopic": topic})
        test = {"eventVersion": "1.0", "eventSource": "aws:sagemaker", "eventName": "TestNotification"}
        subscriber.wait(lambda: subscriber.messages.count(test) == 2, "two test notifications")
        server.client("sagemaker").update_endpoint_weights_and_capacities(
            EndpointName="tested", DesiredWeightsAndCapacities=[{"VariantName": "v", "DesiredWeight": 2}]
        )
        subscriber.wait(lambda: subscriber.messages.count(test) == 4, "two more")


def test_a_topic_that_cannot_be_published_to_fails_the_creation(server: ServerProcess) -> None:
    topic = "arn:aws:sns:us-east-1:123456789012:missing"
    deploy.model(server, "untold")
    deploy.config(server, "untold", "untold", BUCKET, topics={"SuccessTopic": topic})
    sagemaker = server.client("sagemaker")
    sagemaker.create_endpoint(EndpointName="untold", EndpointConfigName="untold")
    with pytest.raises(WaiterError):
        deploy.in_service(server, "untold")
    assert "sns:Publish" in sagemaker.describe_endpoint(EndpointName="untold")["FailureReason"]


def test_deleting_an_endpoint_ends_its_backlog_and_a_new_one_of_its_name_starts_empty(server: ServerProcess) -> None:
    runtime, sagemaker, sns = server.client("sagemaker-runtime"), server.client("sagemaker"), server.client("sns")
    topic = sns.create_topic(Name="again")["TopicArn"]
    sleepy = {"STUB_DEFAULT": '{"sleep": 3600}'}
    with Subscriber() as inbox:
        inbox.subscribe(sns, topic)
        deploy.endpoint(server, "again", BUCKET, sleepy, concurrency=1, topics={"ErrorTopic": topic})
        failures = [runtime.invoke_endpoint_async(EndpointName="again", Body=b"x")["FailureLocation"] for _ in range(3)]
        sagemaker.delete_endpoint(EndpointName="again")
        with pytest.raises(ClientError, match="not found"):
            runtime.invoke_endpoint_async(EndpointName="again", Body=b"x")
        sagemaker.get_waiter("endpoint_deleted").wait(EndpointName="again", WaiterConfig=deploy.WAITER)
        for location in failures:
            assert "endpoint deleted" in json.loads(deploy.read(server, location))["failureReason"]
        inbox.wait(lambda: set(inbox.results("Failed")) >= set(failures), "the messages of all three")
        assert all("endpoint deleted" in message["failureReason"] for [message, *_] in inbox.results("Failed").values())
    deploy.model(server, "fresh")
    deploy.config(server, "fresh", "fresh", BUCKET)
    sagemaker.create_endpoint(EndpointName="again", EndpointConfigName="fresh")
    deploy.in_service(server, "again")
    assert deploy.read(server, _invoke(server, "again", b"fresh")) == b"fresh"


def test_endpoints_come_back_after_a_restart(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data") as server:
        deploy.bucket(server, BUCKET)
        deploy.endpoint(server, "back", BUCKET)
        assert server.stop() == 0
        server.start()
        assert server.client("sagemaker").describe_endpoint(EndpointName="back")["EndpointStatus"] == "InService"
        assert deploy.read(server, _invoke(server, "back", b"still here")) == b"still here"


def test_a_stop_gives_running_work_back_and_the_next_start_finishes_it(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data", "--drain-timeout", "0.2") as server:
        deploy.bucket(server, BUCKET)
        deploy.endpoint(server, "stop", BUCKET, {"STUB_DEFAULT": '{"sleep": 1}'})
        location = _invoke(server, "stop", wish(answer="done"))
        assert server.stop() == 0
        server.start()
        assert deploy.read(server, location) == b"done"
