"""Tests of topics alone: their result reaches the row whatever else writes there meanwhile."""

import asyncio
from dataclasses import replace
from uuid import UUID

import pytest
from tests.support.control import TOPIC, World, a_deployment

from tarry.control.topic_tests import TopicTests
from tarry.core.deployment import Deployment, DeploymentState
from tarry.core.errors import Conflict
from tarry.ports import Add, Change, Replace


async def test_a_row_that_changed_meanwhile_is_read_and_written_again(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    await world.store.apply(Add(a_deployment("d1", success_topic=TOPIC, topics_tests_wanted=2)))
    row = await world.store.get(Deployment, "d1")
    assert row is not None
    apply, conflicts = world.store.apply, 2

    async def raced(*changes: Change) -> None:
        nonlocal conflicts
        if conflicts:
            conflicts -= 1
            before = await world.store.get(Deployment, "d1")
            assert before is not None
            await apply(Replace(replace(before, state=DeploymentState.ACTIVE)))
            raise Conflict("somebody else was first")
        await apply(*changes)

    monkeypatch.setattr(world.store, "apply", raced)
    tests = TopicTests(world.store, world.notifier, world.clock, world.wakeups)
    tests.begin(row)
    for _ in range(100):
        await asyncio.sleep(0)
    await tests.close()
    after = await world.store.get(Deployment, "d1")
    assert after is not None
    assert (after.topics_tested, after.failure_reason, after.state) == (2, None, DeploymentState.ACTIVE)
    assert (conflicts, world.notifier.calls) == (0, 1)


async def test_a_test_message_has_an_id_that_repeats_share_and_others_do_not() -> None:
    world = World()
    ids: list[str] = []
    for deployment, wanted in (("d1", 1), ("d1", 1), ("d1", 2), ("d2", 1)):
        tests = TopicTests(world.store, world.notifier, world.clock, world.wakeups)
        tests.begin(a_deployment(deployment, success_topic=TOPIC, error_topic=TOPIC, topics_tests_wanted=wanted))
        for _ in range(100):
            await asyncio.sleep(0)
        await tests.close()
        ids = [note.id for note in world.notifier.published]
    assert len(ids) == len(set(ids)) == 6, "two of each deployment's tests, and nothing for the repeat"
    assert all(str(UUID(each)) == each for each in ids)
