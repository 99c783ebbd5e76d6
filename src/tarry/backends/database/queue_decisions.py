"""The fence: the one outcome of an invocation, its publishing, its end.

``decide`` writes the outcome once, guarded by state and lease token; everything after it can be repeated by anyone.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import BindParameter, Connection, bindparam, delete, insert, select, update

from tarry.backends.database.documents import dump, load
from tarry.backends.database.prepared import Prepared
from tarry.backends.database.queue_rows import HELD_ROWS, NO_LEASE, PUBLISHING_ROWS, Held, held_under
from tarry.backends.database.schema import decision as decision_table
from tarry.backends.database.schema import invocation, invocation_body, outbox
from tarry.core.errors import Bug, LeaseLost, StopRequested
from tarry.core.invocation import TERMINAL, InvocationState, Outcome
from tarry.core.notifications import Notification
from tarry.ports import Clock, Decision, Lease, Staged

PublishInTransaction = Callable[[Connection, Staged, int], None]
"""Makes a staged object visible as part of the transaction; gets the time in microseconds. Errors: BucketNotFound."""

AnnounceInTransaction = Callable[[Connection, Sequence[Notification], int], Mapping[str, int]]
"""Hands notifications to their topics as part of the transaction; gets the time in microseconds. Returns the ids of those that
were taken, each with how many subscribers it goes to; the others go the way of the outbox, which says why they cannot be."""

_EMPTIED = {"staged": None, "inline": None, "notification": None}
_DECIDE = Prepared(
    insert(decision_table), "invocation_id", "outcome", "ended_at_us", "staged", "inline", "notification", "announced_at_us"
)
_state_after = update(invocation).where(invocation.c.seq == bindparam("of")).values(state=bindparam("state_after"))
_MOVE = Prepared(_state_after)
_END = Prepared(_state_after.values(**NO_LEASE))
_THESE: BindParameter[Any] = bindparam("ids", expanding=True)
_FORGET_BODY = Prepared(delete(invocation_body).where(invocation_body.c.invocation_id == bindparam("of")))
_EMPTY = update(decision_table).where(decision_table.c.invocation_id.in_(_THESE)).values(**_EMPTIED)
_PUT_OUT = Prepared(insert(outbox), "id", "topic_arn", "message", "tries", "due_at_us")
_ANNOUNCED = Prepared(
    update(decision_table).where(decision_table.c.invocation_id == bindparam("of")).values(announced_at_us=bindparam("now_us"))
)
_DECIDED = (
    select(invocation.c.seq, decision_table)
    .join(decision_table, decision_table.c.invocation_id == invocation.c.id)
    .where(invocation.c.id.in_(_THESE), PUBLISHING_ROWS)
)
_STAGED = (
    select(decision_table.c.staged)
    .join(invocation, invocation.c.id == decision_table.c.invocation_id)
    .where(HELD_ROWS, PUBLISHING_ROWS, decision_table.c.staged.is_not(None))
)


@dataclass(frozen=True, slots=True)
class Ended:
    """What a decision or a finish has come to, and who has something to do now: the dispatcher, the pusher, nobody."""

    invocation_id: str
    state: InvocationState
    in_outbox: bool = False
    pushed: bool = False


@dataclass(frozen=True, slots=True)
class Deciding:
    """How decisions are written.

    With ``publish`` the object appears and the invocation ends in the same commit, with ``announce`` its topic has it too.
    """

    clock: Clock
    publish: PublishInTransaction | None = None
    announce: AnnounceInTransaction | None = None

    def decide(self, connection: Connection, items: Sequence[tuple[Lease, Decision]]) -> list[Ended | Exception]:
        """See ports.InvocationQueue.decide; many at once. A publish that fails fails the call: it is then made item by item."""
        held = held_under(connection, (lease for lease, _ in items))
        answers: list[Decision | Exception] = []
        won: list[tuple[int, Decision]] = []
        for lease, decision in items:
            row = held.get(lease)
            refusal = _refusal(row, lease, decision)
            if refusal is None and row is not None:
                won.append((row.seq, decision))
                del held[lease]  # a second decision under the same lease comes too late, in one batch as in two
            answers.append(refusal or decision)
        ended = self._write(connection, won)
        return [answer if isinstance(answer, Exception) else ended[answer.invocation_id] for answer in answers]

    def finish(self, connection: Connection, invocation_ids: Sequence[str]) -> list[Ended | Exception | None]:
        """See ports.InvocationQueue.finish; many at once. None: there was nothing to do."""
        rows = connection.execute(_DECIDED, {"ids": sorted(set(invocation_ids))}).all()
        if not rows:
            return [None] * len(invocation_ids)
        connection.execute(_EMPTY, {"ids": [row.invocation_id for row in rows]})
        decided = [(row.seq, read_decision(row)) for row in rows]
        now_us = self.clock.now_us()
        _end(connection, decided)
        taken = self._announce(connection, decided, now_us)
        note_announced(connection, taken, now_us)
        ended = _ended(decided, taken)
        return [ended.pop(invocation_id, None) for invocation_id in invocation_ids]

    def _write(self, connection: Connection, won: Sequence[tuple[int, Decision]]) -> dict[str, Ended]:
        if not won:
            return {}
        if self.publish is None:
            _DECIDE.run_many(connection, [_row(decision) | _to_publish(decision) for _, decision in won])
            _MOVE.run_many(connection, [{"of": seq, "state_after": InvocationState.PUBLISHING.value} for seq, _ in won])
            return {decision.invocation_id: Ended(decision.invocation_id, InvocationState.PUBLISHING) for _, decision in won}
        now_us = self.clock.now_us()
        for _, decision in won:
            if decision.staged is not None:
                self.publish(connection, decision.staged, now_us)
        taken = self._announce(connection, won, now_us)
        announced = {each: {"announced_at_us": now_us} for each in taken}
        _DECIDE.run_many(
            connection, [_row(decision) | _EMPTIED | announced.get(decision.invocation_id, {}) for _, decision in won]
        )
        _end(connection, won)
        return _ended(won, taken)

    def _announce(self, connection: Connection, decided: Sequence[tuple[int, Decision]], now_us: int) -> Mapping[str, int]:
        """Hand the notifications over; what no topic takes is put out. Ids of the taken ones, with their subscribers."""
        notifications = [decision.notification for _, decision in decided if decision.notification]
        taken = self.announce(connection, notifications, now_us) if self.announce is not None and notifications else {}
        put_out(connection, [each for each in notifications if each.id not in taken])
        return taken


def _end(connection: Connection, decided: Sequence[tuple[int, Decision]]) -> None:
    _END.run_many(connection, [{"of": seq, "state_after": decision.outcome.state.value} for seq, decision in decided])
    # What has not Completed may be asked again: its body stays until the record goes.
    completed = [each.invocation_id for _, each in decided if each.outcome.state is InvocationState.COMPLETED]
    _FORGET_BODY.run_many(connection, [{"of": each} for each in completed])


def _ended(decided: Sequence[tuple[int, Decision]], taken: Mapping[str, int]) -> dict[str, Ended]:
    """A result's notification has the id of its invocation."""
    return {
        each.invocation_id: Ended(
            each.invocation_id,
            each.outcome.state,
            in_outbox=each.notification is not None and each.invocation_id not in taken,
            pushed=taken.get(each.invocation_id, 0) > 0,
        )
        for _, each in decided
    }


