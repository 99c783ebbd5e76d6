"""ports.QueueControl in SQL: stops and priorities, written as marks that the queue itself looks at."""

from typing import Any

from sqlalchemy import BindParameter, Connection, Select, and_, bindparam, case, delete, func, select, update

from tarry.backends.database.queue_rows import CLAIMABLE_ROWS, DELAYED_ROWS, literal_state
from tarry.backends.database.schema import decision, invocation, outbox
from tarry.backends.database.transactions import Database
from tarry.core.history import StopCause
from tarry.core.invocation import TERMINAL, InvocationState, rank_us
from tarry.ports import CHANNEL_STOPS, Clock, Wakeups

PURGE_BATCH = 1000
"""Invocations that one transaction of a purge marks."""

_ONE = select(invocation.c.seq, invocation.c.state, invocation.c.received_at_us, invocation.c.stop_requested_at_us).where(
    invocation.c.id == bindparam("id")
)
_STOP = (
    update(invocation)
    .where(invocation.c.seq.in_(bindparam("seqs", expanding=True)))
    .values(
        stop_requested_at_us=bindparam("now_us"),
        stop_cause=bindparam("cause"),
        due_at_us=case((DELAYED_ROWS, 0), else_=invocation.c.due_at_us),  # what is delayed waits no longer
    )
)
_NEWEST = select(func.coalesce(func.max(invocation.c.seq), 0))
_PRIORITISE = (
    update(invocation)
    .where(invocation.c.seq == bindparam("of"))
    .values(priority=bindparam("to"), rank_us=bindparam("new_rank_us"))
)
_ENDED_BEFORE = (
    select(decision.c.invocation_id)
    .join(invocation, invocation.c.id == decision.c.invocation_id)
    .where(decision.c.ended_at_us < bindparam("before_us"), invocation.c.state != literal_state(InvocationState.PUBLISHING))
    .order_by(decision.c.ended_at_us)
    .limit(bindparam("limit"))
)
_THESE: BindParameter[Any] = bindparam("ids", expanding=True)
_FORGET = delete(invocation).where(invocation.c.id.in_(_THESE))
_FORGET_NOTIFICATIONS = delete(outbox).where(outbox.c.id.in_(_THESE), outbox.c.given_up_at_us.is_not(None))
_WAITING = {InvocationState.QUEUED, InvocationState.DELAYED}
_DECIDED = TERMINAL | {InvocationState.PUBLISHING}


class SqlQueueControl:
    """The controls on a Database."""

    def __init__(self, database: Database, clock: Clock, wakeups: Wakeups) -> None:
        self._database = database
        self._clock = clock
        self._wakeups = wakeups

    async def stop(self, id: str) -> InvocationState | None:
        """See ports.QueueControl."""

        def run(connection: Connection) -> InvocationState | None:
            row = connection.execute(_ONE, {"id": id}).one_or_none()
            if row is None:
                return None
            state = InvocationState(row.state)
            if state not in _DECIDED and row.stop_requested_at_us is None:
                self._mark(connection, [row.seq], StopCause.STOP_INVOCATION)
            return state

        return await self._database.write(run, after=lambda _: self._wakeups.notify(CHANNEL_STOPS))

    async def purge(self, endpoint_id: str) -> int:
        """See ports.QueueControl. Small transactions: nobody else waits long for the writer."""
        last = await self._database.write(lambda connection: connection.execute(_NEWEST).scalar_one())
        count = 0
        while batch := await self._purge_some(endpoint_id, last):
            count += batch
        return count

    async def _purge_some(self, endpoint_id: str, last: int) -> int:
        def run(connection: Connection) -> int:
            seqs: list[int] = []
            claimable = _waiting(endpoint_id, last).where(CLAIMABLE_ROWS).order_by(invocation.c.bucket, invocation.c.rank_us)
            delayed = _waiting(endpoint_id, last).where(DELAYED_ROWS)
            for found in (claimable, delayed):  # the order is that of the index of claims, which holds no stopped ones
                seqs += connection.execute(found.limit(PURGE_BATCH - len(seqs))).scalars().all()
            if seqs:
                self._mark(connection, seqs, StopCause.PURGE_QUEUE)
            return len(seqs)

        return await self._database.write(run, after=lambda _: self._wakeups.notify(CHANNEL_STOPS))

    def _mark(self, connection: Connection, seqs: list[int], cause: StopCause) -> None:
        connection.execute(_STOP, {"seqs": seqs, "now_us": self._clock.now_us(), "cause": cause.value})

    async def prioritise(self, id: str, priority: int) -> InvocationState | None:
        """See ports.QueueControl."""

        def run(connection: Connection) -> InvocationState | None:
            row = connection.execute(_ONE, {"id": id}).one_or_none()
            if row is None:
                return None
            if (state := InvocationState(row.state)) in _WAITING:
                rank = rank_us(row.received_at_us, priority)
                connection.execute(_PRIORITISE, {"of": row.seq, "to": priority, "new_rank_us": rank})
            return state

        return await self._database.write(run)

    async def forget(self, ended_before_us: int, limit: int) -> int:
        """See ports.QueueControl."""

        def run(connection: Connection) -> int:
            gone = connection.execute(_ENDED_BEFORE, {"before_us": ended_before_us, "limit": limit}).scalars().all()
            if gone:
                ids = {"ids": gone}
                connection.execute(_FORGET_NOTIFICATIONS, ids)
                connection.execute(_FORGET, ids)  # bodies, attempts and decisions go with it
            return len(gone)

        return await self._database.write(run)


def _waiting(endpoint_id: str, last: int) -> Select[int]:
    """Rows of this endpoint up to ``last``. By row and not by time of receipt: clocks are set back."""
    wanted = and_(invocation.c.endpoint_id == endpoint_id, invocation.c.stop_requested_at_us.is_(None))
    return select(invocation.c.seq).where(wanted, invocation.c.seq <= last)
