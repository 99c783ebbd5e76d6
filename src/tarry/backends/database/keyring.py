"""ports.Keyring in SQL: access keys with their secrets, which the door needs in clear to check signatures.

Every request asks for a key, so known keys are kept in memory; this process is the only writer.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from tarry.backends.database.schema import access_key
from tarry.backends.database.transactions import Database
from tarry.core.errors import AlreadyExists, NotFound
from tarry.core.keys import AccessKey
from tarry.core.policy import kept_policy

KEPT_MAX = 4096

_GET = select(access_key).where(access_key.c.id == bindparam("of"))
_LIST = select(access_key).where(access_key.c.instance_id.is_(None)).order_by(access_key.c.seq)
_LIST_OF_INSTANCES = select(access_key).where(access_key.c.instance_id.is_not(None)).order_by(access_key.c.seq)
_UPDATE = update(access_key).where(access_key.c.id == bindparam("of"))
_REVOKE = delete(access_key).where(access_key.c.id == bindparam("of"))


class SqlKeyring:
    """The Keyring on a Database (a file of mode 0600) of which this process is the only writer."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._kept: dict[str, AccessKey] = {}
        self._generation = 0

    async def get(self, access_key_id: str) -> AccessKey | None:
        """See ports.Keyring."""
        if access_key_id in self._kept:
            return self._kept[access_key_id]
        generation = self._generation
        row = await self._database.read(lambda connection: connection.execute(_GET, {"of": access_key_id}).one_or_none())
        if row is None:
            return None
        key = _key(row)
        if generation == self._generation:
            if len(self._kept) >= KEPT_MAX:
                self._kept.clear()
            self._kept[access_key_id] = key
        return key

    async def add(self, key: AccessKey) -> None:
        """See ports.Keyring."""
        row = {
            "id": key.id,
            "secret": key.secret,
            "name": key.name,
            "principal_arn": key.principal_arn,
            "created_at_us": key.created_at_us,
            "instance_id": key.instance_id,
            **_changeable(key),
        }

        def run(connection: Connection) -> None:
            try:
                connection.execute(insert(access_key), row)
            except IntegrityError:
                raise AlreadyExists("access key", key.id) from None  # the driver's error would carry the secret

        await self._database.write(run, after=lambda _: self._changed())

    async def list(self) -> Sequence[AccessKey]:
        """See ports.Keyring."""
        rows = await self._database.read(lambda connection: connection.execute(_LIST).all())
        return [_key(row) for row in rows]

    async def list_of_instances(self) -> Sequence[AccessKey]:
        """See ports.Keyring."""
        rows = await self._database.read(lambda connection: connection.execute(_LIST_OF_INSTANCES).all())
        return [_key(row) for row in rows]

    async def update(self, key: AccessKey) -> None:
        """See ports.Keyring."""

        def run(connection: Connection) -> None:
            if connection.execute(_UPDATE, {"of": key.id, **_changeable(key)}).rowcount != 1:
                raise NotFound("access key", key.id)

        await self._database.write(run, after=lambda _: self._changed())

    async def revoke(self, access_key_id: str) -> None:
        """See ports.Keyring."""

        def run(connection: Connection) -> None:
            connection.execute(_REVOKE, {"of": access_key_id})

        await self._database.write(run, after=lambda _: self._changed())

    def _changed(self) -> None:
        self._generation += 1
        self._kept.clear()


def _changeable(key: AccessKey) -> dict[str, Any]:
    return {"active": key.active, "policy": None if key.policy is None else key.policy.document}


def _key(row: Any) -> AccessKey:
    return AccessKey(
        id=row.id,
        secret=row.secret,
        name=row.name,
        principal_arn=row.principal_arn,
        created_at_us=row.created_at_us,
        active=row.active,
        policy=None if row.policy is None else kept_policy(row.policy),
        instance_id=row.instance_id,
    )
