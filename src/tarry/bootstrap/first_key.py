"""The first key pair: made at the first start, kept in the database and, for people, in ``DIR/credentials``."""

from dataclasses import replace

from tarry.bootstrap.directory import DataDirectory, NoCredentials
from tarry.control.access_keys import new_key
from tarry.core.names import Scope
from tarry.ports import Clock, Keyring

NAME = "first"


async def ensure_first_key(directory: DataDirectory, keyring: Keyring, scope: Scope, clock: Clock) -> None:
    """Make the first key unless it exists. A crash between the two writes leaves a file that is taken up by the next start."""
    try:
        key_id, secret = directory.read_credentials()
    except NoCredentials:
        made = new_key(NAME, scope, clock.now_us())
        key_id, secret = made.id, made.secret
        directory.write_credentials(key_id, secret)
    if await keyring.get(key_id) is None:
        await keyring.add(replace(new_key(NAME, scope, clock.now_us()), id=key_id, secret=secret))
