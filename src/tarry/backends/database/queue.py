"""ports.InvocationQueue in SQL: the durable queue of all endpoints, and the fence that lets one outcome through.

The rules are in the queue_* modules as plain functions of a connection; here they are handed to the writer, and hints go
out once their transaction is on disk.
"""

from collections.abc import Sequence

from tarry.backends.database.queue_accept import Accepting, Bounds, offer
from tarry.backends.database.queue_claims import Wanted, claim, release, renew
from tarry.backends.database.queue_decisions import AnnounceInTransaction, Deciding, Ended, PublishInTransaction
from tarry.backends.database.queue_reaping import Swept, reap
from tarry.backends.database.queue_rows import LeaseTerms
from tarry.backends.database.transactions import Database
from tarry.core.instance import Instance
from tarry.core.invocation import TERMINAL, Invocation, InvocationState
from tarry.ports import (
    CHANNEL_OUTBOX,
    CHANNEL_PUSHES,
    Back,
    Claim,
    Decision,
    Lease,
    Reaped,
    Renewed,
    Wakeups,
    channel_invocation,
    channel_queue,
)


class SqlInvocationQueue:
    """The queue on a Database. ``terms`` carries the epoch that ``next_epoch`` gave this process.

    ``bounds`` are those of settings ``queue.queued_max`` and ``queue.disk_reserve_bytes``. With
    ``publish_in_transaction`` (the object store lies in the same database) decide publishes and finishes in its own commit and
    returns the terminal state; with ``announce_in_transaction`` (so do the topics) they have the notification with it.
    """

    def __init__(
        self,
        database: Database,
        terms: LeaseTerms,
        wakeups: Wakeups,
        *,
        bounds: Bounds,
        publish_in_transaction: PublishInTransaction | None = None,
        announce_in_transaction: AnnounceInTransaction | None = None,
    ) -> None:
        self._database = database
        self._terms = terms
        self._wakeups = wakeups
        self._accepting = Accepting(bounds)
        self._deciding = Deciding(terms.clock, publish_in_transaction, announce_in_transaction)

    async def put(self, invocation: Invocation, body: bytes | None, *, same_since_us: int | None = None) -> Invocation:
        """See ports.InvocationQueue. Throttled beyond the ``bounds``."""
        return await self._database.write_grouped(
            self._accepting.accept, offer(invocation, body, same_since_us), after=self._accepted
        )

    async def claim(self, instance: Instance, limit: int, *, with_lost: bool = True) -> list[Claim]:
        """See ports.InvocationQueue."""
        wanted = Wanted(limit, with_lost=with_lost)
        return await self._database.write(lambda connection: claim(connection, self._terms, instance, wanted))

    async def renew(self, leases: Sequence[Lease]) -> Renewed:
        """See ports.InvocationQueue."""
        if not leases:
            return Renewed()
        return await self._database.write(lambda connection: renew(connection, self._terms, leases))

    async def decide(self, lease: Lease, decision: Decision) -> InvocationState:
        """See ports.InvocationQueue."""
        ended = await self._database.write_grouped(self._deciding.decide, (lease, decision), after=self._told)
        return ended.state

    async def finish(self, invocation_id: str) -> None:
        """See ports.InvocationQueue."""
        await self._database.write_grouped(self._deciding.finish, invocation_id, after=self._told)

    async def release(self, lease: Lease, back: Back) -> None:
        """See ports.InvocationQueue."""
        await self._database.write(
            lambda connection: release(connection, self._terms, lease, back),
            after=lambda endpoint_id: self._refilled(() if endpoint_id is None else (endpoint_id,)),
        )

    async def reap(self, limit: int) -> Reaped:
        """See ports.InvocationQueue. What is handed out is leased to the sweeper, and comes again if that lease ends too."""

        def hint(swept: Swept) -> None:
            self._refilled(swept.refilled)

        return (await self._database.write(lambda connection: reap(connection, self._terms, limit), after=hint)).reaped

    def _accepted(self, invocation: Invocation) -> None:
        self._wakeups.notify(channel_queue(invocation.endpoint_id))

    def _refilled(self, endpoint_ids: Sequence[str]) -> None:
        for endpoint_id in endpoint_ids:
            self._wakeups.notify(channel_queue(endpoint_id))

    def _told(self, ended: Ended | None) -> None:
        if ended is None:
            return
        if ended.in_outbox:
            self._wakeups.notify(CHANNEL_OUTBOX)
        if ended.pushed:
            self._wakeups.notify(CHANNEL_PUSHES)
        if ended.state in TERMINAL:
            self._wakeups.notify(channel_invocation(ended.invocation_id))
