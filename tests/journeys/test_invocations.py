"""What became of a request, and what can be done about it: `boto3.client("tarry")` against a real server."""

import json
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.support import deploy
from tests.support.server_process import ServerProcess
from tests.support.subscriber import Subscriber

BUCKET = "invocations-test"
ENDED = {"Completed", "Failed", "Expired", "Stopped"}


@pytest.fixture(scope="module")
def bucket(server: ServerProcess) -> str:
    return deploy.bucket(server, BUCKET)


@pytest.fixture(scope="module")
def tarry(server: ServerProcess) -> Any:
    return server.client("tarry")


@pytest.fixture(scope="module")
def endpoint(server: ServerProcess, bucket: str) -> str:
    """One instance, one request at a time: what comes second waits."""
    deploy.endpoint(server, "inv", bucket, concurrency=1)
    return "inv"


def invoke(server: ServerProcess, endpoint: str, body: bytes = b"x", headers: dict[str, str] | None = None, **over: Any) -> str:
    """The invocation invocation."""
    runtime = server.client("sagemaker-runtime")
    if headers:
        runtime.meta.events.register("before-sign", lambda request, **_: _add(request, headers))
    answer = runtime.invoke_endpoint_async(EndpointName=endpoint, Body=body, **over)
    return str(answer["ResponseMetadata"]["HTTPHeaders"]["x-tarry-invocation-id"])


def _add(request: Any, headers: dict[str, str]) -> None:
    for name, value in headers.items():
        request.headers[name] = value


def asking(**wishes: Any) -> bytes:
    return json.dumps({"stub": wishes}).encode()


