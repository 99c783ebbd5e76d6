"""Promises P1 to P4 on real processes: killed at every named point of an invocation's life.

Server and workers are one process on the embedded path, so a killed server is a killed worker. Each case ends with the checker
reading everything that has ever happened in this world: the clients' log, objects, records, notifications.
"""

from collections.abc import Iterator

import pytest
from tests.support.crash.errands import Errand
from tests.support.crash.points import EMBEDDED, SEPARATE_COMMITS, Point
from tests.support.crash.world import World

pytestmark = pytest.mark.xdist_group("crash points")

ATTEMPTS = {
    **dict.fromkeys(EMBEDDED, 2),  # an attempt was under way: it is made again
    **dict.fromkeys((Point.ACCEPTED, *SEPARATE_COMMITS, Point.PUSHING, Point.PUSHED), 1),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with World(tmp_path_factory.mktemp("crash")) as made:
        yield made


@pytest.mark.parametrize("point", [*EMBEDDED, *SEPARATE_COMMITS], ids=lambda point: point.name)
def test_a_killed_server_leaves_one_outcome(world: World, point: Point) -> None:
    if point in SEPARATE_COMMITS:
        world.crash(separate_commits=True)
    asked = world.bring_to(point)
    world.crash(separate_commits=False)
    entry = asked.result()
    world.settle()
    record = world.record(entry)
    if point is Point.INSERTED:
        assert entry.told is None
        assert record is None
    else:
        assert entry.told is not None
        assert record is not None
        assert record.attempts == ATTEMPTS[point]
    world.check()


def test_the_third_lost_attempt_fails_with_that_reason(world: World) -> None:
    world.server.held_from_the_start = (Point.STAGED,)
    entry = world.bring_to(Point.STAGED, Errand(lost=True)).result()
    for _ in range(2):
        world.crash()
        world.server.wait_reached(Point.STAGED)
    world.server.held_from_the_start = ()
    world.crash()
    world.settle()
    record = world.record(entry)
    assert record is not None
    assert (record.attempts, record.lost_attempts) == (3, 3)
    world.check()
