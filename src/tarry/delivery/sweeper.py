"""What nobody is working on any more: ended leases, unwanted requests, decisions that a crash left unpublished.

Unwanted are those that have expired, were lost too often, are to be stopped, or whose endpoint is gone. One pass a second, and
one at each hint that something is to be stopped. Everything it does may be done by several sweepers at once: claims are
leased, publishing repeats.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import structlog

from tarry.core import failure_reasons
from tarry.core.errors import RaceError, StopRequested, TarryError
from tarry.core.invocation import InvocationState
from tarry.delivery.settlement import Settlement
from tarry.delivery.work import Work
from tarry.ports import CHANNEL_STOPS, Claim, Clock, InvocationQueue, Overdue, Wakeups

log = structlog.get_logger(__name__)

PERIOD_S = 1.0
STOPS_WAIT_S = 60.0
BATCH = 100


class Sweeper:
    """Ends what is overdue and rolls decisions forward."""

    def __init__(
        self,
        queue: InvocationQueue,
        settlement: Settlement,
        clock: Clock,
        wakeups: Wakeups,
        renew: Callable[[], Awaitable[None]],
    ) -> None:
        """``renew`` renews what this process holds, before each pass; where it fails, nothing is swept.

        A process that was paused, or whose clock was moved, must not take its own ended leases for those of the dead.
        """
        self._renew = renew
        self._queue = queue
        self._settlement = settlement
        self._clock = clock
        self._wakeups = wakeups

    async def run(self) -> None:
        """Sweep until cancelled. What fails for the world's sake is tried again in the next pass."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._sweep_for_ever())
            group.create_task(self._sweep_at_stops())

    async def _sweep_for_ever(self) -> None:
        while True:
            if await self._sweep_or_say_why() < BATCH:
                await self._clock.sleep(PERIOD_S)

    async def _sweep_at_stops(self) -> None:
        async with self._wakeups.listen(CHANNEL_STOPS) as stops:
            while True:
                if await stops.wait(STOPS_WAIT_S):
                    await self._sweep_or_say_why()

    async def _sweep_or_say_why(self) -> int:
        try:
            await self._renew()
            return await self.sweep()
        except TarryError as error:
            log.warning("the sweep could not be finished", error=str(error))
            return 0

    async def sweep(self) -> int:
        """One pass; returns how many invocations it ended."""
        reaped = await self._queue.reap(BATCH)
        ends = [self._one(self._settlement.roll_forward(each), each.invocation_id) for each in reaped.unpublished]
        ends += [self._one(self._end(claim), claim.invocation.id) for claim in reaped.overdue]
        await asyncio.gather(*ends)  # together: they share commits
        return len(reaped.unpublished) + len(reaped.overdue)

    async def _end(self, claim: Claim) -> None:
        work = Work(claim)
        try:
            await self._end_as_found(work)
        except StopRequested:  # it came after the look, and is the last word
            await self._settlement.stop(work)

    async def _end_as_found(self, work: Work) -> None:
        invocation = work.claim.invocation
        match work.claim.overdue:
            case Overdue.STOPPED:
                await self._settlement.stop(work)
            case Overdue.EXPIRED:
                await self._settlement.fail(work, failure_reasons.expired(invocation), InvocationState.EXPIRED)
            case Overdue.ENDPOINT_DELETED:
                await self._settlement.fail(work, failure_reasons.endpoint_deleted(invocation.endpoint_name))
            case _:
                await self._settlement.lose(work)

    async def _one(self, work: Coroutine[Any, Any, None], invocation_id: str) -> None:
        """What goes wrong with one invocation does not hold up the others: its lease ends, and it comes again."""
        try:
            await work
        except RaceError:
            log.info("somebody else ended it, or wants another end for it", invocation_id=invocation_id)
        except Exception:
            log.exception("an invocation could not be ended yet", invocation_id=invocation_id)