def until(tarry: Any, invocation: str, reached: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Look until the invocation is as wanted. Each look is a call, so nobody spins."""
    for _ in range(3000):
        described: dict[str, Any] = tarry.describe_invocation(InvocationId=invocation)["Invocation"]
        if reached(described):
            return described
    raise AssertionError(f"never reached: {described}")


def ended(tarry: Any, invocation: str) -> dict[str, Any]:
    tarry.get_waiter("invocation_ended").wait(InvocationId=invocation)
    described: dict[str, Any] = tarry.describe_invocation(InvocationId=invocation)["Invocation"]
    return described


def failure_of(server: ServerProcess, described: dict[str, Any]) -> dict[str, Any]:
    _, _, bucket, key = described["FailureLocation"].split("/", 3)
    document: dict[str, Any] = json.loads(server.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read())
    return document


@pytest.fixture
def busy(server: ServerProcess, tarry: Any, endpoint: str) -> Iterator[str]:
    """An invocation that keeps the only slot until it is stopped."""
    invocation = invoke(server, endpoint, asking(sleep=600))
    until(tarry, invocation, lambda it: it["State"] == "Running")
    yield invocation
    tarry.stop_invocation(InvocationId=invocation)
    ended(tarry, invocation)


def test_a_request_tells_its_way(server: ServerProcess, tarry: Any, endpoint: str) -> None:
    invocation = invoke(server, endpoint, b"hello", InferenceId="first of its name")
    described = ended(tarry, invocation)
    assert (described["State"], described["EndpointName"], described["AttemptCount"]) == ("Completed", "inv", 1)
    steps = [entry["Step"] for entry in described["Timeline"]]
    assert steps == ["Received", "Claimed", "Downloaded", "Answered", "Uploaded", "Ended"]
    times = [entry["Time"] for entry in described["Timeline"]]
    assert times == sorted(times)
    (attempt,) = described["Attempts"]
    assert (attempt["Number"], attempt["Result"], attempt["ContainerStatus"]) == (1, "Decided", 200)
    by_name = tarry.describe_invocation(InferenceId="first of its name")
    assert by_name["Invocation"]["InvocationId"] == invocation
    assert [each["InvocationId"] for each in by_name["SameInferenceId"]] == [invocation]


def test_the_topic_has_heard(server: ServerProcess, tarry: Any, bucket: str) -> None:
    with Subscriber() as inbox:
        topic = server.client("sns").create_topic(Name="inv-topic")["TopicArn"]
        server.client("sns").subscribe(TopicArn=topic, Protocol="http", Endpoint=inbox.url)
        deploy.endpoint(server, "inv-told", bucket, topics={"SuccessTopic": topic})
        invocation = invoke(server, "inv-told")
        described = until(tarry, invocation, lambda it: it["Timeline"][-1]["Step"] == "Announced")
        assert described["NotificationTopicArn"] == topic


def test_what_waits_knows_its_place_and_can_be_moved(server: ServerProcess, tarry: Any, endpoint: str, busy: str) -> None:
    first, second = invoke(server, endpoint), invoke(server, endpoint)
    urgent = invoke(server, endpoint, headers={"X-Tarry-Priority": "2"})

    def places() -> list[int]:
        return [
            tarry.describe_invocation(InvocationId=invocation)["Invocation"]["QueuePosition"]
            for invocation in (first, second, urgent)
        ]

    assert places() == [2, 3, 1]
    moved = tarry.set_priority(InvocationId=second, Priority=9)
    assert (moved["InvocationId"], moved["State"], moved["Priority"]) == (second, "Queued", 9)
    assert places() == [3, 1, 2]
    state = tarry.describe_queue(EndpointName=endpoint)
    assert (state["QueuedCount"], state["RunningCount"]) == (3, 1)
    assert tarry.purge_queue(EndpointName=endpoint)["Count"] == 3
    purged = [ended(tarry, invocation) for invocation in (first, second, urgent)]
    assert [(each["State"], each["StopCause"]) for each in purged] == [("Stopped", "PurgeQueue")] * 3
    assert all("by a call of PurgeQueue" in each["Reason"] for each in purged)
    assert tarry.describe_invocation(InvocationId=busy)["Invocation"]["State"] == "Running"


def test_what_runs_is_stopped_at_once_and_publishes_nothing(server: ServerProcess, tarry: Any, endpoint: str) -> None:
    invocation = invoke(server, endpoint, asking(sleep=600))
    until(tarry, invocation, lambda it: it["State"] == "Running")
    assert tarry.stop_invocation(InvocationId=invocation)["State"] == "Stopping"
    described = ended(tarry, invocation)
    assert (described["State"], described["LostAttemptCount"]) == ("Stopped", 0)
    assert described["StopCause"] == "StopInvocation"
    assert "by a call of StopInvocation." in failure_of(server, described)["failureReason"]
    _, _, bucket, key = described["OutputLocation"].split("/", 3)
    with pytest.raises(ClientError, match="404"):
        server.client("s3").head_object(Bucket=bucket, Key=key)
    after = invoke(server, endpoint)
    assert ended(tarry, after)["State"] == "Completed"
    assert tarry.stop_invocation(InvocationId=after)["State"] == "Completed"


def test_an_input_object_beyond_the_bound_fails_and_no_container_sees_it(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data", settings={"TARRY_QUEUE__INPUT_BYTES_MAX": "1 KiB"}) as server:
        tarry, s3, runtime = server.client("tarry"), server.client("s3"), server.client("sagemaker-runtime")
        deploy.endpoint(server, "bounded", deploy.bucket(server, BUCKET))
        states = {}
        for size in (1024, 1025):
            s3.put_object(Bucket=BUCKET, Key=f"in/{size}", Body=b"x" * size)
            answer = runtime.invoke_endpoint_async(EndpointName="bounded", InputLocation=f"s3://{BUCKET}/in/{size}")
            states[size] = ended(tarry, answer["ResponseMetadata"]["HTTPHeaders"]["x-tarry-invocation-id"])
    assert states[1024]["State"] == "Completed"
    assert (states[1025]["State"], states[1025].get("ContainerStatus")) == ("Failed", None)
    assert f"s3://{BUCKET}/in/1025 has 1025 bytes; at most 1024 are allowed." in states[1025]["Reason"]


def test_an_inference_id_names_all_that_have_it(server: ServerProcess, tarry: Any, endpoint: str, busy: str) -> None:
    first, second, third = (invoke(server, endpoint, InferenceId="thrice") for _ in range(3))
    moved = tarry.set_priority(InferenceId="thrice", Priority=3)
    assert [(each["InvocationId"], each["Priority"]) for each in moved["Invocations"]] == [(third, 3), (second, 3), (first, 3)]
    assert moved["InvocationId"] == third
    listed = tarry.list_invocations(InferenceId="thrice")["Invocations"]
    assert [each["InvocationId"] for each in listed] == [third, second, first]
    assert tarry.wait_invocation(InferenceId="thrice", WaitSeconds=0)["Invocation"]["InvocationId"] == third
    tarry.stop_invocation(InvocationId=third)
    tarry.get_waiter("invocation_ended").wait(InferenceId="thrice")
    stopped = tarry.stop_invocation(InferenceId="thrice")
    assert [(each["InvocationId"], each["State"]) for each in stopped["Invocations"]] == [
        (second, "Stopping"),
        (first, "Stopping"),
    ]
    assert [ended(tarry, each)["State"] for each in (first, second)] == ["Stopped", "Stopped"]
    over = tarry.stop_invocation(InferenceId="thrice")
    assert (over["InvocationId"], over["State"], over["Invocations"]) == (third, "Stopped", [])
    redriven = tarry.redrive_invocations(InferenceIds=["thrice"], InvocationIds=[first])
    assert (redriven["Count"], redriven["Remaining"]) == (2, 0)
    assert {each["InvocationId"] for each in redriven["Redrives"]} == {first, third}
    tarry.stop_invocation(InferenceId="thrice")
    for each in redriven["Redrives"]:
        ended(tarry, each["NewInvocationId"])


def test_a_wait_ends_with_the_invocation(server: ServerProcess, tarry: Any, endpoint: str, busy: str) -> None:
    invocation = invoke(server, endpoint)
    assert tarry.wait_invocation(InvocationId=invocation, WaitSeconds=0)["Invocation"]["State"] == "Queued"
    answers: list[str] = []
    waiter = threading.Thread(
        target=lambda: answers.append(
            server.client("tarry").wait_invocation(InvocationId=invocation, WaitSeconds=60)["Invocation"]["State"]
        )
    )
    waiter.start()
    tarry.stop_invocation(InvocationId=invocation)
    waiter.join()
    assert answers == ["Stopped"]


def test_lists_are_filtered_and_paged(server: ServerProcess, tarry: Any, bucket: str) -> None:
    deploy.endpoint(server, "inv-list", bucket)
    good = [invoke(server, "inv-list") for _ in range(3)]
    bad = [invoke(server, "inv-list", asking(status=status)) for status in (400, 500)]
    for invocation in (*good, *bad):
        ended(tarry, invocation)
    pages = tarry.get_paginator("list_invocations").paginate(EndpointName="inv-list", PaginationConfig={"PageSize": 2})
    assert [each["InvocationId"] for page in pages for each in page["Invocations"]] == [*reversed(bad), *reversed(good)]
    failed = tarry.list_invocations(EndpointName="inv-list", States=["Failed"], ReasonContains="(400)")["Invocations"]
    assert [each["InvocationId"] for each in failed] == bad[:1]
    # boto3 writes whole seconds, so the bounds here are wide; the contract's are exact.
    second = timedelta(seconds=1)
    first, last = (
        tarry.describe_invocation(InvocationId=invocation)["Invocation"]["ReceivedTime"] for invocation in (good[0], bad[-1])
    )
    for after, before, count in ((first - second, last + second, 5), (last + second, last + 2 * second, 0)):
        bounds = {"ReceivedAfter": after, "ReceivedBefore": before}
        assert len(tarry.list_invocations(EndpointName="inv-list", **bounds)["Invocations"]) == count


def test_what_has_failed_is_asked_again(server: ServerProcess, tarry: Any, bucket: str) -> None:
    deploy.endpoint(server, "inv-again", bucket)
    ids = [invoke(server, "inv-again", asking(status=500), InferenceId=f"again {n}") for n in range(3)]
    for invocation in ids:
        ended(tarry, invocation)
    dry = tarry.redrive_invocations(EndpointName="inv-again", States=["Failed"], DryRun=True)
    assert dry["Count"] == 3
    assert "NewInvocationId" not in dry["Redrives"][0]
    (one,) = tarry.redrive_invocations(InvocationIds=ids[:1])["Redrives"]
    again = ended(tarry, one["NewInvocationId"])
    before = tarry.describe_invocation(InvocationId=ids[0])["Invocation"]
    assert (again["RedriveOf"], before["RedrivenAs"]) == (ids[0], again["InvocationId"])
    assert again["OutputLocation"] == before["OutputLocation"]
    with pytest.raises(ClientError, match="has been redriven as"):
        tarry.redrive_invocations(InvocationIds=ids[:1])
    rest = tarry.redrive_invocations(EndpointName="inv-again")
    assert {each["InvocationId"] for each in rest["Redrives"]} >= set(ids[1:])


def test_the_owner_of_an_endpoint_can_have_errors_tried_again(server: ServerProcess, tarry: Any, bucket: str) -> None:
    deploy.endpoint(server, "inv-retry", bucket)
    tarry.put_retry_policy(EndpointName="inv-retry", MaxAttempts=3, Statuses=["503"], BackoffSeconds=0.01)
    policy = tarry.describe_queue(EndpointName="inv-retry")["RetryPolicy"]
    assert (policy["MaxAttempts"], policy["Statuses"], policy["BackoffRate"]) == (3, ["503"], 2.0)
    described = ended(tarry, invoke(server, "inv-retry", asking(status=503, answer="busy")))
    assert (described["State"], described["AttemptCount"], described["ContainerStatus"]) == ("Failed", 3, 503)
    assert [each["Result"] for each in described["Attempts"]] == ["Retried", "Retried", "Decided"]
    other = ended(tarry, invoke(server, "inv-retry", asking(status=500)))
    assert other["AttemptCount"] == 1
    tarry.delete_retry_policy(EndpointName="inv-retry")
    assert "RetryPolicy" not in tarry.describe_queue(EndpointName="inv-retry")


def test_the_same_request_twice_is_one(server: ServerProcess, tarry: Any, endpoint: str) -> None:
    headers = {"X-Tarry-Idempotency-Seconds": "600"}
    first = invoke(server, endpoint, b"same", headers, InferenceId="once")
    assert invoke(server, endpoint, b"same", headers, InferenceId="once") == first
    assert invoke(server, endpoint, b"other", headers, InferenceId="once") != first
    assert len(tarry.describe_invocation(InferenceId="once")["SameInferenceId"]) == 2


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({"X-Tarry-Priority": "10"}, "from -9 to 9"),
        ({"X-Tarry-Priority": "high"}, "whole number"),
        ({"X-Tarry-Idempotency-Seconds": "0"}, "from 1 to 86400"),
        ({"X-Tarry-Idempotency-Seconds": "60"}, "needs an InferenceId"),
    ],
)
def test_headers_that_say_nothing_are_refused(server: ServerProcess, endpoint: str, headers: dict[str, str], words: str) -> None:
    with pytest.raises(ClientError, match=words) as caught:
        invoke(server, endpoint, headers=headers)
    assert caught.value.response["Error"]["Code"] == "ValidationError"


@pytest.mark.parametrize(
    ("operation", "params", "words"),
    [
        ("describe_invocation", {"InvocationId": "none"}, "Could not find invocation"),
        ("describe_invocation", {"InferenceId": "none"}, "Could not find invocation with InferenceId"),
        ("describe_invocation", {}, "Exactly one of"),
        ("stop_invocation", {"InvocationId": "none"}, "Could not find invocation"),
        ("stop_invocation", {"InferenceId": "none"}, "Could not find invocation with InferenceId"),
        ("stop_invocation", {"InvocationId": "x", "InferenceId": "x"}, "Exactly one of .* got both"),
        ("wait_invocation", {"InferenceId": "none"}, "Could not find invocation with InferenceId"),
        ("set_priority", {"Priority": 1}, "Exactly one of .* got neither"),
        ("redrive_invocations", {"InferenceIds": ["none"]}, "Could not find invocation with InferenceId"),
        ("redrive_invocations", {"InferenceIds": ["x"], "EndpointName": "inv"}, "not both"),
        ("wait_invocation", {"InvocationId": "none"}, "Could not find invocation"),
        ("set_priority", {"InvocationId": "none", "Priority": 1}, "Could not find invocation"),
        ("purge_queue", {"EndpointName": "none"}, "Could not find endpoint"),
        ("describe_queue", {"EndpointName": "none"}, "Could not find endpoint"),
        ("list_invocations", {"EndpointName": "none"}, "Could not find endpoint"),
        ("list_invocations", {"NextToken": "forged"}, "begin the list again"),
        ("redrive_invocations", {}, "Give InvocationIds, InferenceIds, or EndpointName"),
        ("redrive_invocations", {"InvocationIds": ["x"], "States": ["Failed"]}, "not both"),
        ("redrive_invocations", {"EndpointName": "inv", "States": ["Queued"]}, "cannot be redriven"),
        ("put_retry_policy", {"EndpointName": "inv", "MaxAttempts": 2, "BackoffSeconds": -1.0}, "back-off in seconds"),
    ],
)
def test_what_cannot_be_is_refused_with_words(
    tarry: Any, endpoint: str, operation: str, params: dict[str, Any], words: str
) -> None:
    with pytest.raises(ClientError, match=words):
        getattr(tarry, operation)(**params)
