"""What became of an invocation: its record, its attempts, and its place in the queue.

Written by the queue as a by-product of what it does anyway, read by people: nothing is decided by it.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from tarry.core.instance import Instance, cause_of
from tarry.core.invocation import Invocation, InvocationState, Outcome

AHEAD_MAX = 100_000
"""Invocations ahead in a queue are counted up to here."""
RETURNS_KEPT = 10
"""Attempts of one invocation that were nobody's fault and are kept: the newest."""
COUNTED_MAX = 100_000
"""Invocations that are Delayed, Running or Publishing are counted up to here."""


class AttemptEnd(StrEnum):
    """How an attempt ended that decided nothing."""

    LOST = "Lost"  # its instance or its delivery process died; counts against the request
    RETURNED = "Returned"  # drained, stopped, nowhere to write, or the instance was dead before: nobody's fault
    RETRIED = "Retried"  # the endpoint's retry policy wants another


class StopCause(StrEnum):
    """Which operation asked for the stop of an invocation."""

    STOP_INVOCATION = "StopInvocation"
    PURGE_QUEUE = "PurgeQueue"


SERVER_DIED = "The server died while the instance worked on the request."
"""The reason of an attempt whose lease a new server found void."""
_TOLD_WITHIN_US = 30_000_000
"""The end of an instance is noticed so much later than that of its connections, at most."""
LEASE_RAN_OUT = "Nobody renewed the lease: whoever worked on the request died, or stood still for too long."


@dataclass(frozen=True, slots=True, kw_only=True)
class UndecidedAttempt:
    """An attempt that put its invocation back. ``status`` is what the container answered, where it did.

    One that came to no container takes up no ``number``: the next has the same.
    """

    number: int
    instance_id: str
    claimed_at_us: int
    ended_at_us: int
    end: AttemptEnd
    status: int | None = None
    reason: str | None = None


def explained(attempt: UndecidedAttempt, instance: Instance | None) -> UndecidedAttempt:
    """An attempt that was lost, with why its instance has failed, where that is known and was at that time.

    Rows of failed instances are kept for a while only: a later look at the attempt has its own reason alone.
    """
    if attempt.end is not AttemptEnd.LOST or instance is None or instance.failure_reason is None:
        return attempt
    if not attempt.claimed_at_us <= (instance.ended_at_us or 0) <= attempt.ended_at_us + _TOLD_WITHIN_US:
        return attempt
    return replace(attempt, reason=f"{attempt.reason or ''} {cause_of(instance.failure_reason)}".lstrip())


@dataclass(frozen=True, slots=True, kw_only=True)
class InvocationRecord:
    """An invocation with its current state, as the store shows it."""

    invocation: Invocation
    state: InvocationState
    attempts: int
    lost_attempts: int
    priority: int = 0
    instance_id: str | None = None
    claimed_at_us: int | None = None
    """When the attempt that is under way began."""
    due_at_us: int | None = None
    """When one that is Delayed is Queued again."""
    stop_requested: bool = False
    stop_cause: StopCause | None = None
    """None, where a stop was asked for: an older version did not note it."""
    redriven_as: str | None = None
    """The invocation that asks the same again."""
    outcome: Outcome | None = None

    @property
    def id(self) -> str:
        """The invocation's id."""
        return self.invocation.id


@dataclass(frozen=True, slots=True, kw_only=True)
class InvocationHistory:
    """All that is known of one invocation."""

    record: InvocationRecord
    undecided: tuple[UndecidedAttempt, ...]
    """Oldest first."""
    announced_at_us: int | None = None
    """When its topic took the notification."""
    notification_error: str | None = None
    """Why its topic has not taken it yet, or never will."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuePlace:
    """Where an invocation stands in its endpoint's queue."""

    ahead: int
    """How many are claimed before it, counted up to AHEAD_MAX."""
    running: int
    """How many the endpoint's instances have."""
    attempt_s: float | None
    """What an attempt took lately, on average, from its claim to its end; None if none is known."""

    def expected_wait_s(self, slots: int) -> float | None:
        """How long it is likely to wait for one of so many slots; None where nobody can tell. Idle times do not count."""
        if self.attempt_s is None or slots < 1 or self.ahead >= AHEAD_MAX:
            return None
        free = max(slots - self.running, 0)
        to_end_before = max(self.ahead + 1 - free, 0)
        return to_end_before * self.attempt_s / slots


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueState:
    """An endpoint's queue at a moment: how many invocations are in which state that is not an end.

    Queued ones are counted exactly, the others up to COUNTED_MAX. What the sweeper is just ending is none of them.
    """

    queued: int
    delayed: int
    running: int
    publishing: int
    oldest_received_at_us: int | None
    """Of those that wait."""
