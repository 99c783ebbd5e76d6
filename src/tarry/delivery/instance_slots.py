"""The slots of one instance: how many invocations it works on at once, and which of them alone.

A request whose attempt was lost may be what killed its instance. It is tried again only by itself, so that it takes nobody
with it a second time: what was in flight beside it loses one attempt and no more. An idle instance takes it at once; only
where all are busy does one claim it, set it aside, and claim nothing more until it has become idle. What is set aside goes
back as soon as another instance is idle.
"""

import asyncio
from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import replace

import structlog

from tarry.core.errors import TarryError
from tarry.core.instance import Instance
from tarry.delivery.giving_back import LEAVING_TRIES_MAX, give_back
from tarry.delivery.work import Work
from tarry.delivery.worker import Attempted, Worker
from tarry.ports import UNTOUCHED, Claim, Clock, InvocationQueue, Lease, ModelServer, Wakeups, channel_queue

log = structlog.get_logger(__name__)

POLL_S = 1.0
STORE_FULL_PAUSE_S = 5.0
ERROR_PAUSE_S = 1.0
SETTLING_FACTOR = 3
"""In flight are at most so many times the instance's concurrency: asked, or answered and being written down."""
SET_ASIDE = replace(UNTOUCHED, reason="It was set aside, to be tried alone, and had not begun.")


