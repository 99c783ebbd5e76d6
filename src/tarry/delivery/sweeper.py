"""What nobody is working on any more: ended leases, expired requests, decisions that a crash left unpublished.

One pass a second. Everything it does may be done by several sweepers at once: claims are leased, publishing repeats.
"""

import structlog

from tarry.core import failure_reasons
from tarry.core.errors import DependencyError, LeaseLost, Throttled
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
            except (DependencyError, Throttled) as error:
                log.warning("the sweep could not be finished", error=str(error))
                swept = 0
            if swept < BATCH:
                await self._clock.sleep(PERIOD_S)

    async def sweep(self) -> int:
        """One pass; returns how many invocations it ended."""
        reaped = await self._queue.reap(BATCH)
        for decision in reaped.unpublished:
            await self._settlement.roll_forward(decision)
        for claim in reaped.overdue:
            await self._end(claim)
        return len(reaped.unpublished) + len(reaped.overdue)

    async def _end(self, claim: Claim) -> None:
        reason, state = _why(claim)
        try:
            await self._settlement.fail(claim, reason, state)
        except LeaseLost:
            log.info("somebody else ended it", invocation_id=claim.invocation.id)


def _why(claim: Claim) -> tuple[str, InvocationState]:
    match claim.overdue:
        case Overdue.EXPIRED:
            return failure_reasons.expired(claim.invocation), InvocationState.EXPIRED
        case Overdue.ENDPOINT_DELETED:
            return failure_reasons.endpoint_deleted(claim.invocation.endpoint_name), InvocationState.FAILED
        case _:
            return failure_reasons.lost(claim.lost_attempts), InvocationState.FAILED
