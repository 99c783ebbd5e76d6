"""What ports.InvocationQueue promises, as a model small enough to be read: rows in a list, rules in words."""

from dataclasses import dataclass, field

from tarry.core.history import AttemptEnd
from tarry.core.invocation import Invocation, InvocationState, rank_us
from tarry.ports import Back, Claim, Decision, Lease, Overdue

S = InvocationState
ATTEMPTS_LOST_MAX = 3
LEASE_US = 30_000_000
SWEEPER = "sweeper"


@dataclass(slots=True)
class Row:
    """One invocation. ``number`` counts acceptances."""

    invocation: Invocation
    number: int
    priority: int
    state: InvocationState = S.QUEUED
    attempts: int = 0
    lost: int = 0
    stop: bool = False
    due_at_us: int | None = None
    lease: Lease | None = None
    lease_end_us: int = 0
    decision: Decision | None = None

    @property
    def order(self) -> tuple[int, int]:
        """What is lower is claimed first."""
        return rank_us(self.invocation.received_at_us, self.priority), self.number


@dataclass(slots=True)
class QueueModel:
    """All rows, what an endpoint allows, and what has been announced. ``routes`` is who works on which bucket."""

    rows: dict[str, Row] = field(default_factory=dict)
    announced: list[str] = field(default_factory=list)
    routes: dict[int, str] = field(default_factory=dict)
    in_service: set[str] = field(default_factory=set)
    deleted: bool = False

    def put(self, invocation: Invocation) -> None:
        """It was accepted."""
        self.rows[invocation.id] = Row(invocation, len(self.rows), invocation.priority)

    def waiting(self) -> list[Row]:
        """Those that are Queued, as they are claimed."""
        return sorted((row for row in self.rows.values() if row.state is S.QUEUED), key=lambda row: row.order)

    def overdue(self, row: Row, now_us: int) -> Overdue | None:
        """Why a row that waits is ended by the sweeper."""
        if row.stop:
            return Overdue.STOPPED
        if self.deleted:
            return Overdue.ENDPOINT_DELETED
        if row.lost >= ATTEMPTS_LOST_MAX:
            return Overdue.LOST
        return Overdue.EXPIRED if row.attempts == 0 and row.invocation.expires_at_us <= now_us else None

    def claimable(self, instance_id: str, now_us: int, *, with_lost: bool = True) -> list[Row]:
        """What this instance may have, in order."""
        if instance_id not in self.in_service or self.deleted:
            return []
        mine = [row for row in self.waiting() if self.routes.get(row.invocation.bucket) == instance_id]
        return [row for row in mine if self.overdue(row, now_us) is None and (with_lost or not row.lost)]

    def take(self, claim: Claim, now_us: int) -> None:
        """It was leased."""
        row = self.rows[claim.invocation.id]
        row.state, row.lease = S.RUNNING, claim.lease
        row.attempts += claim.overdue is None
        self.extend(row, now_us)

    def extend(self, row: Row, now_us: int) -> None:
        """Its lease lasts anew."""
        row.lease_end_us = now_us + LEASE_US

    def held(self, lease: Lease) -> Row | None:
        """The row that this lease is the right to."""
        row = self.rows[lease.invocation_id]
        return row if row.lease == lease and row.lease_end_us > 0 else None

    def put_back(self, row: Row, back: Back, now_us: int) -> None:
        """Its attempt is over and has decided nothing."""
        of_sweeper = row.lease is not None and row.lease.instance_id == SWEEPER
        row.attempts -= not back.counted
        row.lost += back.end is AttemptEnd.LOST and not of_sweeper
        delayed = back.end is AttemptEnd.RETRIED and not row.stop
        row.state, row.lease = S.DELAYED if delayed else S.QUEUED, None
        row.due_at_us = now_us + int(back.delay_s * 1_000_000) if delayed else None

    def due(self, now_us: int) -> list[Row]:
        """Delayed ones that wait no longer."""
        delayed = (row for row in self.rows.values() if row.state is S.DELAYED)
        return [row for row in delayed if (row.due_at_us or 0) <= now_us or row.stop or self.deleted]

    def abandoned(self, state: InvocationState, now_us: int) -> list[Row]:
        """Those in this state whose lease has ended."""
        return [row for row in self.rows.values() if row.state is state and row.lease_end_us <= now_us]

    def end(self, row: Row) -> None:
        """What was decided has come true."""
        assert row.decision is not None
        row.state, row.lease = row.decision.outcome.state, None
        if row.decision.notification is not None:
            self.announced.append(row.decision.notification.id)

    def ask_to_stop(self, row: Row) -> None:
        """Its caller does not want it any more; what is decided stays as it is."""
        row.stop = row.stop or row.state in (S.QUEUED, S.DELAYED, S.RUNNING)

    def new_epoch(self) -> None:
        """All leases are void."""
        for row in self.rows.values():
            row.lease_end_us = 0
