"""Promises P1 to P4 over and over: each iteration brings some invocations to points of its seed's choice, then kills or pauses.

The summary of the run tells the seeds; ``CRASH_SEED=SEED`` makes the same choices again.
"""

import os
import random
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.crash.errands import ERRANDS, LARGE, LARGE_REFUSED, Errand
from tests.support.crash.held_server import until
from tests.support.crash.points import Point
from tests.support.crash.world import World

LOOPS = 10
KILLS, MODEL_KILLS, PAUSES = 70, 30, 15
"""Iterations of each loop: 1,150 in all."""
TOLD_LAST = (Point.PUSHED, Point.PUSHING)
OF_THE_OUTBOX = (Point.FINISHED, Point.HANDED_OVER)
UNDER_WAY = (Point.DOWNLOADING, Point.INFERRING, Point.STAGING, Point.STAGED)
BETWEEN_COMMITS = (Point.DECIDED, Point.PUBLISHED)
LAST = (Point.INSERTED, Point.DECIDING, Point.CLAIMED)
"""Writing, or claiming, stands still there: nothing else can be brought anywhere afterwards."""


class Loop:
    """The choices of one seed, and what was done."""

    def __init__(self, world: World, seed: str) -> None:
        self.world = world
        self.random = random.Random(seed)
        self.points: Counter[str] = Counter()
        self.iterations = 0

    def bring_somewhere(self, last: tuple[Point, ...] = (*LAST, Point.ACCEPTED)) -> list[Point]:
        """Some errands that run freely, and some that are held. In an order in which no hold keeps another from its point."""
        for _ in range(self.random.randrange(6)):
            self.world.ask(self.random.choice(ERRANDS))
        separate = self.world.server.separate_commits
        points = self._choose((*TOLD_LAST, *OF_THE_OUTBOX) if separate else TOLD_LAST, 1)
        points += self._choose((*UNDER_WAY, *BETWEEN_COMMITS) if separate else UNDER_WAY, 4)
        if self.random.random() < 0.5:
            points.append(self.random.choice(last))
        points = points or [Point.STAGED]
        for point in points:
            self.world.bring_to(point, self._errand(point))
        self.points.update(point.name for point in points)
        self.iterations += 1
        return points

    def _choose(self, points: tuple[Point, ...], count_max: int) -> list[Point]:
        return self.random.sample(points, self.random.randint(0, count_max))

    def _errand(self, point: Point) -> Errand:
        """Any that comes by this point; those that only large answers make interesting get one."""
        if point in {Point.DOWNLOADING, Point.INFERRING, Point.STAGING, *BETWEEN_COMMITS}:
            return self.random.choice([LARGE, LARGE_REFUSED])
        return self.random.choice([errand for errand in ERRANDS if errand.body is not None])


def _run(world: World, tell: Callable[[str], None], iterations: int, iterate: Callable[[Loop], None]) -> None:
    seed = os.environ.get("CRASH_SEED") or f"{random.SystemRandom().randrange(2**32)}"
    loop = Loop(world, seed)
    try:
        with world:
            world.crash(separate_commits=loop.random.random() < 0.3)
            for _ in range(iterations):
                iterate(loop)
                world.settle()
                world.check()
    finally:
        points = " ".join(f"{name} {count}" for name, count in loop.points.most_common())
        tell(f"CRASH_SEED={seed}, {loop.iterations} iterations, held at {loop.points.total()} points: {points}")


def _kill_server(loop: Loop) -> None:
    loop.bring_somewhere()
    loop.world.crash(separate_commits=loop.random.random() < 0.3)


def _kill_model_servers(loop: Loop) -> None:
    world = loop.world
    until(lambda: world.instances_alive() >= 1, "a model server")
    points = loop.bring_somewhere(LAST)  # ACCEPTED waits for the claims of all instances, and dead ones claim nothing
    for pid in world.server.model_servers().values():
        if loop.random.random() < 0.6:
            os.kill(pid, signal.SIGKILL)
    for point in loop.random.sample(points, len(points)):
        world.let_go(point)


def _pause_server(loop: Loop) -> None:
    points = loop.bring_somewhere()
    loop.world.server.stand_still()
    loop.world.outlast_leases()
    loop.world.server.resume()
    for point in loop.random.sample(points, len(points)):
        loop.world.let_go(point)


def _loops(iterations: int) -> list[object]:
    """One short loop in each run, the others in the long one."""
    slow = [pytest.param(iterations, marks=[pytest.mark.slow, pytest.mark.timeout(1800)], id=f"loop{n}") for n in range(LOOPS)]
    return [pytest.param(3, id="short"), *slow]


@pytest.mark.parametrize("iterations", _loops(KILLS))
def test_killed_servers(tmp_path: Path, tell: Callable[[str], None], iterations: int) -> None:
    _run(World(tmp_path), tell, iterations, _kill_server)


@pytest.mark.parametrize("iterations", _loops(MODEL_KILLS)[1:])
def test_killed_model_servers(tmp_path: Path, tell: Callable[[str], None], iterations: int) -> None:
    _run(World(tmp_path, instances=3), tell, iterations, _kill_model_servers)


@pytest.mark.parametrize("iterations", _loops(PAUSES)[1:])
def test_paused_servers(tmp_path: Path, tell: Callable[[str], None], iterations: int) -> None:
    _run(World(tmp_path, lease_s=3.0), tell, iterations, _pause_server)
