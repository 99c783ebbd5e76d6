"""The keeper of instances alone, without the loop that would mend what it leaves undone."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest
from structlog.testing import capture_logs
from tests.support.control import World, a_deployment, a_variant, an_endpoint

from tarry.control.instance_keys import InstanceKeys
from tarry.control.instances import (
    SILENT_PINGS,
    STARTUP_PING_EVERY_S,
    STORE_PAUSE_S,
    InstanceKeeper,
    InstanceLimits,
    instance_spec,
)
from tarry.core.errors import Conflict, InstanceStartError, StorageFull, TarryError, Throttled
from tarry.core.instance import Instance, InstanceState
from tarry.ports import Add, Change, ContainerSpec, InstanceSpec, Replace
from tarry.testing.store import FakeStore

ID = "i-1"
EVERY_S = 2
"""As docs/operations.md says: so often GET /ping is asked."""
SPEC = InstanceSpec(
    instance_id=ID,
    endpoint_name="Ep",
    variant_name="A",
    instance_type="ml.m5.xlarge",
    containers=(ContainerSpec(image="stub:1"),),
    model_data_timeout_s=60,
    startup_timeout_s=60,
)


class FailingStore(FakeStore):
    """Raises these at the next writes, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.failures: list[TarryError] = []
        self.writes = 0

    async def apply(self, *changes: Change) -> None:
        self.writes += 1
        if self.failures:
            raise self.failures.pop(0)
        await super().apply(*changes)


class Given:
    """A keeper, its fakes, and one Pending instance."""

    def __init__(self) -> None:
        self.world = World()
        self.store = FailingStore()
        world = self.world
        self.engine = world.engine
        self.keeper = InstanceKeeper(
            self.store,
            world.engine,
            world.models,
            world.images,
            InstanceKeys(world.keyring, world.clock),
            world.clock,
            world.wakeups,
            InstanceLimits(),
        )

    async def add(self, state: InstanceState = InstanceState.PENDING, addresses: tuple[str, ...] = ()) -> Instance:
        row = Instance(
            id=ID,
            endpoint_id="e",
            deployment_id="d",
            variant_name="A",
            state=state,
            concurrency=1,
            created_at_us=1,
            addresses=addresses,
        )
        await self.store.apply(Add(row))
        return await self.row()

    async def row(self) -> Instance:
        row = await self.store.get(Instance, ID)
        assert row is not None
        return row

    async def until(self, condition: Callable[[], bool], *, step_s: float = 0.0) -> None:
        for _ in range(1000):
            if condition():
                return
            self.world.clock.advance(step_s)
            for _ in range(10):
                await asyncio.sleep(0)
        raise AssertionError("it never came true")

    async def started(self) -> Instance:
        """The instance, in service and attended."""
        self.keeper.attend(await self.add(), SPEC)
        await self.until(lambda: self.store.entities[Instance, ID].state is InstanceState.IN_SERVICE)
        return await self.row()

    async def failed(self, *, step_s: float = 1.0) -> Instance:
        """The instance, once it has Failed and nobody looks after it."""
        await self.until(lambda: ID not in self.keeper.attended, step_s=step_s)
        row = await self.row()
        assert row.state is InstanceState.FAILED
        return row


@pytest.fixture
async def given() -> AsyncIterator[Given]:
    made = Given()
    yield made
    await made.keeper.close()
    await made.world.reconciler.close()


async def test_what_never_became_healthy_is_ended_in_the_engine(given: Given) -> None:
    given.world.models.unhealthy.add("http://127.0.0.1:20001")
    given.keeper.attend(await given.add(), SPEC)
    await given.failed()
    assert (given.engine.stopped, await given.engine.observe()) == ([ID], [])


async def test_the_window_for_the_start_began_when_the_containers_were_started(given: Given) -> None:
    """The engine has waited for them to listen: that time is not given twice."""
    given.world.models.unhealthy.add("http://127.0.0.1:20001")
    given.engine.running_s = SPEC.startup_timeout_s - 5
    began = given.world.clock.monotonic()
    given.keeper.attend(await given.add(), SPEC)
    row = await given.failed(step_s=1.0)
    assert f"within {SPEC.startup_timeout_s} s. It last answered: 503" in (row.failure_reason or "")
    assert given.world.clock.monotonic() - began < SPEC.startup_timeout_s / 2


async def test_what_is_answered_in_place_of_200_is_told_while_it_is_waited_for(given: Given) -> None:
    given.world.models.unhealthy.add("http://127.0.0.1:20001")
    given.world.models.unhealthy_answer = "500 Unable to load model"
    given.keeper.attend(await given.add(), SPEC)
    await given.until(lambda: given.store.entities[Instance, ID].ping_answer is not None, step_s=1.0)
    assert (await given.row()).state is InstanceState.STARTING
    assert (await given.row()).ping_answer == "500 Unable to load model"
    writes = given.store.writes
    for _ in range(10):
        await given.until(lambda: given.world.clock.sleepers == 1)
        given.world.clock.advance(STARTUP_PING_EVERY_S)
    assert given.store.writes == writes  # the same is not written twice
    given.world.models.unhealthy.clear()
    await given.until(lambda: given.store.entities[Instance, ID].state is InstanceState.IN_SERVICE, step_s=1.0)
    assert (await given.row()).ping_answer is None


