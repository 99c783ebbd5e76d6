"""ports.Outbox in SQL: notifications that are committed and not yet handed to their topic."""

from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, delete, or_, select, text, update

from tarry.backends.database.queue_decisions import note_announced
from tarry.backends.database.schema import WAITING, outbox
from tarry.backends.database.transactions import Database
from tarry.core.notifications import Notification
from tarry.core.retry import OUTBOX_DELAY_S_MAX
from tarry.ports import Clock, Outgoing

ERROR_CHARS_MAX = 2000
_DELAY_US_MAX = int(OUTBOX_DELAY_S_MAX * 1_000_000)

_DUE = (
    select(outbox)
    # a time further ahead than any delay was set by a clock that has been set back since
    .where(text(WAITING), or_(outbox.c.due_at_us <= bindparam("now_us"), outbox.c.due_at_us > bindparam("latest_us")))
    .order_by(outbox.c.seq)
    .limit(bindparam("limit"))
)
_DONE = delete(outbox).where(outbox.c.id == bindparam("of"))
_FAILED = update(outbox).where(outbox.c.id == bindparam("of"), text(WAITING)).values(tries=outbox.c.tries + 1)


class SqlOutbox:
    """The Outbox on a Database. One dispatcher reads it."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def due(self, limit: int) -> list[Outgoing]:
        """See ports.Outbox."""
        now_us = self._clock.now_us()
        needs = {"now_us": now_us, "latest_us": now_us + _DELAY_US_MAX, "limit": limit}
        rows = await self._database.read(lambda connection: connection.execute(_DUE, needs).all())
        return [
            Outgoing(notification=Notification(id=row.id, topic_arn=row.topic_arn, message=row.message), tries=row.tries)
            for row in rows
        ]

    async def done(self, notification_id: str) -> None:
        """See ports.Outbox."""
        await self._database.write_grouped(_hand_over, (notification_id, self._clock.now_us()))

    async def retry(self, notification_id: str, *, after_s: float, error: str) -> None:
        """See ports.Outbox."""
        due_at_us = self._clock.now_us() + min(int(after_s * 1_000_000), _DELAY_US_MAX)
        await self._fail(notification_id, {"due_at_us": due_at_us, "error": error[:ERROR_CHARS_MAX]})

    async def give_up(self, notification_id: str, *, error: str) -> None:
        """See ports.Outbox. The row stays, out of the queue, with the error."""
        await self._fail(notification_id, {"given_up_at_us": self._clock.now_us(), "error": error[:ERROR_CHARS_MAX]})

    async def _fail(self, notification_id: str, values: dict[str, object]) -> None:
        def run(connection: Connection) -> None:
            connection.execute(_FAILED.values(**values), {"of": notification_id})

        await self._database.write(run)


def _hand_over(connection: Connection, items: Sequence[tuple[str, int]]) -> Sequence[None]:
    connection.execute(_DONE, [{"of": each} for each, _ in items])
    for each, now_us in items:
        note_announced(connection, [each], now_us)
    return [None] * len(items)
