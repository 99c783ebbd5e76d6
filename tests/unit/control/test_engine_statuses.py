"""One look at the engine for all who watch an instance, and never one from before what they ask about."""

import asyncio

import pytest
from tests.unit.control.test_instances import SPEC

from tarry.control.engine_statuses import EngineStatuses
from tarry.ports import EngineStatus
from tarry.testing.clock import FakeClock
from tarry.testing.engine import FakeEngine


class SlowEngine(FakeEngine):
    """Counts the looks; each sees what there is at its beginning."""

    looks = 0

    async def observe(self) -> list[EngineStatus]:
        self.looks += 1
        seen = await super().observe()
        await asyncio.sleep(0)
        return seen


@pytest.fixture
async def engine() -> SlowEngine:
    engine = SlowEngine()
    await engine.start(SPEC)
    return engine


async def test_all_who_watch_share_a_look(engine: SlowEngine) -> None:
    clock = FakeClock()
    statuses = EngineStatuses(engine, clock)
    after = clock.monotonic() - 0.5
    seen = await asyncio.gather(*(statuses.of(SPEC.instance_id, after=after) for _ in range(100)))
    assert [status.exit_code for status in seen if status] == [None] * 100
    assert engine.looks == 1
    clock.advance(0.5)
    engine.end(SPEC.instance_id, 3)
    later = await statuses.of(SPEC.instance_id, after=clock.monotonic() - 0.5)
    assert later is not None
    assert (later.exit_code, engine.looks) == (3, 2)


async def test_an_instance_is_not_taken_for_the_one_before_it(engine: SlowEngine) -> None:
    clock = FakeClock()
    statuses = EngineStatuses(engine, clock)
    engine.end(SPEC.instance_id, 3)
    await statuses.of(SPEC.instance_id, after=clock.monotonic() - 0.5)
    await engine.start(SPEC)
    again = await statuses.of(SPEC.instance_id, after=clock.monotonic())
    assert again is not None
    assert again.exit_code is None


async def test_what_was_not_seen_is_looked_for(engine: SlowEngine) -> None:
    clock = FakeClock()
    statuses = EngineStatuses(engine, clock)
    after = clock.monotonic() - 0.5
    await statuses.of(SPEC.instance_id, after=after)
    await engine.stop(SPEC.instance_id)
    assert await statuses.of("i-2", after=after) is None
    assert await statuses.of(SPEC.instance_id, after=after) is None
