"""Which instance works on how much: one task per instance that claims while it has free slots.

What is claimable follows from the database alone: instance rows say who may work and how much at once, the routing says on
which buckets. An instance that leaves InService claims nothing more; what it has in flight ends by itself (a drain) or by
the death of its connection.
"""

import asyncio
from collections.abc import Iterable

import structlog

from tarry.core.instance import Instance, InstanceState
from tarry.delivery.worker import Attempted, Worker
from tarry.ports import CHANNEL_ENDPOINTS, Claim, Clock, InvocationQueue, Lease, ModelServer, Store, Wakeups, channel_queue

log = structlog.get_logger(__name__)

POLL_S = 1.0
RENEW_S = 10.0
STORE_FULL_PAUSE_S = 5.0


class InstanceSlots:
    """The free and busy slots of one instance."""

    def __init__(self, instance: Instance, queue: InvocationQueue, worker: Worker, models: ModelServer, clock: Clock) -> None:
        self.instance = instance
        self.accepting = True
        self.busy: dict[asyncio.Task[Attempted], Lease] = {}
        self._queue = queue
        self._worker = worker
        self._models = models
        self._clock = clock
        self._suspect = False
        self._paused_until = 0.0

    async def run(self, wakeups: Wakeups) -> None:
        """Claim and work until told to stop accepting; then return at once, leaving ``busy`` to end by itself."""
        async with wakeups.listen(channel_queue(self.instance.endpoint_id)) as hints:
            hint: asyncio.Task[bool] | None = None
            try:
                while self.accepting:
                    if await self._fill():
                        continue
                    hint = hint or asyncio.create_task(hints.wait(POLL_S))
                    await asyncio.wait({hint, *self.busy}, return_when=asyncio.FIRST_COMPLETED)
                    self._collect()
                    if hint.done():
                        hint = None
            finally:
                if hint is not None:
                    hint.cancel()

    def retire(self) -> None:
        """Claim nothing more."""
        self.accepting = False

    async def _fill(self) -> bool:
        """Claim into the free slots; true if it is worth asking again at once."""
        free = self.instance.concurrency - len(self.busy)
        if free <= 0 or not await self._may_claim():
            return False
        claims = await self._queue.claim(self.instance, free)
        for claim in claims:
            self._start(claim)
        return bool(claims) and len(claims) < free

    def _start(self, claim: Claim) -> None:
        task = asyncio.create_task(self._worker.attempt(claim, self.instance), name=f"attempt {claim.invocation.id}")
        self.busy[task] = claim.lease

    async def _may_claim(self) -> bool:
        if not self.accepting or self._clock.monotonic() < self._paused_until:
            return False
        if self._suspect:
            self._suspect = not await self._models.ping(self.instance.address or "")
        return not self._suspect

    def _collect(self) -> None:
        for task in [task for task in self.busy if task.done()]:
            del self.busy[task]
            if task.cancelled():
                continue
            if error := task.exception():
                log.error("an attempt ended in a bug", exc_info=error, instance_id=self.instance.id)
            elif task.result() is Attempted.INSTANCE_DEAD:
                self._suspect = True
            elif task.result() is Attempted.STORE_FULL:
                self._paused_until = self._clock.monotonic() + STORE_FULL_PAUSE_S


class Slots:
    """All instances of this delivery process."""

    def __init__(
        self, store: Store, queue: InvocationQueue, worker: Worker, models: ModelServer, clock: Clock, wakeups: Wakeups
    ) -> None:
        self._store = store
        self._queue = queue
        self._worker = worker
        self._models = models
        self._clock = clock
        self._wakeups = wakeups
        self._slots: dict[str, InstanceSlots] = {}
        self._loops: dict[str, asyncio.Task[None]] = {}
        self._draining = False

    async def run(self) -> None:
        """Follow the instance rows and renew leases, until cancelled."""
        async with self._wakeups.listen(CHANNEL_ENDPOINTS) as hints, asyncio.TaskGroup() as group:
            group.create_task(self._renew_for_ever())
            while True:
                await self._follow()
                await hints.wait(POLL_S)

    async def drain(self, timeout_s: float) -> int:
        """No new claims; wait for what is in flight, then give the rest back to the queue uncounted; returns how many."""
        self._draining = True
        for slots in self._slots.values():
            slots.retire()
        for loop in self._loops.values():
            loop.cancel()
        tasks = self._tasks()
        if tasks:
            await asyncio.wait(tasks, timeout=timeout_s)
        rest = {task for task in tasks if not task.done()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*tasks, *self._loops.values(), return_exceptions=True)
        return len(rest)

    async def _follow(self) -> None:
        rows = await self._store.find(Instance, state=[InstanceState.IN_SERVICE, InstanceState.DRAINING])
        ready = {row.id: row for row in rows if row.state is InstanceState.IN_SERVICE and row.address}
        for instance_id in self._slots.keys() - ready.keys():
            self._slots[instance_id].retire()
            if not any(not task.done() for task in self._slots[instance_id].busy):
                self._forget(instance_id)
        if self._draining:
            return
        for instance in ready.values():
            if instance.id not in self._slots:
                self._adopt(instance)

    def _adopt(self, instance: Instance) -> None:
        slots = InstanceSlots(instance, self._queue, self._worker, self._models, self._clock)
        self._slots[instance.id] = slots
        loop = asyncio.create_task(slots.run(self._wakeups), name=f"slots {instance.id}")
        loop.add_done_callback(self._report)
        self._loops[instance.id] = loop

    def _forget(self, instance_id: str) -> None:
        del self._slots[instance_id]
        self._loops.pop(instance_id).cancel()

    def _report(self, loop: asyncio.Task[None]) -> None:
        """A loop that ended in an error is forgotten, so that the next look at the rows starts it anew."""
        if loop.cancelled() or (error := loop.exception()) is None:
            return
        log.error("slots ended in an error and start again", exc_info=error)
        for instance_id, known in list(self._loops.items()):
            if known is loop:
                del self._loops[instance_id]
                del self._slots[instance_id]

    def _tasks(self) -> set[asyncio.Task[Attempted]]:
        return {task for slots in self._slots.values() for task in slots.busy}

    async def _renew_for_ever(self) -> None:
        while True:
            await self._clock.sleep(RENEW_S)
            await self._renew(slots for slots in list(self._slots.values()))

    async def _renew(self, all_slots: Iterable[InstanceSlots]) -> None:
        held = {task: lease for slots in all_slots for task, lease in slots.busy.items() if not task.done()}
        if not held:
            return
        lost = await self._queue.renew(list(held.values()))
        for task, lease in held.items():
            if lease.invocation_id in lost:
                task.cancel()
