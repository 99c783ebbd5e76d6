"""What every Engine promises."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.engines import SANDBOXES, pipeline, process_engine, sandbox_of, spec

from tarry.ports import Engine
from tarry.testing.engine import FakeEngine


@pytest.fixture(params=["fake", *SANDBOXES])
async def engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Engine]:
    if request.param == "fake":
        yield FakeEngine()
        return
    process = process_engine(tmp_path, sandbox=await sandbox_of(request.param, tmp_path))
    await process.open()
    yield process
    await process.close(grace_s=1)


async def test_an_instance_is_seen_from_start_to_stop(engine: Engine) -> None:
    [address] = await engine.start(spec())
    assert address.startswith("http://127.0.0.1:")
    [status] = await engine.observe()
    assert (status.instance_id, status.addresses, status.exit_code) == ("i-1", (address,), None)
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
    await engine.stop("i-1", grace_s=5)
    assert await engine.observe() == []
