"""Giving an invocation back to the queue, also while nothing can be written: what is full for results is full for the queue too.

A lease that is not given back is found by the sweeper when it has run out, and then it looks as if the process had died. So
whoever gives up a lease in good order, or has a death to report, tries for as long as that may help.
"""

import structlog

from tarry.core.errors import StorageFull, Throttled
from tarry.ports import Back, Clock, InvocationQueue, Lease

log = structlog.get_logger(__name__)

PAUSE_S = 1.0
LEAVING_TRIES_MAX = 5
"""A process that stops does not wait for a full disk for ever."""


async def give_back(queue: InvocationQueue, clock: Clock, lease: Lease, back: Back, *, tries_max: int | None = None) -> None:
    """Release the lease, as often as it takes, or ``tries_max`` times; then the lease is left to run out."""
    tries = 0
    while True:
        try:
            return await queue.release(lease, back)
        except (StorageFull, Throttled) as error:
            tries += 1
            if tries == tries_max:
                log.warning("a request could not be given back", invocation_id=lease.invocation_id, error=str(error))
                return None
            await clock.sleep(PAUSE_S)
