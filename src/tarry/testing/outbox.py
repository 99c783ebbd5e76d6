"""Notifications that wait, in memory."""

from dataclasses import dataclass

from tarry.core.notifications import Notification
from tarry.core.retry import OUTBOX_DELAY_S_MAX, is_due
from tarry.ports import Clock, Outgoing


@dataclass(slots=True)
class _Waiting:
    notification: Notification
    due_at_us: int = 0
    tries: int = 0
    error: str | None = None


class FakeOutbox:
    """ports.Outbox. ``given_up`` holds the error of each notification that was given up, ``announced`` when one was done."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiting: dict[str, _Waiting] = {}
        self.given_up: dict[str, str] = {}
        self.announced: dict[str, int] = {}

    def add(self, notification: Notification) -> None:
        """Put a notification in, as the queue does at the end of an invocation."""
        self._waiting[notification.id] = _Waiting(notification)

    async def due(self, limit: int) -> list[Outgoing]:
        """See ports.Outbox."""
        now_us = self._clock.now_us()
        due = [row for row in self._waiting.values() if is_due(row.due_at_us, now_us, OUTBOX_DELAY_S_MAX)]
        return [Outgoing(notification=row.notification, tries=row.tries) for row in due[:limit]]

    async def done(self, notification_id: str) -> None:
        """See ports.Outbox."""
        if self._waiting.pop(notification_id, None):
            self.announced[notification_id] = self._clock.now_us()

    async def retry(self, notification_id: str, *, after_s: float, error: str) -> None:
        """See ports.Outbox."""
        if row := self._waiting.get(notification_id):
            row.tries += 1
            row.due_at_us = self._clock.now_us() + int(min(after_s, OUTBOX_DELAY_S_MAX) * 1_000_000)
            row.error = error

    async def give_up(self, notification_id: str, *, error: str) -> None:
        """See ports.Outbox."""
        if self._waiting.pop(notification_id, None):
            self.given_up[notification_id] = error

    def error(self, notification_id: str) -> str | None:
        """Why a notification has not been handed over, if it was tried."""
        waiting = self._waiting.get(notification_id)
        return self.given_up.get(notification_id) or (waiting.error if waiting else None)
