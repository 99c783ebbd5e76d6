"""Invocations as the Store shows them: the request, where it is, and how it ended."""

from collections.abc import Sequence
from heapq import merge
from itertools import islice
from typing import Any

from sqlalchemy import ColumnElement, Connection, select

from tarry.backends.database.documents import load
from tarry.backends.database.queue_rows import HELD, HELD_ROWS, SWEEPER, literal_state
from tarry.backends.database.schema import decision, invocation
from tarry.core.errors import Bug
from tarry.core.history import InvocationRecord, StopCause
from tarry.core.invocation import Invocation, InvocationState, Outcome

RECORD = select(
    invocation.c.seq,
    invocation.c.received_at_us,
    invocation.c.request,
    invocation.c.state,
    invocation.c.attempts,
    invocation.c.lost_attempts,
    invocation.c.priority,
    invocation.c.lease_owner,
    invocation.c.claimed_at_us,
    invocation.c.due_at_us,
    invocation.c.stop_requested_at_us,
    invocation.c.stop_cause,
    invocation.c.redriven_as,
    decision.c.outcome,
    decision.c.announced_at_us,
).select_from(invocation.outerjoin(decision, decision.c.invocation_id == invocation.c.id))
"""What a record is read from."""

_FIELDS = {"endpoint_id": invocation.c.endpoint_id, "instance_id": invocation.c.lease_owner}


def get_record(connection: Connection, id: str) -> InvocationRecord | None:
    """The record of this invocation, or None."""
    row = connection.execute(RECORD.where(invocation.c.id == id)).one_or_none()
    return None if row is None else read_record(row)


def find_records(
    connection: Connection, where: dict[str, str | Sequence[str]], limit: int | None = None
) -> list[InvocationRecord]:
    """All records (the first ``limit``) whose fields equal, or are among, the given values, oldest first."""
    of_states = where.get("state", tuple(HELD if "instance_id" in where else InvocationState))
    others = {field: wanted for field, wanted in where.items() if field != "state"}
    statement = RECORD.where(*(_condition(field, wanted) for field, wanted in others.items()))
    if "instance_id" in where:  # only a lease has an owner; said for the partial index
        statement = statement.where(HELD_ROWS)
    statement = statement.order_by(invocation.c.received_at_us, invocation.c.seq).limit(limit)
    # One state at a time: the index then has the rows in order, and the first of many cost no sort.
    states = {InvocationState(state) for state in ([of_states] if isinstance(of_states, str) else of_states)}
    found = [list(connection.execute(statement.where(invocation.c.state == literal_state(state)))) for state in sorted(states)]
    rows = islice(merge(*found, key=lambda row: (row.received_at_us, row.seq)), limit)
    return [read_record(row) for row in rows]


def _condition(field: str, wanted: str | Sequence[str]) -> ColumnElement[bool]:
    if field not in _FIELDS:
        raise Bug(f"An invocation cannot be found by {field}; only by {sorted({*_FIELDS, 'state'})}.")
    return _FIELDS[field] == wanted if isinstance(wanted, str) else _FIELDS[field].in_([str(value) for value in wanted])


def read_record(row: Any) -> InvocationRecord:
    """The record in a row of RECORD."""
    state = InvocationState(row.state)
    held = state in (InvocationState.RUNNING, InvocationState.PUBLISHING)
    being_ended = row.lease_owner == SWEEPER  # which is no instance, and makes no attempt
    return InvocationRecord(
        invocation=load(Invocation, row.request),
        state=state,
        attempts=row.attempts,
        lost_attempts=row.lost_attempts,
        priority=row.priority,
        instance_id=None if being_ended else row.lease_owner,
        claimed_at_us=None if being_ended or not held else row.claimed_at_us,
        due_at_us=row.due_at_us,
        stop_requested=row.stop_requested_at_us is not None,
        stop_cause=None if row.stop_cause is None else StopCause(row.stop_cause),
        redriven_as=row.redriven_as,
        outcome=None if row.outcome is None else load(Outcome, row.outcome),
    )
