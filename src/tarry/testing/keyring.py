"""Access keys in memory."""

from tarry.core.errors import AlreadyExists
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

    async def revoke(self, access_key_id: str) -> None:
        """See ports.Keyring."""
        self.keys.pop(access_key_id, None)
