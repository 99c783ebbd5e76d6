"""One attempt, in every way it can go."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace

import pytest
from tests.support import entities
from tests.support.delivery import ADDRESS, World, settle_down

from tarry.core.errors import (
    BucketNotFound,
    ModelResponseInvalid,
    ModelServerUnreachable,
    ObjectDamaged,
    ObjectRefused,
    StorageFull,
)
from tarry.core.invocation import InvocationState
from tarry.core.names import S3Location
from tarry.core.retry_policy import RetryPolicy
from tarry.delivery import pipeline
from tarry.delivery.work import Work
from tarry.delivery.worker import DRAINED, Attempted, Worker
from tarry.ports import LOST, RETURNED, Back, Decision, Lease, ModelRequest, OpenObject, PingAnswer, Staged
from tarry.testing.modelserver import FakeAnswer, FakeModelServer
from tarry.testing.objects import FakeObjectStore


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


async def test_an_input_that_is_too_large_fails_before_a_container_sees_it() -> None:
    world = await World().deploy()
    parts = (world.queue, world.objects, world.models, world.records, world.settlement, world.clock)
    world.worker = Worker(*parts, input_bytes_max=5)
    too_large, right = await world.put("1", b"123456"), await world.put("2", b"12345")
    for _ in (too_large, right):
        assert await world.attempt() is Attempted.SETTLED
    assert [await world.state(each) for each in ("1", "2")] == [InvocationState.FAILED, InvocationState.COMPLETED]
    assert [request.size for request in world.models.requests] == [5]
    failure = world.objects.get(too_large.failure_location)
    assert failure is not None
    reason = json.loads(failure.body)["failureReason"]
    assert "s3://b/in/1 has 6 bytes; at most 5 are allowed." in reason
    assert "queue.input_bytes_max" in reason
    messages = [json.loads(each.notification.message) for each in await world.announced()]
    assert [each.get("failureReason") for each in messages if each["invocationStatus"] == "Failed"] == [reason]


async def test_a_missing_input_fails_with_a_reason_everywhere() -> None:
    world = await World().deploy()
    invocation = entities.invocation("1")
    await world.queue.put(invocation, None)
    await world.attempt()
    assert await world.state() is InvocationState.FAILED
    failure = world.objects.get(invocation.failure_location)
    assert failure is not None
    document = json.loads(failure.body)
    assert "s3://b/in/1 does not exist" in document["failureReason"]
    (only,) = document["attemptHistory"]
    assert (only["number"], only["end"], only["instanceId"]) == (1, "Decided", world.instance.id)
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


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_container_error_without_a_word_leaves_ours(chunked: bool) -> None:
    world = await World().deploy()
    invocation = await world.put()
    world.answer(status=413, body=b"", chunked=chunked)
    await world.attempt()
    failure = world.objects.get(invocation.failure_location)
    assert failure is not None
    document = json.loads(failure.body)
    assert (failure.content_type, document["containerStatus"]) == ("application/json", 413)
    assert "client error (413)" in document["failureReason"]
    record = await world.record()
    assert record.state is InvocationState.FAILED
    assert record.outcome is not None
    assert (record.outcome.container_status, record.outcome.reason) == (413, document["failureReason"])
    (message,) = await world.announced()
    assert document["failureReason"] == json.loads(message.notification.message)["failureReason"]
    assert world.objects.staged == {}


async def test_a_timeout_fails() -> None:
    world = await World().deploy()
    invocation = await world.put(timeout_s=0)
    world.models.answering = lambda request, body: asyncio.Event().wait()  # type: ignore[assignment,return-value]
    assert await world.attempt() is Attempted.TIMED_OUT
    failure = world.objects.get(invocation.failure_location)
    assert failure is not None
    document = json.loads(failure.body)
    assert "did not answer within 0 seconds (InvocationTimeoutSeconds)" in document["failureReason"]
    assert "workers may die behind a healthy /ping: tarry logs e shows why" in document["failureReason"]
    assert "containerStatus" not in document


async def test_an_answer_that_comes_to_no_end_fails_and_tells_how_it_began() -> None:
    world = await World().deploy()
    invocation = await world.put(timeout_s=0.1)
    world.answer(status=503, content_type="text/plain", body=b"half of it", stalls=True)
    assert await world.attempt() is Attempted.TIMED_OUT
    failure = world.objects.get(invocation.failure_location)
    assert failure is not None
    document = json.loads(failure.body)
    assert "began to answer (503) and did not come to an end within 0.1 seconds" in document["failureReason"]
    assert (document["containerStatus"], document["containerBodyExcerpt"]) == (503, "half ")
    assert not world.objects.staged


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("status", [200, 500])
async def test_an_answer_that_is_too_long_fails_and_keeps_its_beginning(
    status: int, chunked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "ANSWER_BYTES_MAX", 19)
    world = await World().deploy()
    invocation = await world.put()
    world.answer(status=status, body=b"0123456789" * 2, chunked=chunked)
    assert await world.attempt() is Attempted.SETTLED
    assert await world.state() is InvocationState.FAILED
    failure = world.objects.get(invocation.failure_location)
    assert failure is not None
    document = json.loads(failure.body)
    assert f"The answer ({status}) of the model could not be used: It is longer than 19 bytes" in document["failureReason"]
    assert (document["containerStatus"], document["containerBodyExcerpt"]) == (status, "0123456789")
    assert world.objects.get(invocation.output_location) is None
    assert not world.objects.staged
    monkeypatch.setattr(pipeline, "ANSWER_BYTES_MAX", 20)
    await world.put("2")
    await world.attempt()
    assert await world.state("2") is (InvocationState.COMPLETED if status == 200 else InvocationState.FAILED)


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


async def test_an_instance_that_dies_under_a_request_gives_it_back_and_counts() -> None:
    world = await World().deploy()
    await world.put()
    claim = await world.claim()

    async def dying(request: ModelRequest, body: bytes) -> FakeAnswer:
        world.models.closed.add(ADDRESS)
        raise ModelServerUnreachable("it died")

    world.models.answering = dying
    assert await world.worker.attempt(Work(claim), world.instance) is Attempted.INSTANCE_DEAD
    record = await world.record()
    assert (record.state, record.lost_attempts) == (InvocationState.QUEUED, 1)
    assert not await world.announced()


async def test_an_instance_that_was_dead_before_gives_the_request_back_uncounted() -> None:
    """Several instances may be dead before anybody notices; a request that has met three of them has done nothing wrong."""
    world = await World().deploy()
    await world.put()
    world.models.closed.add(ADDRESS)
    for _ in range(4):
        assert await world.worker.attempt(Work(await world.claim()), world.instance) is Attempted.INSTANCE_DEAD
    record = await world.record()
    assert (record.state, record.attempts, record.lost_attempts) == (InvocationState.QUEUED, 0, 0)
    world.clock.advance(60)
    await world.sweeper.sweep()
    assert await world.state() is InvocationState.EXPIRED, "nobody has had it: its time to live goes on"


async def test_an_instance_that_takes_connections_again_has_not_seen_the_request() -> None:
    """Its listener was full, or being made anew: nothing has been sent, and nobody is to blame."""
    world = await World().deploy()
    await world.put()
    claim = await world.claim()
    ping = world.models.ping

    class Flapping(FakeModelServer):
        async def ping(self, address: str, *, timeout_s: float = 2.0) -> PingAnswer:
            self.closed.clear()
            return await ping(address)

    world.models.closed.add(ADDRESS)
    models = Flapping(closed=world.models.closed)
    worker = Worker(world.queue, world.objects, models, world.records, world.settlement, world.clock)
    assert await worker.attempt(Work(claim), world.instance) is Attempted.INSTANCE_DEAD
    record = await world.record()
    assert (record.state, record.lost_attempts) == (InvocationState.QUEUED, 0)


async def test_a_later_container_that_is_dead_counts() -> None:
    """What the first container did with the request may be what killed the second: it would come back for ever."""
    world = await World().deploy()
    await world.put()
    claim = await world.claim()
    instance = replace(world.instance, addresses=(ADDRESS, "http://127.0.0.1:2"))
    world.models.closed.add(instance.addresses[1])
    assert await world.worker.attempt(Work(claim), instance) is Attempted.INSTANCE_DEAD
    assert (await world.record()).lost_attempts == 1


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
    assert (record.state, record.attempts, record.lost_attempts) == (InvocationState.QUEUED, 1, 0)
    history = await world.records.history(record.id)
    assert history is not None
    assert [each.reason for each in history.undecided] == [DRAINED]


async def test_an_attempt_that_is_cancelled_before_its_input_is_there_was_none() -> None:
    world = await World().deploy()
    await world.put()
    opening = asyncio.Event()

    class Slow(FakeObjectStore):
        @asynccontextmanager
        async def open(self, location: S3Location) -> AsyncIterator[OpenObject]:
            opening.set()
            await asyncio.Event().wait()
            async with super().open(location) as opened:
                yield opened

    worker = Worker(world.queue, Slow(), world.models, world.records, world.settlement, world.clock)
    task = asyncio.create_task(worker.attempt(Work(await world.claim()), world.instance))
    await opening.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    record = await world.record()
    assert (record.state, record.attempts) == (InvocationState.QUEUED, 0)


async def test_who_has_lost_the_lease_publishes_nothing() -> None:
    world = await World().deploy()
    invocation = await world.put()
    late = await world.claim()
    world.clock.advance(31)
    await world.sweeper.sweep()
    assert await world.attempt() is Attempted.SETTLED
    world.answer(body=b"from the late worker")
    assert await world.worker.attempt(Work(late), world.instance) is Attempted.LEASE_LOST
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


def _refuse_releases(world: World, times: int) -> None:
    """The queue can not be written at first."""
    release = world.queue.release
    refusals = iter(range(times))

    async def full_for_a_while(lease: Lease, back: Back) -> None:
        if next(refusals, None) is not None:
            raise StorageFull("no room for the queue either")
        await release(lease, back)

    world.queue.release = full_for_a_while  # type: ignore[method-assign]


async def test_a_full_disk_pauses_and_uses_up_no_attempt() -> None:
    world = await World().deploy()
    await world.put()
    claim = await world.claim()
    world.objects.failures.append(StorageFull("no room"))
    _refuse_releases(world, 3)
    task = asyncio.create_task(world.worker.attempt(Work(claim), world.instance))
    for _ in range(3):
        await settle_down()
        world.clock.advance(1)
    assert await task is Attempted.STORE_FULL
    record = await world.record()
    assert (record.state, record.lost_attempts) == (InvocationState.QUEUED, 0)


async def test_an_answer_that_cannot_be_written_down_for_want_of_room_fails_nothing() -> None:
    world = await World().deploy()
    await world.put()
    decide, errors = world.queue.decide, [StorageFull("no room")]

    async def decide_or_fail(lease: Lease, decision: Decision) -> InvocationState:
        if errors:
            raise errors.pop()
        return await decide(lease, decision)

    world.queue.decide = decide_or_fail  # type: ignore[method-assign]
    assert await world.attempt() is Attempted.STORE_FULL
    assert await world.state() is InvocationState.QUEUED
    assert await world.attempt() is Attempted.SETTLED
    assert await world.state() is InvocationState.COMPLETED


async def test_a_death_is_counted_also_where_it_cannot_be_written_at_once() -> None:
    world = await World().deploy()
    await world.put()
    claim = await world.claim()

    async def dying(request: ModelRequest, body: bytes) -> FakeAnswer:
        world.models.closed.add(ADDRESS)
        raise ModelServerUnreachable("it died")

    world.models.answering = dying
    _refuse_releases(world, 3)
    task = asyncio.create_task(world.worker.attempt(Work(claim), world.instance))
    for _ in range(3):
        await settle_down()
        world.clock.advance(1)
    assert await task is Attempted.INSTANCE_DEAD
    record = await world.record()
    assert (record.state, record.lost_attempts) == (InvocationState.QUEUED, 1)


@pytest.mark.parametrize("stopping", [False, True])
@pytest.mark.parametrize("refusals", [3, 1000])
async def test_a_cancelled_attempt_is_given_back_also_where_it_cannot_be_written_at_once(refusals: int, stopping: bool) -> None:
    """A stop of the server costs no attempt; on a disk that stays full it ends all the same."""
    world = await World().deploy()
    await world.put()
    work = Work(await world.claim())
    world.objects.failures += [StorageFull("no room")] * 2
    _refuse_releases(world, refusals)
    task = asyncio.create_task(world.worker.attempt(work, world.instance))
    await settle_down()
    if stopping:  # somebody stopped the invocation, and that could not be written either
        work.stopping = True
        task.cancel()
        await settle_down()
    task.cancel()
    for _ in range(5):
        await settle_down()
        world.clock.advance(1)
    with pytest.raises(asyncio.CancelledError):
        await task
    given_back = refusals == 3
    record = await world.record()
    assert (record.state is InvocationState.QUEUED, record.lost_attempts) == (given_back, 0)


async def test_what_nobody_foresaw_fails_the_request_instead_of_coming_back_for_ever() -> None:
    world = await World().deploy()
    invocation = await world.put()
    world.models.answering = lambda request, body: 1 / 0  # type: ignore[assignment,return-value]
    assert await world.attempt() is Attempted.SETTLED
    failure = world.objects.get(invocation.failure_location)
    assert failure is not None
    assert "ZeroDivisionError" in json.loads(failure.body)["failureReason"]


async def test_a_cancelled_decision_leaves_its_bytes_alone() -> None:
    """Cancelled while deciding, nobody knows whether the decision stands: what may have been chosen must not be dropped."""
    world = await World().deploy()
    invocation = await world.put(body=b"x" * 200_000)
    decide = world.queue.decide
    decided = asyncio.Event()

    async def decide_and_hang(lease: Lease, decision: Decision) -> InvocationState:
        await decide(lease, decision)
        decided.set()
        await asyncio.Event().wait()
        raise AssertionError

    world.queue.decide = decide_and_hang  # type: ignore[method-assign]
    task = asyncio.create_task(world.attempt())
    await decided.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    world.clock.advance(31)
    await world.sweeper.sweep()
    assert await world.state() is InvocationState.COMPLETED
    stored = world.objects.get(invocation.output_location)
    assert stored is not None
    assert len(stored.body) == 200_000


async def test_bytes_that_were_not_chosen_are_dropped() -> None:
    world = await World().deploy()
    await world.put(body=b"x" * 200_000)
    claim = await world.claim()
    world.queue.new_epoch()
    await world.sweeper.sweep()
    assert await world.worker.attempt(Work(claim), world.instance) is Attempted.LEASE_LOST
    assert not world.objects.staged


async def test_a_bucket_deleted_between_staging_and_deciding_fails_with_that_reason() -> None:
    """The one-commit form that production uses: publishing is part of the decision."""
    world = await World().deploy()
    invocation = await world.put(failure_location="s3://b/failed/1-error.out", output_location="s3://doomed/1.out")
    world.objects.create_bucket("doomed")

    def publish(staged: Staged, now_us: int) -> None:
        if staged.location.bucket == "doomed":
            raise BucketNotFound("There is no bucket doomed.")
        world.objects.put(str(staged.location), staged.inline or b"", staged.content_type)

    world.queue.publish = publish
    await world.attempt()
    failure = world.objects.get(invocation.failure_location)
    assert failure is not None
    assert "s3://doomed/1.out" in json.loads(failure.body)["failureReason"]
    assert await world.state() is InvocationState.FAILED


async def test_a_damaged_input_fails_with_that_reason() -> None:
    world = await World().deploy()
    await world.put()
    world.worker = Worker(world.queue, _Damaged(), world.models, world.records, world.settlement, world.clock)
    await world.attempt()
    record = await world.record()
    assert record.outcome is not None
    assert "cannot be read: its file is gone" in (record.outcome.reason or "")


class _Damaged(FakeObjectStore):
    def open(self, location: S3Location) -> AbstractAsyncContextManager[OpenObject]:  # type: ignore[override]
        raise ObjectDamaged("its file is gone.")


async def test_a_store_that_refuses_the_key_fails_the_request() -> None:
    world = await World().deploy()
    invocation = await world.put()
    world.objects.failures.append(ObjectRefused("no store takes this key"))
    await world.attempt()
    failure = world.objects.get(invocation.failure_location)
    assert failure is not None
    assert "no store takes this key" in json.loads(failure.body)["failureReason"]


# ------------------------------------------------------------------------------------------------------ stop, retry, tell


def retrying(**over: object) -> RetryPolicy:
    return RetryPolicy(**({"attempts_max": 3, "statuses": ("5xx", "timeout"), "backoff_s": 10.0} | over))  # type: ignore[arg-type]


async def test_a_stopped_attempt_ends_as_stopped_and_publishes_nothing_else() -> None:
    world = await World().deploy()
    invocation = await world.put()
    world.models.answering = lambda request, body: asyncio.Event().wait()  # type: ignore[assignment,return-value]
    work = Work(await world.claim())
    task = asyncio.create_task(world.worker.attempt(work, world.instance))
    await settle_down()
    work.stopping = True
    task.cancel()
    assert await task is Attempted.SETTLED
    assert await world.state() is InvocationState.STOPPED
    failure = world.objects.get(invocation.failure_location)
    assert failure is not None
    assert "StopInvocation" in json.loads(failure.body)["failureReason"]
    assert world.objects.get(invocation.output_location) is None
    assert _message(await world.announced())["invocationStatus"] == "Failed"  # type: ignore[arg-type]


async def test_an_answer_that_comes_after_the_stop_is_not_published() -> None:
    """The stop is durable, and the worker has not heard of it yet."""
    world = await World().deploy()
    invocation = await world.put()
    claim = await world.claim()
    await world.control.stop(invocation.id)
    assert await world.worker.attempt(Work(claim), world.instance) is Attempted.SETTLED
    assert await world.state() is InvocationState.STOPPED
    assert world.objects.get(invocation.output_location) is None


async def test_a_stop_that_comes_after_the_decision_changes_nothing() -> None:
    world = await World().deploy()
    await world.put()
    work = Work(await world.claim())
    assert await world.worker.attempt(work, world.instance) is Attempted.SETTLED
    assert await world.worker._stop(work) is Attempted.LEASE_LOST
    assert await world.state() is InvocationState.COMPLETED


async def test_what_the_policy_wants_is_tried_again_and_then_fails_with_the_containers_words() -> None:
    world = await World().deploy()
    invocation = await world.put(retry=retrying())
    for attempt in (1, 2, 3):
        world.answer(status=503, body=b"busy %d" % attempt)
        assert await world.attempt() is Attempted.SETTLED
        if attempt < 3:
            assert await world.state() is InvocationState.DELAYED
            assert not world.objects.staged
            world.clock.advance(10 * 2 ** (attempt - 1))
            await world.queue.reap(10)
    record = await world.record()
    assert (record.state, record.attempts, record.lost_attempts) == (InvocationState.FAILED, 3, 0)
    failure = world.objects.get(invocation.failure_location)
    assert failure is not None
    assert failure.body == b"busy 3"
    assert len(await world.announced()) == 1


async def test_attempts_that_ended_without_an_answer_use_up_no_retry() -> None:
    world = await World().deploy()
    await world.put(retry=retrying(attempts_max=2))
    for back in (LOST, LOST, RETURNED):
        await world.queue.release((await world.claim()).lease, back)
    world.answer(status=503)
    await world.attempt()
    record = await world.record()
    assert (record.state, record.due_at_us) == (InvocationState.DELAYED, world.clock.now_us() + 10_000_000)


async def test_what_the_policy_does_not_want_is_not_tried_again() -> None:
    world = await World().deploy()
    await world.put(retry=retrying())
    world.answer(status=400)
    await world.attempt()
    assert await world.state() is InvocationState.FAILED


async def test_a_timeout_in_the_middle_of_an_answer_is_a_timeout_to_the_policy() -> None:
    world = await World().deploy()
    await world.put(timeout_s=0.1, retry=retrying(statuses=("timeout",)))
    world.answer(status=200, body=b"half of it", stalls=True)
    assert await world.attempt() is Attempted.TIMED_OUT
    assert await world.state() is InvocationState.DELAYED
    assert not world.objects.staged


async def test_a_timeout_is_tried_again_where_the_policy_says_so() -> None:
    world = await World().deploy()
    await world.put(timeout_s=0, retry=retrying())
    world.models.answering = lambda request, body: asyncio.Event().wait()  # type: ignore[assignment,return-value]
    await world.attempt()
    assert await world.state() is InvocationState.DELAYED


async def test_the_times_of_the_steps_are_kept() -> None:
    world = await World().deploy()
    await world.put()
    claim = await world.claim()
    world.clock.advance(1)
    await world.worker.attempt(Work(claim), world.instance)
    outcome = (await world.record()).outcome
    assert outcome is not None
    assert outcome.attempt is not None
    steps = outcome.attempt
    assert (steps.number, steps.instance_id) == (1, "i")
    later = claim.claimed_at_us + 1_000_000
    assert (steps.downloaded_at_us, steps.answered_at_us, steps.uploaded_at_us) == (later, later, later)


async def test_a_platform_failure_tells_status_excerpt_and_history() -> None:
    world = await World().deploy()
    invocation = await world.put(retry=retrying())
    world.answer(status=500, body=b"first")
    await world.attempt()
    world.clock.advance(10)
    await world.queue.reap(10)
    world.answer(body=b"half of " * 500, error=ModelServerUnreachable("the connection was closed after 4000 bytes"))
    await world.attempt()
    failure = world.objects.get(invocation.failure_location)
    assert failure is not None
    document = json.loads(failure.body)
    assert (document["attempts"], document["containerStatus"]) == (2, 200)
    assert document["containerBodyExcerpt"] == ("half of " * 500)[:1024]
    before, last = document["attemptHistory"]
    assert (before["number"], before["end"], before["containerStatus"]) == (1, "Retried", 500)
    assert (last["number"], last["end"], last["containerStatus"]) == (2, "Decided", 200)
    assert last["instanceId"] == before["instanceId"] == world.instance.id
    assert last["reason"] == document["failureReason"]
