"""A request that was lost before is tried alone: which instance takes it, and what becomes of one that was set aside."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from tests.support.delivery import ADDRESS, World, settle_down

from tarry.core.errors import ModelServerTimeout, StorageFull, Throttled
from tarry.core.instance import Instance
from tarry.core.invocation import InvocationState
from tarry.delivery.instance_slots import STORE_FULL_PAUSE_S, InstanceSlots
from tarry.ports import LOST, Add, Back, Claim, Lease, ModelRequest
from tarry.testing.modelserver import FakeAnswer

OTHER = "http://model:2"
RUNNING, QUEUED = InvocationState.RUNNING, InvocationState.QUEUED


class Gates:
    """A model that answers each request when the test opens that request's own gate."""

    def __init__(self) -> None:
        self._gates: dict[str, asyncio.Event] = {}
        self.began: list[str] = []

    async def __call__(self, request: ModelRequest, body: bytes) -> FakeAnswer:
        self.began.append(body.decode())
        await self.of(body.decode()).wait()
        return FakeAnswer(body=body)

    def of(self, name: str) -> asyncio.Event:
        """The gate of the request with this body."""
        return self._gates.setdefault(name, asyncio.Event())


class Scene:
    """One instance that runs "runs", and further requests of which each has lost an attempt."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.gates = Gates()
        world.models.answering = self.gates
        self._claims: list[Claim] = []

    async def put(self, *names: str) -> "Scene":
        """Requests that are claimed here, to be lost later, and the one that runs."""
        for name in names:
            await self.world.put(name, name.encode())
            self._claims.append(await self.world.claim())
        await self.world.put("runs", b"runs")
        return self

    async def lose(self) -> None:
        """The next ones go back as lost."""
        for claim in self._claims:
            await self.world.queue.release(claim.lease, LOST)
        await settle_down()

    async def add_instance(self, **over: Any) -> None:
        """Another one, idle, and everybody looks for work."""
        values = {"id": "other", "addresses": (OTHER,), **over}
        await self.world.store.apply(Add(replace(await self.world.current_instance(), **values)))
        self.world.wakeups.notify("endpoints")
        await settle_down()
        await self.look()

    async def look(self) -> None:
        """As every instance does once a second."""
        self.world.wakeups.notify("queue:endpoint-e")
        await settle_down()

    def holder(self, name: str) -> str | None:
        """The instance that has it."""
        lease = self.world.queue.rows[name].lease
        return lease.instance_id if lease else None


async def _scene(*names: str) -> Scene:
    return await Scene(await World().deploy()).put(*names)


async def test_what_waits_behind_one_that_runs_alone_goes_to_an_instance_that_becomes_idle() -> None:
    scene = await _scene("first", "second", "third")
    world = scene.world
    async with world.running(world.slots.run):
        await settle_down()
        await scene.lose()
        await scene.look()
        scene.gates.of("runs").set()
        await settle_down()
        assert scene.gates.began == ["runs", "first"]
        assert {scene.holder(name) for name in ("first", "second", "third")} == {world.instance.id}, "the others are set aside"
        await scene.add_instance()
        assert world.models.asked == [ADDRESS, ADDRESS, OTHER]
        assert scene.holder("second") == "other"
        scene.gates.of("second").set()
        await settle_down()
        assert (scene.holder("first"), scene.holder("third")) == (world.instance.id, "other")
        assert [world.queue.rows[name].attempts for name in ("first", "second")] == [2, 2], "what was set aside was no attempt"


async def test_what_an_instance_that_does_not_answer_has_set_aside_goes_to_one_that_is_idle() -> None:
    scene = await _scene("lost")
    world = scene.world

    async def hanging(request: ModelRequest, body: bytes) -> FakeAnswer:
        await scene.gates.of("runs").wait()
        world.models.unhealthy.add(ADDRESS)
        raise ModelServerTimeout("no answer in time")

    world.models.answering = hanging
    async with world.running(world.slots.run):
        await settle_down()
        await scene.lose()
        scene.gates.of("runs").set()
        await settle_down()
        assert scene.holder("lost") == world.instance.id
        world.models.answering = scene.gates
        await scene.add_instance()
        assert scene.holder("lost") == "other"


async def test_an_idle_instance_of_another_variant_is_none_to_leave_it_to() -> None:
    scene = await _scene("lost")
    async with scene.world.running(scene.world.slots.run):
        await settle_down()
        await scene.add_instance(variant_name="another")
        await scene.lose()
        assert scene.holder("lost") == scene.world.instance.id


async def test_a_busy_instance_does_not_even_claim_what_an_idle_one_will() -> None:
    scene = await _scene("lost")
    world = scene.world
    claim, with_lost_here = world.queue.claim, []

    async def watched(instance: Instance, limit: int, *, with_lost: bool = True) -> list[Claim]:
        if instance.id == "other":
            return []  # it is about to look
        with_lost_here.append(with_lost)
        return await claim(instance, limit, with_lost=with_lost)

    async with world.running(world.slots.run):
        await settle_down()
        world.queue.claim = watched  # type: ignore[method-assign]
        await scene.add_instance()
        await scene.lose()
        assert await world.state("lost") is QUEUED
        assert set(with_lost_here) == {False}


async def test_of_two_idle_instances_one_takes_it() -> None:
    scene = await _scene("lost")
    world = scene.world
    async with world.running(world.slots.run):
        await settle_down()
        await scene.add_instance()
        scene.gates.of("runs").set()
        await settle_down()
        await scene.lose()
        assert "lost" in scene.gates.began


@asynccontextmanager
async def _slots(world: World) -> AsyncIterator[InstanceSlots]:
    """Those of one instance, at work."""
    slots = InstanceSlots(world.instance, world.queue, world.worker, world.models, world.clock, [])
    async with world.running(lambda: slots.run(world.wakeups)):
        await settle_down()
        yield slots


async def test_who_works_is_retired_or_silent_is_not_idle() -> None:
    scene = await _scene()
    async with _slots(scene.world) as slots:
        was = [slots.idle]
        scene.gates.of("runs").set()
        await settle_down()
        was.append(slots.idle)
        slots.silent = True
        was.append(slots.idle)
        slots.silent = False
        slots.retire()
        assert [*was, slots.idle] == [False, True, False, False]


async def test_who_cannot_write_down_what_it_does_is_not_idle_for_a_while() -> None:
    scene = await _scene()
    scene.world.objects.failures.append(StorageFull("no room"))
    scene.gates.of("runs").set()
    async with _slots(scene.world) as slots:
        assert not slots.idle
        scene.world.clock.advance(STORE_FULL_PAUSE_S)
        assert slots.idle


async def test_who_has_left_a_request_unanswered_is_not_idle_until_it_answers() -> None:
    scene = await _scene()

    async def hanging(request: ModelRequest, body: bytes) -> FakeAnswer:
        scene.world.models.unhealthy.add(ADDRESS)
        raise ModelServerTimeout("no answer in time")

    scene.world.models.answering = hanging
    async with _slots(scene.world) as slots:
        assert not slots.idle
        scene.world.models.unhealthy.clear()
        await scene.look()
        assert slots.idle


async def test_who_has_set_something_aside_is_not_idle_either() -> None:
    scene = await _scene("lost")
    async with _slots(scene.world) as slots:
        await scene.lose()
        assert scene.holder("lost") == scene.world.instance.id
        scene.gates.of("runs").set()
        while "lost" not in scene.gates.began:
            assert not slots.idle
            await asyncio.sleep(0)


async def test_what_has_been_given_back_for_a_stop_is_not_renewed_any_more() -> None:
    scene = await _scene("lost")
    async with _slots(scene.world) as slots:
        await scene.lose()
        runs, lost = slots.leases
        await slots.stop([lost])
        assert slots.leases == [runs]
        assert await scene.world.state("lost") is QUEUED


@pytest.mark.parametrize("error", [Throttled("busy"), StorageFull("no room")])
async def test_a_stop_of_what_is_set_aside_survives_writes_that_are_refused_and_keeps_no_other_waiting(error: Exception) -> None:
    scene = await _scene("lost")
    world = scene.world
    release, refusing = world.queue.release, True

    async def refused(lease: Lease, back: Back) -> None:
        if refusing and lease.invocation_id == "lost":
            raise error
        await release(lease, back)

    async with world.running(world.slots.run), world.running(world.sweeper.run):
        await settle_down()
        await scene.lose()
        await world.put("also", b"also")
        await scene.add_instance()
        assert (scene.holder("lost"), scene.holder("also")) == (world.instance.id, "other")
        world.queue.release = refused  # type: ignore[method-assign]
        for name in ("lost", "also"):
            await world.control.stop(name)
        await settle_down()
        refused_at = [await world.state("also"), await world.state("lost")]
        for _ in range(60):  # longer than a lease
            world.clock.advance(1)
            await settle_down(50)
        scene.gates.of("runs").set()
        await settle_down()
        refused_at.append(await world.state("lost"))
        refusing = False
        for _ in range(2):
            world.clock.advance(1)
            await settle_down()
        record = await world.record("lost")
        assert refused_at == [InvocationState.STOPPED, RUNNING, RUNNING]
        assert (record.state, record.lost_attempts) == (InvocationState.STOPPED, 1)
    assert scene.gates.began == ["runs", "also"]
