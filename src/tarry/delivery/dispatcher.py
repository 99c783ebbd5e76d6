"""From the outbox to the topics: at least once, with a stable id, whatever dies in between.

A notification leaves the outbox only after its topic has taken it. A topic that is gone for good ends the tries, with the
error kept for people; the result itself is not touched, as on AWS (metric NotificationFailures).
"""

import asyncio

import structlog

from tarry.core.errors import PublishError, TarryError
from tarry.core.retry import outbox_delay_s
from tarry.ports import CHANNEL_OUTBOX, Clock, Metrics, Notifier, Outbox, Outgoing, Wakeups

log = structlog.get_logger(__name__)

POLL_S = 1.0
ERROR_PAUSE_S = 1.0
BATCH = 64


class Dispatcher:
    """Hands committed notifications to the notifier."""

    def __init__(self, outbox: Outbox, notifier: Notifier, metrics: Metrics, clock: Clock, wakeups: Wakeups) -> None:
        self._outbox = outbox
        self._notifier = notifier
        self._metrics = metrics
        self._clock = clock
        self._wakeups = wakeups

    async def run(self) -> None:
        """Dispatch until cancelled."""
        async with self._wakeups.listen(CHANNEL_OUTBOX) as hints:
            while True:
                try:
                    dispatched = await self.dispatch()
                except TarryError as error:
                    log.warning("dispatching could not go on", error=str(error))
                    await self._clock.sleep(ERROR_PAUSE_S)
                    continue
                if not dispatched:
                    await hints.wait(POLL_S)

    async def dispatch(self) -> int:
        """Try everything that is due now, at most one batch; returns how many."""
        due = await self._outbox.due(BATCH)
        await asyncio.gather(*(self._send(outgoing) for outgoing in due))
        return len(due)

    async def _send(self, outgoing: Outgoing) -> None:
        notification = outgoing.notification
        try:
            await self._notifier.publish(notification)
        except PublishError as error:
            self._metrics.count("NotificationFailures", notification.topic_arn)
            log.warning("a notification could not be published", topic_arn=notification.topic_arn, error=str(error))
            if error.permanent:
                await self._outbox.give_up(notification.id, error=str(error))
            else:
                await self._outbox.retry(notification.id, after_s=outbox_delay_s(outgoing.tries), error=str(error))
            return
        await self._outbox.done(notification.id)