async def test_what_no_longer_answers_is_ended_in_the_engine(given: Given) -> None:
    row = await given.started()
    assert row.addresses
    given.world.models.closed.add(row.addresses[0])
    row = await given.failed(step_s=InstanceLimits().unanswered_s / 10)
    assert "did not answer GET /ping with 200 for 180 s" in (row.failure_reason or "")
    assert (given.engine.stopped, await given.engine.observe()) == ([ID], [])


async def _watched(given: Given, pings: int) -> Instance:
    for _ in range(pings):
        await given.until(lambda: given.world.clock.sleepers == 1)
        given.world.clock.advance(EVERY_S)
        await given.until(lambda: given.world.clock.sleepers == 1)
    return await given.row()


async def test_a_silent_instance_is_told_until_it_answers_again(given: Given) -> None:
    address = (await given.started()).addresses[0]
    given.world.models.unhealthy.add(address)
    assert (await _watched(given, SILENT_PINGS - 1)).unanswered_since_us is None
    since_us = given.world.clock.now_us()
    with capture_logs() as logs:
        row = await _watched(given, 1)
        assert row.state is InstanceState.IN_SERVICE
        assert row.ping_answer == "503"
        assert row.unanswered_since_us == since_us - (SILENT_PINGS - 1) * EVERY_S * 1_000_000
        assert (await _watched(given, 3)).unanswered_since_us == row.unanswered_since_us
        given.world.models.unhealthy.clear()
        assert (await _watched(given, 1)).unanswered_since_us is None
    assert [line["event"].partition(":")[0] for line in logs] == [
        "an instance does not answer GET /ping",
        "an instance answers GET /ping again",
    ]


async def test_what_was_silent_before_a_restart_is_silent_until_it_answers(given: Given) -> None:
    row = await given.add(InstanceState.IN_SERVICE, ("http://127.0.0.1:20001",))
    await given.store.apply(Replace(replace(row, unanswered_since_us=1)))
    await given.engine.start(SPEC)
    given.world.models.unhealthy.add(row.addresses[0])
    given.keeper.attend(await given.row(), SPEC)
    assert (await _watched(given, 1)).unanswered_since_us == 1
    given.world.models.unhealthy.clear()
    assert (await _watched(given, 1)).unanswered_since_us is None


@pytest.mark.parametrize("error", [StorageFull("full"), Throttled("busy"), Conflict("changed")], ids=repr)
async def test_what_cannot_be_told_is_told_later_and_holds_nothing_up(given: Given, error: TarryError) -> None:
    given.world.models.unhealthy.add((await given.started()).addresses[0])
    await _watched(given, SILENT_PINGS - 1)
    given.store.failures = [error]
    assert (await _watched(given, 1)).unanswered_since_us is None
    assert (await _watched(given, 1)).unanswered_since_us is not None


async def test_a_missed_ping_now_and_then_is_nothing(given: Given) -> None:
    address = (await given.started()).addresses[0]
    for _ in range(100):
        given.world.models.unhealthy.add(address)
        await _watched(given, SILENT_PINGS - 1)
        given.world.models.unhealthy.clear()
        assert (await _watched(given, 1)).unanswered_since_us is None
    assert (await given.row()).state is InstanceState.IN_SERVICE


async def test_a_pause_of_the_server_is_not_held_against_its_instances(given: Given) -> None:
    """It looks as if nothing had been answered for long; but hardly anything has been asked."""
    address = (await given.started()).addresses[0]
    await given.until(lambda: given.world.clock.sleepers == 1)
    given.world.models.unhealthy.add(address)
    given.world.clock.advance(10 * InstanceLimits().unanswered_s)
    await given.until(lambda: given.world.clock.sleepers == 1)
    assert (await given.row()).state is InstanceState.IN_SERVICE
    given.world.models.unhealthy.clear()
    assert (await _watched(given, 5)).state is InstanceState.IN_SERVICE


async def test_the_limits_are_the_servers(given: Given) -> None:
    world = given.world
    limits = InstanceLimits(unanswered_s=4, stop_grace_s=0.5)
    keys = InstanceKeys(world.keyring, world.clock)
    given.keeper = InstanceKeeper(given.store, world.engine, world.models, world.images, keys, world.clock, world.wakeups, limits)
    given.world.models.unhealthy.add((await given.started()).addresses[0])
    assert (await _watched(given, 1)).state is InstanceState.IN_SERVICE
    row = await given.failed(step_s=EVERY_S)
    assert "for 4 s" in (row.failure_reason or "")
    assert given.engine.graces == [0.5]


