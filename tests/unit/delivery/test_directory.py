"""What is remembered of endpoints, and for how long."""

import asyncio

import pytest
from tests.support import entities
from tests.support.delivery import World, settle_down

from tarry.core.catalog import AsyncInferenceConfig
from tarry.core.deployment import DeploymentState
from tarry.core.endpoint import Endpoint
from tarry.core.errors import EndpointNotFound
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


@pytest.fixture
async def slow(monkeypatch: pytest.MonkeyPatch) -> tuple[World, list[asyncio.Event]]:
    """A deployed endpoint whose store answers a reading only when its event is set."""
    world = await World().deploy()
    named, gates = world.store.named, list[asyncio.Event]()

    async def wait_and_read(kind: type[Endpoint], name: str) -> Endpoint | None:
        found = await named(kind, name)
        gates.append(asyncio.Event())
        await gates[-1].wait()
        return found

    monkeypatch.setattr(world.store, "named", wait_and_read)
    return world, gates


async def test_all_who_ask_at_once_share_one_reading(slow: tuple[World, list[asyncio.Event]]) -> None:
    world, gates = slow
    asking = [asyncio.create_task(world.directory.lookup(name)) for name in ("e", "E", "e")]
    await settle_down()
    asking[0].cancel()  # and takes nobody with it
    await settle_down()
    assert len(gates) == 1
    gates[0].set()
    assert [view.endpoint_name for view in await asyncio.gather(*asking[1:])] == ["e", "e"]
    await world.directory.lookup("E")
    assert len(gates) == 1


async def test_each_is_told_of_a_missing_endpoint_by_the_name_that_it_gave(slow: tuple[World, list[asyncio.Event]]) -> None:
    world, gates = slow
    asking = [asyncio.create_task(world.directory.lookup(name)) for name in ("none", "None")]
    await settle_down()
    gates[0].set()
    told = await asyncio.gather(*asking, return_exceptions=True)
    assert [str(error) for error in told] == [str(EndpointNotFound("none")), str(EndpointNotFound("None"))]
    asking = [asyncio.create_task(world.directory.lookup("none"))]
    await settle_down()
    assert len(gates) == 2  # that there was none is not remembered
    gates[1].set()
    await asyncio.gather(*asking, return_exceptions=True)


async def test_what_was_read_before_a_hint_is_not_kept(slow: tuple[World, list[asyncio.Event]]) -> None:
    world, gates = slow
    async with world.running(world.directory.run):
        await settle_down()
        old = asyncio.create_task(world.directory.lookup("E"))
        await settle_down()
        await _move_to_another_output(world)
        world.wakeups.notify("endpoints")
        await settle_down()
        new = asyncio.create_task(world.directory.lookup("E"))
        await settle_down()
        assert len(gates) == 2
        gates[1].set()
        assert (await new).config.s3_output_path == "s3://b/elsewhere"
        gates[0].set()
        assert (await old).config.s3_output_path == "s3://b/out"
        assert await _path(world) == "s3://b/elsewhere"
