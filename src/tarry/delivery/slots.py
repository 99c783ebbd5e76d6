"""Which instances work: one loop for each that is InService, and the renewal of every lease that is held.

What is claimable follows from the database alone: instance rows say who may work and how much at once, the routing says on
which buckets. An instance that leaves InService claims nothing more; what it has in flight ends by itself (a drain) or by
the death of its connection.
"""

import asyncio

import structlog

from tarry.core.errors import TarryError
from tarry.core.instance import Instance, InstanceState
from tarry.delivery.instance_slots import POLL_S, InstanceSlots
from tarry.delivery.worker import Attempted, Worker
from tarry.ports import CHANNEL_ENDPOINTS, CHANNEL_STOPS, Clock, InvocationQueue, ModelServer, Store, Wakeups, channel_queue

log = structlog.get_logger(__name__)

RENEWALS_A_LEASE = 3
"""A lease is renewed so often before it would end: two renewals may fail."""

STOPS_WAIT_S = 60.0


class Slots:
    """All instances of this delivery process. ``lease_s`` is how long a lease lasts without being renewed."""

    def __init__(  # noqa: PLR0913, PLR0917 - it connects ports
        self,
        store: Store,
        queue: InvocationQueue,
        worker: Worker,
        models: ModelServer,
        clock: Clock,
        wakeups: Wakeups,
        lease_s: float,
    ) -> None:
        self._store = store
        self._queue = queue
        self._worker = worker
        self._models = models
        self._clock = clock
        self._wakeups = wakeups
        self._renew_every_s = lease_s / RENEWALS_A_LEASE
        self._slots: dict[str, InstanceSlots] = {}
        self._loops: dict[str, asyncio.Task[None]] = {}
        self._draining = False

    async def run(self) -> None:
        """Follow the instance rows and renew leases, until cancelled."""
        async with self._wakeups.listen(CHANNEL_ENDPOINTS) as hints, asyncio.TaskGroup() as group:
            group.create_task(self._renew_for_ever())
            group.create_task(self._renew_at_stops())
            while True:
                try:
                    await self._follow()
                except TarryError as error:
                    log.warning("the instances could not be read, trying again", error=str(error))
                await hints.wait(POLL_S)

    async def drain(self, timeout_s: float) -> int:
        """No new claims; wait for what is in flight, then give the rest back to the queue uncounted; returns how many."""
        self._draining = True
        for slots in self._slots.values():
            slots.retire()
            self._wakeups.notify(channel_queue(slots.instance.endpoint_id))
        # Not cancelled: a claim under way would be committed with nobody to work on it.
        await asyncio.gather(*self._loops.values(), return_exceptions=True)
        tasks = self._tasks()
        if tasks:
            await asyncio.wait(tasks, timeout=timeout_s)
        rest = {task for task in tasks if not task.done()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return len(rest)

    async def _follow(self) -> None:
        rows = await self._store.find(Instance, state=InstanceState.IN_SERVICE)
        ready = {row.id: row for row in rows if row.addresses}
        for instance_id in self._slots.keys() - ready.keys():
            self._slots[instance_id].retire()
            if not self._slots[instance_id].busy and instance_id not in self._loops:
                del self._slots[instance_id]
        if self._draining:
            return
        for instance in ready.values():
            if instance.id not in self._loops:
                self._attend(instance)
            self._slots[instance.id].silent = instance.unanswered_since_us is not None

    def _attend(self, instance: Instance) -> None:
        """Start the loop of an instance; where it ended in an error, again, with what is in flight as it is."""
        slots = self._slots.get(instance.id)
        if slots is None:
            slots = InstanceSlots(instance, self._queue, self._worker, self._models, self._clock, self._slots.values())
            self._slots[instance.id] = slots
        loop = asyncio.create_task(slots.run(self._wakeups), name=f"slots {instance.id}")
        self._loops[instance.id] = loop
        loop.add_done_callback(lambda ended: self._loop_ended(instance.id, ended))

    def _loop_ended(self, instance_id: str, loop: asyncio.Task[None]) -> None:
        del self._loops[instance_id]
        if not loop.cancelled() and (error := loop.exception()):
            log.error("the slots of an instance ended in an error and start again", exc_info=error, instance_id=instance_id)

    def _tasks(self) -> set[asyncio.Task[Attempted]]:
        return {task for slots in self._slots.values() for task in slots.busy}

    async def _renew_for_ever(self) -> None:
        while True:
            await self._clock.sleep(self._renew_every_s)
            await self._renew_or_say_why()

    async def _renew_at_stops(self) -> None:
        """A renewal tells what is to be stopped: one comes at each hint that something is."""
        async with self._wakeups.listen(CHANNEL_STOPS) as stops:
            while True:
                if await stops.wait(STOPS_WAIT_S):
                    await self._renew_or_say_why()

    async def _renew_or_say_why(self) -> None:
        try:
            await self.renew()
        except TarryError as error:
            log.warning("leases could not be renewed, trying again", error=str(error))

    async def renew(self) -> None:
        """Renew every lease that is held here; drop what is lost, end what is to be stopped. Errors: StorageFull, Throttled."""
        leases = [lease for slots in self._slots.values() for lease in slots.leases]
        if not leases:
            return
        renewed = await self._queue.renew(leases)
        for slots in self._slots.values():
            slots.lost(renewed.lost)
            await slots.stop(renewed.stopping)
