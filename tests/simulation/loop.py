"""An event loop in which a seed decides what runs next, and time passes only when nothing can run.

Whatever is ready may be run next: the seed chooses. When nothing is ready the clock jumps to the next timer. So an hour costs
nothing, and the same seed is the same run, callback by callback. Each callback belongs to the *part* of the world that asked
for it (a server process, say); a part can be held, as SIGSTOP does, and let go.

Why not a library: looptime makes asyncio's clock a fake but leaves the order as it is, and aiotools brings tools for real loops;
simloop chooses the order but needs Python 3.12, has one keeper and its own network, which ports make needless here.
"""

import asyncio
import contextvars
import heapq
import itertools
import random
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, TypeVar

T = TypeVar("T")

_part: contextvars.ContextVar["Part | None"] = contextvars.ContextVar("part", default=None)


class Part:
    """Tasks that are held, let go and ended together. What they start belongs to it too."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.held = False
        self.dead = False
        self.leaving = False
        """It is told to stop in good order."""
        self.left = False
        """It has stopped in good order."""
        self.tasks: dict[asyncio.Task[Any], None] = {}
        self._kept: list[asyncio.Handle] = []

    def spawn(self, work: Coroutine[Any, Any, T], name: str | None = None) -> asyncio.Task[T]:
        """Start a task of this part, from wherever."""
        context = contextvars.copy_context()
        context.run(_part.set, self)
        return asyncio.get_running_loop().create_task(work, name=name, context=context)

    def hold(self) -> None:
        """Run nothing of it from now on."""
        self.held = True

    def let_go(self) -> None:
        """Run on, with everything that has become due meanwhile."""
        self.held = False
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimulatedLoop)
        loop.ready += ((handle, self) for handle in self._kept)
        self._kept.clear()

    def kill(self) -> None:
        """End all its tasks. Its ports have to be dead by then: what the tasks do on their way out must reach nobody."""
        self.dead = True
        self.let_go()
        for task in list(self.tasks):
            task.cancel()

    def keep(self, handle: asyncio.Handle) -> None:
        """Put aside what was to be run while it is held."""
        self._kept.append(handle)


def task_number() -> int:
    """The number of the current task: tasks that are made later have higher ones."""
    task = asyncio.current_task()
    assert isinstance(task, _Task)
    return task.number


class _Future(asyncio.Future[Any]):
    """Hashed by number: sets of futures are then iterated in the same order in every run."""

    def __init__(self, number: int, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self._number = number

    def __hash__(self) -> int:
        return self._number


class _Task(asyncio.Task[Any]):
    """As _Future."""

    def __init__(self, number: int, work: Any, **options: Any) -> None:
        self.number = number
        super().__init__(work, **options)

    def __hash__(self) -> int:
        return self.number


class SimulatedLoop(asyncio.AbstractEventLoop):
    """As much of a loop as asyncio's own tools need, and no more. ``errors`` are the calls of the exception handler."""

    def __init__(self, chance: random.Random) -> None:
        self.ready: list[tuple[asyncio.Handle, Part | None]] = []
        self.errors: list[dict[str, Any]] = []
        self.steps = 0
        self._chance = chance
        self.numbers = itertools.count(1)
        self._now = 0.0
        self._timers: list[tuple[float, int, asyncio.TimerHandle, Part | None]] = []
        self._closed = False

    # ------------------------------------------------------------------------------------------------------------- running

    def run(self, work: Coroutine[Any, Any, T], after_each: Callable[[], None] = lambda: None) -> T:
        """Run until the coroutine has ended; ``after_each`` is called after every callback, and what it raises ends the run."""
        asyncio._set_running_loop(self)
        task = self.create_task(work)
        try:
            while not task.done():
                self._step()
                after_each()
            return task.result()  # type: ignore[no-any-return]
        except BaseException:
            task.cancel()
            while not task.done():
                self._step()
            raise
        finally:
            asyncio._set_running_loop(None)

    def _step(self) -> None:
        while not self.ready:
            self._pass_time()
        place = self._chance.randrange(len(self.ready))
        self.ready[place], self.ready[-1] = self.ready[-1], self.ready[place]
        handle, part = self.ready.pop()
        if handle.cancelled():
            return
        if part is not None and part.held:
            part.keep(handle)
            return
        self.steps += 1
        handle._run()  # what asyncio's own loops call

    def _pass_time(self) -> None:
        if not self._timers:
            raise RuntimeError("Nothing can run, now or later: a task waits for what nobody will do.")
        self._now = max(self._now, self._timers[0][0])
        while self._timers and self._timers[0][0] <= self._now:
            _, _, timer, part = heapq.heappop(self._timers)
            if not timer.cancelled():
                self.ready.append((timer, part))

    # ------------------------------------------------------------------------------------- what asyncio asks of every loop

    def time(self) -> float:
        """Seconds since the beginning of the run."""
        return self._now

    def call_soon(  # type: ignore[override] # typeshed ties the arguments to the callback
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self.ready.append((handle, _part_of(context)))
        return handle

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        return self.call_soon(callback, *args, context=context)

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + max(delay, 0.0), callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self.numbers), timer, _part_of(context)))
        return timer

    def create_future(self) -> asyncio.Future[Any]:
        return _Future(next(self.numbers), self)

    def create_task(self, coro: Any, *, name: str | None = None, context: Context | None = None) -> asyncio.Task[Any]:
        task = _Task(next(self.numbers), coro, loop=self, name=name, context=context)
        part = _part_of(context)
        if part is not None:
            part.tasks[task] = None
            task.add_done_callback(lambda done: part.tasks.pop(done, None), context=contextvars.Context())
            if part.dead:
                task.cancel()
        return task

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]
        """Threads are callbacks too: the work is done at once, at a moment that the seed chooses."""
        future: asyncio.Future[T] = self.create_future()
        self.call_soon(_work, future, func, args)
        return future

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return not self._closed

    def is_closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        self._closed = True

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.errors.append(context)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Called by a timer that is cancelled; it is left out when its time comes."""


def _part_of(context: Context | None) -> Part | None:
    return _part.get() if context is None else context.get(_part)


def _work(future: asyncio.Future[T], func: Callable[..., T], args: tuple[Any, ...]) -> None:
    try:
        result = func(*args)
    except Exception as error:  # noqa: BLE001 - it belongs to whoever waits
        if not future.done():
            future.set_exception(error)
    else:
        if not future.done():
            future.set_result(result)
