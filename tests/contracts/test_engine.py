"""What every Engine promises."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.support.docker_engine import docker_engine
from tests.support.dockerd import CannotRunError
from tests.support.engines import SANDBOXES, pipeline, process_engine, sandbox_of, spec
from tests.support.podman import ULIMITS, Podman

from tarry.backends.engines.docker_options import DockerOptions
from tarry.backends.engines.room import Room
from tarry.core.errors import InsufficientCapacity
from tarry.core.placement import PlacementRules
from tarry.ports import Engine
from tarry.testing.engine import FakeEngine

DOCKER = pytest.param("docker", marks=pytest.mark.xdist_group("docker"))
PODMAN = pytest.param("podman", marks=[pytest.mark.slow, pytest.mark.xdist_group("docker")])


@pytest.fixture(scope="module")
def podman() -> Iterator[Podman]:
    """Podman's service with the stub image."""
    service = Podman()
    try:
        service.start()
        service.make_stub_image()
        yield service
    except CannotRunError as error:
        pytest.skip(f"NOT TESTED, the Docker engine on Podman: {error}")
    finally:
        service.close()


@pytest.fixture(params=["fake", *SANDBOXES, DOCKER, PODMAN])
async def engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Engine]:
    if request.param == "fake":
        yield FakeEngine()
        return
    if request.param in {"docker", "podman"}:
        if request.param == "docker":
            docker = docker_engine(tmp_path, request.getfixturevalue("dockerd").host)
        else:
            docker = docker_engine(tmp_path, request.getfixturevalue("podman").host, options=DockerOptions(ulimits=ULIMITS))
        await docker.open()
        yield docker
        await docker.close(keep=False, grace_s=1)
        return
    process = process_engine(tmp_path, sandbox=await sandbox_of(request.param, tmp_path))
    await process.open()
    yield process
    await process.close(grace_s=1)


@pytest.fixture(params=["fake", "process", DOCKER])
async def small_engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Engine]:
    """One with room for one instance of the type of ``spec``."""
    if request.param == "fake":
        yield FakeEngine(capacity={spec().instance_type: 1})
        return
    room = Room(PlacementRules(instances_max={spec().instance_type: 1}))
    if request.param == "docker":
        docker = docker_engine(tmp_path, request.getfixturevalue("dockerd").host, room=room)
        await docker.open()
        yield docker
        await docker.close(keep=False, grace_s=1)
        return
    process = process_engine(tmp_path, room=room)
    await process.open()
    yield process
    await process.close(grace_s=1)


async def listens(engine: Engine, instance_id: str = "i-1", count: int = 1) -> None:
    """Wait until so many of its containers have said that they listen."""
    async with asyncio.timeout(30):
        while sum("model server" in line for line in await engine.log_tail(instance_id, 20)) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_an_instance_is_seen_from_start_to_stop(engine: Engine) -> None:
    [address] = await engine.start(spec())
    assert address.startswith("http://127.0.0.1:")
    [status] = await engine.observe()
    assert (status.instance_id, status.addresses, status.exit_code) == ("i-1", (address,), None)
    await listens(engine)
    await engine.stop("i-1", grace_s=5)
    assert await engine.observe() == []


async def test_starting_again_changes_nothing(engine: Engine) -> None:
    assert await engine.start(spec()) == await engine.start(spec())
    assert len(await engine.observe()) == 1


async def test_two_instances_have_two_addresses(engine: Engine) -> None:
    assert await engine.start(spec("i-1")) != await engine.start(spec("i-2"))
    assert {status.instance_id for status in await engine.observe()} == {"i-1", "i-2"}


async def test_stopping_what_is_unknown_is_no_error(engine: Engine) -> None:
    await engine.stop("i-unknown", grace_s=0)
    await engine.start(spec())
    await engine.stop("i-1", grace_s=0)
    await engine.stop("i-1", grace_s=0)


async def test_the_log_outlives_the_instance(engine: Engine) -> None:
    await engine.start(spec())
    await listens(engine)
    await engine.stop("i-1", grace_s=5)
    assert "model server" in (await engine.log_tail("i-1", 5))[-1]
    assert await engine.log_tail("i-1", 0) == ()
    assert await engine.log_tail("i-unknown", 5) == ()


async def test_a_pipeline_has_an_address_for_each_container_and_ends_as_one(engine: Engine) -> None:
    two = pipeline(2)
    first, second = await engine.start(two)
    assert first != second
    [status] = await engine.observe()
    assert (status.addresses, status.exit_code) == ((first, second), None)
    assert await engine.start(two) == (first, second)
    await listens(engine, count=1 if isinstance(engine, FakeEngine) else 2)
    await engine.stop("i-1", grace_s=5)
    assert await engine.observe() == []


async def test_the_machine_is_measured(engine: Engine) -> None:
    machine = await engine.measure()
    assert machine.vcpus >= 1
    assert 0 < machine.memory_free_bytes <= machine.memory_bytes


async def test_what_has_no_room_is_refused_before_anything_is_done_until_there_is_some(small_engine: Engine) -> None:
    addresses = await small_engine.start(spec("i-1"))
    with pytest.raises(InsufficientCapacity, match=r"InsufficientInstanceCapacity error.*\(Here: At most 1 instances of ml\.m5"):
        await small_engine.start(spec("i-2"))
    assert await small_engine.start(spec("i-1")) == addresses
    assert [status.instance_id for status in await small_engine.observe()] == ["i-1"]
    assert await small_engine.log_tail("i-2", 5) == ()
    await small_engine.stop("i-1", grace_s=5)
    await small_engine.start(spec("i-2"))
