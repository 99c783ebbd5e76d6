"""What nobody is working on any more."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from tests.support.delivery import ADDRESS, World, settle_down

from tarry.core.endpoint import EndpointStatus
from tarry.core.errors import ModelServerUnreachable, StorageFull
from tarry.core.history import LEASE_RAN_OUT
from tarry.core.instance import InstanceState, explain_failure
from tarry.core.invocation import LOST_ATTEMPTS_MAX, InvocationState
from tarry.delivery.sweeper import BATCH
from tarry.delivery.work import Work
from tarry.delivery.worker import LAST_LOSS_S, Attempted
from tarry.ports import ModelRequest, Reaped
from tarry.testing.modelserver import FakeAnswer


async def test_an_expired_request_ends_expired_and_is_told_as_failed() -> None:
    world = await World().deploy()
    invocation = await world.put()
    world.clock.advance(61)
    assert await world.sweeper.sweep() == 1
    assert await world.state() is InvocationState.EXPIRED
    failure = world.objects.get(invocation.failure_location)
    assert failure is not None
    assert "has expired" in json.loads(failure.body)["failureReason"]
    (outgoing,) = await world.announced()
    assert json.loads(outgoing.notification.message)["invocationStatus"] == "Failed"
    assert world.metrics.counts == {("ExpiredRequests", "e"): 1.0}


async def test_the_third_lost_attempt_fails_the_request() -> None:
    world = await World().deploy()
    await world.put()
    for _ in range(LOST_ATTEMPTS_MAX):
        await world.claim()
        world.clock.advance(31)
        await world.sweeper.sweep()
    record = await world.record()
    assert record.state is InvocationState.FAILED
    assert record.outcome is not None
    assert f"3 times. The last time: {LEASE_RAN_OUT} See" in (record.outcome.reason or "")


async def test_how_the_instances_ended_is_told_of_a_request_that_was_lost_too_often() -> None:
    """The row of the last one says so only some seconds after its connections broke."""
    world = await World().deploy()
    invocation = await world.put()

    async def dying(request: ModelRequest, body: bytes) -> FakeAnswer:
        world.models.closed.add(ADDRESS)
        raise ModelServerUnreachable("The connection broke.")

    world.models.answering = dying
    for _ in range(LOST_ATTEMPTS_MAX - 1):
        assert await world.attempt() is Attempted.INSTANCE_DEAD
        world.models.closed.clear()
    last = asyncio.create_task(world.attempt())
    await settle_down()
    assert await world.state() is InvocationState.RUNNING
    world.clock.advance(3)
    reason = explain_failure("The model server was ended by signal 9. It ran out of memory.", ["what it printed"])
    await world.set_instance(state=InstanceState.FAILED, ended_at_us=world.clock.now_us(), failure_reason=reason)
    world.clock.advance(LAST_LOSS_S - 3)
    assert await last is Attempted.INSTANCE_DEAD
    assert await world.sweeper.sweep() == 1
    stored = world.objects.get(invocation.failure_location)
    assert stored is not None
    failure = json.loads(stored.body)
    why = "The connection broke. The model server was ended by signal 9. It ran out of memory."
    assert f"3 times. The last time: {why} See the SageMaker" in failure["failureReason"]
    assert [each["reason"] for each in failure["attemptHistory"]] == [why] * LOST_ATTEMPTS_MAX
    (outgoing,) = await world.announced()
    assert why in json.loads(outgoing.notification.message)["failureReason"]


async def test_requests_of_a_deleted_endpoint_fail_with_that_reason() -> None:
    world = await World().deploy()
    await world.put()
    await world.set_endpoint(status=EndpointStatus.DELETING)
    await world.sweeper.sweep()
    record = await world.record()
    assert record.state is InvocationState.FAILED
    assert record.outcome is not None
    assert "endpoint deleted" in (record.outcome.reason or "")


async def test_a_decision_left_by_a_crash_is_published_and_the_model_does_not_run_again() -> None:
    world = await World().deploy()
    invocation = await world.put()
    claim = await world.claim()
    staged = await world.settlement.stage_answer(invocation, "text/csv", _chunks(b"answer"), failed=False)
    world.objects.failures.append(StorageFull("the process dies here"))
    with pytest.raises(StorageFull):
        await world.settlement.settle(Work(claim), staged, InvocationState.COMPLETED)
    assert await world.state() is InvocationState.PUBLISHING
    assert world.objects.get(invocation.output_location) is None
    assert not await world.announced()
    world.clock.advance(31)
    await world.sweeper.sweep()
    assert await world.state() is InvocationState.COMPLETED
    stored = world.objects.get(invocation.output_location)
    assert stored is not None
    assert stored.body == b"answer"
    assert not world.models.requests
    assert len(await world.announced()) == 1


async def _chunks(body: bytes) -> AsyncIterator[bytes]:
    yield body


@pytest.mark.parametrize("waiting", [0, 1])
async def test_a_quiet_queue_is_left_alone(waiting: int) -> None:
    world = await World().deploy()
    for number in range(waiting):
        await world.put(str(number))
    assert await world.sweeper.sweep() == 0


async def test_a_decision_whose_bucket_is_gone_ends_all_the_same() -> None:
    world = await World().deploy()
    invocation = await world.put(output_location="s3://doomed/1.out")
    world.objects.create_bucket("doomed")
    claim = await world.claim()
    staged = await world.settlement.stage_answer(invocation, "text/csv", _chunks(b"answer"), failed=False)
    world.objects.failures.append(StorageFull("the process dies here"))
    with pytest.raises(StorageFull):
        await world.settlement.settle(Work(claim), staged, InvocationState.COMPLETED)
    del world.objects.buckets["doomed"]
    world.clock.advance(31)
    await world.sweeper.sweep()
    assert await world.state() is InvocationState.COMPLETED
    assert len(await world.announced()) == 1


async def test_what_was_stopped_says_which_operation_stopped_it() -> None:
    world = await World().deploy()
    one, two = await world.put("1"), await world.put("2")
    await world.control.stop("1")
    await world.control.purge("endpoint-e")
    await world.sweeper.sweep()
    failures = [world.objects.get(each.failure_location) for each in (one, two)]
    assert [json.loads(each.body)["failureReason"] for each in failures if each is not None] == [
        "ClientError: The request was stopped by a call of StopInvocation.",
        "ClientError: The request was stopped by a call of PurgeQueue, with all that waited for its endpoint.",
    ]


async def test_one_bad_item_holds_up_nobody() -> None:
    world = await World().deploy()
    for number in range(3):
        await world.put(str(number))
    world.clock.advance(61)
    world.objects.failures.append(StorageFull("no room for the first"))
    await world.sweeper.sweep()
    states = [await world.state(str(number)) for number in range(3)]
    assert sorted(states) == [InvocationState.EXPIRED, InvocationState.EXPIRED, InvocationState.RUNNING]
    world.clock.advance(31)
    await world.sweeper.sweep()
    await world.sweeper.sweep()
    assert [await world.state(str(number)) for number in range(3)] == [InvocationState.EXPIRED] * 3


@pytest.mark.parametrize("moved", ["paused", "clock"])
async def test_who_was_paused_does_not_take_its_own_work_for_that_of_the_dead(moved: str) -> None:
    world = await World().deploy()
    await world.put()
    world.models.answering = lambda request, body: asyncio.Event().wait()  # type: ignore[assignment,return-value]
    async with world.running(world.slots.run):
        await settle_down()
        world.slots._renew_every_s = 1e9  # the renewal would come, but the sweep comes first
        async with world.running(world.sweeper.run):
            await settle_down()
            if moved == "clock":
                world.clock.set_wall(3600)
            for _ in range(3):
                world.clock.advance(60 if moved == "paused" else 1)
                await settle_down()
            record = await world.record()
            assert (record.state, record.attempts, record.lost_attempts) == (InvocationState.RUNNING, 1, 0)


async def test_the_sweep_goes_on_after_an_error() -> None:
    world = await World().deploy()
    await world.put()
    world.clock.advance(61)
    reap = world.queue.reap
    errors = [StorageFull("no room")]

    async def reap_or_fail(limit: int) -> Reaped:
        if errors:
            raise errors.pop()
        return await reap(limit)

    world.queue.reap = reap_or_fail  # type: ignore[method-assign]
    async with world.running(world.sweeper.run):
        await settle_down()
        world.clock.advance(1)
        await settle_down()
        assert await world.state() is InvocationState.EXPIRED


async def test_a_stop_that_overtakes_the_sweep_is_the_end() -> None:
    world = await World().deploy()
    invocation = await world.put()
    world.clock.advance(61)
    reap = world.queue.reap

    async def reap_and_be_overtaken(limit: int) -> Reaped:
        reaped = await reap(limit)
        world.queue.reap = reap  # type: ignore[method-assign]
        await world.control.stop(invocation.id)
        return reaped

    world.queue.reap = reap_and_be_overtaken  # type: ignore[method-assign]
    await world.sweeper.sweep()
    assert await world.state() is InvocationState.STOPPED, "at once: a lease of the sweeper's would have had to run out"


async def test_a_stop_is_swept_at_once() -> None:
    world = await World().deploy()
    async with world.running(world.sweeper.run):
        await settle_down()
        invocation = await world.put()
        await world.control.stop(invocation.id)
        await settle_down()
        assert await world.state() is InvocationState.STOPPED


async def test_a_full_batch_is_followed_at_once_by_the_next() -> None:
    world = await World().deploy()
    names = [str(number) for number in range(BATCH + 1)]
    for name in names:
        await world.put(name)
    world.clock.advance(61)
    async with world.running(world.sweeper.run):
        await settle_down(turns=20 * BATCH)
        assert {await world.state(name) for name in names} == {InvocationState.EXPIRED}
