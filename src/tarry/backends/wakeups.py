"""ports.Wakeups inside one process: a latch per listener.

A hint sets the latch of everybody who listens at that moment; a wait takes it down again. So a hint that comes between two
waits is kept, and many hints between two waits are one.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tarry.ports import Listener


class _Latch:
    """A Listener."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def set(self) -> None:
        self._event.set()

    async def wait(self, timeout_s: float) -> bool:
        """See ports.Listener."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._event.wait()
        except TimeoutError:
            return False
        self._event.clear()
        return True


class LocalWakeups:
    """Hints between the tasks of one event loop. ``notify`` is called in that loop."""

    def __init__(self) -> None:
        self._latches: defaultdict[str, set[_Latch]] = defaultdict(set)

    def notify(self, channel: str) -> None:
        """See ports.Wakeups."""
        for latch in self._latches.get(channel, ()):
            latch.set()

    @asynccontextmanager
    async def listen(self, channel: str) -> AsyncIterator[Listener]:
        """See ports.Wakeups."""
        latch = _Latch()
        self._latches[channel].add(latch)
        try:
            yield latch
        finally:
            latches = self._latches[channel]
            latches.discard(latch)
            if not latches:
                del self._latches[channel]
