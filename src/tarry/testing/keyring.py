"""Access keys in memory."""

from collections.abc import Sequence
from dataclasses import replace

from tarry.core.errors import AlreadyExists, NotFound
from tarry.core.keys import AccessKey


class FakeKeyring:
    """ports.Keyring."""

    def __init__(self, *keys: AccessKey) -> None:
        self.keys = {key.id: key for key in keys}

    async def get(self, access_key_id: str) -> AccessKey | None:
        """See ports.Keyring."""
        return self.keys.get(access_key_id)

    async def add(self, key: AccessKey) -> None:
        """See ports.Keyring."""
        if key.id in self.keys:
            raise AlreadyExists("access key", key.id)
        self.keys[key.id] = key

    async def list(self) -> Sequence[AccessKey]:
        """See ports.Keyring."""
        return [key for key in self.keys.values() if key.instance_id is None]

    async def list_of_instances(self) -> Sequence[AccessKey]:
        """See ports.Keyring."""
        return [key for key in self.keys.values() if key.instance_id is not None]

    async def update(self, key: AccessKey) -> None:
        """See ports.Keyring."""
        if key.id not in self.keys:
            raise NotFound("access key", key.id)
        self.keys[key.id] = replace(self.keys[key.id], active=key.active, policy=key.policy)

    async def revoke(self, access_key_id: str) -> None:
        """See ports.Keyring."""
        self.keys.pop(access_key_id, None)