class InstanceSlots:
    """Free and busy slots. What is in flight outlives ``run``: a drain, or an error in claiming, does not touch it."""

    def __init__(
        self,
        instance: Instance,
        queue: InvocationQueue,
        worker: Worker,
        models: ModelServer,
        clock: Clock,
        all_slots: Iterable["InstanceSlots"],
    ) -> None:
        """``all_slots`` are those of every instance of this process, as they come and go."""
        self.instance = instance
        self._all = all_slots
        self.accepting = True
        self.silent = False
        """Its row says that it does not answer /ping."""
        self.busy: dict[asyncio.Task[Attempted], Work] = {}
        self._alone: asyncio.Task[Attempted] | None = None
        self._aside: deque[Claim] = deque()
        """Claimed, lost before, and waiting until nothing else is in flight."""
        self._leaving: list[Lease] = []
        """Of what was set aside: to go back to the queue as soon as that can be written. Ours until then, and never started."""
        self._queue = queue
        self._worker = worker
        self._models = models
        self._clock = clock
        self._freed = asyncio.Event()
        """Set whenever a slot has become free."""
        self._suspect = False
        """It has left a request unanswered, or is dead."""
        self._paused_until = 0.0

    @property
    def leases(self) -> list[Lease]:
        """What has to be renewed."""
        aside = (claim.lease for claim in self._aside)
        return [*(work.claim.lease for work in self.busy.values()), *aside, *self._leaving]

    def lost(self, leases: Collection[Lease]) -> None:
        """Drop what somebody else holds now, or we ourselves under a new lease."""
        for task, work in self.busy.items():
            if work.claim.lease in leases:
                task.cancel()
        self._aside = deque(claim for claim in self._aside if claim.lease not in leases)

    async def stop(self, leases: Collection[Lease]) -> None:
        """End what is to be stopped: what is in flight here; what was set aside by the sweeper, once it has gone back.

        Called at each renewal, and raises nothing: where it cannot be written, others are stopped and the next call tries again.
        """
        for task, work in self.busy.items():
            if work.claim.lease in leases and not work.stopping:
                work.stopping = True
                task.cancel()
        self._leave([claim for claim in self._aside if claim.lease in leases])
        await self._release()

    def _leave(self, claims: Collection[Claim]) -> None:
        """What was set aside goes back to the queue, uncounted: with the next ``_release``."""
        self._aside = deque(claim for claim in self._aside if claim not in claims)
        self._leaving += [claim.lease for claim in claims]

    async def _release(self) -> None:
        for lease in tuple(self._leaving):
            try:
                await self._queue.release(lease, SET_ASIDE)
            except TarryError as error:
                log.warning("what was set aside cannot go back yet", instance_id=self.instance.id, error=str(error))
                return
            self._leaving = [each for each in self._leaving if each != lease]

    @property
    def idle(self) -> bool:
        """Whether it has nothing and may claim."""
        unfit = self._suspect or self.silent or self._clock.monotonic() < self._paused_until
        return self.accepting and not self.busy and not self._aside and not unfit

    def retire(self) -> None:
        """Claim nothing more."""
        self.accepting = False

    async def run(self, wakeups: Wakeups) -> None:
        """Claim and work until told to stop accepting; then return, leaving ``busy`` to end by itself.

        What was set aside goes back to the queue, uncounted.
        """
        async with wakeups.listen(channel_queue(self.instance.endpoint_id)) as hints:
            hint: asyncio.Task[bool] | None = None
            try:
                while self.accepting:
                    if await self._fill_or_pause():
                        continue
                    hint = hint or asyncio.create_task(hints.wait(POLL_S))
                    freed = asyncio.create_task(self._freed.wait())
                    await asyncio.wait({hint, freed}, return_when=asyncio.FIRST_COMPLETED)
                    freed.cancel()
                    self._freed.clear()
                    if hint.done():
                        hint = None
            finally:
                if hint is not None:
                    hint.cancel()
                self._leave(tuple(self._aside))
                while self._leaving:
                    lease = self._leaving.pop()
                    await give_back(self._queue, self._clock, lease, SET_ASIDE, tries_max=LEAVING_TRIES_MAX)

    async def _fill_or_pause(self) -> bool:
        try:
            return await self._fill()
        except TarryError as error:
            log.warning("nothing can be claimed for a while", instance_id=self.instance.id, error=str(error))
            self._pause(ERROR_PAUSE_S)
            return False

    async def _fill(self) -> bool:
        """Claim into the free slots; true if it is worth asking again at once."""
        may_work = self._alone is None and await self._may_work()
        if may_work and self._aside and not self.busy:
            self._alone = self._start(self._aside.popleft())
            may_work = False
        leave_lost = bool(self.busy or self._aside) and self._another_is_idle()
        if leave_lost:
            self._leave(tuple(self._aside))
            await self._release()
        if not may_work or self._aside:
            return False
        free = self._free()
        wanted = free if self.busy else min(free, 1)  # the first decides: one that was lost before is to be alone
        claims = await self._queue.claim(self.instance, wanted, with_lost=not leave_lost) if wanted > 0 else []
        for claim in claims:
            if claim.lost_attempts:
                self._aside.append(claim)
            else:
                self._start(claim)
        return bool(claims)

    def _another_is_idle(self) -> bool:
        """Whether another instance of the same variant would start a lost one at once."""
        mine = self._place
        return any(each.idle for each in self._all if each is not self and each._place == mine)

    @property
    def _place(self) -> tuple[str, str]:
        return self.instance.deployment_id, self.instance.variant_name

    def _free(self) -> int:
        """How many more the container may get. A request whose answer is here does not count, but not without end."""
        concurrency = self.instance.concurrency
        with_container = sum(1 for work in self.busy.values() if work.with_container)
        return min(concurrency - with_container, SETTLING_FACTOR * concurrency - len(self.busy))

    async def _may_work(self) -> bool:
        if not self.accepting or self._clock.monotonic() < self._paused_until:
            return False
        if not (self._suspect or self.silent):
            return True
        healthy = [(await self._models.ping(address)).healthy for address in self.instance.addresses]
        self._suspect = not healthy or not all(healthy)
        return not self._suspect

    def _start(self, claim: Claim) -> asyncio.Task[Attempted]:
        work = Work(claim, on_answered=self._freed.set)
        task = asyncio.create_task(self._worker.attempt(work, self.instance), name=f"attempt {claim.invocation.id}")
        self.busy[task] = work
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Attempted]) -> None:
        work = self.busy.pop(task)
        self._freed.set()
        if task is self._alone:
            self._alone = None
        if task.cancelled():
            return
        if error := task.exception():
            log.error("an attempt ended in an error", exc_info=error, instance_id=self.instance.id)
            self._pause(ERROR_PAUSE_S)
        elif task.result() in {Attempted.TIMED_OUT, Attempted.INSTANCE_DEAD}:
            self._suspect = True
            if task.result() is Attempted.TIMED_OUT:
                self._say_timed_out(work)
        elif task.result() is Attempted.STORE_FULL:
            self._pause(STORE_FULL_PAUSE_S)

    def _say_timed_out(self, work: Work) -> None:
        """A server that answers /ping may have no worker left that lives long enough to answer more."""
        endpoint = work.claim.invocation.endpoint_name
        log.warning(
            "a request was not answered within its time limit: too short, or do the model server's workers die? See its logs",
            endpoint=endpoint,
            instance_id=self.instance.id,
            invocation_id=work.claim.invocation.id,
            logs=f"tarry logs {endpoint} --instance {self.instance.id}",
        )

    def _pause(self, seconds: float) -> None:
        self._paused_until = self._clock.monotonic() + seconds
