"""The invocation queue in memory, with the rules of the real one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tarry.core.deployment import Routing
from tarry.core.endpoint import Endpoint, EndpointStatus
from tarry.core.errors import AlreadyExists, Bug, EndpointNotFound, LeaseLost, Throttled
from tarry.core.instance import Instance, InstanceState
from tarry.core.invocation import LOST_ATTEMPTS_MAX, TERMINAL, Invocation, InvocationRecord, InvocationState
from tarry.ports import (
    CHANNEL_OUTBOX,
    Claim,
    Clock,
    Decision,
    Ids,
    Lease,
    Overdue,
    Reaped,
    Staged,
    Wakeups,
    channel_queue,
)
from tarry.testing.outbox import FakeOutbox
from tarry.testing.store import FakeStore
from tarry.testing.wakeups import FakeWakeups

_GONE = {EndpointStatus.DELETING, EndpointStatus.DELETED}
_HELD = {InvocationState.RUNNING, InvocationState.PUBLISHING}
_SWEEPER = "sweeper"


@dataclass(slots=True)
class _Row:
    invocation: Invocation
    body: bytes | None
    state: InvocationState = InvocationState.QUEUED
    attempts: int = 0
    lost_attempts: int = 0
    lease: Lease | None = None
    lease_end_us: int = 0
    decision: Decision | None = None


class FakeInvocationQueue:
    """ports.InvocationQueue over a FakeStore (which shows its records) and a FakeOutbox.

    ``publish`` makes a staged object visible as part of decide, as a same-database store does. ``lease_s`` and ``queued_max``
    are as in the real one; ``new_epoch`` does what a restart of the server does to leases.
    """

    def __init__(self, store: FakeStore, outbox: FakeOutbox, clock: Clock, ids: Ids, wakeups: Wakeups | None = None) -> None:
        self.rows: dict[str, _Row] = {}
        self.lease_s = 30.0
        self.queued_max = 1_000_000
        self.publish: Callable[[Staged, int], None] | None = None
        self._store, self._outbox, self._clock, self._ids = store, outbox, clock, ids
        self._wakeups = wakeups or FakeWakeups()

    def new_epoch(self) -> None:
        """All leases are void."""
        for row in self.rows.values():
            row.lease_end_us = 0

    async def put(self, invocation: Invocation, body: bytes | None) -> None:
        """See ports.InvocationQueue."""
        endpoint = self._store.entities.get((Endpoint, invocation.endpoint_id))
        if endpoint is None or endpoint.status in _GONE:
            raise EndpointNotFound(invocation.endpoint_name)
        if invocation.id in self.rows:
            raise AlreadyExists("invocation", invocation.id)
        if sum(1 for row in self._queued() if row.invocation.endpoint_id == endpoint.id) >= self.queued_max:
            raise Throttled(f"{self.queued_max} invocations of endpoint {endpoint.name!r} are waiting; try again in a moment.")
        self.rows[invocation.id] = row = _Row(invocation, body)
        self._changed(row)
        self._wakeups.notify(channel_queue(invocation.endpoint_id))

    async def claim(self, instance: Instance, limit: int) -> list[Claim]:
        """See ports.InvocationQueue."""
        stored = self._store.entities.get((Instance, instance.id))
        endpoint = self._store.entities.get((Endpoint, instance.endpoint_id))
        if stored is None or stored.state is not InstanceState.IN_SERVICE or endpoint is None or endpoint.status in _GONE:
            return []
        routed = self._buckets(instance)
        now_us = self._clock.now_us()
        found = [
            row
            for row in self._queued()
            if row.invocation.endpoint_id == instance.endpoint_id
            and row.invocation.bucket in routed
            and row.lost_attempts < LOST_ATTEMPTS_MAX
            and (row.attempts or row.invocation.expires_at_us > now_us)
        ]
        found.sort(key=lambda row: row.invocation.priority)
        for row in found[: max(limit, 0)]:
            row.attempts += 1
        return [self._take(row, instance.id, None) for row in found[: max(limit, 0)]]

    async def renew(self, leases: Sequence[Lease]) -> set[str]:
        """See ports.InvocationQueue."""
        lost = set()
        for lease in leases:
            row = self._held(lease)
            if row is None:
                lost.add(lease.invocation_id)
            else:
                row.lease_end_us = self._end_us()
        return lost

    async def decide(self, lease: Lease, decision: Decision) -> InvocationState:
        """See ports.InvocationQueue."""
        if decision.invocation_id != lease.invocation_id or decision.outcome.state not in TERMINAL:
            raise Bug(f"A decision ends its own invocation; got {decision.outcome.state} for {decision.invocation_id}.")
        row = self._held(lease)
        if row is None or row.state is not InvocationState.RUNNING:
            raise LeaseLost(f"The lease on invocation {lease.invocation_id} is lost, or the invocation has been decided.")
        if self.publish is not None and decision.staged is not None:
            self.publish(decision.staged, self._clock.now_us())
        row.decision = replace(decision, outcome=replace(decision.outcome, response=None))
        row.state = InvocationState.PUBLISHING
        if self.publish is not None:
            self._end(row)
        self._changed(row)
        return row.state

    async def finish(self, invocation_id: str) -> None:
        """See ports.InvocationQueue."""
        row = self.rows.get(invocation_id)
        if row is not None and row.state is InvocationState.PUBLISHING:
            self._end(row)
            self._changed(row)

    async def release(self, lease: Lease, *, lost: bool) -> None:
        """See ports.InvocationQueue."""
        row = self._held(lease)
        if row is not None and row.state is InvocationState.RUNNING:
            self._put_back(row, lost=lost)

    async def reap(self, limit: int) -> Reaped:
        """See ports.InvocationQueue."""
        now_us = self._clock.now_us()
        for row in self.rows.values():
            if row.state is InvocationState.RUNNING and row.lease and row.lease_end_us <= now_us:
                self._put_back(row, lost=row.lease.instance_id != _SWEEPER)
        reasons = [(row, reason) for row in self._queued() if (reason := self._overdue(row, now_us))]
        overdue = tuple(self._take(row, _SWEEPER, reason) for row, reason in reasons[:limit])
        ended = [row for row in self.rows.values() if row.state is InvocationState.PUBLISHING and row.lease_end_us <= now_us]
        for row in ended[:limit]:
            self._lease(row, _SWEEPER)
        return Reaped(overdue, tuple(row.decision for row in ended[:limit] if row.decision))

    def _overdue(self, row: _Row, now_us: int) -> Overdue | None:
        endpoint = self._store.entities.get((Endpoint, row.invocation.endpoint_id))
        if endpoint is not None and endpoint.status in _GONE:
            return Overdue.ENDPOINT_DELETED
        if row.lost_attempts >= LOST_ATTEMPTS_MAX:
            return Overdue.LOST
        expired = row.attempts == 0 and row.invocation.expires_at_us <= now_us
        return Overdue.EXPIRED if expired else None

    def _queued(self) -> list[_Row]:
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

    def _held(self, lease: Lease) -> _Row | None:
        row = self.rows.get(lease.invocation_id)
        if row is None or row.state not in _HELD or row.lease is None or row.lease.token != lease.token or row.lease_end_us <= 0:
            return None
        return row

    def _lease(self, row: _Row, owner: str) -> Lease:
        lease = Lease(invocation_id=row.invocation.id, token=self._ids.token(), instance_id=owner)
        row.lease, row.lease_end_us = lease, self._end_us()
        self._changed(row)
        return lease

    def _take(self, row: _Row, owner: str, overdue: Overdue | None) -> Claim:
        row.state = InvocationState.RUNNING
        return Claim(
            lease=self._lease(row, owner),
            invocation=row.invocation,
            body=row.body,
            attempt=row.attempts,
            lost_attempts=row.lost_attempts,
            overdue=overdue,
        )

    def _put_back(self, row: _Row, *, lost: bool) -> None:
        row.state, row.lease = InvocationState.QUEUED, None
        row.lost_attempts += int(lost)
        self._changed(row)
        self._wakeups.notify(channel_queue(row.invocation.endpoint_id))

    def _end(self, row: _Row) -> None:
        decision = row.decision
        if decision is None:
            raise Bug(f"Invocation {row.invocation.id} ends without a decision.")
        row.state, row.lease, row.body = decision.outcome.state, None, None
        if decision.notification is not None:
            self._outbox.add(decision.notification)
            self._wakeups.notify(CHANNEL_OUTBOX)

    def _changed(self, row: _Row) -> None:
        self._store.records[row.invocation.id] = InvocationRecord(
            invocation=row.invocation,
            state=row.state,
            attempts=row.attempts,
            lost_attempts=row.lost_attempts,
            instance_id=row.lease.instance_id if row.lease else None,
            outcome=row.decision.outcome if row.decision else None,
        )
