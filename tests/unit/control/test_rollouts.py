"""Updates step by step: canary, linear, rolling, and back."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.support.control import World, a_variant

from tarry.control.requests import CreateEndpoint, UpdateEndpoint
from tarry.core.deployment import DeploymentState, DesiredCapacity, Routing
from tarry.core.endpoint import EndpointStatus as E
from tarry.core.errors import InstanceStartError, InvalidRequest
from tarry.core.rollout import (
    BlueGreenPolicy,
    CapacitySize,
    CapacityUnit,
    DeploymentConfig,
    RollingPolicy,
    TrafficRouting,
)
from tarry.ports import AlarmState

ALARM = "errors"


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    world.alarms.known[ALARM] = AlarmState.OK
    yield world
    await world.reconciler.close()


def percent(value: int) -> CapacitySize:
    return CapacitySize(unit=CapacityUnit.CAPACITY_PERCENT, value=value)


def blue_green(routing: TrafficRouting, step: CapacitySize | None = None, **more: Any) -> DeploymentConfig:
    return DeploymentConfig(blue_green=BlueGreenPolicy(routing=routing, step=step, wait_s=60, **more), alarms=(ALARM,))


def rolling(**more: Any) -> DeploymentConfig:
    batch = CapacitySize(unit=CapacityUnit.INSTANCE_COUNT, value=1)
    return DeploymentConfig(rolling=RollingPolicy(batch=batch, wait_s=60, **more), alarms=(ALARM,))


CANARY = blue_green(TrafficRouting.CANARY, percent(10))
LINEAR = blue_green(TrafficRouting.LINEAR, percent(50))
AT_ONCE = blue_green(TrafficRouting.ALL_AT_ONCE)


async def update(world: World, config: DeploymentConfig | None, count: int = 2, name: str = "new", **more: Any) -> None:
    if name != "c":
        await world.model_and_config(name, a_variant(count=count))
    await world.commands.endpoints.update(UpdateEndpoint(name="Ep", config_name=name, deployment_config=config, **more))
    await world.settle()


async def split(world: World) -> dict[str, int]:
    """Buckets by the configuration that works on them."""
    routing = await world.store.get(Routing, world.endpoint().id)
    assert routing is not None
    names = {deployment.id: deployment.config.name for deployment in world.deployments()}
    found: dict[str, int] = {}
    for share in routing.shares:
        found[names[share.deployment_id]] = found.get(names[share.deployment_id], 0) + len(share.buckets)
    return found


def fleet(world: World) -> dict[str, int]:
    """InService instances by configuration."""
    names = {deployment.id: deployment.config.name for deployment in world.deployments()}
    found: dict[str, int] = {}
    for row in world.instances("InService"):
        found[names[row.deployment_id]] = found.get(names[row.deployment_id], 0) + 1
    return found


async def test_a_canary_gets_its_part_is_watched_and_then_gets_all(world: World) -> None:
    await world.in_service("Ep", "c", a_variant(count=2))
    await update(world, CANARY)
    assert (await split(world), fleet(world)) == ({"c": 90, "new": 10}, {"c": 2, "new": 2})
    assert world.endpoint().config_name == "c"
    await world.pass_time(59)
    assert await split(world) == {"c": 90, "new": 10}
    await world.pass_time(2)
    assert (await split(world), world.endpoint().status) == ({"new": 100}, E.UPDATING)
    await world.pass_time(61)
    assert (world.endpoint().status, world.endpoint().config_name) == (E.IN_SERVICE, "new")
    assert (await split(world), fleet(world)) == ({"new": 100}, {"new": 2})


async def test_a_linear_update_stops_the_old_fleet_slice_by_slice(world: World) -> None:
    await world.in_service("Ep", "c", a_variant(count=2))
    await update(world, LINEAR)
    assert (await split(world), fleet(world)) == ({"c": 50, "new": 50}, {"c": 2, "new": 2})
    await world.pass_time(61)
    assert (await split(world), fleet(world)) == ({"new": 100}, {"c": 1, "new": 2})
    await world.pass_time(61)
    assert (world.endpoint().status, fleet(world)) == (E.IN_SERVICE, {"new": 2})


async def test_a_rolling_update_replaces_batch_by_batch(world: World) -> None:
    await world.in_service("Ep", "c", a_variant(count=2))
    await update(world, rolling())
    assert (await split(world), fleet(world)) == ({"c": 50, "new": 50}, {"c": 2, "new": 1})
    await world.pass_time(62)
    assert (await split(world), fleet(world)) == ({"new": 100}, {"c": 1, "new": 2})
    await world.pass_time(62)
    assert (world.endpoint().status, world.endpoint().config_name, fleet(world)) == (E.IN_SERVICE, "new", {"new": 2})


async def test_all_at_once_is_watched_with_the_old_fleet_at_hand(world: World) -> None:
    await world.in_service("Ep", "c", a_variant(count=2))
    await update(world, AT_ONCE)
    assert (await split(world), fleet(world)) == ({"new": 100}, {"c": 2, "new": 2})
    await world.pass_time(61)
    assert (world.endpoint().status, fleet(world)) == (E.IN_SERVICE, {"new": 2})


async def test_the_old_fleet_is_kept_for_the_termination_wait(world: World) -> None:
    await world.in_service("Ep", "c", a_variant(count=2))
    await update(world, blue_green(TrafficRouting.ALL_AT_ONCE, termination_wait_s=300))
    await world.pass_time(61)
    assert (world.endpoint().status, fleet(world)) == (E.IN_SERVICE, {"c": 2, "new": 2})
    assert await split(world) == {"new": 100}
    await world.pass_time(300)
    assert fleet(world) == {"new": 2}


@pytest.mark.parametrize("config", [CANARY, LINEAR, AT_ONCE])
async def test_an_alarm_takes_a_blue_green_update_back_at_once(world: World, config: DeploymentConfig) -> None:
    await world.in_service("Ep", "c", a_variant(count=2))
    await update(world, config)
    world.alarms.known[ALARM] = AlarmState.ALARM
    await world.pass_time(2)
    endpoint = world.endpoint()
    assert (endpoint.status, endpoint.config_name) == (E.IN_SERVICE, "c")
    assert f'"{ALARM}"' in (endpoint.failure_reason or "")
    assert (await split(world), fleet(world)) == ({"c": 100}, {"c": 2})


@pytest.mark.parametrize("how", ["unreadable", "gone"])
@pytest.mark.parametrize("config", [CANARY, AT_ONCE, rolling()])
async def test_an_update_whose_alarms_cannot_be_read_waits(world: World, config: DeploymentConfig, how: str) -> None:
    await world.in_service("Ep", "c", a_variant(count=2))
    await update(world, config)
    before = await split(world)
    if how == "gone":
        del world.alarms.known[ALARM]
    world.alarms.failing = how == "unreadable"
    await world.pass_time(200, 20.0)
    assert (await split(world), world.endpoint().status) == (before, E.UPDATING)
    world.alarms.failing, world.alarms.known[ALARM] = False, AlarmState.OK
    await world.pass_time(130, 2.0)
    assert (world.endpoint().status, world.endpoint().config_name) == (E.IN_SERVICE, "new")


async def test_what_waits_for_its_alarms_ends_with_its_time(world: World) -> None:
    await world.in_service("Ep", "c", a_variant(count=2))
    await update(world, blue_green(TrafficRouting.ALL_AT_ONCE, execution_s_max=300))
    world.alarms.failing = True
    await world.pass_time(310, 10.0)
    assert (world.endpoint().status, world.endpoint().config_name) == (E.IN_SERVICE, "c")
    assert "maximum execution timeout" in (world.endpoint().failure_reason or "")


async def test_a_late_alarm_in_a_linear_update_brings_the_stopped_slice_back(world: World) -> None:
    await world.in_service("Ep", "c", a_variant(count=2))
    await update(world, LINEAR)
    await world.pass_time(61)
    assert fleet(world) == {"c": 1, "new": 2}
    world.alarms.known[ALARM] = AlarmState.ALARM
    await world.pass_time(5)
    assert (await split(world), fleet(world)) == ({"c": 100}, {"c": 2})


async def test_an_alarm_takes_a_rolling_update_back_in_batches(world: World) -> None:
    await world.in_service("Ep", "c", a_variant(count=4))
    await update(world, rolling(rollback_batch=CapacitySize(unit=CapacityUnit.INSTANCE_COUNT, value=1)), count=4)
    await world.pass_time(62)
    assert (await split(world), fleet(world)) == ({"c": 50, "new": 50}, {"c": 3, "new": 2})
    world.alarms.known[ALARM] = AlarmState.ALARM
    world.clock.advance(1)
    await world.reconciler.reconcile()
    await world.reconciler.reconcile()
    assert world.endpoint().status is E.ROLLING_BACK
    await world.pass_time(10)
    endpoint = world.endpoint()
    assert (endpoint.status, endpoint.config_name) == (E.IN_SERVICE, "c")
    assert f'"{ALARM}"' in (endpoint.failure_reason or "")
    assert (await split(world), fleet(world)) == ({"c": 100}, {"c": 4})


async def test_a_rollback_that_fails_leaves_both_serving_and_another_update_mends_it(world: World) -> None:
    await world.in_service("Ep", "c", a_variant(count=2))
    await update(world, rolling())
    await world.pass_time(62)
    assert fleet(world) == {"c": 1, "new": 2}
    world.engine.failures += [InstanceStartError(f"no room {n}") for n in range(4)]
    world.alarms.known[ALARM] = AlarmState.ALARM
    await world.until(lambda: world.endpoint().status is E.UPDATE_ROLLBACK_FAILED)
    reason = world.endpoint().failure_reason or ""
    assert ALARM in reason
    assert "no room" in reason
    world.engine.failures.clear()
    world.alarms.known[ALARM] = AlarmState.OK
    with pytest.raises(InvalidRequest, match="only UpdateEndpoint and DeleteEndpoint"):
        await world.commands.endpoints.update_capacities("Ep", [DesiredCapacity(variant_name="A", instance_count=1)])
    await update(world, None, name="third")
    assert (world.endpoint().status, world.endpoint().config_name) == (E.IN_SERVICE, "third")
    assert (await split(world), fleet(world)) == ({"third": 100}, {"third": 2})


async def test_an_update_that_takes_too_long_goes_back(world: World) -> None:
    await world.in_service("Ep", "c", a_variant(count=2))
    slow = {"http://127.0.0.1:20003", "http://127.0.0.1:20004"}
    world.models.unhealthy |= slow
    await update(world, blue_green(TrafficRouting.ALL_AT_ONCE, execution_s_max=100))
    await world.pass_time(60, 5.0)
    world.models.unhealthy -= slow
    await world.pass_time(10)
    assert await split(world) == {"new": 100}
    await world.pass_time(40, 5.0)
    assert world.endpoint().status is E.IN_SERVICE
    assert "maximum execution timeout (100 seconds)" in (world.endpoint().failure_reason or "")
    assert (await split(world), fleet(world)) == ({"c": 100}, {"c": 2})


@pytest.mark.parametrize("config", [None, CANARY, LINEAR, AT_ONCE, rolling()])
async def test_a_fleet_that_cannot_start_never_gets_work(world: World, config: DeploymentConfig | None) -> None:
    await world.in_service("Ep", "c", a_variant(count=2))
    world.engine.failures += [InstanceStartError("no room")]
    await update(world, config)
    await world.pass_time(5)
    assert (world.endpoint().status, world.endpoint().failure_reason) == (E.IN_SERVICE, "no room")
    assert (await split(world), fleet(world)) == ({"c": 100}, {"c": 2})


@pytest.mark.parametrize("config", [CANARY, LINEAR, AT_ONCE, rolling()])
async def test_a_restart_in_the_middle_goes_on_with_the_update(world: World, config: DeploymentConfig) -> None:
    await world.in_service("Ep", "c", a_variant(count=2))
    await update(world, config)
    await world.pass_time(20)
    await world.restart()
    await world.settle()
    await world.pass_time(200)
    assert (world.endpoint().status, world.endpoint().config_name) == (E.IN_SERVICE, "new")
    assert (await split(world), fleet(world)) == ({"new": 100}, {"new": 2})


async def test_the_last_configuration_is_retained_when_asked_for(world: World) -> None:
    await world.in_service("Ep", "c", a_variant(count=2))
    await update(world, CANARY)
    await world.pass_time(130)
    await update(world, None, name="third", retain_deployment_config=True)
    assert await split(world) == {"new": 90, "third": 10}
    await world.pass_time(130)
    await update(world, None, name="fourth")
    assert await split(world) == {"fourth": 100}


async def test_a_fleet_that_does_not_come_up_in_time_goes_back(world: World) -> None:
    await world.in_service("Ep", "c", a_variant(count=2))
    world.models.unhealthy |= {"http://127.0.0.1:20003", "http://127.0.0.1:20004"}
    await update(world, blue_green(TrafficRouting.ALL_AT_ONCE, execution_s_max=100))
    await world.pass_time(110, 5.0)
    assert (world.endpoint().status, world.endpoint().config_name) == (E.IN_SERVICE, "c")
    assert "maximum execution timeout (100 seconds)" in (world.endpoint().failure_reason or "")


async def test_a_creation_is_held_to_what_its_updates_will_be(world: World) -> None:
    await world.model_and_config()
    world.alarms.known.clear()
    with pytest.raises(InvalidRequest, match=f'"{ALARM}" do not exist'):
        await world.commands.endpoints.create(CreateEndpoint(name="Ep", config_name="c", deployment_config=CANARY))
    world.alarms.known[ALARM] = AlarmState.OK
    too_large = blue_green(TrafficRouting.CANARY, percent(60))
    with pytest.raises(InvalidRequest, match="canary size"):
        await world.commands.endpoints.create(CreateEndpoint(name="Ep", config_name="c", deployment_config=too_large))
    await world.commands.endpoints.create(CreateEndpoint(name="Ep", config_name="c", deployment_config=CANARY))


async def test_alarms_that_do_not_exist_are_refused(world: World) -> None:
    await world.in_service()
    world.alarms.known.clear()
    with pytest.raises(InvalidRequest, match=f'"{ALARM}"'):
        await update(world, CANARY)
    assert world.endpoint().status is E.IN_SERVICE


async def test_deleting_after_a_failed_rollback_stops_everything(world: World) -> None:
    await world.in_service("Ep", "c", a_variant(count=2))
    await update(world, rolling())
    await world.pass_time(62)
    world.engine.failures += [InstanceStartError("no room")] * 4
    world.alarms.known[ALARM] = AlarmState.ALARM
    await world.until(lambda: world.endpoint().status is E.UPDATE_ROLLBACK_FAILED)
    await world.commands.endpoints.delete("Ep")
    await world.settle()
    assert (world.endpoint().status, world.instances()) == (E.DELETED, [])
    assert all(one.state is not DeploymentState.ACTIVE for one in world.deployments())


def told(logs: Sequence[Any], event: str) -> list[Any]:
    return [line for line in logs if line["event"] == event]


async def test_the_log_tells_how_an_update_went(world: World) -> None:
    await world.in_service("Ep", "c", a_variant(count=2))
    with capture_logs() as logs:
        await update(world, CANARY)
        await world.pass_time(130)
        await world.commands.endpoints.delete("Ep")
    moves = [(line["before"], line["after"], line["log_level"]) for line in told(logs, "endpoint")]
    assert moves == [
        (E.IN_SERVICE, E.UPDATING, "info"),
        (E.UPDATING, E.IN_SERVICE, "info"),
        (E.IN_SERVICE, E.DELETING, "info"),
    ]
    begin = told(logs, "endpoint")[0]
    assert (begin["config_before"], begin["config"]) == ("c", "new")
    shifts = [(one["before"], one["config"], one["percent"], one["step"]) for one in told(logs, "traffic was shifted")]
    assert shifts == [("c", "new", 10, "1/2"), ("c", "new", 100, "2/2")]


async def test_the_log_warns_of_a_rollback_and_says_why(world: World) -> None:
    await world.in_service("Ep", "c", a_variant(count=4))
    await update(world, rolling(rollback_batch=CapacitySize(unit=CapacityUnit.INSTANCE_COUNT, value=1)), count=4)
    await world.pass_time(62)
    with capture_logs() as logs:
        world.alarms.known[ALARM] = AlarmState.ALARM
        await world.pass_time(10)
    moves = told(logs, "endpoint")
    assert [(line["after"], line["log_level"]) for line in moves] == [(E.ROLLING_BACK, "warning"), (E.IN_SERVICE, "warning")]
    assert all(f'"{ALARM}"' in line["reason"] for line in moves)
    assert [(one["percent"], one["back"]) for one in told(logs, "traffic was shifted")] == [(25, True)]


@pytest.mark.parametrize("config", [CANARY, LINEAR, AT_ONCE, rolling()])
async def test_a_new_fleet_that_fails_after_it_got_work_is_taken_back(world: World, config: DeploymentConfig) -> None:
    await world.in_service("Ep", "c", a_variant(count=2))
    await update(world, config)
    names = {deployment.id: deployment.config.name for deployment in world.deployments()}
    assert (await split(world))["new"] > 0
    world.engine.failures.append(InstanceStartError("no memory"))
    world.engine.end(next(row.id for row in world.instances("InService") if names[row.deployment_id] == "new"))
    await world.pass_time(30)
    endpoint = world.endpoint()
    assert (endpoint.status, endpoint.config_name, endpoint.failure_reason) == (E.IN_SERVICE, "c", "no memory")
    assert (await split(world), fleet(world)) == ({"c": 100}, {"c": 2})


async def test_steps_are_reckoned_by_the_largest_variant(world: World) -> None:
    await world.in_service()
    await world.model_and_config("new", a_variant("A", count=1), a_variant("B", count=4))
    await world.commands.endpoints.update(UpdateEndpoint(name="Ep", config_name="new", deployment_config=rolling()))
    assert world.deployments()[-1].rollout.instances == 4


async def test_an_update_without_a_configuration_leaves_the_last_one_described(world: World) -> None:
    # AWS: "The most recent deployment configuration for the endpoint." OURS: the last one that was given.
    await world.in_service()
    await update(world, CANARY, count=1)
    await world.pass_time(130)
    await update(world, None, name="third")
    assert (world.endpoint().status, world.endpoint().deployment_config) == (E.IN_SERVICE, CANARY)
