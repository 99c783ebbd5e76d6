"""Instance pools: which type is tried first, what happens where there is no room, and when it is given up."""

from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs
from tests.support.control import World

from tarry.control.requests import CreateEndpoint, CreateModel
from tarry.core.catalog import Container, InstancePool, Variant
from tarry.core.deployment import DesiredCapacity
from tarry.core.endpoint import EndpointStatus as E
from tarry.core.errors import InvalidRequest, NotFound

GPU, CPU = "ml.g5.xlarge", "ml.m5.xlarge"


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    await world.reconciler.close()


def pooled(*pools: InstancePool, count: int = 2, timeout_s: int = 0) -> Variant:
    return Variant(name="A", model_name="m", pools=pools, initial_instance_count=count, provision_timeout_s=timeout_s)


BOTH = (InstancePool(instance_type=CPU, priority=2), InstancePool(instance_type=GPU, priority=1))


async def create(world: World, *variants: Variant) -> None:
    await world.model_and_config("c", *variants)
    await world.commands.endpoints.create(CreateEndpoint(name="Ep", config_name="c"))
    await world.settle()


def types(world: World) -> list[str]:
    return sorted(row.instance_type for row in world.instances("InService"))


async def test_the_pool_of_the_lowest_priority_number_comes_first(world: World) -> None:
    await create(world, pooled(*BOTH))
    assert types(world) == [GPU, GPU]


async def test_a_pool_without_room_gives_way_to_the_next(world: World) -> None:
    world.engine.capacity[GPU] = 1
    await create(world, pooled(*BOTH, count=3))
    await world.pass_time(2)
    assert world.endpoint().status is E.IN_SERVICE
    assert types(world) == [GPU, CPU, CPU]


async def test_without_any_room_the_creation_fails_and_says_so(world: World) -> None:
    world.engine.capacity |= {GPU: 0, CPU: 1}
    await create(world, pooled(*BOTH))
    await world.pass_time(2)
    assert world.endpoint().status is E.FAILED
    assert "InsufficientInstanceCapacity" in (world.endpoint().failure_reason or "")


async def test_room_is_waited_for_as_long_as_the_variant_says(world: World) -> None:
    world.engine.capacity |= {GPU: 0, CPU: 0}
    await create(world, pooled(*BOTH, count=1, timeout_s=300))
    await world.pass_time(200)
    assert world.endpoint().status is E.CREATING
    world.engine.capacity[CPU] = 1
    await world.pass_time(40)
    assert (world.endpoint().status, types(world)) == (E.IN_SERVICE, [CPU])


async def test_the_wait_for_room_ends(world: World) -> None:
    world.engine.capacity |= {GPU: 0, CPU: 0}
    await create(world, pooled(*BOTH, count=1, timeout_s=300))
    with capture_logs() as logs:
        await world.pass_time(100)
    waits = [line for line in logs if line["event"].startswith("there is no room")]
    assert {line["instance_type"] for line in waits} == {GPU, CPU}
    assert len(waits) < 10
    (message,) = (await world.commands.endpoints.describe("Ep")).waiting_for.values()
    assert message.startswith(f"0 of 1 instances are in service. There is no capacity for more on {GPU}, {CPU};")
    await world.pass_time(210)
    assert world.endpoint().status is E.FAILED
    assert f"None of the instance pools of variant A has room: {GPU}, {CPU}." in (world.endpoint().failure_reason or "")


async def test_one_type_without_room_is_waited_for_too_as_long_as_the_server_says(world: World) -> None:
    world.engine.capacity[CPU] = 0
    await create(world)
    await world.pass_time(295)
    assert world.endpoint().status is E.CREATING
    await world.pass_time(10)
    assert world.endpoint().status is E.FAILED
    assert "CapacityError" in (world.endpoint().failure_reason or "")


async def test_more_than_there_is_room_for_goes_back_to_what_was(world: World) -> None:
    world.engine.capacity[CPU] = 2
    await world.in_service()
    await world.commands.endpoints.update_capacities("Ep", [DesiredCapacity(variant_name="A", instance_count=3)])
    await world.pass_time(295)
    assert (world.endpoint().status, types(world)) == (E.UPDATING, [CPU, CPU])
    await world.pass_time(10)
    assert (world.endpoint().status, types(world)) == (E.IN_SERVICE, [CPU])
    assert "CapacityError" in (world.endpoint().failure_reason or "")


async def test_what_was_placed_late_is_not_given_up_for_the_time_that_it_takes_to_start(world: World) -> None:
    world.engine.capacity[CPU] = 0
    await create(world)
    world.models.unhealthy.add("http://127.0.0.1:20001")
    world.engine.capacity[CPU] = 1
    await world.pass_time(320)
    assert (world.endpoint().status, len(world.instances("Starting"))) == (E.CREATING, 1)
    world.models.unhealthy.clear()
    await world.pass_time(2)
    assert (world.endpoint().status, types(world)) == (E.IN_SERVICE, [CPU])


async def test_the_room_of_what_ends_is_asked_for_at_once(world: World) -> None:
    world.engine.capacity[CPU] = 1
    await world.in_service("first")
    await world.commands.endpoints.create(CreateEndpoint(name="second", config_name="c"))
    await world.pass_time(3)
    described = await world.commands.endpoints.describe("second")
    (message,) = described.waiting_for.values()
    assert message.endswith(f"(Here: At most 1 instances of {CPU} may run here.)")
    await world.commands.endpoints.delete("first")
    await world.pass_time(3)
    assert world.endpoint("second").status is E.IN_SERVICE


async def test_a_pool_may_bring_a_model_of_its_own(world: World) -> None:
    await world.model_and_config("other")
    await world.commands.models.create(CreateModel(name="small", containers=(Container(image="stub:small"),)))
    world.images.known.add("stub:small")
    world.engine.capacity[GPU] = 1
    await create(world, pooled(BOTH[1], InstancePool(instance_type=CPU, priority=2, model_name="small")))
    await world.pass_time(2)
    assert {(spec.instance_type, spec.containers[0].image) for spec in world.engine.started} == {
        (GPU, "stub:1"),
        (CPU, "stub:small"),
    }


async def test_pools_that_cannot_be_are_refused(world: World) -> None:
    with pytest.raises(InvalidRequest, match="InstanceType of its own"):
        await world.model_and_config("twice", pooled(BOTH[0], BOTH[0]))
    with pytest.raises(NotFound):
        await world.model_and_config("missing", pooled(InstancePool(instance_type=CPU, model_name="none")))
