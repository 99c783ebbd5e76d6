"""The fence: the one outcome of an invocation, its publishing, its end.

``decide`` writes the outcome once, guarded by state and lease token; everything after it can be repeated by anyone.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from tarry.backends.database.documents import dump, load
from tarry.backends.database.queue_rows import HELD_ROWS, NO_LEASE, PUBLISHING_ROWS, held_under
from tarry.backends.database.schema import decision as decision_table
from tarry.backends.database.schema import invocation, invocation_body, outbox
from tarry.core.errors import Bug, LeaseLost
from tarry.core.invocation import TERMINAL, InvocationState, Outcome
from tarry.core.notifications import Notification
from tarry.ports import Clock, Decision, Lease, Staged

PublishInTransaction = Callable[[Connection, Staged, int], None]
"""Makes a staged object visible as part of the transaction; gets the time in microseconds. Errors: BucketNotFound."""

_EMPTIED = {"staged": None, "inline": None, "notification": None}
_DECIDE = insert(decision_table)
_MOVE = update(invocation).where(invocation.c.seq == bindparam("of")).values(state=bindparam("state_after"))
_END = _MOVE.values(**NO_LEASE)
_FORGET_BODY = delete(invocation_body).where(invocation_body.c.invocation_id == bindparam("of"))
_EMPTY = update(decision_table).where(decision_table.c.invocation_id == bindparam("of")).values(**_EMPTIED)
_ANNOUNCE = insert(outbox)
_DECIDED = (
    select(invocation.c.seq, decision_table)
    .join(decision_table, decision_table.c.invocation_id == invocation.c.id)
    .where(invocation.c.id == bindparam("id"), PUBLISHING_ROWS)
)
_STAGED = (
    select(decision_table.c.staged)
    .join(invocation, invocation.c.id == decision_table.c.invocation_id)
    .where(HELD_ROWS, PUBLISHING_ROWS, decision_table.c.staged.is_not(None))
)


@dataclass(frozen=True, slots=True)
class Ended:
    """What a decision or a finish has come to. ``announced``: a notification went into the outbox."""

    state: InvocationState
    announced: bool


@dataclass(frozen=True, slots=True)
class Deciding:
    """How decisions are written; with ``publish`` the object appears and the invocation ends in the same commit."""

    clock: Clock
    publish: PublishInTransaction | None

    def decide(self, connection: Connection, lease: Lease, decision: Decision) -> Ended:
        """See ports.InvocationQueue.decide."""
        if decision.invocation_id != lease.invocation_id or decision.outcome.state not in TERMINAL:
            raise Bug(f"A decision ends its own invocation; got {decision.outcome.state} for {decision.invocation_id}.")
        held = held_under(connection, lease)
        if held is None or held.state is not InvocationState.RUNNING:
            raise LeaseLost(f"The lease on invocation {lease.invocation_id} is lost, or the invocation has been decided.")
        outcome = dump(replace(decision.outcome, response=None))  # the notification has the response, the object is the response
        row = {"invocation_id": decision.invocation_id, "outcome": outcome}
        if self.publish is None:
            connection.execute(_DECIDE, row | _to_publish(decision))
            connection.execute(_MOVE, {"of": held.seq, "state_after": InvocationState.PUBLISHING.value})
            return Ended(InvocationState.PUBLISHING, announced=False)
        connection.execute(_DECIDE, row | _EMPTIED)
        if decision.staged is not None:
            self.publish(connection, decision.staged, self.clock.now_us())
        return self._end(connection, held.seq, decision)

    def finish(self, connection: Connection, invocation_id: str) -> Ended | None:
        """See ports.InvocationQueue.finish; None: there was nothing to do."""
        row = connection.execute(_DECIDED, {"id": invocation_id}).one_or_none()
        if row is None:
            return None
        connection.execute(_EMPTY, {"of": invocation_id})
        return self._end(connection, row.seq, read_decision(row))

    def _end(self, connection: Connection, seq: int, decision: Decision) -> Ended:
        connection.execute(_END, {"of": seq, "state_after": decision.outcome.state.value})
        connection.execute(_FORGET_BODY, {"of": decision.invocation_id})
        if decision.notification is not None:
            announce(connection, decision.notification, self.clock.now_us())
        return Ended(decision.outcome.state, announced=decision.notification is not None)


def announce(connection: Connection, notification: Notification, now_us: int) -> None:
    """Put a notification into the outbox, due at once."""
    row = {"id": notification.id, "topic_arn": notification.topic_arn, "message": notification.message}
    connection.execute(_ANNOUNCE, {**row, "tries": 0, "due_at_us": now_us})


def read_decision(row: Any) -> Decision:
    """The decision in a row of its table. The outcome comes without ``response``: nothing that is left to do needs it."""
    staged = None if row.staged is None else replace(load(Staged, row.staged), inline=row.inline)
    return Decision(
        invocation_id=row.invocation_id,
        outcome=load(Outcome, row.outcome),
        staged=staged,
        notification=None if row.notification is None else load(Notification, row.notification),
    )


def decided_handles(connection: Connection) -> set[str]:
    """The staged objects that decisions still wait to publish: nobody may sweep them away."""
    staged = connection.execute(_STAGED).scalars()
    return {handle for document in staged if (handle := load(Staged, document).handle) is not None}


def _to_publish(decision: Decision) -> dict[str, Any]:
    staged, notification = decision.staged, decision.notification
    return {
        "staged": None if staged is None else dump(replace(staged, inline=None)),
        "inline": None if staged is None else staged.inline,
        "notification": None if notification is None else dump(notification),
    }
