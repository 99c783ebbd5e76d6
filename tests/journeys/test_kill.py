"""Promises P1 to P3 on a server that is killed while many callers, and all of its slots, are in the middle of something."""

from pathlib import Path

import pytest
from tests.support.crash.errands import ERRANDS
from tests.support.crash.held_server import until
from tests.support.crash.world import World

INVOCATIONS = 120
ENDED_BEFORE_THE_KILL = 20


@pytest.mark.parametrize("kills", [1, pytest.param(7, marks=pytest.mark.slow)])
def test_a_kill_under_load_loses_and_doubles_nothing(tmp_path: Path, kills: int) -> None:
    with World(tmp_path) as world:
        for _ in range(kills):
            asked = [world.ask(ERRANDS[number % len(ERRANDS)]) for number in range(INVOCATIONS)]
            until(lambda: world.ended() >= ENDED_BEFORE_THE_KILL, "some to end")
            assert world.ended() < INVOCATIONS, "the kill comes too late to prove anything"
            world.crash()
            entries = [each.result() for each in asked]
            assert any(entry.told for entry in entries)
            world.settle()
            world.check()
