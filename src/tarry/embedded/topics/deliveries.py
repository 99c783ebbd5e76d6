"""What is still to be pushed, and how each try ended: the pusher's view of the database.

Pushes belong to lanes, one per subscription. A lane is worked on by one task of one process at a time (the lock on the data
directory sees to the process), so a push needs no lease, and after a crash it is due at once. A new push is due whatever the
clock says; a next try further ahead than any delay was set by a clock that has been set back since, and is due, too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import CTE, ColumnElement, Connection, and_, bindparam, delete, exists, func, or_, select, update
from sqlalchemy import text as sql

from tarry.backends.database.transactions import Database
from tarry.core.retry import SNS_HTTP
from tarry.core.topics import Push, PushState, SubscriptionState
from tarry.embedded.topics import rows
from tarry.embedded.topics.schema import UNDELIVERED, message, push, subscription, topic
from tarry.ports import Clock

ERROR_CHARS_MAX = 500
SWEEP_ROWS_MAX = 1000
_DELAY_US_MAX = int(SNS_HTTP.longest_s * 1_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """How one try of a push ended. ``retry_after_s`` is set where another try follows."""

    push: Push
    error: str | None = None
    retry_after_s: float | None = None


class Deliveries:
    """The pushes in the database."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def lanes_due(self) -> list[int]:
        """The lanes (subscription rows) that have a push due now, in no particular order."""
        now_us = self._clock.now_us()
        return await self._database.read(lambda connection: _lanes_due(connection, now_us))

    async def due(self, lane: int, limit: int) -> list[Push]:
        """Up to ``limit`` pushes of a lane that are due now: those that are due again first, then the new ones, oldest first."""
        now_us = self._clock.now_us()
        return await self._database.read(lambda connection: _due(connection, lane, now_us, limit))

    async def record(self, tried: Sequence[Tried]) -> None:
        """Write down how tries ended; durable when this returns. A push that is gone meanwhile is no error."""
        now_us = self._clock.now_us()
        await self._database.write(lambda connection: _record(connection, tried, now_us))

    async def sweep(self, retention_s: float) -> int:
        """Remove pushes that ended longer ago than this, messages without pushes, and subscriptions that never came to be.

        A bounded number of rows at a time; returns how many, so that the caller goes on until 0.
        """
        now_us = self._clock.now_us()
        before_us = now_us - int(retention_s * 1_000_000)
        return await self._database.write(lambda connection: _sweep(connection, before_us, now_us))


_UNDELIVERED = sql(f"push.{UNDELIVERED}")
_AGAIN, _AFTER_SET_BACK, _NEW = (
    and_(push.c.next_try_at_us > 0, push.c.next_try_at_us <= bindparam("now_us")),
    push.c.next_try_at_us > bindparam("latest_us"),
    push.c.next_try_at_us == 0,
)
"""Why a push is due; each is one range of the index of a lane's pushes, however many there are and have been."""


def _lanes() -> CTE:
    """The lanes that have undelivered pushes: from one to the next, a seek each."""
    first = select(func.min(push.c.subscription_seq).label("seq")).where(_UNDELIVERED).cte("lane", recursive=True)
    behind = push.alias("behind")
    undelivered = sql(f"behind.{UNDELIVERED}")
    following = select(func.min(behind.c.subscription_seq)).where(undelivered, behind.c.subscription_seq > first.c.seq)
    return first.union_all(select(following.correlate(first).scalar_subquery()).where(first.c.seq.is_not(None)))


_LANE = _lanes()
_LANES_DUE = select(_LANE.c.seq).where(
    or_(
        *(
            exists().where(push.c.subscription_seq == _LANE.c.seq, _UNDELIVERED, is_due)
            for is_due in (_NEW, _AGAIN, _AFTER_SET_BACK)
        )
    )
)


def _times(now_us: int) -> dict[str, int]:
    return {"now_us": now_us, "latest_us": now_us + _DELAY_US_MAX}


def _lanes_due(connection: Connection, now_us: int) -> list[int]:
    return list(connection.execute(_LANES_DUE, _times(now_us)).scalars())


def _due(connection: Connection, lane: int, now_us: int, limit: int) -> list[Push]:
    found: list[Push] = []
    for is_due in (_AGAIN, _AFTER_SET_BACK, _NEW):
        if len(found) < limit:
            found += _due_in(connection, is_due, lane, {**_times(now_us), "limit": limit - len(found)})
    return found


def _due_in(connection: Connection, is_due: ColumnElement[bool], lane: int, needs: Mapping[str, int]) -> list[Push]:
    query = (
        select(
            push.c.seq,
            push.c.tries,
            topic.c.signature_version,
            *rows.message_columns(),
            *rows.subscription_columns(),
        )
        .join_from(push, message)
        .join(subscription, push.c.subscription_seq == subscription.c.seq)
        .join(topic, subscription.c.topic_seq == topic.c.seq)
        .where(push.c.subscription_seq == lane, _UNDELIVERED, is_due)
        .order_by(push.c.next_try_at_us, push.c.seq)
        .limit(bindparam("limit"))
    )
    return [
        Push(
            seq=row["seq"],
            message=rows.message_from(row),
            subscription=rows.subscription_from(row),
            signature_version=row["signature_version"],
            tries=row["tries"],
        )
        for row in connection.execute(query, needs).mappings()
    ]


def _record(connection: Connection, tried: Sequence[Tried], now_us: int) -> None:
    for one in tried:
        error = None if one.error is None else one.error[:ERROR_CHARS_MAX]
        values: dict[str, object] = {"tries": push.c.tries + 1, "last_error": error}
        if one.retry_after_s is not None:
            values["next_try_at_us"] = now_us + min(int(one.retry_after_s * 1_000_000), _DELAY_US_MAX)
        else:
            values["state"] = (PushState.DONE if one.error is None else PushState.FAILED).value
            values["ended_at_us"] = now_us
        # SQLite gives the number of a deleted row to a new one: the MessageId tells whether this is still the same push.
        same = select(message.c.seq).where(message.c.id == one.push.message.id).scalar_subquery()
        pending = push.c.state == PushState.PENDING.value
        connection.execute(update(push).where(push.c.seq == one.push.seq, push.c.message_seq == same, pending).values(**values))


def _sweep(connection: Connection, before_us: int, now_us: int) -> int:
    ended = select(push.c.seq).where(push.c.ended_at_us < before_us).limit(SWEEP_ROWS_MAX)
    count = connection.execute(delete(push).where(push.c.seq.in_(ended))).rowcount
    unneeded = select(message.c.seq).where(
        message.c.created_at_us < before_us, ~exists().where(push.c.message_seq == message.c.seq)
    )
    count += connection.execute(delete(message).where(message.c.seq.in_(unneeded.limit(SWEEP_ROWS_MAX)))).rowcount
    # OURS: what nobody has confirmed (again) while its token was valid can never be confirmed, so it goes
    over = select(subscription.c.seq).where(
        subscription.c.state.in_([SubscriptionState.PENDING.value, SubscriptionState.DELETED.value]),
        subscription.c.token_expires_at_us < now_us,
        ~exists().where(push.c.subscription_seq == subscription.c.seq),
    )
    count += connection.execute(delete(subscription).where(subscription.c.seq.in_(over.limit(SWEEP_ROWS_MAX)))).rowcount
    return count
