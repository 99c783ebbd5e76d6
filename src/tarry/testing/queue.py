"""The invocation queue in memory, with the rules of the real one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from tarry.core.deployment import Routing
from tarry.core.endpoint import GONE, Endpoint
from tarry.core.errors import AlreadyExists, Bug, Conflict, EndpointNotFound, LeaseLost, StopRequested, Throttled
from tarry.core.history import LEASE_RAN_OUT, RETURNS_KEPT, SERVER_DIED, AttemptEnd, InvocationRecord, StopCause, UndecidedAttempt
from tarry.core.instance import Instance, InstanceState
from tarry.core.invocation import LOST_ATTEMPTS_MAX, TERMINAL, Invocation, InvocationState, rank_us, same_key
from tarry.core.retry import is_due
from tarry.core.retry_policy import BACKOFF_S_MAX
from tarry.ports import (
    CHANNEL_OUTBOX,
    LOST,
    Back,
    Claim,
    Clock,
    Decision,
    Ids,
    Lease,
    Overdue,
    Reaped,
    Renewed,
    Staged,
    Wakeups,
    channel_invocation,
    channel_queue,
)
from tarry.testing.outbox import FakeOutbox
from tarry.testing.store import FakeStore
from tarry.testing.wakeups import FakeWakeups

_HELD = {InvocationState.RUNNING, InvocationState.PUBLISHING}
_SWEEPER = "sweeper"


@dataclass(slots=True)
class Row:
    """What is kept of an invocation."""

    invocation: Invocation
    body: bytes | None
    priority: int = 0
    state: InvocationState = InvocationState.QUEUED
    attempts: int = 0
    lost_attempts: int = 0
    lease: Lease | None = None
    lease_end_us: int = 0
    claimed_at_us: int = 0
    due_at_us: int | None = None
    stop_requested: bool = False
    stop_cause: StopCause | None = None
    redriven_as: str | None = None
    decision: Decision | None = None
    undecided: list[UndecidedAttempt] = field(default_factory=list)

    @property
    def rank(self) -> int:
        """Its place in the queue."""
        return rank_us(self.invocation.received_at_us, self.priority)


class FakeInvocationQueue:
    """ports.InvocationQueue over a FakeStore (which shows its records) and a FakeOutbox.

    ``publish`` makes a staged object visible as part of decide, as a same-database store does. ``lease_s`` and ``queued_max``
    are as in the real one; ``new_epoch`` does what a restart of the server does to leases.
    """

    def __init__(self, store: FakeStore, outbox: FakeOutbox, clock: Clock, ids: Ids, wakeups: Wakeups | None = None) -> None:
        self.rows: dict[str, Row] = {}
        self.lease_s = 30.0
        self.queued_max = 1_000_000
        self.publish: Callable[[Staged, int], None] | None = None
        self._store, self._outbox, self._clock, self._ids = store, outbox, clock, ids
        self._wakeups = wakeups or FakeWakeups()

    def new_epoch(self) -> None:
        """All leases are void."""
        for row in self.rows.values():
            row.lease_end_us = 0

    async def put(self, invocation: Invocation, body: bytes | None, *, same_since_us: int | None = None) -> Invocation:
        """See ports.InvocationQueue."""
        if same_since_us is not None and (same := self._same(invocation, same_since_us)):
            return same
        endpoint = self._store.entities.get((Endpoint, invocation.endpoint_id))
        if endpoint is None or endpoint.status in GONE:
            raise EndpointNotFound(invocation.endpoint_name)
        if invocation.id in self.rows:
            raise AlreadyExists("invocation", invocation.id)
        if sum(1 for row in self._queued() if row.invocation.endpoint_id == endpoint.id) >= self.queued_max:
            raise Throttled(f"{self.queued_max} invocations of endpoint {endpoint.name!r} are waiting; try again in a moment.")
        if invocation.redrive_of is not None:
            before = self.rows.get(invocation.redrive_of)
            if before is None or before.redriven_as is not None:
                raise Conflict(f"The invocation {invocation.redrive_of!r} has been redriven already, or its record is gone.")
            before.redriven_as = invocation.id
            self.changed(before)
        self.rows[invocation.id] = row = Row(invocation, body, invocation.priority)
        self.changed(row)
        self._wakeups.notify(channel_queue(invocation.endpoint_id))
        return invocation

    async def claim(self, instance: Instance, limit: int, *, with_lost: bool = True) -> list[Claim]:
        """See ports.InvocationQueue."""
        stored = self._store.entities.get((Instance, instance.id))
        endpoint = self._store.entities.get((Endpoint, instance.endpoint_id))
        if stored is None or stored.state is not InstanceState.IN_SERVICE or endpoint is None or endpoint.status in GONE:
            return []
        routed = self._buckets(instance)
        now_us = self._clock.now_us()
        found = [
            row
            for row in self._queued()
            if row.invocation.endpoint_id == instance.endpoint_id
            and row.invocation.bucket in routed
            and row.lost_attempts < (LOST_ATTEMPTS_MAX if with_lost else 1)
            and not row.stop_requested
            and (row.attempts or row.invocation.expires_at_us > now_us)
        ]
        found.sort(key=lambda row: row.rank)
        for row in found[: max(limit, 0)]:
            row.attempts += 1
        return [self._take(row, instance.id, None) for row in found[: max(limit, 0)]]

    async def renew(self, leases: Sequence[Lease]) -> Renewed:
        """See ports.InvocationQueue."""
        held = {lease: row for lease in leases if (row := self._held(lease))}
        for row in held.values():
            row.lease_end_us = self._end_us()
        return Renewed(
            lost=frozenset(leases) - held.keys(),
            stopping=frozenset(each for each, row in held.items() if row.stop_requested),
        )

    async def decide(self, lease: Lease, decision: Decision) -> InvocationState:
        """See ports.InvocationQueue."""
        if decision.invocation_id != lease.invocation_id or decision.outcome.state not in TERMINAL:
            raise Bug(f"A decision ends its own invocation; got {decision.outcome.state} for {decision.invocation_id}.")
        row = self._held(lease)
        if row is None or row.state is not InvocationState.RUNNING:
            raise LeaseLost(f"The lease on invocation {lease.invocation_id} is lost, or the invocation has been decided.")
        if row.stop_requested and decision.outcome.state is not InvocationState.STOPPED:
            raise StopRequested(f"Invocation {lease.invocation_id} is to be stopped; its result came too late.")
        if self.publish is not None and decision.staged is not None:
            self.publish(decision.staged, self._clock.now_us())
        row.decision = replace(decision, outcome=replace(decision.outcome, response=None))
        row.state = InvocationState.PUBLISHING
        if self.publish is not None:
            self._end(row)
        self.changed(row)
        return row.state

    async def finish(self, invocation_id: str) -> None:
        """See ports.InvocationQueue."""
        row = self.rows.get(invocation_id)
        if row is not None and row.state is InvocationState.PUBLISHING:
            self._end(row)
            self.changed(row)

    async def release(self, lease: Lease, back: Back) -> None:
        """See ports.InvocationQueue."""
        row = self._held(lease)
        if row is not None and row.state is InvocationState.RUNNING:
            self._put_back(row, back)

    async def reap(self, limit: int) -> Reaped:
        """See ports.InvocationQueue."""
        now_us = self._clock.now_us()
        for row in self.rows.values():
            if row.state is InvocationState.RUNNING and row.lease and row.lease_end_us <= now_us:
                self._put_back(row, replace(LOST, reason=LEASE_RAN_OUT if row.lease_end_us else SERVER_DIED))
            elif row.state is InvocationState.DELAYED and self._is_due(row, now_us):
                row.state, row.due_at_us = InvocationState.QUEUED, None
                self.changed(row)
                self._wakeups.notify(channel_queue(row.invocation.endpoint_id))
        reasons = [(row, reason) for row in self._queued() if (reason := self._overdue(row, now_us))]
        overdue = tuple(self._take(row, _SWEEPER, reason) for row, reason in reasons[:limit])
        ended = [row for row in self.rows.values() if row.state is InvocationState.PUBLISHING and row.lease_end_us <= now_us]
        for row in ended[:limit]:
            self._lease(row, _SWEEPER)
        return Reaped(overdue, tuple(row.decision for row in ended[:limit] if row.decision))

    def _overdue(self, row: Row, now_us: int) -> Overdue | None:
        if row.stop_requested:
            return Overdue.STOPPED
        if self._is_gone(row):
            return Overdue.ENDPOINT_DELETED
        if row.lost_attempts >= LOST_ATTEMPTS_MAX:
            return Overdue.LOST
        expired = row.attempts == 0 and row.invocation.expires_at_us <= now_us
        return Overdue.EXPIRED if expired else None

    def _is_gone(self, row: Row) -> bool:
        endpoint = self._store.entities.get((Endpoint, row.invocation.endpoint_id))
        return endpoint is not None and endpoint.status in GONE

    def _is_due(self, row: Row, now_us: int) -> bool:
        return is_due(row.due_at_us or 0, now_us, BACKOFF_S_MAX) or row.stop_requested or self._is_gone(row)

    def _same(self, invocation: Invocation, since_us: int) -> Invocation | None:
        alike = (row.invocation for row in reversed(self.rows.values()) if same_key(row.invocation) is not None)
        same = (one for one in alike if one.received_at_us >= since_us and same_key(one) == same_key(invocation))
        return max(same, key=lambda one: one.received_at_us, default=None)

    def _queued(self) -> list[Row]:
        return [row for row in self.rows.values() if row.state is InvocationState.QUEUED]

    def _buckets(self, instance: Instance) -> set[int]:
        routing = self._store.entities.get((Routing, instance.endpoint_id))
        return {
            bucket
            for share in (routing.shares if routing else ())
            if (share.deployment_id, share.variant_name) == (instance.deployment_id, instance.variant_name)
            for bucket in share.buckets
        }

    def _end_us(self) -> int:
        return self._clock.now_us() + int(self.lease_s * 1_000_000)

    def _held(self, lease: Lease) -> Row | None:
        row = self.rows.get(lease.invocation_id)
        if row is None or row.state not in _HELD or row.lease is None or row.lease.token != lease.token or row.lease_end_us <= 0:
            return None
        return row

    def _lease(self, row: Row, owner: str) -> Lease:
        lease = Lease(invocation_id=row.invocation.id, token=self._ids.token(), instance_id=owner)
        row.lease, row.lease_end_us = lease, self._end_us()
        self.changed(row)
        return lease

    def _take(self, row: Row, owner: str, overdue: Overdue | None) -> Claim:
        row.state, row.claimed_at_us = InvocationState.RUNNING, self._clock.now_us()
        return Claim(
            lease=self._lease(row, owner),
            invocation=row.invocation,
            body=row.body,
            attempt=row.attempts,
            lost_attempts=row.lost_attempts,
            claimed_at_us=row.claimed_at_us,
            overdue=overdue,
        )

    def _put_back(self, row: Row, back: Back) -> None:
        now_us, owner = self._clock.now_us(), row.lease.instance_id if row.lease else ""
        delayed, lost = back.end is AttemptEnd.RETRIED and not row.stop_requested, back.end is AttemptEnd.LOST
        if not (lost and owner == _SWEEPER):  # the sweeper asks no model
            row.lost_attempts += int(lost)
            row.undecided.append(
                UndecidedAttempt(
                    number=row.attempts,
                    instance_id=owner,
                    claimed_at_us=row.claimed_at_us,
                    ended_at_us=now_us,
                    end=back.end,
                    status=back.status,
                    reason=back.reason,
                )
            )
            _forget_old_returns(row.undecided)
        row.attempts -= int(not back.counted)
        row.state, row.lease = InvocationState.DELAYED if delayed else InvocationState.QUEUED, None
        row.due_at_us = now_us + int(back.delay_s * 1_000_000) if delayed else None
        self.changed(row)
        if not delayed:
            self._wakeups.notify(channel_queue(row.invocation.endpoint_id))

    def _end(self, row: Row) -> None:
        decision = row.decision
        if decision is None:
            raise Bug(f"Invocation {row.invocation.id} ends without a decision.")
        row.state, row.lease = decision.outcome.state, None
        if row.state is InvocationState.COMPLETED:
            row.body = None
        if decision.notification is not None:
            self._outbox.add(decision.notification)
            self._wakeups.notify(CHANNEL_OUTBOX)
        self._wakeups.notify(channel_invocation(row.invocation.id))

    def forget(self, row: Row) -> None:
        """Remove a row and its record."""
        del self.rows[row.invocation.id]
        del self._store.records[row.invocation.id]

    def changed(self, row: Row) -> None:
        """Show the row in the store."""
        owner = row.lease.instance_id if row.lease else None
        self._store.records[row.invocation.id] = InvocationRecord(
            invocation=row.invocation,
            state=row.state,
            attempts=row.attempts,
            lost_attempts=row.lost_attempts,
            priority=row.priority,
            claimed_at_us=row.claimed_at_us if row.state in _HELD and owner != _SWEEPER else None,
            due_at_us=row.due_at_us,
            stop_requested=row.stop_requested,
            stop_cause=row.stop_cause,
            redriven_as=row.redriven_as,
            instance_id=None if owner == _SWEEPER else owner,
            outcome=row.decision.outcome if row.decision else None,
        )


def _forget_old_returns(undecided: list[UndecidedAttempt]) -> None:
    returns = [each for each in undecided if each.end is AttemptEnd.RETURNED]
    for each in returns[:-RETURNS_KEPT]:
        undecided.remove(each)
