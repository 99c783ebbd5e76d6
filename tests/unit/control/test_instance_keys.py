"""Each instance has a key of its own, and nobody has it any more once the instance is gone."""

import asyncio
from collections.abc import Sequence

import pytest
from structlog.testing import capture_logs
from tests.support.control import ROLE, World

from tarry.control.access_keys import AccessKeyCommands
from tarry.control.instance_keys import InstanceKeys, assumed_role_arn
from tarry.control.requests import CreateEndpoint, CreateModel
from tarry.core.catalog import Container
from tarry.core.endpoint import EndpointStatus
from tarry.core.errors import NotFound, StorageFull, TarryError, Throttled
from tarry.core.keys import AccessKey
from tarry.core.names import Scope
from tarry.core.policy import Verdict, read_policy
from tarry.testing.clock import FakeClock
from tarry.testing.engine import FakeEngine
from tarry.testing.keyring import FakeKeyring

ARN = "arn:aws:sts::123456789012:assumed-role/runner/SageMaker"


def keys_of(world: World) -> list[AccessKey]:
    return list(world.keyring.keys.values())


async def test_an_instance_signs_as_its_role_while_it_lives() -> None:
    world = World()
    await world.in_service()
    [started] = world.engine.started
    assert started.credentials is not None
    [key] = keys_of(world)
    assert (key.id, key.secret) == (started.credentials.access_key_id, started.credentials.secret_access_key)
    assert (key.instance_id, key.principal_arn, key.id[:4]) == (started.instance_id, ARN, "ASIA")
    assert key.secret not in repr(started) + repr(key)
    await world.commands.endpoints.delete("Ep")
    await world.settle()
    assert world.engine.stopped == [started.instance_id]
    assert keys_of(world) == []


async def test_the_key_of_an_instance_that_dies_goes_with_it() -> None:
    world = World()
    await world.in_service()
    [before] = keys_of(world)
    world.engine.end(world.engine.started[0].instance_id)
    await world.until(lambda: len(world.engine.started) == 2)
    await world.settle()
    [after] = keys_of(world)
    assert after.id != before.id


class SlowToStop(FakeEngine):
    """Its instances use all of their grace."""

    async def stop(self, instance_id: str, *, grace_s: float = 30.0) -> None:
        await asyncio.Event().wait()


async def test_a_key_that_a_failing_instance_prints_is_told_nobody_and_of_no_use_while_it_ends() -> None:
    world = World(engine=SlowToStop())
    world.models.unhealthy.add("http://127.0.0.1:20001")
    await world.model_and_config()
    with capture_logs() as logged:
        await world.commands.endpoints.create(CreateEndpoint(name="Ep", config_name="c"))
        await world.settle()
        [key] = keys_of(world)
        world.engine.write(world.engine.started[0].instance_id, f"AWS_SECRET_ACCESS_KEY={key.secret}")
        await world.until(lambda: bool(world.instances("Failed")), within_s=1000)
    assert keys_of(world) == []
    [instance] = world.instances("Failed")
    assert str(instance.failure_reason).endswith("AWS_SECRET_ACCESS_KEY=***")
    assert "AWS_SECRET_ACCESS_KEY=***" in str(logged)
    assert key.secret not in f"{instance} {logged}"
    await world.reconciler.close()


async def test_the_end_of_one_instance_leaves_the_keys_of_all_others() -> None:
    keyring = FakeKeyring()
    keys = InstanceKeys(keyring, FakeClock())
    await keys.make("i-1", ROLE)
    others = [(await keys.make(name, ROLE)).access_key_id for name in ("i-2", "i-11")]
    await keys.make("i-1", ROLE)  # a second pair, of a start that was tried again
    await keys.revoke("i-1")
    assert list(keyring.keys) == others


async def test_where_there_is_no_room_no_key_stays() -> None:
    world = World()
    world.engine.capacity = {"ml.m5.xlarge": 0}
    await world.model_and_config()
    await world.commands.endpoints.create(CreateEndpoint(name="Ep", config_name="c"))
    await world.settle()
    assert world.engine.started == []
    assert keys_of(world) == []