def _refusal(held: Held | None, lease: Lease, decision: Decision) -> Exception | None:
    if decision.invocation_id != lease.invocation_id or decision.outcome.state not in TERMINAL:
        return Bug(f"A decision ends its own invocation; got {decision.outcome.state} for {decision.invocation_id}.")
    if held is None or held.state is not InvocationState.RUNNING:
        return LeaseLost(f"The lease on invocation {lease.invocation_id} is lost, or the invocation has been decided.")
    if held.stop_requested and decision.outcome.state is not InvocationState.STOPPED:
        return StopRequested(f"Invocation {lease.invocation_id} is to be stopped; its result came too late.")
    return None


def _row(decision: Decision) -> dict[str, Any]:
    outcome = replace(decision.outcome, response=None)  # the notification has the response, the object is the response
    return {
        "invocation_id": decision.invocation_id,
        "outcome": dump(outcome),
        "ended_at_us": outcome.ended_at_us,
        "announced_at_us": None,
    }


def note_announced(connection: Connection, notification_ids: Collection[str], now_us: int) -> None:
    """Note when topics took these notifications. A result's has the id of its invocation; a test's is nobody's."""
    if notification_ids:
        _ANNOUNCED.run_many(connection, [{"of": each, "now_us": now_us} for each in notification_ids])


def put_out(connection: Connection, notifications: Sequence[Notification]) -> None:
    """Put notifications into the outbox, due at once whatever the clock is set to."""
    rows = [
        {"id": each.id, "topic_arn": each.topic_arn, "message": each.message, "tries": 0, "due_at_us": 0}
        for each in notifications
    ]
    if rows:
        _PUT_OUT.run_many(connection, rows)


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