async def test_what_the_engine_knows_of_a_death_is_told(given: Given) -> None:
    await given.started()
    given.engine.end(ID, exit_code=-9, cause="It ran out of memory.")
    row = await given.failed()
    assert (row.failure_reason or "").startswith("The model server was ended by signal 9. It ran out of memory.\n")


@pytest.mark.parametrize(("of_model", "of_config"), [(False, False), (True, False), (False, True)])
def test_a_model_or_a_configuration_isolates_its_instances(of_model: bool, of_config: bool) -> None:
    deployment = a_deployment("d")
    [deployed] = deployment.variants
    deployed = replace(deployed, model=replace(deployed.model, network_isolation=of_model))
    config = replace(deployment.config, network_isolation=of_config)
    deployment = replace(deployment, variants=(deployed,), config=config)
    row = Instance(
        id=ID, endpoint_id="e", deployment_id="d", variant_name=deployed.variant.name, state=InstanceState.PENDING, concurrency=1,
        created_at_us=1,
    )  # fmt: skip
    assert instance_spec(an_endpoint(), deployment, row).network_isolation is (of_model or of_config)


async def test_what_has_died_is_forgotten_by_the_engine(given: Given) -> None:
    await given.started()
    given.engine.end(ID, exit_code=3)
    row = await given.failed()
    assert "exit code 3" in (row.failure_reason or "")
    assert (given.engine.stopped, await given.engine.observe()) == ([ID], [])


@pytest.mark.parametrize(
    ("error", "waits"), [(StorageFull("full"), True), (Throttled("busy"), True), (Conflict("changed"), False)], ids=repr
)
async def test_a_row_is_moved_as_often_as_it_takes(given: Given, error: TarryError, waits: bool) -> None:
    row = await given.add()
    given.store.failures = [error, error]
    given.keeper.attend(row, SPEC)
    if waits:
        for tries in (1, 2):
            await given.until(lambda tries=tries: given.store.writes == 1 + tries)  # type: ignore[misc]
            await given.until(lambda: given.world.clock.sleepers == 1)
            assert (await given.row()).state is InstanceState.PENDING
            given.world.clock.advance(STORE_PAUSE_S)
    await given.until(lambda: given.store.entities[Instance, ID].state is InstanceState.IN_SERVICE)
    assert len(given.engine.started) == 1


@pytest.mark.parametrize("error", [StorageFull("full"), Throttled("busy")], ids=repr)
async def test_a_failure_is_written_down_even_if_the_disk_is_full_at_first(given: Given, error: TarryError) -> None:
    await given.started()
    given.store.failures = [error, error]
    given.engine.end(ID)
    row = await given.failed()
    assert row.failure_reason
    assert given.engine.stopped == [ID]


class Unforeseen(Exception):
    """What no port declares."""


@pytest.mark.parametrize("error", [Unforeseen("boom"), InstanceStartError("no memory")], ids=repr)
async def test_whatever_a_start_raises_ends_in_failed_with_a_reason(
    given: Given, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def start(_: InstanceSpec) -> str:
        raise error

    monkeypatch.setattr(type(given.engine), "start", staticmethod(start))
    given.keeper.attend(await given.add(), SPEC)
    row = await given.failed()
    expected = "no memory" if isinstance(error, InstanceStartError) else "Unforeseen while starting"
    assert expected in (row.failure_reason or "")
    assert row.ended_at_us is not None


async def test_stopping_ends_the_process_and_the_row(given: Given) -> None:
    await given.started()
    given.keeper.stop(ID)
    await given.until(lambda: ID not in given.keeper.attended)
    assert (await given.row()).state is InstanceState.STOPPED
    assert given.engine.stopped == [ID]


@pytest.mark.parametrize("silent", ["http://127.0.0.1:20001", "http://127.0.0.1:20002"])
async def test_a_pipeline_is_in_service_once_all_its_containers_answer(given: Given, silent: str) -> None:
    given.world.models.unhealthy.add(silent)
    given.keeper.attend(await given.add(), replace(SPEC, containers=SPEC.containers * 2))
    for _ in range(3):
        await given.until(lambda: given.world.clock.sleepers == 1)  # between two pings
        assert (await given.row()).state is InstanceState.STARTING
        given.world.clock.advance(STARTUP_PING_EVERY_S)
    given.world.models.unhealthy.clear()
    await given.until(lambda: given.store.entities[Instance, ID].state is InstanceState.IN_SERVICE, step_s=1.0)


def test_an_instance_is_given_the_time_limits_of_its_variant() -> None:
    deployment = a_deployment("d", replace(a_variant(), model_data_timeout_s=61, startup_timeout_s=62))
    row = Instance(
        id=ID, endpoint_id="e", deployment_id="d", variant_name="A", state=InstanceState.PENDING, concurrency=1, created_at_us=1
    )
    spec = instance_spec(an_endpoint(), deployment, row)
    assert (spec.model_data_timeout_s, spec.startup_timeout_s) == (61, 62)
