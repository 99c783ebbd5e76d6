"""ports.InvocationRecords in SQL: what became of invocations, read beside the writer."""

from typing import Any

from sqlalchemy import Connection, Row, bindparam, func, literal, select, tuple_

from tarry.backends.database.documents import load
from tarry.backends.database.invocation_pages import read_page, read_token
from tarry.backends.database.pace import attempt_s, count_running
from tarry.backends.database.prepared import Prepared
from tarry.backends.database.queue_rows import CLAIMABLE_ROWS, QUEUED_ROWS
from tarry.backends.database.records import RECORD, read_record
from tarry.backends.database.schema import attempt, backlog, instance, invocation, invocation_body, outbox
from tarry.backends.database.transactions import Database
from tarry.core.deployment import BUCKETS
from tarry.core.history import (
    AHEAD_MAX,
    COUNTED_MAX,
    AttemptEnd,
    InvocationHistory,
    InvocationRecord,
    QueuePlace,
    QueueState,
    UndecidedAttempt,
    explained,
)
from tarry.core.instance import Instance
from tarry.core.invocation import InvocationState
from tarry.ports import Clock, InvocationQuery, Page

_ATTEMPTS = (
    select(attempt, instance.c.document.label("instance"))
    .outerjoin(instance, instance.c.id == attempt.c.instance_id)
    .where(attempt.c.invocation_id == bindparam("id"))
    .order_by(attempt.c.seq)
)
_ERROR = select(outbox.c.error).where(outbox.c.id == bindparam("id"))
_BODY = select(invocation_body.c.body).where(invocation_body.c.invocation_id == bindparam("id"))
_STATE = Prepared(select(invocation.c.state).where(invocation.c.id == bindparam("of")))


class SqlInvocationRecords:
    """The records on a Database."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def history(self, id: str) -> InvocationHistory | None:
        """See ports.InvocationRecords."""
        return await self._database.read(lambda connection: _history(connection, id))

    async def state(self, id: str) -> InvocationState | None:
        """See ports.InvocationRecords."""
        row = await self._database.read(lambda connection: _STATE.first(connection, {"of": id}))
        return None if row is None else InvocationState(row.state)

    async def named(self, inference_id: str, limit: int) -> list[InvocationRecord]:
        """See ports.InvocationRecords."""
        return list((await self.page(InvocationQuery(inference_id=inference_id, limit=limit))).items)

    async def page(self, query: InvocationQuery) -> Page[InvocationRecord]:
        """See ports.InvocationRecords."""
        before = read_token(query.token)
        return await self._database.read(lambda connection: read_page(connection, query, before))

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
    return InvocationHistory(
        record=read_record(row),
        undecided=tuple(_read_attempt(each) for each in connection.execute(_ATTEMPTS, {"id": id})),
        announced_at_us=row.announced_at_us,
        notification_error=connection.execute(_ERROR, {"id": id}).scalar_one_or_none(),
    )


def _read_attempt(row: Row[Any]) -> UndecidedAttempt:
    attempt = UndecidedAttempt(
        number=row.number,
        instance_id=row.instance_id,
        claimed_at_us=row.claimed_at_us,
        ended_at_us=row.ended_at_us,
        end=AttemptEnd(row.end),
        status=row.status,
        reason=row.reason,
    )
    return explained(attempt, None if row.instance is None else load(Instance, row.instance))


# ---------------------------------------------------------------------------------------------------------------- queue


_HERE = Prepared(
    select(invocation.c.seq, invocation.c.endpoint_id, invocation.c.rank_us).where(
        invocation.c.id == bindparam("of"), QUEUED_ROWS
    )
)
_ahead = (
    select(literal(1))
    .where(invocation.c.endpoint_id == bindparam("endpoint_id"), invocation.c.bucket == bindparam("bucket"), CLAIMABLE_ROWS)
    .where(tuple_(invocation.c.rank_us, invocation.c.seq) < tuple_(bindparam("rank_us"), bindparam("seq")))
    .limit(bindparam("limit"))
)
_AHEAD = Prepared(select(func.count().label("found")).select_from(_ahead.subquery()))


def _place(connection: Connection, id: str) -> QueuePlace | None:
    here = _HERE.first(connection, {"of": id})
    if here is None:
        return None
    ahead = 0
    for bucket in range(BUCKETS):  # each a range of the index of claims
        needs = {"endpoint_id": here.endpoint_id, "bucket": bucket, "rank_us": here.rank_us, "seq": here.seq}
        counted = _AHEAD.first(connection, {**needs, "limit": AHEAD_MAX - ahead})
        ahead += counted.found if counted else 0
    return QueuePlace(
        ahead=ahead, running=count_running(connection, here.endpoint_id), attempt_s=attempt_s(connection, here.endpoint_id)
    )


_QUEUED = Prepared(select(backlog.c.queued).where(backlog.c.endpoint_id == bindparam("of")))
_of_state = select(invocation.c.received_at_us).where(
    invocation.c.endpoint_id == bindparam("of"), invocation.c.state == bindparam("state")
)
_COUNTED = Prepared(select(func.count().label("found")).select_from(_of_state.limit(COUNTED_MAX).subquery()))
_OLDEST = Prepared(_of_state.order_by(invocation.c.received_at_us).limit(1))


def _queue(connection: Connection, endpoint_id: str) -> QueueState:
    def count(state: InvocationState) -> int:
        counted = _COUNTED.first(connection, {"of": endpoint_id, "state": state.value})
        return counted.found if counted else 0

    queued = _QUEUED.first(connection, {"of": endpoint_id})
    waiting = (InvocationState.QUEUED, InvocationState.DELAYED)
    oldest = [_OLDEST.first(connection, {"of": endpoint_id, "state": state.value}) for state in waiting]
    return QueueState(
        queued=queued.queued if queued else 0,
        delayed=count(InvocationState.DELAYED),
        running=count_running(connection, endpoint_id),
        publishing=count(InvocationState.PUBLISHING),
        oldest_received_at_us=min((row.received_at_us for row in oldest if row), default=None),
    )
