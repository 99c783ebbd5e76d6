"""Who waits for the end of an invocation looks often, so each look is small."""

import asyncio

import pytest
from tests.support import entities as make
from tests.support.control import SCOPE, World
from tests.support.delivery import settle_down

from tarry.control.context import Context
from tarry.control.invocations import InvocationCommands, InvocationPorts
from tarry.core.errors import NotFound
from tarry.core.history import InvocationHistory, QueuePlace
from tarry.core.invocation import InvocationState
from tarry.ports import Add
from tarry.testing.invocations import FakeInvocationRecords, FakeQueueControl


class Counting(FakeInvocationRecords):
    """Records that count the questions that cost something."""

    asked = 0

    async def history(self, id: str) -> InvocationHistory | None:
        self.asked += 1
        return await super().history(id)

    async def place(self, id: str) -> QueuePlace | None:
        self.asked += 1
        return await super().place(id)


class Waiting:
    """One invocation that waits, and commands over it."""

    def __init__(self) -> None:
        self.world = world = World()
        self.records = Counting(world.queue, world.store, world.outbox)
        control = FakeQueueControl(world.queue, world.wakeups)
        ports = InvocationPorts(queue=world.queue, records=self.records, control=control, wakeups=world.wakeups)
        context = Context(store=world.store, clock=world.clock, ids=world.ids, scope=SCOPE, objects=world.objects)
        self.commands = InvocationCommands(context, ports)

    async def put(self) -> None:
        await self.world.store.apply(Add(make.endpoint()), Add(make.instance()), Add(make.routing()))
        await self.world.queue.put(make.invocation("1", expires_at_us=2**62), None)

    async def pass_s(self, seconds: int) -> None:
        for _ in range(seconds):
            await settle_down()
            self.world.clock.advance(1)
        await settle_down()


async def test_a_wait_asks_for_all_that_is_known_only_when_it_answers() -> None:
    waiting = Waiting()
    await waiting.put()
    asking = asyncio.create_task(waiting.commands.wait("1", 20))
    await waiting.pass_s(10)
    assert (asking.done(), waiting.records.asked) == (False, 0)
    await waiting.pass_s(11)
    described = await asking
    assert (described.history.record.state, waiting.records.asked) == (InvocationState.QUEUED, 2)
    assert described.place is not None


async def test_a_wait_ends_with_the_invocation() -> None:
    waiting = Waiting()
    await waiting.put()
    asking = asyncio.create_task(waiting.commands.wait("1", 20))
    await settle_down()
    (claim,) = await waiting.world.queue.claim(make.instance(), 1)
    await waiting.world.queue.decide(claim.lease, make.decision("1"))
    await waiting.world.queue.finish("1")
    await waiting.pass_s(1)
    assert (await asking).history.record.state is InvocationState.COMPLETED


async def test_nobody_waits_for_what_does_not_exist() -> None:
    with pytest.raises(NotFound):
        await Waiting().commands.wait("unknown", 20)
