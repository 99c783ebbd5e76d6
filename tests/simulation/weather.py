"""What goes wrong between any two awaits: every call to the outside passes a gate that may delay it, fail it, or lose its answer.

A call has an effect and two ways: there and back. A process that dies on the way there has done nothing; one that dies on the
way back has done it and does not know. Errors are those that the port allows, before the effect (nothing has changed) or, where
the port says that a call may be repeated, after it.
"""

import asyncio
import random
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tests.simulation.loop import Part

from tarry.core.errors import PublishError, StorageFull, TarryError, Throttled
from tarry.ports import Listener
from tarry.testing.wakeups import FakeWakeups

T = TypeVar("T")
MakeError = Callable[[], TarryError]


def full() -> TarryError:
    """The disk has no room."""
    return StorageFull("The disk is full (simulated).")


def throttled() -> TarryError:
    """Too much at once."""
    return Throttled("Too much at once (simulated).")


def topic_unreachable() -> TarryError:
    """The topic does not answer."""
    return PublishError("The topic cannot be reached (simulated).", permanent=False)


@dataclass(slots=True)
class Weather:
    """How bad the world is now; every number is a chance from 0 to 1, ``slow_s`` a number of seconds."""

    error: float = 0.0
    late_error: float = 0.0
    slow: float = 0.0
    slow_s: float = 0.0
    hint_lost: float = 0.0
    hint_twice: float = 0.0
    twice: float = 0.0
    disk_full: bool = False
    store_down: bool = False
    topics_down: bool = False

    def take(self, other: "Weather") -> None:
        """Be as bad as the other one from now on."""
        for name in self.__slots__:
            setattr(self, name, getattr(other, name))

    def clear(self) -> None:
        """Nothing goes wrong from now on."""
        self.error = self.late_error = self.slow = self.hint_lost = self.hint_twice = self.twice = 0.0
        self.disk_full = self.store_down = self.topics_down = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Manners:
    """How a port's method may fail. ``durable``: once asked, it is done even if the asker is cancelled, as a write in a queue."""

    errors: tuple[MakeError, ...] = ()
    late: tuple[MakeError, ...] = ()
    durable: bool = False
    grows: bool = False
    """It needs room on the disk."""
    on_store: bool = False
    on_topic: bool = False
    repeats: bool = False
    """Anybody may do it again: sometimes it is done twice."""


READS = frozenset(
    {
        "store.find",
        "store.get",
        "store.named",
        "store.page",
        "outbox.due",
        "records.history",
        "records.named",
        "records.page",
        "records.place",
        "records.queue",
        "records.body",
        "objects.open",
        "models.ping",
        "engine.observe",
        "engine.log_tail",
    }
)
"""Calls that change nothing."""


@dataclass(slots=True)
class Gate:
    """Where the calls of one part pass. ``on_call`` hears of each call, right before its effect; ``on_change`` of each change.

    ``manners`` are those of methods (``store.apply``) and, for all others of a port, those of the port (``queue``).
    """

    part: Part
    weather: Weather
    chance: random.Random
    on_call: Callable[[Part, str, tuple[Any, ...], Mapping[str, Any]], None]
    on_change: Callable[[Part], None]
    manners: Mapping[str, Manners] = field(default_factory=dict)

    async def call(self, name: str, effect: Callable[[], Coroutine[Any, Any, T]], args: Any = (), options: Any = None) -> T:
        """Carry a call there, let it take effect, carry its answer back."""
        self.require_life()
        manners = self.manners.get(name) or self.manners.get(name.partition(".")[0], Manners())
        work = self._carry(name, manners, effect, args, options or {})
        if not manners.durable:
            return await work
        return await asyncio.shield(self.part.spawn(work, name))

    def require_life(self) -> None:
        """A dead process does nothing."""
        if self.part.dead:
            raise asyncio.CancelledError

    async def way(self) -> None:
        """One way: a turn of the loop at least, seconds at worst."""
        if self.weather.slow and self.chance.random() < self.weather.slow:
            await asyncio.sleep(self.chance.random() * self.weather.slow_s)
        else:
            await asyncio.sleep(self.chance.choice((0, 0, 0.001, 0.01, 0.05)))
        self.require_life()

    async def _carry(
        self, name: str, manners: Manners, effect: Callable[[], Coroutine[Any, Any, T]], args: Any, options: Any
    ) -> T:
        await self.way()
        if (error := self._error(manners)) is not None:
            raise error
        self.on_call(self.part, name, args, options)
        result = await effect()
        if name not in READS:
            self.on_change(self.part)
        if manners.repeats and self.chance.random() < self.weather.twice:
            await self.way()
            await effect()
            self.on_change(self.part)
        await self.way()
        if manners.late and self.chance.random() < self.weather.late_error:
            make_error = self.chance.choice(manners.late)
            raise make_error()
        return result

    def _error(self, manners: Manners) -> TarryError | None:
        weather = self.weather
        if manners.grows and weather.disk_full:
            return full()
        if manners.on_store and weather.store_down:
            return throttled()
        if manners.on_topic and weather.topics_down:
            return topic_unreachable()
        if manners.errors and self.chance.random() < weather.error:
            return self.chance.choice(manners.errors)()
        return None


class StormyWakeups:
    """ports.Wakeups of one server: a hint may be lost, come twice, or come late."""

    def __init__(self, weather: Weather, chance: random.Random) -> None:
        self._weather = weather
        self._chance = chance
        self._inner = FakeWakeups()

    def notify(self, channel: str) -> None:
        """See ports.Wakeups."""
        if self._chance.random() < self._weather.hint_lost:
            return
        times = 2 if self._chance.random() < self._weather.hint_twice else 1
        loop = asyncio.get_running_loop()
        for _ in range(times):
            loop.call_later(self._chance.choice((0, 0.01, 0.5)), self._inner.notify, channel)

    def listen(self, channel: str) -> AbstractAsyncContextManager[Listener]:
        """See ports.Wakeups."""
        return self._inner.listen(channel)
