"""From a committed end to a topic."""

from dataclasses import dataclass
from typing import Protocol

from tarry.core.notifications import Notification


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A notification in the outbox, and how often it has been tried."""

    notification: Notification
    tries: int


class Outbox(Protocol):
    """Notifications that are committed and not yet handed to their topic. At least once, oldest first."""

    async def due(self, limit: int) -> list[Outgoing]:
        """Those whose next try is due, oldest first. A new one is due at once; a clock that is set back holds up none."""
        ...

    async def done(self, notification_id: str) -> None:
        """Handed over. Repeats change nothing."""
        ...

    async def retry(self, notification_id: str, *, after_s: float, error: str) -> None:
        """Try again in ``after_s`` seconds, or in OUTBOX_DELAY_S_MAX if that is less. ``error`` is kept for people."""
        ...

    async def give_up(self, notification_id: str, *, error: str) -> None:
        """Trying again cannot help (no such topic): out of the queue, the error kept for people."""
        ...


class Notifier(Protocol):
    """Hands a message to a topic."""

    async def publish(self, notification: Notification) -> None:
        """Durably accepted by the topic when this returns; a repeat of the same id does nothing (embedded) or repeats (SNS).

        Errors: PublishError.
        """
        ...
