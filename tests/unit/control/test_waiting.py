"""Long polls on an invocation."""

import asyncio

from tests.support import entities as make
from tests.support.control import World
from tests.support.delivery import settle_down

from tarry.core.endpoint import EndpointStatus
from tarry.core.invocation import InvocationState
from tarry.ports import Add


async def test_a_stop_of_the_server_ends_every_wait_at_once() -> None:
    world = World()
    await world.store.apply(Add(make.endpoint("e", status=EndpointStatus.IN_SERVICE)))
    await world.queue.put(make.invocation("1"), None)
    commands = world.commands.invocations
    polls = [asyncio.create_task(commands.wait("1", 60)) for _ in range(2)]
    await settle_down()
    assert not any(poll.done() for poll in polls)
    commands.end_waits()
    await settle_down()
    assert all(poll.done() for poll in polls)
    for described in [await poll for poll in polls] + [await commands.wait("1", 60)]:
        assert described.history.record.state is InvocationState.QUEUED
    assert commands._waits == []
