"""The first key pair: made at the first start, kept in the database and, for people, in ``DIR/credentials``."""

import secrets
import string

from tarry.bootstrap.directory import DataDirectory, NoCredentials
from tarry.core.keys import AccessKey
from tarry.core.names import Scope
from tarry.ports import Clock, Keyring

_ID_LETTERS = string.ascii_uppercase + "234567"


async def ensure_first_key(directory: DataDirectory, keyring: Keyring, scope: Scope, clock: Clock) -> None:
    """Make the first key unless it exists. A crash between the two writes leaves a file that is taken up by the next start."""
    try:
        key_id, secret = directory.read_credentials()
    except NoCredentials:
        # AWS: long-term key ids begin with AKIA and have 20 characters, secrets have 40 (IAM user guide, access keys).
        key_id = "AKIA" + "".join(secrets.choice(_ID_LETTERS) for _ in range(16))
        secret = secrets.token_urlsafe(30)
        directory.write_credentials(key_id, secret)
    if await keyring.get(key_id) is None:
        arn = f"arn:{scope.partition}:iam::{scope.account_id}:user/tarry"
        now_us = clock.now_us()
        await keyring.add(AccessKey(id=key_id, secret=secret, name="first", principal_arn=arn, created_at_us=now_us))
