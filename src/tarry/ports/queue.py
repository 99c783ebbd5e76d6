"""The durable queue, and the fence that lets exactly one outcome through."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from tarry.core.history import AttemptEnd
from tarry.core.instance import Instance
from tarry.core.invocation import Invocation, InvocationState, Outcome
from tarry.core.notifications import Notification
from tarry.ports.objects import Staged


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right to work on one invocation until it is decided, released or lost. ``token`` is new for every claim."""

    invocation_id: str
    token: str
    instance_id: str


class Overdue(StrEnum):
    """Why an invocation has to be ended without asking the model."""

    EXPIRED = "expired"  # still queued past its TTL
    LOST = "lost"  # its third attempt was lost
    ENDPOINT_DELETED = "endpoint deleted"
    STOPPED = "stopped"  # its caller does not want it any more


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """An invocation taken for work. ``body`` is its inline body, None where the input lies in S3."""

    lease: Lease
    invocation: Invocation
    body: bytes | None
    attempt: int
    lost_attempts: int
    claimed_at_us: int = 0
    overdue: Overdue | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Back:
    """Why an attempt gives its invocation back. ``RETURNED`` and ``LOST`` go to Queued, ``RETRIED`` waits ``delay_s`` first.

    Only LOST counts against the request: its instance or its delivery process died; a drain or a stop does not.
    """

    end: AttemptEnd
    counted: bool = True
    """False: no container has had the request, so it was no attempt, and the time to live goes on."""
    delay_s: float = 0.0
    status: int | None = None
    reason: str | None = None


LOST = Back(end=AttemptEnd.LOST)
RETURNED = Back(end=AttemptEnd.RETURNED)
UNTOUCHED = Back(end=AttemptEnd.RETURNED, counted=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The one outcome of an invocation, its bytes, and the notification that tells of it."""

    invocation_id: str
    outcome: Outcome
    staged: Staged | None
    notification: Notification | None


@dataclass(frozen=True, slots=True)
class Renewed:
    """What came of a renewal: the leases that are ``lost``, and those whose work is to be ended as Stopped.

    Leases, not invocations: who has lost one may have claimed the same invocation again.
    """

    lost: frozenset[Lease] = frozenset()
    stopping: frozenset[Lease] = frozenset()


@dataclass(frozen=True, slots=True)
class Reaped:
    """What a sweep found: ``overdue`` claims to end, and decisions to publish and finish that nobody is working on."""

    overdue: tuple[Claim, ...]
    unpublished: tuple[Decision, ...]


class InvocationQueue(Protocol):
    """The durable queue of all endpoints, and the fence that lets exactly one outcome through.

    A lease lasts ``lease_s`` unless renewed and names the epoch of its owner's process; an older epoch's leases are void
    as soon as a newer process has opened the database.
    """

    async def put(self, invocation: Invocation, body: bytes | None, *, same_since_us: int | None = None) -> Invocation:
        """Accept: durable when this returns. Many concurrent puts share one commit. Returns what was accepted.

        With ``same_since_us`` that is the newest invocation received since then that asks for the same (``same_key``),
        if there is one, whatever became of it; then nothing is put.

        An invocation with ``redrive_of`` is put once: Conflict if another repeats that one already.

        Errors: EndpointNotFound (it is being deleted), Throttled (the queue or the writer is full), StorageFull.
        Cancelling the caller does not undo the row.
        """
        ...

    async def claim(self, instance: Instance, limit: int, *, with_lost: bool = True) -> list[Claim]:
        """Lease up to ``limit`` queued invocations from the buckets routed to this instance's variant, lowest rank first.

        Without ``with_lost`` those are passed over an attempt of which was lost.

        Atomic: no two claims take the same invocation. Takes nothing for an instance that is not InService. Expired ones
        and those to be stopped are left to ``reap``.
        """
        ...

    async def renew(self, leases: Sequence[Lease]) -> Renewed:
        """Extend leases; tells which are lost, and which of the others are to be stopped."""
        ...

    async def decide(self, lease: Lease, decision: Decision) -> InvocationState:
        """Choose the outcome for ever: Running → Publishing, guarded by state and lease token, in one transaction.

        Returns Publishing, or the terminal state where the object store lives in the same database and publishing and
        finishing were part of the commit. Errors: LeaseLost, StopRequested (a stop has been asked for, and this is another
        end), BucketNotFound (same-database store: the object has nowhere to go), StorageFull; none changes anything.
        After a crash: a decision in Publishing comes back from ``reap`` until it is finished.
        """
        ...

    async def finish(self, invocation_id: str) -> None:
        """Publishing → the decided end, and the notification into the outbox, in one transaction. Repeats change nothing."""
        ...

    async def release(self, lease: Lease, back: Back) -> None:
        """Back to the queue, as ``back`` says; the attempt is kept in the invocation's history.

        Of attempts that were RETURNED the newest RETURNS_KEPT are: an instance that takes no connections returns without end.
        A lease that is lost already changes nothing and is no error.
        """
        ...

    async def reap(self, limit: int) -> Reaped:
        """Put back what nobody holds, then lease to the sweeper what is overdue.

        Put back: invocations with ended or void leases (counted as lost), and Delayed ones that are due or overdue.
        Overdue: to be stopped; queued past the TTL with no counted attempt; lost LOST_ATTEMPTS_MAX times; queued on an
        endpoint that is Deleting or Deleted. Also returns decisions in Publishing whose owner's lease has ended.
        """
        ...
