"""What has ended long ago goes, what has not stays."""

import asyncio
from dataclasses import replace

import pytest
from tests.support import entities as make
from tests.support.control import World
from tests.support.delivery import settle_down

from tarry.control.retention import BATCH, DAY_US, PAUSE_S, Retention
from tarry.core.endpoint import Endpoint, EndpointStatus
from tarry.core.errors import StorageFull
from tarry.core.invocation import InvocationState
from tarry.ports import Add, LogName, Replace
from tarry.testing.instance_logs import FakeInstanceLogs
from tarry.testing.invocations import FakeQueueControl


class Kept:
    """A world with endpoints and ended invocations."""

    def __init__(self, finished_days: float = 1.0, logs_days: float = 1.0) -> None:
        self.world = World()
        self.control = FakeQueueControl(self.world.queue, self.world.wakeups)
        self.logs = FakeInstanceLogs()
        self.retention = Retention(
            self.world.store, self.control, self.logs, self.world.clock, finished_days=finished_days, logs_days=logs_days
        )

    async def ended(self, *ids: str, at_us: int) -> None:
        if await self.world.store.get(Endpoint, "endpoint-e") is None:
            await self.world.store.apply(Add(make.endpoint()), Add(make.instance()), Add(make.routing()))
        for each in ids:
            await self.world.queue.put(make.invocation(each, expires_at_us=2**62), None)
            (claim,) = await self.world.queue.claim(make.instance(), 1)
            decision = make.decision(each, InvocationState.FAILED)
            outcome = replace(decision.outcome, ended_at_us=at_us)
            await self.world.queue.decide(claim.lease, replace(decision, outcome=outcome))
            await self.world.queue.finish(each)

    async def clean_up(self) -> None:
        """One round, its pauses gone through."""
        going = asyncio.create_task(self.retention.clean_up())
        while not going.done():
            await settle_down()
            self.world.clock.advance(PAUSE_S)
        await going


async def test_the_old_go_and_the_young_stay() -> None:
    kept = Kept()
    now_us = kept.world.clock.now_us()
    await kept.ended(*(f"old {n}" for n in range(BATCH + 3)), at_us=now_us - DAY_US - 1)
    await kept.ended("young", at_us=now_us)
    await kept.clean_up()
    assert list(kept.world.queue.rows) == ["young"]


async def test_for_ever_is_possible() -> None:
    kept = Kept(float("inf"))
    await kept.ended("old", at_us=0)
    await kept.clean_up()
    assert list(kept.world.queue.rows) == ["old"]


@pytest.mark.parametrize(("days_ago", "invocations", "stays"), [(2, (), False), (0.5, (), True), (2, ("1",), True)])
async def test_a_tombstone_goes_when_nothing_points_to_it(days_ago: float, invocations: tuple[str, ...], stays: bool) -> None:
    kept = Kept()
    store, now_us = kept.world.store, kept.world.clock.now_us()
    await kept.ended(*invocations, at_us=now_us)
    found = await store.get(Endpoint, "endpoint-e")
    deleted = replace(found or make.endpoint(), status=EndpointStatus.DELETED, modified_at_us=now_us - int(days_ago * DAY_US))
    await store.apply(Add(deleted) if found is None else Replace(deleted))
    await kept.clean_up()
    assert (await store.get(Endpoint, "endpoint-e") is not None) is stays


async def test_an_endpoint_that_lives_stays() -> None:
    kept = Kept()
    await kept.world.store.apply(Add(make.endpoint(modified_at_us=0)))
    await kept.clean_up()
    assert await kept.world.store.get(Endpoint, "endpoint-e") is not None


@pytest.mark.parametrize(("logs_days", "stay"), [(1.0, ["young", "there"]), (float("inf"), ["young", "old", "there"])])
async def test_logs_go_with_time_but_not_those_of_instances_that_are_there(logs_days: float, stay: list[str]) -> None:
    kept = Kept(logs_days=logs_days)
    await kept.world.store.apply(Add(make.endpoint()), Add(make.instance("there")))
    now_us = kept.world.clock.now_us()
    for instance_id, at_us in {"old": now_us - DAY_US - 1, "there": now_us - 2 * DAY_US, "young": now_us - DAY_US}.items():
        kept.logs.write(LogName(endpoint_name="E", variant_name="v", instance_id=instance_id), b"said", at_us)
    await kept.retention.discard_logs()
    assert [log.name.instance_id for log in await kept.logs.find("E")] == stay


async def test_an_error_ends_a_round_and_not_the_loop() -> None:
    kept = Kept()
    errors = [StorageFull("no room")]
    forget = kept.control.forget

    async def forget_or_fail(ended_before_us: int, limit: int) -> int:
        if errors:
            raise errors.pop()
        return await forget(ended_before_us, limit)

    kept.control.forget = forget_or_fail  # type: ignore[method-assign]
    await kept.ended("old", at_us=0)
    kept.logs.write(LogName(endpoint_name="E", variant_name="v", instance_id="gone"), b"said", 0)
    loop = asyncio.create_task(kept.retention.run())
    await settle_down()
    assert list(kept.world.queue.rows) == ["old"]
    assert await kept.logs.find("E") == [], "logs do not wait for records"
    kept.world.clock.advance(60)
    await settle_down()
    assert list(kept.world.queue.rows) == []
    loop.cancel()
    await asyncio.gather(loop, return_exceptions=True)
