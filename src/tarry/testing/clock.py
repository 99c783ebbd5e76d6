"""A clock that only moves when the test says so."""

import asyncio


class FakeClock:
    """ports.Clock. Wall time and monotonic time move together, by ``advance``; ``sleep`` ends when its time has come."""

    def __init__(self, now_us: int = 1_750_000_000_000_000) -> None:
        self._start_us = now_us
        self._now_us = now_us
        self._sleepers: list[tuple[int, asyncio.Future[None]]] = []

    def now_us(self) -> int:
        """See ports.Clock."""
        return self._now_us

    def monotonic(self) -> float:
        """See ports.Clock: seconds since this clock was made."""
        return (self._now_us - self._start_us) / 1_000_000

    async def sleep(self, seconds: float) -> None:
        """See ports.Clock."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future = asyncio.get_running_loop().create_future()
        self._sleepers.append((self._now_us + int(seconds * 1_000_000), future))
        await future

    def set_wall(self, seconds: float) -> None:
        """Set the wall time forward or (below zero) back, as an operator or NTP does: no time passes, nobody wakes."""
        step_us = int(seconds * 1_000_000)
        self._now_us += step_us
        self._start_us += step_us
        self._sleepers = [(until_us + step_us, future) for until_us, future in self._sleepers]

    def advance(self, seconds: float) -> None:
        """Let time pass, and wake those whose sleep is over (they run when the caller next awaits)."""
        self._now_us += int(seconds * 1_000_000)
        due = [future for until_us, future in self._sleepers if until_us <= self._now_us]
        self._sleepers = [sleeper for sleeper in self._sleepers if sleeper[0] > self._now_us]
        for future in due:
            if not future.done():
                future.set_result(None)

    @property
    def sleepers(self) -> int:
        """How many sleep now: lets a test wait until a loop has come to rest."""
        return sum(1 for _, future in self._sleepers if not future.done())
