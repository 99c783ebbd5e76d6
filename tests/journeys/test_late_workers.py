"""Promises P2 and P4 on processes that stand still (SIGSTOP) for longer than a lease and then go on, or that die alone.

Six instances with one slot each: five are held in the middle of an attempt, the last one makes those attempts anew.
"""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.crash.errands import REFUSED, SMALL
from tests.support.crash.held_server import kill, pause, until
from tests.support.crash.points import Point
from tests.support.crash.world import World

pytestmark = pytest.mark.xdist_group("late workers")

ATTEMPTS_UNDER_WAY = (Point.DOWNLOADING, Point.INFERRING, Point.STAGING, Point.STAGED, Point.CLAIMED)
"""In this order: a claim that is held holds the slot of its instance too."""
LATE = 'event="lease lost, the attempt is dropped"'


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with World(tmp_path_factory.mktemp("late"), lease_s=5.0, instances=len(ATTEMPTS_UNDER_WAY) + 1, concurrency=1) as made:
        yield made


@pytest.fixture
def patient(tmp_path: Path) -> Iterator[World]:
    """One whose leases last: nobody renews that of a claim which is held, as nobody has it yet."""
    with World(tmp_path, lease_s=120.0, instances=len(ATTEMPTS_UNDER_WAY) + 1, concurrency=1) as made:
        yield made


@pytest.fixture
def whole(world: World) -> None:
    """Each test begins with all model servers alive."""
    until(lambda: world.instances_alive() == world.instances, "the killed model servers to be replaced")


@pytest.mark.usefixtures("whole")
def test_a_server_that_stood_still_for_longer_than_a_lease_cannot_publish_late(world: World) -> None:
    world.bring_to(Point.PUSHED, SMALL)
    world.bring_to(Point.PUSHING, REFUSED)  # the other topic: what is held above holds up only its own
    under_way = [world.bring_to(point).result() for point in ATTEMPTS_UNDER_WAY]
    world.bring_to(Point.ACCEPTED, claiming=1)
    world.server.hold(Point.RENEWING)
    world.server.wait_reached(Point.RENEWING)
    world.bring_to(Point.INSERTED)

    world.server.stand_still()
    world.outlast_leases()
    world.server.resume()
    for point in (Point.INSERTED, Point.PUSHING, Point.PUSHED):
        world.let_go(point)

    # The sixth instance takes the oldest of the five. While it has it, the late one comes with its answer.
    until(lambda: sum(record.lost_attempts for record in world.records()) == len(under_way), "the leases to be taken away")
    world.server.hold(Point.CLAIMED)
    world.let_go(Point.ACCEPTED)
    world.server.wait_reached(Point.CLAIMED, 2)
    oldest, *others = ATTEMPTS_UNDER_WAY
    assert [record.attempts for entry in under_way if (record := world.record(entry))] == [2, 1, 1, 1, 1]
    world.let_go(oldest)
    _wait_refused(world, 1)

    # It makes all attempts anew; now the other late ones come, for what has ended.
    world.let_go(Point.CLAIMED)
    world.settle()
    for point in others:
        world.let_go(point)
    _wait_refused(world, len(under_way))
    world.server.go(Point.RENEWING)
    assert [record.attempts for entry in under_way if (record := world.record(entry))] == [2] * len(under_way)
    world.check()


def _wait_refused(world: World, count: int) -> None:
    until(lambda: world.server.log.read_text().count(LATE) == count, f"{count} late ones to be refused")


@pytest.mark.usefixtures("whole")
def test_a_model_server_may_stand_still_for_longer_than_a_lease(world: World) -> None:
    entry = world.bring_to(Point.INFERRING).result()
    model_server = world.model_server_of(entry)
    pause(model_server)
    try:
        world.outlast_leases()
    finally:
        os.kill(model_server, signal.SIGCONT)
    world.let_go(Point.INFERRING)
    world.settle()
    record = world.record(entry)
    assert record is not None
    assert record.attempts == 1  # the server has renewed the lease all the time
    world.check()


def test_killed_model_servers_leave_one_outcome_each(patient: World) -> None:
    world = patient
    entries = {point: world.bring_to(point).result() for point in ATTEMPTS_UNDER_WAY}
    for entry in entries.values():
        kill(world.model_server_of(entry))
    for point in ATTEMPTS_UNDER_WAY:
        world.let_go(point)
    world.settle()
    lost = {point: record.lost_attempts for point, entry in entries.items() if (record := world.record(entry))}
    assert lost.pop(Point.STAGING) in {0, 1}  # what was left of its answer may have been in the sockets already
    assert lost == {Point.CLAIMED: 0, Point.DOWNLOADING: 1, Point.INFERRING: 1, Point.STAGED: 0}
    world.check()
