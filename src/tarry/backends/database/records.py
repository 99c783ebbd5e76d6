"""Invocations as the Store shows them: the request, where it is, and how it ended."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, bindparam, select

from tarry.backends.database.documents import load
from tarry.backends.database.schema import decision, invocation
from tarry.core.errors import Bug
from tarry.core.invocation import Invocation, InvocationRecord, InvocationState, Outcome

_RECORD = select(
    invocation.c.request,
    invocation.c.state,
    invocation.c.attempts,
    invocation.c.lost_attempts,
    invocation.c.lease_owner,
    decision.c.outcome,
).select_from(invocation.outerjoin(decision, decision.c.invocation_id == invocation.c.id))

_FIELDS = {"endpoint_id": invocation.c.endpoint_id, "state": invocation.c.state, "instance_id": invocation.c.lease_owner}


def get_record(connection: Connection, id: str) -> InvocationRecord | None:
    """The record of this invocation, or None."""
    row = connection.execute(_RECORD.where(invocation.c.id == id)).one_or_none()
    return None if row is None else _record(row)


def find_records(
    connection: Connection, where: dict[str, str | Sequence[str]], limit: int | None = None
) -> list[InvocationRecord]:
    """All records (the first ``limit``) whose fields equal, or are among, the given values, oldest first."""
    statement = _RECORD.where(*(_condition(field, wanted) for field, wanted in where.items()))
    if "instance_id" in where:  # only a lease has an owner; said again for the partial index
        statement = statement.where(_condition("state", (InvocationState.RUNNING, InvocationState.PUBLISHING)))
    return [_record(row) for row in connection.execute(statement.order_by(invocation.c.seq).limit(limit))]


def _condition(field: str, wanted: str | Sequence[str]) -> ColumnElement[bool]:
    if field not in _FIELDS:
        raise Bug(f"An invocation cannot be found by {field}; only by {sorted(_FIELDS)}.")
    values = [str(wanted)] if isinstance(wanted, str) else [str(value) for value in wanted]
    literal = field == "state"  # literal values, or SQLite would not use the partial indexes
    if literal:
        values = [InvocationState(value) for value in values]
    if len(values) == 1:
        return _FIELDS[field] == bindparam(None, values[0], literal_execute=literal)
    return _FIELDS[field].in_(bindparam(None, values, expanding=True, literal_execute=literal))


def _record(row: Any) -> InvocationRecord:
    return InvocationRecord(
        invocation=load(Invocation, row.request),
        state=InvocationState(row.state),
        attempts=row.attempts,
        lost_attempts=row.lost_attempts,
        instance_id=row.lease_owner,
        outcome=None if row.outcome is None else load(Outcome, row.outcome),
    )
