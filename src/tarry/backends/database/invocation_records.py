"""ports.InvocationRecords in SQL: what became of invocations, read beside the writer."""

import base64
import binascii
from typing import Any

from sqlalchemy import Connection, Select, and_, bindparam, func, literal, or_, select

from tarry.backends.database.pace import attempt_s, count_running
from tarry.backends.database.queue_rows import DELAYED_ROWS, QUEUED_ROWS, literal_state
from tarry.backends.database.records import RECORD, read_record
from tarry.backends.database.schema import attempt, invocation, invocation_body, outbox
from tarry.backends.database.transactions import Database
from tarry.core.errors import InvalidRequest
from tarry.core.history import (
    AHEAD_MAX,
    AttemptEnd,
    InvocationHistory,
    InvocationRecord,
    QueuePlace,
    QueueState,
    UndecidedAttempt,
)
from tarry.core.invocation import InvocationState
from tarry.ports import Clock, InvocationQuery, Page

EXAMINED_MAX = 5_000
"""Rows that one page looks at: a filter that few rows pass is answered in more pages, not in a long read."""
TOKEN_CHARS_MAX = 19  # the letter, and a number that SQLite can hold

_ATTEMPTS = select(attempt).where(attempt.c.invocation_id == bindparam("id")).order_by(attempt.c.seq)
_ERROR = select(outbox.c.error).where(outbox.c.id == bindparam("id"))
_BODY = select(invocation_body.c.body).where(invocation_body.c.invocation_id == bindparam("id"))
_NAMED = (
    RECORD.where(invocation.c.inference_id == bindparam("inference_id"))
    .order_by(invocation.c.seq.desc())
    .limit(bindparam("limit"))
)


