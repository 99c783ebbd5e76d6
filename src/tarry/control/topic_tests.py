"""The test notification: proof, before an endpoint serves, that its topics can be published to.

One message for each configured member, each time that it is asked for (creation, update, each change of capacities). Its id
derives from what asked for it, so that a repeat after a crash is the same message. The result is written into the
deployment's row; what follows from it is the plan's business.
"""

import asyncio
from dataclasses import replace
from uuid import NAMESPACE_OID, uuid5

import structlog

from tarry.core.deployment import Deployment
from tarry.core.errors import Conflict, PublishError
from tarry.core.notifications import TEST_MESSAGE, Notification
from tarry.ports import CHANNEL_ENDPOINTS, Clock, Notifier, Replace, Store, Wakeups

log = structlog.get_logger(__name__)

PATIENCE_S = 60.0
"""How long a topic that cannot be reached is tried before the configuration counts as wrong."""
PAUSE_S_MAX = 8.0


class TopicTests:
    """The tests under way in this process, one task each."""

    def __init__(self, store: Store, notifier: Notifier, clock: Clock, wakeups: Wakeups) -> None:
        self._store = store
        self._notifier = notifier
        self._clock = clock
        self._wakeups = wakeups
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def begin(self, deployment: Deployment) -> None:
        """Test the topics of a deployment. Repeats while the test is under way change nothing."""
        if deployment.id not in self._tasks:
            task = asyncio.create_task(self._test(deployment), name=f"topics {deployment.id}")
            self._tasks[deployment.id] = task
            task.add_done_callback(lambda done: self._forget(deployment.id, done))

    async def close(self) -> None:
        """End all tests; they begin again with the next plan."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _forget(self, deployment_id: str, task: asyncio.Task[None]) -> None:
        del self._tasks[deployment_id]
        self._wakeups.notify(CHANNEL_ENDPOINTS)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a test of topics ended in an error", exc_info=error, deployment_id=deployment_id)

    async def _test(self, deployment: Deployment) -> None:
        wanted = deployment.topics_tests_wanted
        config = deployment.config.async_inference
        reason = None
        for member, topic in (("SuccessTopic", config.success_topic), ("ErrorTopic", config.error_topic)):
            if topic is not None:
                note = Notification(id=_id(deployment, member), topic_arn=topic, message=TEST_MESSAGE)
                reason = reason or await self._publish(deployment, member, note)
        await self._record(deployment.id, wanted, reason)

    async def _publish(self, deployment: Deployment, member: str, notification: Notification) -> str | None:
        """None if the topic has taken it, else the reason for the endpoint."""
        deadline = self._clock.monotonic() + PATIENCE_S
        pause_s = 1.0
        while True:
            try:
                await self._notifier.publish(notification)
            except PublishError as error:
                log.warning("a test notification failed", topic=notification.topic_arn, error=str(error))
                if error.permanent or self._clock.monotonic() >= deadline:
                    return _reason(deployment, member, notification.topic_arn, str(error))
            else:
                return None
            await self._clock.sleep(pause_s)
            pause_s = min(pause_s * 2, PAUSE_S_MAX)

    async def _record(self, deployment_id: str, wanted: int, reason: str | None) -> None:
        while True:
            row = await self._store.get(Deployment, deployment_id)
            if row is None or row.topics_tested >= wanted:
                return
            try:
                await self._store.apply(Replace(replace(row, topics_tested=wanted, failure_reason=reason)))
            except Conflict:
                continue
            return


def _id(deployment: Deployment, member: str) -> str:
    """The same for every repeat of a test, and a UUID, as a MessageId is."""
    return str(uuid5(NAMESPACE_OID, f"{deployment.id} {deployment.topics_tests_wanted} {member}"))


def _reason(deployment: Deployment, member: str, topic_arn: str, error: str) -> str:
    roles = [deployed.model.execution_role_arn for deployed in deployment.variants]
    role = next((f'"{role}"' for role in roles if role is not None), "(the model has no ExecutionRoleArn)")
    # AWS: the sentence of aws/amazon-sagemaker-examples#4461. OURS: the cause at its end.
    return (
        f"The provided role {role} is invalid. Please ensure the role exists, that its trust relationship policy allows the "
        'action "sts:AssumeRole" for the service principal "sagemaker.amazonaws.com", and has "sns:Publish" permissions for '
        f'topic "{topic_arn}". ({member}: {error})'
    )
