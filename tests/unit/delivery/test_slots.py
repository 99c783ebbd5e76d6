"""Who works on how much at once."""

import asyncio

from tests.support.delivery import ADDRESS, World, settle_down

from tarry.core.instance import InstanceState
from tarry.core.invocation import InvocationState
from tarry.ports import ModelRequest
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
        assert (await world.record()).lost_attempts == 1, "one request is hurt by a dead instance, not again and again"
        world.models.closed.clear()
        world.wakeups.notify("queue:endpoint-e")
        await settle_down(2000)
        assert await world.state() is InvocationState.COMPLETED
