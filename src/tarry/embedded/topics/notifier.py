"""The Notifier port on the embedded topics: one transaction per notification, and repeats that insert nothing."""

from uuid import UUID, uuid5

from tarry.core.errors import DependencyError, PublishError, RequestError, Throttled
from tarry.core.notifications import Notification
from tarry.core.topics import Draft
from tarry.embedded.topics.topics import Topics

_MESSAGE_IDS = UUID("5a1c6d0e-6a57-4d8e-9f5e-0f9b8c1f2a73")


def message_id_of(notification_id: str) -> str:
    """The MessageId of a notification: the same for every repeat."""
    return str(uuid5(_MESSAGE_IDS, notification_id))


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
            await self._topics.publish(notification.topic_arn, draft, message_id=message_id_of(notification.id))
        except (Throttled, DependencyError) as error:
            raise PublishError(str(error), permanent=False) from error
        except RequestError as error:
            raise PublishError(str(error), permanent=True) from error
