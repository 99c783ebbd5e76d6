"""What is remembered of endpoints, and for how long."""

from tests.support import entities
from tests.support.delivery import World, settle_down

from tarry.core.catalog import AsyncInferenceConfig
from tarry.core.deployment import DeploymentState
from tarry.ports import Add


async def _move_to_another_output(world: World) -> None:
    config = entities.config("c2", async_inference=AsyncInferenceConfig(s3_output_path="s3://b/elsewhere"))
    await world.store.apply(Add(entities.deployment("d2", config=config, state=DeploymentState.ACTIVE)))
    await world.set_endpoint(active_deployment_id="d2")


async def _path(world: World) -> str:
    return (await world.directory.lookup("E")).config.s3_output_path


async def test_a_hint_makes_it_look_again() -> None:
    world = await World().deploy()
    async with world.running(world.directory.run):
        await settle_down()
        assert await _path(world) == "s3://b/out"
        await _move_to_another_output(world)
        world.wakeups.notify("endpoints")
        await settle_down()
        assert await _path(world) == "s3://b/elsewhere"


async def test_without_a_hint_it_looks_again_after_a_second() -> None:
    world = await World().deploy()
    assert await _path(world) == "s3://b/out"
    await _move_to_another_output(world)
    assert await _path(world) == "s3://b/out"
    world.clock.advance(1)
    assert await _path(world) == "s3://b/elsewhere"
