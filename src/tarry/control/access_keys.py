"""Commands on access keys. Nobody can lock themselves out: one active key that may do everything always stays."""

import asyncio
import secrets
import string
from collections.abc import Sequence
from dataclasses import replace

from tarry.core.errors import AlreadyExists, InvalidRequest, LimitExceeded, NotFound
from tarry.core.keys import AccessKey
from tarry.core.names import Scope
from tarry.core.policy import Policy, read_policy
from tarry.ports import Clock, Keyring

ACTIVE_PER_NAME_MAX = 2  # AWS: two, so that one can replace the other (IAM user guide, access keys)
KEYS_MAX = 5000  # OURS: a bound on what a list answers with; AWS's is that of IAM users in an account
_ID_LETTERS = string.ascii_uppercase + "234567"


def new_key(name: str, scope: Scope, now_us: int, policy: Policy | None = None) -> AccessKey:
    """A key pair that nobody has seen yet."""
    key_id, secret = new_pair("AKIA")
    return AccessKey(
        id=key_id,
        secret=secret,
        name=name,
        principal_arn=f"arn:{scope.partition}:iam::{scope.account_id}:user/{name}",
        created_at_us=now_us,
        policy=policy,
    )


def new_pair(prefix: str) -> tuple[str, str]:
    """An id and a secret.

    AWS: ids have 20 characters, those of long-term keys begin with AKIA, those of temporary ones with ASIA; secrets have 40
    (IAM user guide, access keys and unique identifiers).
    """
    return prefix + "".join(secrets.choice(_ID_LETTERS) for _ in range(16)), secrets.token_urlsafe(30)


class AccessKeyCommands:
    """Create, list, disable, enable, rotate; and the policies. Each is durable when it returns.

    The keys of instances are none of their business.
    """

    def __init__(self, keyring: Keyring, clock: Clock, scope: Scope) -> None:
        self._keyring = keyring
        self._clock = clock
        self._scope = scope
        self._lock = asyncio.Lock()  # each command looks at all keys before it writes one

    async def create(self, name: str, document: str | None) -> AccessKey:
        """A key pair of a new name. Errors: AlreadyExists (names differ by more than case), InvalidRequest, LimitExceeded."""
        async with self._lock:
            policy = None if document is None else read_policy(document)
            keys = await self._keyring.list()
            if any(key.name.lower() == name.lower() for key in keys):
                advice = f"Another pair of it is made by RotateAccessKey (tarry keys rotate {name})."
                raise AlreadyExists("access key", name, advice)
            if len(keys) >= KEYS_MAX:
                raise LimitExceeded(f"There can be at most {KEYS_MAX} access keys.")
            key = new_key(name, self._scope, self._clock.now_us(), policy)
            await self._keyring.add(key)
            return key

    async def list(self) -> Sequence[AccessKey]:
        """All keys, oldest first."""
        return await self._keyring.list()

    async def set_active(self, key_id: str, *, active: bool) -> None:
        """Enable or disable a key pair. Errors: NotFound; InvalidRequest for the last active one without a policy."""
        async with self._lock:
            key = await self._keyring.get(key_id)
            if key is None or key.instance_id is not None:
                raise NotFound("access key", key_id)
            if not active:
                await self._require_another([key])
            await self._keyring.update(replace(key, active=active))

    async def rotate(self, name: str) -> AccessKey:
        """Another key pair of the name, with its policy; inactive ones are removed. Errors: NotFound, LimitExceeded."""
        async with self._lock:
            keys = await self._named(name)
            active = [key for key in keys if key.active]
            if len(active) >= ACTIVE_PER_NAME_MAX:
                raise LimitExceeded(
                    f"{name} has {len(active)} active keys already: first disable the one that is not needed any more, such as "
                    f"{active[0].id}."
                )
            key = new_key(keys[0].name, self._scope, self._clock.now_us(), keys[-1].policy)
            await self._keyring.add(replace(key, principal_arn=keys[0].principal_arn))
            for old in keys:
                if not old.active:
                    await self._keyring.revoke(old.id)
            return key

    async def put_policy(self, name: str, document: str) -> None:
        """Bound what a name may do. Errors: NotFound, InvalidRequest, also for the last active key without a policy."""
        async with self._lock:
            policy = read_policy(document)
            keys = await self._named(name)
            await self._require_another(keys)
            for key in keys:
                await self._keyring.update(replace(key, policy=policy))

    async def delete_policy(self, name: str) -> None:
        """Let a name do everything. Errors: NotFound."""
        async with self._lock:
            for key in await self._named(name):
                await self._keyring.update(replace(key, policy=None))

    async def _named(self, name: str) -> Sequence[AccessKey]:
        keys = [key for key in await self._keyring.list() if key.name.lower() == name.lower()]
        if not keys:
            raise NotFound("access key", name)
        return keys

    async def _require_another(self, besides: Sequence[AccessKey]) -> None:
        ids = {key.id for key in besides}
        if any(key.active and key.policy is None and key.id not in ids for key in await self._keyring.list()):
            return
        if any(key.active and key.policy is None for key in besides):
            raise InvalidRequest(
                "This is the last active key without a policy: nobody could manage keys any more. First make another one "
                "without a policy: tarry keys create NAME (CreateAccessKey)."
            )
