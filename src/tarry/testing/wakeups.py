"""Hints that a test can look at."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tarry.ports import Listener


class _FakeListener:
    def __init__(self) -> None:
        self.hinted = asyncio.Event()

    async def wait(self, timeout_s: float) -> bool:
        try:
            async with asyncio.timeout(timeout_s):
                await self.hinted.wait()
        except TimeoutError:
            return False
        self.hinted.clear()
        return True


class FakeWakeups:
    """ports.Wakeups. ``hints`` lists the channels in the order in which they were notified."""

    def __init__(self) -> None:
        self.hints: list[str] = []
        self._listeners: list[tuple[str, _FakeListener]] = []

    def notify(self, channel: str) -> None:
        """See ports.Wakeups."""
        self.hints.append(channel)
        for of, listener in self._listeners:
            if of == channel:
                listener.hinted.set()

    @asynccontextmanager
    async def listen(self, channel: str) -> AsyncIterator[Listener]:
        """See ports.Wakeups."""
        entry = (channel, _FakeListener())
        self._listeners.append(entry)
        try:
            yield entry[1]
        finally:
            self._listeners.remove(entry)
