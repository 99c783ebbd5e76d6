"""Who works on how much at once."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from structlog.testing import capture_logs
from tests.support.delivery import ADDRESS, World, settle_down

from tarry.core.errors import ModelServerTimeout, ModelServerUnreachable, StorageFull, Throttled
from tarry.core.instance import Instance, InstanceState
from tarry.core.invocation import InvocationState
from tarry.delivery.instance_slots import SETTLING_FACTOR
from tarry.delivery.slots import Slots
from tarry.ports import LOST, RETURNED, Add, Back, Claim, Decision, Lease, ModelRequest, Renewed, Replace
from tarry.testing.modelserver import FakeAnswer


class Gate:
    """A model that answers when the test opens the gate."""

    def __init__(self) -> None:
        self.open = asyncio.Event()

    async def __call__(self, request: ModelRequest, body: bytes) -> FakeAnswer:
        await self.open.wait()
        return FakeAnswer(body=body)


async def _states(world: World, numbers: range) -> list[InvocationState]:
    return [await world.state(str(number)) for number in numbers]


async def test_no_more_than_the_concurrency_are_in_flight_and_all_complete() -> None:
    world = await World().deploy()
    world.models.answering = gate = Gate()
    numbers = range(10)
    for number in numbers:
        await world.put(str(number))
    async with world.running(world.slots.run):
        await settle_down()
        assert world.models.in_flight == world.instance.concurrency == 4
        gate.open.set()
        await settle_down(2000)
        assert await _states(world, numbers) == [InvocationState.COMPLETED] * 10
        assert world.models.in_flight_max == 4


async def test_a_draining_instance_claims_nothing_more_and_finishes_what_it_has() -> None:
    world = await World().deploy()
    world.models.answering = gate = Gate()
    for number in range(5):
        await world.put(str(number))
    async with world.running(world.slots.run):
        await settle_down()
        await world.set_instance(state=InstanceState.DRAINING)
        await settle_down()
        gate.open.set()
        await settle_down(2000)
        states = await _states(world, range(5))
        assert states.count(InvocationState.COMPLETED) == 4
        assert states.count(InvocationState.QUEUED) == 1


async def test_a_drain_gives_back_what_does_not_finish_in_time() -> None:
    world = await World().deploy()
    world.models.answering = Gate()
    await world.put()
    async with world.running(world.slots.run):
        await settle_down()
        assert world.models.in_flight == 1
        assert await world.slots.drain(0) == 1
        record = await world.record()
        assert (record.state, record.lost_attempts) == (InvocationState.QUEUED, 0)
        await settle_down()
        assert await world.state() is InvocationState.QUEUED, "nothing is claimed after a drain"


async def test_leases_are_renewed_while_work_goes_on() -> None:
    world = await World().deploy()
    world.models.answering = gate = Gate()
    await world.put()
    async with world.running(world.slots.run):
        await settle_down()
        for _ in range(10):
            world.clock.advance(10)
            await settle_down()
            await world.sweeper.sweep()
        gate.open.set()
        await settle_down(2000)
        record = await world.record()
        assert (record.state, record.attempts, record.lost_attempts) == (InvocationState.COMPLETED, 1, 0)


async def test_a_dead_instance_gets_nothing_until_it_answers_again() -> None:
    world = await World().deploy()
    world.models.closed.add(ADDRESS)
    await world.put()
    async with world.running(world.slots.run):
        await settle_down(2000)
        history = await world.records.history("1")
        assert history is not None
        assert len(history.undecided) == 1, "a dead instance is asked once, not again and again"
        world.models.closed.clear()
        world.wakeups.notify("queue:endpoint-e")
        await settle_down(2000)
        assert await world.state() is InvocationState.COMPLETED


async def test_after_a_timeout_an_instance_gets_nothing_until_it_answers() -> None:
    """It may hang with all that it is given; the other requests are better off in the queue."""
    world = await World().deploy()

    async def hanging(request: ModelRequest, body: bytes) -> FakeAnswer:
        world.models.unhealthy.add(ADDRESS)
        raise ModelServerTimeout("no answer in time")

    world.models.answering = hanging
    await world.put("0")
    async with world.running(world.slots.run):
        with capture_logs() as logs:
            await settle_down(2000)
        [told] = [one for one in logs if "within its time limit" in one["event"]]
        assert told["instance_id"] == world.instance.id
        assert told["logs"] == f"tarry logs {told['endpoint']} --instance {told['instance_id']}"
        assert await world.state("0") is InvocationState.FAILED
        await world.put("1")
        await settle_down(2000)
        assert (await world.record("1")).attempts == 0
        world.models.unhealthy.clear()
        world.answer(body=b"ok")
        world.wakeups.notify("queue:endpoint-e")
        await settle_down(2000)
        assert await world.state("1") is InvocationState.COMPLETED


async def test_an_instance_whose_row_says_that_it_is_silent_gets_nothing_until_it_answers() -> None:
    world = await World().deploy()
    await world.set_instance(unanswered_since_us=1)
    world.models.unhealthy.add(ADDRESS)
    await world.put()
    async with world.running(world.slots.run):
        await settle_down(2000)
        assert (await world.record()).attempts == 0
        world.models.unhealthy.clear()
        world.wakeups.notify("queue:endpoint-e")
        await settle_down(2000)
        assert await world.state() is InvocationState.COMPLETED, "it answers, whatever its row still says"


def _poison(world: World, fatal: set[str]) -> None:
    """A model that dies of some inputs, with everything in flight, and is started anew at once."""
    deaths = asyncio.Event()

    async def answering(request: ModelRequest, body: bytes) -> FakeAnswer:
        nonlocal deaths
        if body.decode() in fatal:
            world.models.closed.add(ADDRESS)
            dying, deaths = deaths, asyncio.Event()
            dying.set()
            raise ModelServerUnreachable("it died")
        mine = deaths
        for _ in range(50):
            await asyncio.sleep(0)
            if mine.is_set():
                raise ModelServerUnreachable("it died under me")
        return FakeAnswer(body=body)

    world.models.answering = answering


async def test_a_poison_request_takes_its_neighbours_with_it_once_and_not_again() -> None:
    world = await World().deploy()
    _poison(world, {"poison"})
    for number in range(3):
        await world.put(str(number), f"good {number}".encode())
    await world.put("3", b"poison")
    async with world.running(world.slots.run):
        for _ in range(20):
            await settle_down(400)
            world.models.closed.clear()
            world.wakeups.notify("queue:endpoint-e")
            world.clock.advance(1)
            await world.sweeper.sweep()
        assert await _states(world, range(3)) == [InvocationState.COMPLETED] * 3
        record = await world.record("3")
        assert (record.state, record.lost_attempts) == (InvocationState.FAILED, 3)


async def test_an_idle_instance_starts_one_that_was_lost_at_once_and_leaves_the_others_in_the_queue() -> None:
    world = await World().deploy()
    world.models.answering = gate = Gate()
    await world.put("suspect")
    await world.queue.release((await world.claim()).lease, LOST)
    for number in range(3):
        await world.put(str(number))
    async with world.running(world.slots.run):
        await settle_down()
        assert await world.state("suspect") is InvocationState.RUNNING
        assert await _states(world, range(3)) == [InvocationState.QUEUED] * 3
        gate.open.set()
        await settle_down(2000)
        assert await _states(world, range(3)) == [InvocationState.COMPLETED] * 3
    history = await world.records.history("0")
    assert history is not None
    assert history.undecided == ()


async def test_a_busy_instance_leaves_what_was_lost_to_one_that_is_idle() -> None:
    world = await World().deploy()
    world.models.answering = gate = Gate()
    claims = []
    for name in ("early", "late"):
        await world.put(name)
        claims.append(await world.claim())
    await world.put("runs")
    async with world.running(world.slots.run):
        await settle_down()
        await world.queue.release(claims[0].lease, LOST)
        await settle_down()
        assert world.models.in_flight == 1, "set aside: there is no other instance"
        other = replace(await world.current_instance(), id="other", addresses=("http://model:2",))
        await world.store.apply(Add(other))
        world.wakeups.notify("endpoints")
        await settle_down()
        world.wakeups.notify("queue:endpoint-e")  # a busy one looks once a second, too
        await settle_down()
        assert world.models.asked == [ADDRESS, "http://model:2"]
        assert world.queue.rows["early"].attempts == 2, "what was set aside was no attempt"
        await world.put("beside")
        await world.queue.release(claims[1].lease, LOST)
        await settle_down()
        assert await world.state("beside") is InvocationState.RUNNING
        gate.open.set()
        await settle_down(2000)
        ended = [await world.state(each) for each in ("early", "late", "runs", "beside")]
        assert ended == [InvocationState.COMPLETED] * 4


async def test_an_error_in_claiming_does_not_forget_what_is_in_flight() -> None:
    world = await World().deploy()
    world.models.answering = gate = Gate()
    for number in range(4):
        await world.put(str(number))
    claim = world.queue.claim
    failing = False

    async def claim_or_fail(instance: Instance, limit: int, *, with_lost: bool = True) -> list[Claim]:
        if failing:
            raise StorageFull("no room")
        return await claim(instance, limit, with_lost=with_lost)

    world.queue.claim = claim_or_fail  # type: ignore[method-assign]
    world.instance = replace(world.instance, concurrency=5)
    await world.set_instance(concurrency=5)
    async with world.running(world.slots.run):
        await settle_down()
        failing = True
        world.wakeups.notify("queue:endpoint-e")
        await settle_down()
        failing = False
        for number in range(4, 10):
            await world.put(str(number))
        world.clock.advance(5)
        world.wakeups.notify("queue:endpoint-e")
        await settle_down()
        assert world.models.in_flight == 5
        gate.open.set()
        await settle_down(3000)
        assert world.models.in_flight_max == 5
        assert await _states(world, range(10)) == [InvocationState.COMPLETED] * 10


async def test_a_short_lease_is_renewed_in_time() -> None:
    world = await World().deploy()
    world.queue.lease_s = 3.0
    world.slots = Slots(world.store, world.queue, world.worker, world.models, world.clock, world.wakeups, lease_s=3.0)
    world.models.answering = gate = Gate()
    await world.put()
    async with world.running(world.slots.run):
        await settle_down()
        for _ in range(10):
            world.clock.advance(1)
            await settle_down()
            await world.sweeper.sweep()
        gate.open.set()
        await settle_down(2000)
        record = await world.record()
        assert (record.state, record.lost_attempts) == (InvocationState.COMPLETED, 0)


async def test_who_loses_the_lease_is_cancelled() -> None:
    world = await World().deploy()
    world.models.answering = Gate()
    await world.put()
    async with world.running(world.slots.run):
        await settle_down()
        assert world.models.in_flight == 1
        world.queue.rows["1"].lease = None
        world.clock.advance(10)
        await settle_down()
        assert world.models.in_flight == 0


async def test_what_waits_its_turn_is_dropped_with_its_lease() -> None:
    world = await World().deploy()
    world.models.answering = gate = Gate()
    await world.put("suspect")
    claim = await world.claim()
    await world.put("runs")
    async with world.running(world.slots.run):
        await settle_down()
        await world.queue.release(claim.lease, LOST)
        await settle_down()
        assert await world.state("suspect") is InvocationState.RUNNING
        assert world.models.in_flight == 1
        world.queue.rows["suspect"].lease = None
        world.clock.advance(10)
        await settle_down()
        gate.open.set()
        await settle_down()
        assert await world.state("runs") is InvocationState.COMPLETED
        assert len(world.models.requests) == 1, "somebody else may be at it"


async def test_a_full_store_is_left_alone_for_a_while() -> None:
    world = await World().deploy()
    await world.put()
    world.objects.failures.append(StorageFull("no room"))
    async with world.running(world.slots.run):
        await settle_down(500)
        assert len(world.models.requests) == 1
        world.clock.advance(5)
        world.wakeups.notify("queue:endpoint-e")
        await settle_down(500)
        assert await world.state() is InvocationState.COMPLETED


async def test_leases_that_cannot_be_renewed_once_are_renewed_later() -> None:
    world = await World().deploy()
    world.models.answering = gate = Gate()
    await world.put()
    renew = world.queue.renew
    errors = [Throttled("busy")]

    async def renew_or_fail(leases: Sequence[Lease]) -> Renewed:
        if errors:
            raise errors.pop()
        return await renew(leases)

    world.queue.renew = renew_or_fail  # type: ignore[method-assign]
    async with world.running(world.slots.run):
        await settle_down()
        for _ in range(6):
            world.clock.advance(10)
            await settle_down()
            await world.sweeper.sweep()
        gate.open.set()
        await settle_down(1000)
        record = await world.record()
        assert (record.state, record.lost_attempts) == (InvocationState.COMPLETED, 0)


async def test_a_stop_ends_what_runs_at_the_hint_and_what_waits_its_turn_goes_back() -> None:
    world = await World().deploy()
    world.models.answering = Gate()
    await world.put("runs")
    await world.put("waits")
    (suspect,) = (claim for claim in await world.queue.claim(world.instance, 2) if claim.invocation.id == "waits")
    await world.queue.release(suspect.lease, LOST)  # it is tried alone, so it is set aside while the other runs
    held = world.queue.rows["runs"]
    assert held.lease is not None
    await world.queue.release(held.lease, RETURNED)
    async with world.running(world.slots.run):
        await settle_down()
        assert await world.state("waits") is InvocationState.RUNNING
        for each in ("runs", "waits"):
            await world.control.stop(each)
        await settle_down()
        assert await world.state("runs") is InvocationState.STOPPED
        assert await world.state("waits") is InvocationState.QUEUED
        await world.sweeper.sweep()
        assert await world.state("waits") is InvocationState.STOPPED


async def test_a_container_that_has_answered_gets_the_next_request_while_the_answer_is_written_down() -> None:
    world = await World().deploy()
    world.instance = replace(world.instance, concurrency=1)
    await world.store.apply(Replace(replace(await world.current_instance(), concurrency=1)))
    for number in range(5):
        await world.put(str(number))
    decide, written = world.queue.decide, asyncio.Event()

    async def decide_later(lease: Lease, decision: Decision) -> InvocationState:
        await written.wait()
        return await decide(lease, decision)

    world.queue.decide = decide_later  # type: ignore[method-assign]
    async with world.running(world.slots.run):
        await settle_down()
        assert len(world.models.requests) == SETTLING_FACTOR  # more wait: what is not written down yet is bounded
        written.set()
        await settle_down()
        assert await _states(world, range(5)) == [InvocationState.COMPLETED] * 5


async def test_what_was_set_aside_is_given_back_also_where_it_cannot_be_written_at_once() -> None:
    world = await World().deploy()
    world.models.answering = Gate()
    await world.put("lost before")
    claim = await world.claim()
    await world.put("beside")
    release, errors = world.queue.release, [Throttled("busy"), StorageFull("no room")]

    async def release_or_fail(lease: Lease, back: Back) -> None:
        if errors:
            raise errors.pop()
        await release(lease, back)

    world.queue.release = release_or_fail  # type: ignore[method-assign]
    async with world.running(world.slots.run):
        await settle_down()
        await release(claim.lease, LOST)
        await settle_down()
        assert await world.state("lost before") is InvocationState.RUNNING
        assert world.models.in_flight == 1, "the one that was lost before waits until it can be alone"
        drain = asyncio.create_task(world.slots.drain(0))
        for _ in range(2):
            await settle_down()
            world.clock.advance(1)
        await drain
    records = [await world.record(each) for each in ("lost before", "beside")]
    assert [(record.state, record.lost_attempts) for record in records] == [
        (InvocationState.QUEUED, 1),
        (InvocationState.QUEUED, 0),
    ]
