"""One run of one seed, and what came of it."""

import asyncio
import gc
import random
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import structlog
from tests.simulation.durable import COMPLETED_TOPIC, FAILED_TOPIC, Durable, Terms
from tests.simulation.durable_fake import FakeDurable
from tests.simulation.durable_sql import SqlDurable
from tests.simulation.inline_database import Disk
from tests.simulation.judge import Judge, Violation
from tests.simulation.loop import Part, SimulatedLoop
from tests.simulation.machines import Machines
from tests.simulation.plan import Plan, draw
from tests.simulation.scene import Scene
from tests.simulation.server import World
from tests.simulation.trace import Trace
from tests.simulation.weather import Weather

from tarry.core.errors import Bug, TarryError
from tarry.testing.ids import FakeIds
from tarry.testing.notifier import FakeNotifier

BACKENDS = ("fake", "sql")
START_US = 1_750_000_000_000_000
_MEMORY = Path("/dev/shm")


class LoopClock:
    """ports.Clock on the simulated loop: its time is the only one. The shipped FakeClock has sleepers of its own."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self._loop = loop
        self._set_by_s = 0.0

    def now_us(self) -> int:
        """See ports.Clock."""
        return START_US + round((self._loop.time() + self._set_by_s) * 1_000_000)

    def monotonic(self) -> float:
        """See ports.Clock."""
        return self._loop.time()

    async def sleep(self, seconds: float) -> None:
        """See ports.Clock."""
        await asyncio.sleep(seconds)

    def set_wall(self, seconds: float) -> None:
        """Set the wall time forward or (below zero) back, as an operator or NTP does."""
        self._set_by_s += seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How a run ended. ``error`` is None where every promise was kept; ``states`` counts the invocations by their last state."""

    seed: int
    backend: str
    error: Exception | None
    trace: Trace
    steps: int
    states: Mapping[str, int]


class Runner:
    """Runs seeds, one after another; what they can share is made once."""

    def __init__(self) -> None:
        self._disk = Disk()
        gc.freeze()  # what there is already is not looked through after each run

    def run(self, seed: int, backend: str) -> Result:
        """Run a seed against a backend."""
        gc.collect()
        gc.disable()  # so that nothing is finalized at a moment of its own
        try:
            with TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None) as directory:
                return _Run(seed, backend, self._disk, Path(directory)).play()
        finally:
            gc.enable()

    def close(self) -> None:
        """Forget what is shared."""
        gc.unfreeze()
        self._disk.close()


class _Run:
    def __init__(self, seed: int, backend: str, disk: Disk, directory: Path) -> None:
        self._seed = seed
        self._backend = backend
        self._loop = SimulatedLoop(random.Random(f"order {seed}"))  # type: ignore[abstract] # typeshed; it has what is asked of it
        self._trace = Trace(self._loop.time)
        self._changed_by: Part | None = None
        self._problems: list[Violation] = []
        self._plan = draw(seed)
        self._world = self._make_world(disk, directory)

    def play(self) -> Result:
        """The run."""
        scene = Scene(self._plan, self._world, random.Random(f"scene {self._seed}"), self._trace.note)
        error: Exception | None = None
        structlog.configure(processors=[self._log], logger_factory=structlog.ReturnLoggerFactory())
        try:
            self._loop.run(scene.play(), self._after_step)
        except Exception as caught:  # noqa: BLE001 - it is the run's result
            error = caught
            self._trace.note(f"{type(caught).__name__}: {caught}")
        finally:
            self._loop.run(scene.end())
            self._loop.close()
            structlog.reset_defaults()
        return Result(
            seed=self._seed,
            backend=self._backend,
            error=error,
            trace=self._trace,
            steps=self._loop.steps,
            states=Counter(row.state for row in self._world.judge.rows.values()),
        )

    def _make_world(self, disk: Disk, directory: Path) -> World:
        plan, clock, ids = self._plan, LoopClock(self._loop), FakeIds(self._seed)
        chance = random.Random(f"faults {self._seed}")
        terms = Terms(
            clock=clock,
            ids=ids,
            chance=chance,
            lease_s=plan.lease_s,
            queued_max=plan.queued_max,
            finished_s=plan.finished_s,
            on_commit=self._on_change,
        )
        durable, machines = self._durable(terms, plan, disk, directory), Machines()
        return World(
            durable=durable,
            judge=Judge(durable, machines, terms, self._loop.numbers),
            machines=machines,
            notifier=FakeNotifier(COMPLETED_TOPIC, FAILED_TOPIC),
            weather=Weather(),
            set_wall=clock.set_wall,
            terms=terms,
            on_call=self._on_call,
            on_change=self._on_change,
        )

    def _durable(self, terms: Terms, plan: Plan, disk: Disk, directory: Path) -> Durable:
        if self._backend == "fake":
            return FakeDurable(terms, one_commit=plan.one_commit)
        return SqlDurable(terms, disk, directory if plan.one_commit else None)

    # ------------------------------------------------------------------------------------------------- who looks when

    def _on_call(self, part: Part, name: str, args: tuple[Any, ...], options: Mapping[str, Any]) -> None:
        self._trace.called(part, name, args, options)
        try:
            self._world.judge.called(part, name, args)
        except Violation as violation:  # it ends the run, and is no business of whoever called
            self._problems.append(violation)

    def _on_change(self, part: Part) -> None:
        self._changed_by = part

    def _after_step(self) -> None:
        if self._changed_by is not None:
            part, self._changed_by = self._changed_by, None
            self._world.judge.look(part)
        if self._loop.errors:
            self._read_errors()
        if self._problems:
            raise self._problems[0]

    def _read_errors(self) -> None:
        """What asyncio reports: the errors of tasks that nobody has asked for their result."""
        for context in self._loop.errors:
            error = context.get("exception")
            self._trace.note(f"unseen: {context['message']}: {error!r}")
            if not isinstance(error, TarryError | None):
                self._problems.append(Violation(f"an error that nobody looked at: {error!r}"))
        self._loop.errors.clear()

    def _log(self, _logger: Any, level: str, event: Any) -> Any:
        """What the product logs goes into the trace; an error that is not one of the world's ends the run."""
        error = event.pop("exc_info", None)
        if error is True:
            error = sys.exc_info()[1]
        self._trace.note(f"log {level}: {event}{'' if error is None else f' {error!r}'}")
        foreseen = error is None or (isinstance(error, TarryError) and not isinstance(error, Bug))
        if not foreseen:
            self._problems.append(Violation(f"an error in the program: {event['event']}: {error!r}"))
        raise structlog.DropEvent
