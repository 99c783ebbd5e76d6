"""Payloads larger than memory should be: what goes in and out of the server's process does not stay in it."""

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.support.bulk import SETTINGS, Bulk, Memory
from tests.support.server_process import ServerProcess

MIB = 1024 * 1024
GIB = 1024 * MIB
GROWTH_BYTES_MAX = 64 * MIB
"""Less than one body of the smallest case: holding it is holding too much."""
CONCURRENCY = 4


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    directory = tmp_path_factory.mktemp("large")
    with ServerProcess(directory / "data", settings=SETTINGS) as running:
        yield running
    shutil.rmtree(directory)  # pytest keeps directories of three runs


@pytest.fixture(scope="module")
def bulk(server: ServerProcess) -> Bulk:
    return Bulk(server, CONCURRENCY)


@pytest.fixture
def memory(server: ServerProcess, bulk: Bulk) -> Memory:
    assert server.process is not None
    return Memory(server.process.pid)


def _require_disk(directory: Path, size: int) -> None:
    free = shutil.disk_usage(directory).free
    if free < size:
        pytest.skip(f"needs {size / GIB:.1f} GiB of disk at {directory}, there are {free / GIB:.1f}")


def _all_at_once(bulk: Bulk, name: str, count: int, size: int, *, multipart: bool = False) -> None:
    """Step by step, so that all of them are in the same one."""
    names = [f"{name}-{number}" for number in range(count)]
    with ThreadPoolExecutor(count) as pool:
        list(pool.map(lambda name: bulk.put(name, size, multipart=multipart), names))
        keys = list(pool.map(lambda name: bulk.invoke(name, size), names))
        list(pool.map(lambda name, key: bulk.read(name, size, key), names, keys))


@pytest.mark.parametrize("chunked", [False, True], ids=["with a length", "in chunks"])
def test_a_large_payload_streams_through(bulk: Bulk, memory: Memory, chunked: bool) -> None:
    bulk.pass_through(f"chunked-{chunked}", 96 * MIB, chunked=chunked)
    assert memory.growth < GROWTH_BYTES_MAX


def test_an_upload_in_parts_streams_through(bulk: Bulk, memory: Memory) -> None:
    bulk.put("parts", 96 * MIB, multipart=True)
    assert memory.growth < GROWTH_BYTES_MAX


def test_a_large_error_streams_through_and_is_kept_as_it_is(bulk: Bulk, memory: Memory) -> None:
    bulk.pass_through("error", 96 * MIB, status=500)
    assert memory.growth < GROWTH_BYTES_MAX


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_gigabyte_of_error(server: ServerProcess, bulk: Bulk, memory: Memory) -> None:
    _require_disk(server.data_dir, 3 * GIB)
    bulk.pass_through("gigabyte-error", GIB, status=500)
    assert memory.growth < GROWTH_BYTES_MAX


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize("chunked", [False, True], ids=["with a length", "in chunks"])
def test_more_than_a_gigabyte_is_no_answer(server: ServerProcess, bulk: Bulk, memory: Memory, status: int, chunked: bool) -> None:
    _require_disk(server.data_dir, 2 * GIB)
    document = bulk.fail(f"too-long-{status}-{chunked}", GIB + 1, status=status, chunked=chunked)
    assert f"longer than {GIB} bytes" in document["failureReason"]
    assert document["containerStatus"] == status
    assert document["containerBodyExcerpt"]
    assert memory.growth < GROWTH_BYTES_MAX


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("multipart", [False, True], ids=["in one piece", "in parts"])
@pytest.mark.parametrize("count", [1, CONCURRENCY])
def test_a_gigabyte_in_and_a_gigabyte_out(server: ServerProcess, bulk: Bulk, memory: Memory, count: int, multipart: bool) -> None:
    _require_disk(server.data_dir, (4 if multipart else 3) * count * GIB)
    _all_at_once(bulk, f"gigabyte-{multipart}-{count}", count, GIB, multipart=multipart)
    assert memory.growth < GROWTH_BYTES_MAX
