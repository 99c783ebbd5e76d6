"""What people ask about invocations, and what they want of them: read and steered beside the work, never in its way."""

from dataclasses import dataclass
from typing import Protocol

from tarry.core.history import InvocationHistory, InvocationRecord, QueuePlace, QueueState
from tarry.core.invocation import InvocationState
from tarry.ports.store import Page


@dataclass(frozen=True, slots=True, kw_only=True)
class InvocationQuery:
    """One page of invocations, the last received first. Time bounds are exclusive, in microseconds."""

    limit: int = 100
    token: str | None = None
    endpoint_id: str | None = None
    inference_id: str | None = None
    """The caller's."""
    states: frozenset[InvocationState] = frozenset()
    """Empty: all."""
    received_after_us: int | None = None
    received_before_us: int | None = None
    reason_contains: str | None = None


class InvocationRecords(Protocol):
    """What became of invocations. Reads see every committed change."""

    async def history(self, id: str) -> InvocationHistory | None:
        """All that is known of this invocation, or None. Of a lost attempt also why its instance failed, while that has a row."""
        ...

    async def state(self, id: str) -> InvocationState | None:
        """The state of this invocation, or None: one small row, for those who look again and again."""
        ...

    async def named(self, inference_id: str, limit: int) -> list[InvocationRecord]:
        """The newest ``limit`` invocations whose caller gave this InferenceId, newest first."""
        ...

    async def page(self, query: InvocationQuery) -> Page[InvocationRecord]:
        """One page, stable under inserts.

        With ``reason_contains`` it may hold fewer than ``limit``, even none, and still have a next one: a call looks at a
        bounded number of reasons.
        InvalidRequest for a token that is not ours.
        """
        ...

    async def place(self, id: str) -> QueuePlace | None:
        """The place of a Queued invocation, None for any other."""
        ...

    async def queue(self, endpoint_id: str) -> QueueState:
        """What an endpoint's queue holds."""
        ...

    async def body(self, id: str) -> bytes | None:
        """The inline body of an invocation that has not Completed; None where there is none (any more)."""
        ...


class QueueControl(Protocol):
    """What people may change about invocations that have not ended. Durable when a call returns."""

    async def stop(self, id: str) -> InvocationState | None:
        """Ask for the end of an invocation as Stopped; returns the state that it is in, None if there is no such invocation.

        It is given to no instance any more. A Queued or Delayed one is ended by the sweeper, a Running one by its holder; one
        that is Publishing or has ended stays as it is.
        """
        ...

    async def purge(self, endpoint_id: str) -> int:
        """Ask for the end of all that waits for this endpoint and was accepted before this call; returns how many.

        What is accepted meanwhile stays, so that it comes to an end under load, too. In several transactions: after a crash
        some may be asked for, and a repeat asks for the rest.
        """
        ...

    async def forget(self, ended_before_us: int, limit: int) -> int:
        """Remove up to ``limit`` invocations that ended before then, with all that is kept of them, in the order of their ends.

        Returns how many; 0: none is left. Objects in S3 are not touched.
        """
        ...

    async def prioritise(self, id: str, priority: int) -> InvocationState | None:
        """Give a Queued or Delayed invocation another priority; returns its state, None if there is no such invocation."""
        ...
