"""The first key pair: made at the first start, kept in the database and, for people, in ``DIR/credentials``."""

from tarry.bootstrap.directory import DataDirectory, NoCredentials
from tarry.control.access_keys import new_key
from tarry.core.keys import AccessKey
from tarry.core.names import Scope
from tarry.ports import Clock, Keyring


async def ensure_first_key(directory: DataDirectory, keyring: Keyring, scope: Scope, clock: Clock) -> None:
    """Make the first key unless it exists. A crash between the two writes leaves a file that is taken up by the next start."""
    try:
        key_id, secret = directory.read_credentials()
    except NoCredentials:
        made = new_key("first", scope, clock.now_us())
        key_id, secret = made.id, made.secret
        directory.write_credentials(key_id, secret)
    if await keyring.get(key_id) is None:
        arn = f"arn:{scope.partition}:iam::{scope.account_id}:user/tarry"
        now_us = clock.now_us()
        await keyring.add(AccessKey(id=key_id, secret=secret, name="first", principal_arn=arn, created_at_us=now_us))
