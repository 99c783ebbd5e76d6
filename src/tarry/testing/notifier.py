"""A Notifier that keeps what it was given, for tests of everything that publishes."""

from tarry.core.errors import PublishError
from tarry.core.notifications import Notification


class FakeNotifier:
    """Knows the topics that it was told of and keeps each notification once, however often it is published.

    ``fail_next`` makes the next publishes fail before they are accepted.
    """

    def __init__(self, *topic_arns: str) -> None:
        self.topic_arns = set(topic_arns)
        self.published: list[Notification] = []
        self.calls = 0
        """How often publish was called, repeats and failures included."""
        self._failures: list[PublishError] = []

    def fail_next(self, times: int = 1, *, permanent: bool = False, message: str = "The topic cannot be reached.") -> None:
        """Let the next ``times`` publishes raise PublishError."""
        self._failures += [PublishError(message, permanent=permanent) for _ in range(times)]

    async def publish(self, notification: Notification) -> None:
        """Keep the notification. Errors: PublishError, permanent for an unknown topic, or as ``fail_next`` said."""
        self.calls += 1
        if self._failures:
            raise self._failures.pop(0)
        if notification.topic_arn not in self.topic_arns:
            raise PublishError(f'Could not find topic "{notification.topic_arn}".', permanent=True)
        if all(known.id != notification.id for known in self.published):
            self.published.append(notification)
