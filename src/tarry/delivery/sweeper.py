"""What nobody is working on any more: ended leases, expired requests, decisions that a crash left unpublished.

One pass a second. Everything it does may be done by several sweepers at once: claims are leased, publishing repeats.
"""

from collections.abc import Coroutine
from typing import Any

import structlog

from tarry.core import failure_reasons
from tarry.core.errors import LeaseLost, TarryError
from tarry.core.invocation import InvocationState
from tarry.delivery.settlement import Settlement
from tarry.ports import Claim, Clock, InvocationQueue, Overdue

log = structlog.get_logger(__name__)

PERIOD_S = 1.0
BATCH = 100


class Sweeper:
    """Ends what is overdue and rolls decisions forward."""

    def __init__(self, queue: InvocationQueue, settlement: Settlement, clock: Clock) -> None:
        self._queue = queue
        self._settlement = settlement
        self._clock = clock

    async def run(self) -> None:
        """Sweep until cancelled. What fails for the world's sake is tried again in the next pass."""
        while True:
            try:
                swept = await self.sweep()
            except TarryError as error:
                log.warning("the sweep could not be finished", error=str(error))
                swept = 0
            if swept < BATCH:
                await self._clock.sleep(PERIOD_S)

    async def sweep(self) -> int:
        """One pass; returns how many invocations it ended."""
        reaped = await self._queue.reap(BATCH)
        for decision in reaped.unpublished:
            await self._one(self._settlement.roll_forward(decision), decision.invocation_id)
        for claim in reaped.overdue:
            reason, state = _why(claim)
            await self._one(self._settlement.fail(claim, reason, state), claim.invocation.id)
        return len(reaped.unpublished) + len(reaped.overdue)

    async def _one(self, work: Coroutine[Any, Any, None], invocation_id: str) -> None:
        """What goes wrong with one invocation does not hold up the others: its lease ends, and it comes again."""
        try:
            await work
        except LeaseLost:
            log.info("somebody else ended it", invocation_id=invocation_id)
        except Exception:
            log.exception("an invocation could not be ended yet", invocation_id=invocation_id)


def _why(claim: Claim) -> tuple[str, InvocationState]:
    match claim.overdue:
        case Overdue.EXPIRED:
            return failure_reasons.expired(claim.invocation), InvocationState.EXPIRED
        case Overdue.ENDPOINT_DELETED:
            return failure_reasons.endpoint_deleted(claim.invocation.endpoint_name), InvocationState.FAILED
        case _:
            return failure_reasons.lost(claim.lost_attempts), InvocationState.FAILED
