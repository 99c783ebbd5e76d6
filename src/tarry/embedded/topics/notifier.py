"""The Notifier port on the embedded topics: one transaction per notification, and repeats that insert nothing.

A notification's id is its MessageId. The end of an invocation does not even need a transaction of its own: topics lie in the
queue's database, and its commit gives them the message.
"""

from collections.abc import Sequence

from sqlalchemy import Connection

from tarry.core.errors import DependencyError, PublishError, RequestError, Throttled
from tarry.core.notifications import Notification
from tarry.core.topics import Draft, Message, MessageKind, check_draft
from tarry.embedded.topics import rows
from tarry.embedded.topics.topics import Topics


class EmbeddedNotifier:
    """Publishes notifications to the embedded topics (``ports.Notifier``)."""

    def __init__(self, topics: Topics) -> None:
        self._topics = topics

    async def publish(self, notification: Notification) -> None:
        """Durably accepted when this returns; a repeat of the same id changes nothing.

        Errors: PublishError, permanent where the topic does not exist or would never take the message.
        """
        draft = Draft(text=notification.message)
        try:
            await self._topics.publish(notification.topic_arn, draft, message_id=notification.id)
        except (Throttled, DependencyError) as error:
            raise PublishError(str(error), permanent=False) from error
        except RequestError as error:
            raise PublishError(str(error), permanent=True) from error


def announce_in_transaction(connection: Connection, notifications: Sequence[Notification], now_us: int) -> dict[str, int]:
    """Give messages to their topics as part of the caller's transaction.

    Returns the ids of those that were taken, each with how many subscribers it goes to. Not taken: topic missing, or text that
    no topic would take.
    """
    taken: dict[str, int] = {}
    topics: dict[str, int | None] = {}
    for notification in notifications:
        arn = notification.topic_arn
        if arn not in topics:
            topic = rows.topic_by_arn(connection, arn)
            topics[arn] = None if topic is None else topic.seq
        seq, draft = topics[arn], Draft(text=notification.message)
        if seq is not None and _is_possible(draft):
            taken[notification.id] = rows.insert_notification(connection, seq, _message(notification, draft, now_us))
    return taken


def _is_possible(draft: Draft) -> bool:
    try:
        check_draft(draft)
    except RequestError:
        return False
    return True


def _message(notification: Notification, draft: Draft, now_us: int) -> Message:
    return Message(id=notification.id, kind=MessageKind.NOTIFICATION, created_at_us=now_us, draft=draft)