class SqlInvocationRecords:
    """The records on a Database."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def history(self, id: str) -> InvocationHistory | None:
        """See ports.InvocationRecords."""
        return await self._database.read(lambda connection: _history(connection, id))

    async def named(self, inference_id: str, limit: int) -> list[InvocationRecord]:
        """See ports.InvocationRecords."""
        needs = {"inference_id": inference_id, "limit": limit}
        rows = await self._database.read(lambda connection: connection.execute(_NAMED, needs).all())
        return [read_record(row) for row in rows]

    async def page(self, query: InvocationQuery) -> Page[InvocationRecord]:
        """See ports.InvocationRecords."""
        before = _read_token(query.token)
        return await self._database.read(lambda connection: _page(connection, query, before))

    async def place(self, id: str) -> QueuePlace | None:
        """See ports.InvocationRecords."""
        return await self._database.read(lambda connection: _place(connection, id))

    async def queue(self, endpoint_id: str) -> QueueState:
        """See ports.InvocationRecords."""
        return await self._database.read(lambda connection: _queue(connection, endpoint_id))

    async def body(self, id: str) -> bytes | None:
        """See ports.InvocationRecords."""
        return await self._database.read(lambda connection: connection.execute(_BODY, {"id": id}).scalar_one_or_none())


def _history(connection: Connection, id: str) -> InvocationHistory | None:
    row = connection.execute(RECORD.where(invocation.c.id == id)).one_or_none()
    if row is None:
        return None
    undecided = tuple(
        UndecidedAttempt(
            number=each.number,
            instance_id=each.instance_id,
            claimed_at_us=each.claimed_at_us,
            ended_at_us=each.ended_at_us,
            end=AttemptEnd(each.end),
            status=each.status,
            reason=each.reason,
        )
        for each in connection.execute(_ATTEMPTS, {"id": id})
    )
    return InvocationHistory(
        record=read_record(row),
        undecided=undecided,
        announced_at_us=row.announced_at_us,
        notification_error=connection.execute(_ERROR, {"id": id}).scalar_one_or_none(),
    )


# ---------------------------------------------------------------------------------------------------------------- pages


def _page(connection: Connection, query: InvocationQuery, before: int | None) -> Page[InvocationRecord]:
    """Walk the rows from new to old, ``EXAMINED_MAX`` at most; the token is the last one looked at."""
    shown: list[InvocationRecord] = []
    rows = connection.execute(_newest(query, before)).all()
    for row in rows:
        record = read_record(row)
        if _passes(record, query):
            shown.append(record)
        if len(shown) == query.limit and row is not rows[-1]:
            return Page(tuple(shown), _token(row.seq))
    return Page(tuple(shown), _token(rows[-1].seq) if len(rows) == EXAMINED_MAX else None)


def _newest(query: InvocationQuery, before: int | None) -> Select[Any]:
    statement = RECORD.order_by(invocation.c.seq.desc()).limit(EXAMINED_MAX)
    if query.endpoint_id is not None:
        statement = statement.where(invocation.c.endpoint_id == query.endpoint_id)
    if query.inference_id is not None:
        statement = statement.where(invocation.c.inference_id == query.inference_id)
    if query.states:
        statement = statement.where(invocation.c.state.in_([literal_state(state) for state in sorted(query.states)]))
    if query.received_after_us is not None:
        statement = statement.where(invocation.c.received_at_us > query.received_after_us)
    if query.received_before_us is not None:
        statement = statement.where(invocation.c.received_at_us < query.received_before_us)
    return statement if before is None else statement.where(invocation.c.seq < before)


def _passes(record: InvocationRecord, query: InvocationQuery) -> bool:
    if query.reason_contains is None:
        return True
    reason = record.outcome.reason if record.outcome else None
    return reason is not None and query.reason_contains.lower() in reason.lower()


def _token(seq: int) -> str:
    return base64.urlsafe_b64encode(b"i%d" % seq).decode().rstrip("=")


def _read_token(token: str | None) -> int | None:
    if token is None:
        return None
    try:
        text = base64.b64decode(token + "=" * (-len(token) % 4), b"-_", validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        text = ""
    if text[:1] != "i" or not text[1:].isdecimal() or len(text) > TOKEN_CHARS_MAX:
        raise InvalidRequest("The token of the next page was not given out by this server; begin the list again.")
    return int(text[1:])


# ---------------------------------------------------------------------------------------------------------------- queue


def _place(connection: Connection, id: str) -> QueuePlace | None:
    here = connection.execute(select(invocation).where(invocation.c.id == id, QUEUED_ROWS)).one_or_none()
    if here is None:
        return None
    waiting = invocation.alias("ahead")
    before = or_(waiting.c.rank_us < here.rank_us, and_(waiting.c.rank_us == here.rank_us, waiting.c.seq < here.seq))
    ahead = (
        select(literal(1))
        .where(waiting.c.endpoint_id == here.endpoint_id, before)
        .where(waiting.c.state == literal_state(InvocationState.QUEUED), waiting.c.stop_requested_at_us.is_(None))
        .limit(AHEAD_MAX)
    )
    count = connection.execute(select(func.count()).select_from(ahead.subquery())).scalar_one()
    return QueuePlace(
        ahead=count, running=count_running(connection, here.endpoint_id), attempt_s=attempt_s(connection, here.endpoint_id)
    )


def _queue(connection: Connection, endpoint_id: str) -> QueueState:
    def count(state: InvocationState) -> int:
        wanted = select(func.count()).where(invocation.c.endpoint_id == endpoint_id, invocation.c.state == literal_state(state))
        return int(connection.execute(wanted).scalar_one())

    oldest = select(invocation.c.received_at_us).where(invocation.c.endpoint_id == endpoint_id, or_(QUEUED_ROWS, DELAYED_ROWS))
    return QueueState(
        queued=count(InvocationState.QUEUED),
        delayed=count(InvocationState.DELAYED),
        running=count(InvocationState.RUNNING),
        publishing=count(InvocationState.PUBLISHING),
        oldest_received_at_us=connection.execute(oldest.order_by(invocation.c.seq).limit(1)).scalar_one_or_none(),
    )
