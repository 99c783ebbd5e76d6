"""What ports.Keyring promises, held against SQL and the fake."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from tarry.backends.database.keyring import SqlKeyring
from tarry.backends.database.schema import metadata
from tarry.backends.database.transactions import Database
from tarry.core.errors import AlreadyExists, NotFound
from tarry.core.keys import AccessKey
from tarry.core.policy import read_policy
from tarry.ports import Keyring
from tarry.testing.keyring import FakeKeyring

KEY = AccessKey(id="AKIA1", secret="s3cr3t/+=", name="Ädmin", principal_arn="arn:aws:iam::123456789012:user/a", created_at_us=1)


@pytest.fixture(params=["sql", "fake"])
async def keyring(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Keyring]:
    if request.param == "fake":
        yield FakeKeyring()
        return
    database = await Database.open(tmp_path / "tarry.db", create=metadata)
    try:
        yield SqlKeyring(database)
    finally:
        await database.close()


async def test_a_key_is_kept_until_it_is_revoked(keyring: Keyring) -> None:
    assert await keyring.get(KEY.id) is None
    await keyring.add(KEY)
    for _ in range(2):
        assert await keyring.get(KEY.id) == KEY
    assert await keyring.get("akia1") is None
    for _ in range(2):
        await keyring.revoke(KEY.id)
        assert await keyring.get(KEY.id) is None
    await keyring.add(replace(KEY, secret="new"))
    assert await keyring.get(KEY.id) == replace(KEY, secret="new")


async def test_an_id_is_taken_once_and_the_error_keeps_the_secret(keyring: Keyring) -> None:
    await keyring.add(KEY)
    with pytest.raises(AlreadyExists) as caught:
        await keyring.add(replace(KEY, secret="hunter2"))
    assert "hunter2" not in repr(caught.value) + repr(caught.value.__cause__)
    assert await keyring.get(KEY.id) == KEY
    same = [replace(KEY, id="AKIA2", name=str(n)) for n in range(5)]
    results = await asyncio.gather(*(keyring.add(key) for key in same), return_exceptions=True)
    assert [type(result) for result in results].count(AlreadyExists) == 4


async def test_odd_ids_are_unknown_ids(keyring: Keyring) -> None:
    for odd in ("", "'", "%", "A" * 10_000, "é\x00"):
        assert await keyring.get(odd) is None
        await keyring.revoke(odd)


POLICY = read_policy('{"Statement": {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}}')


async def test_status_and_policy_change_and_nothing_else(keyring: Keyring) -> None:
    await keyring.add(KEY)
    await keyring.get(KEY.id)
    await keyring.update(replace(KEY, active=False, policy=POLICY, secret="other", name="other"))
    assert await keyring.get(KEY.id) == replace(KEY, active=False, policy=POLICY)
    await keyring.update(replace(KEY, active=True, policy=None))
    assert await keyring.get(KEY.id) == KEY
    with pytest.raises(NotFound):
        await keyring.update(replace(KEY, id="AKIA9"))


async def test_all_keys_are_listed_oldest_first(keyring: Keyring) -> None:
    assert await keyring.list() == []
    keys = [KEY, replace(KEY, id="AKIA0", policy=POLICY), replace(KEY, id="AKIA2", active=False)]
    for key in keys:
        await keyring.add(key)
    assert await keyring.list() == keys


async def test_keys_of_instances_are_listed_apart(keyring: Keyring) -> None:
    of_instance = replace(KEY, id="ASIA1", instance_id="i-1")
    for key in (KEY, of_instance):
        await keyring.add(key)
    assert await keyring.get("ASIA1") == of_instance
    assert (await keyring.list(), await keyring.list_of_instances()) == ([KEY], [of_instance])
    await keyring.revoke("ASIA1")
    assert await keyring.list_of_instances() == []


def test_a_secret_is_not_shown_by_accident() -> None:
    assert KEY.secret not in repr(KEY)
