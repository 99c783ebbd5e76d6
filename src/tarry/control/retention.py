"""What has ended is not kept for ever: records of invocations, tombstones of endpoints that nothing points to, logs of instances.

In small batches with pauses, so that nobody waits behind a clean-up. Objects in S3 are the caller's and are never touched.
"""

import structlog

from tarry.core.endpoint import Endpoint, EndpointStatus
from tarry.core.errors import Conflict, TarryError
from tarry.core.history import InvocationRecord
from tarry.core.instance import Instance
from tarry.ports import Clock, InstanceLogs, QueueControl, Remove, Store

log = structlog.get_logger(__name__)

PERIOD_S = 60.0
BATCH = 200
PAUSE_S = 0.05
DAY_US = 86_400_000_000


class Retention:
    """Forgets what ended more than so many days ago; infinity: nothing."""

    def __init__(
        self, store: Store, control: QueueControl, logs: InstanceLogs, clock: Clock, *, finished_days: float, logs_days: float
    ) -> None:
        self._store = store
        self._control = control
        self._logs = logs
        self._clock = clock
        self._finished_days = finished_days
        self._logs_days = logs_days

    async def run(self) -> None:
        """Clean up from time to time, until cancelled. What fails for the world's sake is tried again the next time."""
        while True:
            for clean in (self.clean_up, self.discard_logs):
                try:
                    await clean()
                except (TarryError, OSError) as error:
                    log.warning("the clean-up could not be finished", error=str(error))
            await self._clock.sleep(PERIOD_S)

    async def clean_up(self) -> int:
        """One round of records; returns how many invocations it forgot."""
        if self._finished_days == float("inf"):
            return 0
        horizon_us = self._clock.now_us() - int(self._finished_days * DAY_US)
        count = 0
        while forgotten := await self._control.forget(horizon_us, BATCH):
            count += forgotten
            await self._clock.sleep(PAUSE_S)
        await self._remove_tombstones(horizon_us)
        if count:
            log.info("records of finished invocations removed", count=count, older_than_days=self._finished_days)
        return count

    async def discard_logs(self) -> None:
        """Remove the logs of instances that ended long ago. Those that there still are keep theirs, however silent they are."""
        if self._logs_days == float("inf"):
            return
        horizon_us = self._clock.now_us() - int(self._logs_days * DAY_US)
        there = {instance.id for instance in await self._store.find(Instance)}
        if count := await self._logs.discard(horizon_us, there):
            log.info("logs of ended instances removed", count=count, older_than_days=self._logs_days)

    async def _remove_tombstones(self, horizon_us: int) -> None:
        for endpoint in await self._store.find(Endpoint, status=EndpointStatus.DELETED):
            if endpoint.modified_at_us >= horizon_us:
                continue
            if await self._store.find(InvocationRecord, endpoint_id=endpoint.id, limit=1):
                continue
            try:
                await self._store.apply(Remove(endpoint))
            except Conflict:
                continue
