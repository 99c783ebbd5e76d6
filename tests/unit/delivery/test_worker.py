"""One attempt, in every way it can go."""

import asyncio
import json

import pytest
from tests.support import entities
from tests.support.delivery import ADDRESS, World

from tarry.core.errors import ModelResponseInvalid, ModelServerUnreachable, StorageFull
from tarry.core.invocation import InvocationState
from tarry.delivery.worker import Attempted
from tarry.ports import ModelRequest
from tarry.testing.modelserver import FakeAnswer


def _message(world_announced: list[object]) -> dict[str, object]:
    (outgoing,) = world_announced
    message: dict[str, object] = json.loads(outgoing.notification.message)  # type: ignore[attr-defined]
    return message


async def test_the_answer_lands_at_the_output_location() -> None:
    world = await World().deploy()
    invocation = await world.put(accept="text/csv", custom_attributes="a=b", inference_id="mine")
    assert await world.attempt() is Attempted.SETTLED
    assert await world.state() is InvocationState.COMPLETED
    stored = world.objects.get(invocation.output_location)
    assert stored is not None
    assert (stored.body, stored.content_type, stored.metadata) == (b"input", "text/csv", {"tarry-invocation": "1"})
    assert world.objects.get(invocation.failure_location) is None
    assert world.models.requests[0].headers == {
        "Content-Type": "text/csv",
        "Accept": "text/csv",
        "X-Amzn-SageMaker-Custom-Attributes": "a=b",
        "X-Amzn-SageMaker-Inference-Id": "mine",
    }
    message = _message(await world.announced())  # type: ignore[arg-type]
    assert message["invocationStatus"] == "Completed"
    assert message["responseParameters"] == {"contentType": "text/csv", "outputLocation": invocation.output_location}
    assert world.metrics.counts == {("InvocationsProcessed", "e"): 1.0}


async def test_the_callers_content_type_goes_before_the_objects() -> None:
    world = await World().deploy()
    await world.put(content_type="application/x-special")
    await world.attempt()
    assert world.models.requests[0].headers["Content-Type"] == "application/x-special"


async def test_an_inline_body_needs_no_object() -> None:
    world = await World().deploy()
    invocation = entities.invocation("1", input_location=None)
    await world.queue.put(invocation, b"inline")
    await world.attempt()
    stored = world.objects.get(invocation.output_location)
    assert stored is not None
    assert stored.body == b"inline"
    assert "Content-Type" not in world.models.requests[0].headers


async def test_a_missing_input_fails_with_a_reason_everywhere() -> None:
    world = await World().deploy()
    invocation = entities.invocation("1")
    await world.queue.put(invocation, None)
    await world.attempt()
    assert await world.state() is InvocationState.FAILED
    failure = world.objects.get(invocation.failure_location)
    assert failure is not None
    assert "s3://b/in/1 does not exist" in json.loads(failure.body)["failureReason"]
    message = _message(await world.announced())  # type: ignore[arg-type]
    assert "s3://b/in/1 does not exist" in str(message["failureReason"])
    assert message["responseParameters"] == {"contentType": "application/json", "failureLocation": invocation.failure_location}
    assert world.objects.get(invocation.output_location) is None


@pytest.mark.parametrize(
    ("status", "words"),
    [(400, "client error (400)"), (500, "server error (500)"), (302, "client error (302)")],
)
async def test_a_container_error_keeps_the_containers_own_words(status: int, words: str) -> None:
    world = await World().deploy()
    invocation = await world.put()
    world.answer(status=status, content_type="text/plain", body=b"no such feature")
    await world.attempt()
    failure = world.objects.get(invocation.failure_location)
    assert failure is not None
    assert (failure.body, failure.content_type) == (b"no such feature", "text/plain")
    record = await world.record()
    assert record.state is InvocationState.FAILED
    assert record.outcome is not None
    assert words in (record.outcome.reason or "")
    assert record.outcome.container_status == status