@pytest.mark.parametrize(("role", "isolated"), [(None, False), (ROLE, True)])
async def test_without_a_role_or_under_isolation_there_is_no_key(role: str | None, isolated: bool) -> None:
    world = World()
    request = CreateModel(name="m", containers=(Container(image="stub:1"),), execution_role_arn=role, network_isolation=isolated)
    await world.commands.models.create(request)
    await world.in_service()
    assert world.engine.started[0].credentials is None
    assert keys_of(world) == []


async def test_what_a_killed_server_left_is_revoked_by_the_next() -> None:
    world = World()
    await world.in_service()
    user = AccessKey(id="AKIA1", secret="s", name="ann", principal_arn="arn", created_at_us=1)
    await world.keyring.add(user)
    await world.restart()
    await world.reconciler.take_over()
    assert keys_of(world) == [user]
    await world.settle()
    assert world.endpoint().status is EndpointStatus.IN_SERVICE
    assert len(await world.keyring.list_of_instances()) == 1


async def test_it_may_use_buckets_and_topics_and_nothing_else() -> None:
    keyring = FakeKeyring()
    await InstanceKeys(keyring, FakeClock()).make("i-1", ROLE)
    [key] = await keyring.list_of_instances()
    assert key.policy is not None
    for action, verdict in (
        ("s3:GetObject", Verdict.ALLOWED),
        ("s3:PutObject", Verdict.ALLOWED),
        ("sns:Publish", Verdict.ALLOWED),
        ("sagemaker:CreateModel", Verdict.NOT_ALLOWED),
        ("sagemaker:InvokeEndpointAsync", Verdict.NOT_ALLOWED),
        ("tarry:CreateAccessKey", Verdict.NOT_ALLOWED),
        ("iam:GetRole", Verdict.NOT_ALLOWED),
    ):
        assert key.policy.judge(action, "*") is verdict, action


async def test_the_settings_may_say_otherwise() -> None:
    keyring, policy = FakeKeyring(), read_policy('{"Statement": {"Effect": "Deny", "Action": "*", "Resource": "*"}}')
    await InstanceKeys(keyring, FakeClock(), policy).make("i-1", ROLE)
    assert [key.policy for key in await keyring.list_of_instances()] == [policy]


class ImpatientClock(FakeClock):
    """Sleeps at once."""

    async def sleep(self, seconds: float) -> None:
        self.advance(seconds)


class FullKeyring(FakeKeyring):
    """Refuses its next writes."""

    failures: Sequence[TarryError] = ()

    def _fail(self) -> None:
        if self.failures:
            error, *rest = self.failures
            self.failures = rest
            raise error

    async def add(self, key: AccessKey) -> None:
        self._fail()
        await super().add(key)

    async def revoke(self, access_key_id: str) -> None:
        self._fail()
        await super().revoke(access_key_id)


async def test_a_full_disk_is_waited_for() -> None:
    keyring = FullKeyring()
    keys = InstanceKeys(keyring, ImpatientClock())
    keyring.failures = (StorageFull("full"), Throttled("busy"))
    await keys.make("i-1", ROLE)
    keyring.failures = (StorageFull("full"), Throttled("busy"))
    await keys.revoke("i-1")
    assert not keyring.keys
    assert not keyring.failures


@pytest.mark.parametrize(
    ("role", "arn"),
    [
        ("arn:aws:iam::111122223333:role/service-role/deep/Runner", "arn:aws:sts::111122223333:assumed-role/Runner/SageMaker"),
        ("arn:aws-cn:iam::111122223333:role/Runner", "arn:aws-cn:sts::111122223333:assumed-role/Runner/SageMaker"),
    ],
)
def test_who_a_role_is(role: str, arn: str) -> None:
    assert assumed_role_arn(role) == arn


async def test_the_keys_of_instances_are_nobody_elses_business() -> None:
    keyring = FakeKeyring()
    first = AccessKey(id="AKIA1", secret="s", name="first", principal_arn="arn", created_at_us=1)
    await keyring.add(first)
    made = await InstanceKeys(keyring, FakeClock()).make("i-1", ROLE)
    commands = AccessKeyCommands(keyring, FakeClock(), Scope(account_id="123456789012", region="us-east-1"))
    assert await commands.list() == [first]
    with pytest.raises(NotFound):
        await commands.set_active(made.access_key_id, active=False)
    with pytest.raises(NotFound):
        await commands.rotate("runner")
    assert (await commands.create("runner", None)).name == "runner"
    assert keyring.keys[made.access_key_id].active
