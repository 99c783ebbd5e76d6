"""Commands on access keys: names, pairs, policies, and that nobody is locked out."""

import asyncio
import re
from dataclasses import replace

import pytest

from tarry.control.access_keys import AccessKeyCommands, new_key
from tarry.core.errors import AlreadyExists, InvalidRequest, LimitExceeded, NotFound
from tarry.core.keys import AccessKey
from tarry.core.names import Scope
from tarry.core.policy import read_policy
from tarry.testing.clock import FakeClock
from tarry.testing.keyring import FakeKeyring

SCOPE = Scope(account_id="123456789012", region="cn-north-1")
DOCUMENT = '{"Statement": {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}}'
ANOTHER = DOCUMENT.replace("s3", "sns")
FIRST = AccessKey(
    id="AKIAFIRST", secret="1", name="first", principal_arn="arn:aws-cn:iam::123456789012:user/tarry", created_at_us=0
)


def commands(*keys: AccessKey) -> tuple[AccessKeyCommands, FakeKeyring]:
    keyring = FakeKeyring(FIRST, *keys)
    return AccessKeyCommands(keyring, FakeClock(), SCOPE), keyring


def test_a_new_key_looks_like_one_of_aws() -> None:
    one, other = new_key("Bob", SCOPE, 7), new_key("Bob", SCOPE, 7)
    assert re.fullmatch("AKIA[A-Z2-7]{16}", one.id)
    assert len(one.secret) == 40
    assert (one.id, one.secret) != (other.id, other.secret)
    expected = AccessKey(
        id=one.id, secret=one.secret, name="Bob", principal_arn="arn:aws-cn:iam::123456789012:user/Bob", created_at_us=7
    )
    assert one == expected


async def test_created_keys_are_kept_with_their_policy() -> None:
    keys, keyring = commands()
    bob, alice = await keys.create("bob", None), await keys.create("Alice", DOCUMENT)
    assert await keyring.list() == await keys.list() == [FIRST, bob, alice]
    assert (bob.policy, alice.policy) == (None, read_policy(DOCUMENT))
    assert bob.active
    with pytest.raises(InvalidRequest, match="JSON"):
        await keys.create("carol", "{")
    assert len(await keys.list()) == 3


async def test_names_differ_by_more_than_case_and_the_refusal_tells_of_rotation() -> None:
    keys, keyring = commands()
    with pytest.raises(
        AlreadyExists, match=r'already existing access key "FIRST"\. .*RotateAccessKey \(tarry keys rotate FIRST\)'
    ):
        await keys.create("FIRST", None)
    results = await asyncio.gather(keys.create("bob", None), keys.create("Bob", None), return_exceptions=True)
    assert [type(result) for result in results] == [AccessKey, AlreadyExists]
    assert len(await keyring.list()) == 2


async def test_there_is_a_bound_on_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tarry.control.access_keys.KEYS_MAX", 2)
    keys, _ = commands()
    await keys.create("bob", None)
    with pytest.raises(LimitExceeded, match="at most 2"):
        await keys.create("carol", None)


async def test_rotation_makes_a_second_pair_that_may_what_the_first_may() -> None:
    keys, keyring = commands()
    old = await keys.create("Bob", DOCUMENT)
    new = await keys.rotate("bOB")
    assert (new.name, new.principal_arn, new.policy, new.active) == ("Bob", old.principal_arn, old.policy, True)
    assert (new.id, new.secret) != (old.id, old.secret)
    assert await keyring.list() == [FIRST, old, new]
    with pytest.raises(LimitExceeded, match=f"bob has 2 active keys already: .* {old.id}"):
        await keys.rotate("bob")
    with pytest.raises(NotFound, match="nobody"):
        await keys.rotate("nobody")


async def test_rotation_keeps_who_the_key_is() -> None:
    keys, keyring = commands()
    new = await keys.rotate("first")
    assert keyring.keys[new.id].principal_arn == FIRST.principal_arn


async def test_rotation_removes_inactive_pairs_of_the_name_alone() -> None:
    keys, keyring = commands()
    carol = await keys.create("carol", None)
    await keys.set_active(carol.id, active=False)
    old = await keys.create("bob", None)
    await keys.set_active(old.id, active=False)
    new = await keys.rotate("bob")
    assert list(keyring.keys) == [FIRST.id, carol.id, new.id]


async def test_pairs_are_disabled_and_enabled_one_by_one() -> None:
    keys, keyring = commands()
    old = await keys.create("bob", None)
    new = await keys.rotate("bob")
    await keys.set_active(old.id, active=False)
    assert keyring.keys[old.id] == replace(old, active=False)
    assert keyring.keys[new.id].active
    await keys.set_active(old.id, active=True)
    assert keyring.keys[old.id] == old
    with pytest.raises(NotFound, match="AKIANOBODY"):
        await keys.set_active("AKIANOBODY", active=True)


async def test_a_policy_is_that_of_all_pairs_of_a_name_and_of_no_others() -> None:
    keys, keyring = commands()
    old, carol = await keys.create("bob", DOCUMENT), await keys.create("carol", DOCUMENT)
    new = await keys.rotate("bob")
    await keys.put_policy("BOB", ANOTHER)
    assert keyring.keys[old.id].policy == keyring.keys[new.id].policy == read_policy(ANOTHER)
    await keys.delete_policy("Bob")
    assert keyring.keys[old.id].policy is keyring.keys[new.id].policy is None
    assert keyring.keys[carol.id].policy == read_policy(DOCUMENT)
    for attempt in (keys.put_policy("nobody", DOCUMENT), keys.delete_policy("nobody")):
        with pytest.raises(NotFound):
            await attempt
    with pytest.raises(InvalidRequest, match="Policy variables"):
        await keys.put_policy("carol", DOCUMENT.replace('"*"', '"arn:aws:s3:::${aws:username}"'))


async def test_the_last_active_key_without_a_policy_stays_as_it_is() -> None:
    keys, keyring = commands()
    await keys.create("limited", DOCUMENT)
    idle = await keys.create("idle", None)
    await keys.set_active(idle.id, active=False)
    for attempt in (keys.set_active(FIRST.id, active=False), keys.put_policy("first", DOCUMENT)):
        with pytest.raises(InvalidRequest, match=r"last active key without a policy.*tarry keys create NAME"):
            await attempt
    assert keyring.keys[FIRST.id] == FIRST
    await keys.create("admin", None)
    await keys.set_active(FIRST.id, active=False)
    assert not keyring.keys[FIRST.id].active


async def test_of_two_who_disable_the_last_two_one_is_refused() -> None:
    keys, keyring = commands()
    admin = await keys.create("admin", None)
    attempts = (keys.set_active(FIRST.id, active=False), keys.set_active(admin.id, active=False))
    results = await asyncio.gather(*attempts, return_exceptions=True)
    assert [type(result) for result in results] == [type(None), InvalidRequest]
    assert [key.id for key in keyring.keys.values() if key.active] == [admin.id]


async def test_what_may_not_do_everything_anyway_can_always_be_disabled() -> None:
    keys, keyring = commands()
    limited = await keys.create("limited", DOCUMENT)
    await keys.put_policy("limited", ANOTHER)
    await keys.set_active(limited.id, active=False)
    await keys.set_active(limited.id, active=False)
    assert not keyring.keys[limited.id].active