async def test_a_timeout_fails() -> None:
    world = await World().deploy()
    invocation = await world.put(timeout_s=0)
    world.models.answering = lambda request, body: asyncio.Event().wait()  # type: ignore[assignment,return-value]
    await world.attempt()
    failure = world.objects.get(invocation.failure_location)
    assert failure is not None
    assert "InvocationTimeoutSeconds" in json.loads(failure.body)["failureReason"]


async def test_a_broken_answer_of_a_living_container_fails_and_leaves_nothing() -> None:
    world = await World().deploy()
    invocation = await world.put()
    world.answer(body=b"half", error=ModelServerUnreachable("the connection was closed after 4 bytes"))
    assert await world.attempt() is Attempted.SETTLED
    assert await world.state() is InvocationState.FAILED
    assert world.objects.get(invocation.output_location) is None
    assert not world.objects.staged


async def test_an_invalid_answer_fails() -> None:
    world = await World().deploy()
    await world.put()
    world.answer(error=ModelResponseInvalid("headers of 5000 bytes"))
    await world.attempt()
    record = await world.record()
    assert record.outcome is not None
    assert "headers of 5000 bytes" in (record.outcome.reason or "")


async def test_a_dead_instance_gives_the_request_back_and_counts() -> None:
    world = await World().deploy()
    await world.put()
    claim = await world.claim()
    world.models.closed.add(ADDRESS)
    assert await world.worker.attempt(claim, world.instance) is Attempted.INSTANCE_DEAD
    record = await world.record()
    assert (record.state, record.lost_attempts) == (InvocationState.QUEUED, 1)
    assert not await world.announced()


async def test_a_cancelled_attempt_gives_the_request_back_uncounted() -> None:
    world = await World().deploy()
    await world.put()
    started = asyncio.Event()

    async def never(request: ModelRequest, body: bytes) -> FakeAnswer:
        started.set()
        await asyncio.Event().wait()
        raise AssertionError

    world.models.answering = never
    task = asyncio.create_task(world.attempt())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    record = await world.record()
    assert (record.state, record.lost_attempts) == (InvocationState.QUEUED, 0)


async def test_who_has_lost_the_lease_publishes_nothing() -> None:
    world = await World().deploy()
    invocation = await world.put()
    late = await world.claim()
    world.clock.advance(31)
    await world.sweeper.sweep()
    assert await world.attempt() is Attempted.SETTLED
    world.answer(body=b"from the late worker")
    assert await world.worker.attempt(late, world.instance) is Attempted.LEASE_LOST
    stored = world.objects.get(invocation.output_location)
    assert stored is not None
    assert stored.body == b"input"
    assert not world.objects.staged
    assert len(await world.announced()) == 1


async def test_a_full_store_gives_the_request_back() -> None:
    world = await World().deploy()
    await world.put()
    world.objects.failures.append(StorageFull("no room"))
    assert await world.attempt() is Attempted.STORE_FULL
    record = await world.record()
    assert (record.state, record.lost_attempts) == (InvocationState.QUEUED, 0)


async def test_an_output_bucket_that_is_gone_fails_with_that_reason() -> None:
    world = await World().deploy()
    invocation = await world.put(output_location="s3://gone/out/1.out")
    await world.attempt()
    failure = world.objects.get(invocation.failure_location)
    assert failure is not None
    assert "s3://gone/out/1.out" in json.loads(failure.body)["failureReason"]


async def test_the_end_is_told_even_where_the_failure_object_has_nowhere_to_go() -> None:
    world = await World().deploy()
    await world.put(output_location="s3://gone/out/1.out", failure_location="s3://gone/out/1-error.out")
    await world.attempt()
    assert await world.state() is InvocationState.FAILED
    assert len(await world.announced()) == 1


async def test_the_response_is_included_where_asked_for() -> None:
    world = await World().deploy()
    await world.put(include_response_on_success=True)
    await world.attempt()
    message = _message(await world.announced())  # type: ignore[arg-type]
    assert message["responseBody"] == {"content": "aW5wdXQ=", "message": "", "encoding": "BASE64"}


async def test_without_a_topic_nothing_is_announced() -> None:
    world = await World().deploy()
    await world.put(success_topic=None)
    await world.attempt()
    assert not await world.announced()
