"""A model's code reaches S3 and SNS as on AWS: each instance has a key pair of its own, bound to the model's ExecutionRoleArn.

It is made before the instance starts and revoked when it has stopped, or as soon as it has failed. A server that is killed in
between leaves keys behind, which nobody can use while it is down: the next one revokes them before it answers anybody.
"""

from collections.abc import Awaitable, Callable, Sequence
from collections.abc import Set as AbstractSet

import structlog

from tarry.control.access_keys import new_pair
from tarry.core.errors import StorageFull, Throttled
from tarry.core.keys import AccessKey, without_secrets
from tarry.core.policy import Policy, read_policy
from tarry.ports import Clock, Credentials, Keyring

log = structlog.get_logger(__name__)

POLICY_DOCUMENT = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["s3:*", "sns:*"], "Resource": "*"}]}'
"""OURS: on AWS the role's policies say what an instance may do. Roles are names here, so all instances may do the same: use the
buckets and topics of this account, and change nothing of SageMaker or of the keys."""
SESSION = "SageMaker"
"""AWS: the session of a role that SageMaker has taken, as a notebook's errors show it
(aws-samples/aws-modern-application-workshop#253). OURS: that of an endpoint's container, too."""
_PAUSE_S = 1.0


class InstanceKeys:
    """The keys of instances."""

    def __init__(self, keyring: Keyring, clock: Clock, policy: Policy | None = None) -> None:
        """``policy`` is what they may do; left out: POLICY_DOCUMENT."""
        self._keyring = keyring
        self._clock = clock
        self._policy = policy or read_policy(POLICY_DOCUMENT)

    async def make(self, instance_id: str, role_arn: str) -> Credentials:
        """A key pair for an instance, tried as often as it takes; durable when this returns."""
        key_id, secret = new_pair("ASIA")
        key = AccessKey(
            id=key_id,
            secret=secret,
            name=role_arn.rpartition("/")[2],
            principal_arn=assumed_role_arn(role_arn),
            created_at_us=self._clock.now_us(),
            policy=self._policy,
            instance_id=instance_id,
        )
        await self._until_done(instance_id, lambda: self._keyring.add(key))
        return Credentials(access_key_id=key_id, secret_access_key=secret)

    async def revoke(self, instance_id: str) -> None:
        """Revoke what an instance has, as often as it takes. Repeats change nothing."""

        async def revoke() -> None:
            for key in await self._keyring.list_of_instances():
                if key.instance_id == instance_id:
                    await self._keyring.revoke(key.id)

        await self._until_done(instance_id, revoke)

    async def hide(self, instance_id: str, lines: Sequence[str]) -> tuple[str, ...]:
        """Lines of an instance's log without its secrets: others read what is quoted of it."""
        secrets = [key.secret for key in await self._keyring.list_of_instances() if key.instance_id == instance_id]
        return tuple(without_secrets(line, secrets) for line in lines)

    async def sweep(self, live: AbstractSet[str]) -> None:
        """Revoke the keys of all instances but these. Errors: StorageFull, Throttled."""
        for key in await self._keyring.list_of_instances():
            if key.instance_id not in live:
                await self._keyring.revoke(key.id)

    async def _until_done(self, instance_id: str, write: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await write()
            except (StorageFull, Throttled) as error:
                log.warning("an instance's key could not be written yet", instance_id=instance_id, error=str(error))
                await self._clock.sleep(_PAUSE_S)
                continue
            return


def assumed_role_arn(role_arn: str) -> str:
    """Who the instance is to those whom it asks: ``arn:aws:sts::123456789012:assumed-role/NAME/SageMaker``.

    AWS: the path of a role is not part of it (IAM user guide, IAM identifiers).
    """
    _, partition, _, _, account, role = role_arn.split(":", 5)
    return f"arn:{partition}:sts::{account}:assumed-role/{role.rpartition('/')[2]}/{SESSION}"
