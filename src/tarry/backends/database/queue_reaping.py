"""What nobody looks after any more: ended leases, overdue invocations, decisions that were never published."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, Connection, Select, bindparam, case, insert, literal, literal_column, select, update

from tarry.backends.database.queue_claims import Taker, take
from tarry.backends.database.queue_decisions import read_decision
from tarry.backends.database.queue_rows import (
    DELAYED_ROWS,
    HELD_ROWS,
    NO_LEASE,
    PUBLISHING_ROWS,
    QUEUED_ROWS,
    RUNNING_ROWS,
    STOPPING_ROWS,
    SWEEPER,
    VOID,
    LeaseTerms,
    count_queued,
)
from tarry.backends.database.schema import attempt, decision, endpoint, invocation
from tarry.core.endpoint import GONE
from tarry.core.history import LEASE_RAN_OUT, SERVER_DIED, AttemptEnd
from tarry.core.invocation import LOST_ATTEMPTS_MAX, InvocationState
from tarry.core.retry_policy import BACKOFF_S_MAX
from tarry.ports import Claim, Overdue, Reaped

_ended = invocation.c.lease_expires_at_us <= bindparam("now_us")
_ABANDONED = select(invocation.c.endpoint_id).where(HELD_ROWS, RUNNING_ROWS, _ended)
_PUT_BACK = (
    update(invocation)
    .where(HELD_ROWS, RUNNING_ROWS, _ended)
    .values(
        state=InvocationState.QUEUED.value,
        # OURS: the sweeper never asks a model, so its own death is no lost attempt.
        lost_attempts=invocation.c.lost_attempts + case((invocation.c.lease_owner == SWEEPER, 0), else_=1),
        **NO_LEASE,
    )
)
_REMEMBER = insert(attempt).from_select(
    ["invocation_id", "number", "instance_id", "claimed_at_us", "ended_at_us", "end", "reason"],
    select(
        invocation.c.id,
        invocation.c.attempts,
        invocation.c.lease_owner,
        invocation.c.claimed_at_us,
        bindparam("now_us", type_=BigInteger),
        literal(AttemptEnd.LOST.value),
        case((invocation.c.lease_expires_at_us == VOID, SERVER_DIED), else_=LEASE_RAN_OUT),
    ).where(HELD_ROWS, RUNNING_ROWS, _ended, invocation.c.lease_owner != SWEEPER),
)
_ENDPOINT_IS_GONE = endpoint.c.status.in_([status.value for status in sorted(GONE)])
_DELAYED_TO_END = (
    select(invocation.c.seq, invocation.c.endpoint_id)
    .select_from(endpoint.join(invocation, invocation.c.endpoint_id == endpoint.c.id))
    .where(DELAYED_ROWS, _ENDPOINT_IS_GONE)
    .limit(bindparam("limit"))
)
_DUE = [  # one that is to be stopped is due at once: the stop says so. Two questions, each a seek in the index of due times
    select(invocation.c.seq, invocation.c.endpoint_id).where(DELAYED_ROWS, due).limit(bindparam("limit"))
    for due in (invocation.c.due_at_us <= bindparam("now_us"), invocation.c.due_at_us > bindparam("latest_us"))
]
_WAIT_AGAIN = (
    update(invocation)
    .where(invocation.c.seq.in_(bindparam("seqs", expanding=True)))
    .values(state=InvocationState.QUEUED.value, due_at_us=None)
)
_UNPUBLISHED = (
    select(invocation.c.seq, decision)
    .join(decision, decision.c.invocation_id == invocation.c.id)
    .where(HELD_ROWS, PUBLISHING_ROWS, _ended)
    .order_by(invocation.c.lease_expires_at_us)
    .limit(bindparam("limit"))
)
_TAKE_OVER = (
    update(invocation)
    .where(invocation.c.seq == bindparam("of"))
    .values(
        lease_token=bindparam("token"),
        lease_owner=SWEEPER,
        lease_epoch=bindparam("epoch"),
        lease_expires_at_us=bindparam("end_us"),
    )
)

_OVERDUE: dict[Overdue, Select[Any]] = {
    Overdue.STOPPED: select(invocation.c.seq).where(STOPPING_ROWS),
    Overdue.ENDPOINT_DELETED: select(invocation.c.seq)
    .select_from(endpoint.join(invocation, invocation.c.endpoint_id == endpoint.c.id))
    .where(QUEUED_ROWS, _ENDPOINT_IS_GONE),
    Overdue.LOST: select(invocation.c.seq).where(
        QUEUED_ROWS, invocation.c.lost_attempts > literal_column("0"), invocation.c.lost_attempts >= LOST_ATTEMPTS_MAX
    ),
    Overdue.EXPIRED: select(invocation.c.seq).where(
        QUEUED_ROWS, invocation.c.attempts == literal_column("0"), invocation.c.expires_at_us <= bindparam("now_us")
    ),
}
OVERDUE: dict[Overdue, Select[Any]] = {reason: found.limit(bindparam("limit")) for reason, found in _OVERDUE.items()}
"""How overdue rows are found, in the order in which reasons count."""


@dataclass(frozen=True, slots=True)
class Swept:
    """What ``reap`` found, and the endpoints whose queues have rows again."""

    reaped: Reaped
    refilled: tuple[str, ...]


def reap(connection: Connection, terms: LeaseTerms, limit: int) -> Swept:
    """See ports.InvocationQueue.reap."""
    now = {"now_us": terms.clock.now_us()}
    refilled = {*_put_back(connection, now), *_end_delays(connection, now, limit)}
    overdue: list[Claim] = []
    for reason, found in OVERDUE.items():
        needs = {"limit": limit - len(overdue)} | (now if reason is Overdue.EXPIRED else {})
        seqs = list(connection.execute(found, needs).scalars())
        overdue += take(connection, terms, seqs, Taker(SWEEPER, counted=False, overdue=reason))
    rows = connection.execute(_UNPUBLISHED, {**now, "limit": limit}).all()
    if rows:
        common = {"epoch": terms.epoch, "end_us": terms.end_us()}
        connection.execute(_TAKE_OVER, [{"of": row.seq, "token": terms.ids.token(), **common} for row in rows])
    return Swept(Reaped(tuple(overdue), tuple(read_decision(row) for row in rows)), tuple(sorted(refilled)))


def _put_back(connection: Connection, now: dict[str, int]) -> tuple[str, ...]:
    abandoned = list(connection.execute(_ABANDONED, now).scalars())
    if not abandoned:
        return ()
    connection.execute(_REMEMBER, now)
    connection.execute(_PUT_BACK, now)
    count_queued(connection, abandoned, 1)
    return tuple(abandoned)


def _end_delays(connection: Connection, now: dict[str, int], limit: int) -> set[str]:
    latest_us = now["now_us"] + int(BACKOFF_S_MAX * 1_000_000)  # see core.retry.is_due
    due = [
        *connection.execute(_DUE[0], {**now, "limit": limit}),
        *connection.execute(_DUE[1], {"latest_us": latest_us, "limit": limit}),
        *connection.execute(_DELAYED_TO_END, {"limit": limit}),
    ]
    endpoint_of = {row.seq: row.endpoint_id for row in due}
    if endpoint_of:
        connection.execute(_WAIT_AGAIN, {"seqs": sorted(endpoint_of)})
        count_queued(connection, endpoint_of.values(), 1)
    return set(endpoint_of.values())
