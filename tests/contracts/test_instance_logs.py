"""What every InstanceLogs promises."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tarry.backends.engines.logs import LogFiles
from tarry.core.errors import NotFound
from tarry.ports import InstanceLogs, LogName
from tarry.testing.instance_logs import FakeInstanceLogs

Write = Callable[[LogName, bytes, int], None]
Logs = tuple[InstanceLogs, Write]

BYTES_MAX = 10


def name(instance_id: str = "i-1", container: str | None = None, endpoint: str = "Ep") -> LogName:
    return LogName(endpoint_name=endpoint, variant_name="v", instance_id=instance_id, container=container)


@pytest.fixture(params=["fake", "files"])
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Logs:
    """The logs, and how an instance writes into one at a time."""
    if request.param == "fake":
        fake = FakeInstanceLogs()
        return fake, fake.write
    files = LogFiles(tmp_path, BYTES_MAX)

    def write(log: LogName, content: bytes, at_us: int) -> None:
        descriptor = files.open(log)
        os.write(descriptor, content)
        os.utime(descriptor, ns=(at_us * 1000, at_us * 1000))
        os.close(descriptor)

    return files, write


async def test_what_was_written_is_read_from_any_position(made: Logs) -> None:
    logs, write = made
    write(name(), b"first\n", 1)
    write(name(), b"second\xff", 2)
    part = await logs.read(name(), 0, 100)
    assert (part.content, part.offset, part.next_offset, part.end) == (b"first\nsecond\xff", 0, 13, 13)
    part = await logs.read(name(), 6, 3)
    assert (part.content, part.offset, part.next_offset, part.end) == (b"sec", 6, 9, 13)


async def test_at_the_end_there_is_nothing_and_behind_it_neither(made: Logs) -> None:
    logs, write = made
    write(name(), b"all", 1)
    for offset in (3, 4, 10**15):
        part = await logs.read(name(), offset, 5)
        assert (part.content, part.offset, part.end) == (b"", 3, 3)


async def test_of_an_unknown_log_nothing_is_known(made: Logs) -> None:
    logs, write = made
    write(name(), b"x", 1)
    for unknown in (name("i-2"), name(container="i-1"), name(endpoint="Other")):
        with pytest.raises(NotFound, match="log of the instance"):
            await logs.read(unknown, 0, 1)
    assert await logs.find("Other") == []


async def test_all_of_an_endpoint_are_found_the_last_one_first(made: Logs) -> None:
    logs, write = made
    write(name("i-1"), b"1", 10)
    write(name("i-2", "container-1"), b"22", 30)
    write(name("i-3", endpoint="EP"), b"333", 20)
    write(name("i-4", endpoint="Epp"), b"4", 40)
    found = await logs.find("ep")
    assert [(log.name, log.first, log.end, log.written_at_us) for log in found] == [
        (name("i-2", "container-1"), 0, 2, 30),
        (name("i-3", endpoint="EP"), 0, 3, 20),
        (name("i-1"), 0, 1, 10),
    ]


async def test_positions_stay_when_the_beginning_is_lost(made: Logs) -> None:
    logs, write = made
    write(name(), b"0123456789ab", 1)
    if isinstance(logs, LogFiles):
        logs.shorten(name())
    else:
        assert isinstance(logs, FakeInstanceLogs)
        logs.forget(name(), 2)
    write(name(), b"cd", 2)
    [log] = await logs.find("ep")
    assert (log.first, log.end) == (2, 14)
    part = await logs.read(name(), 0, 100)
    assert (part.content, part.offset, part.end) == (b"23456789abcd", 2, 14)
    part = await logs.read(name(), 11, 2)
    assert (part.content, part.offset, part.next_offset) == (b"bc", 11, 13)


async def test_old_logs_are_discarded_with_all_their_parts_but_those_of_these_instances(made: Logs) -> None:
    logs, write = made
    write(name("old"), b"0123456789ab", 10)
    if isinstance(logs, LogFiles):
        logs.shorten(name("old"))
    write(name("of-a-pipeline", "one"), b"x", 5)
    write(name("of-a-pipeline", "two"), b"x", 5)
    write(name("there", "one"), b"x", 5)
    write(name("gone", endpoint="Other"), b"x", 5)
    write(name("young"), b"x", 11)
    assert await logs.discard(11, {"there"}) == 4
    assert await logs.discard(11, {"there"}) == 0
    assert [log.name for log in await logs.find("Ep")] == [name("young"), name("there", "one")]
    assert await logs.find("Other") == []
    with pytest.raises(NotFound):
        await logs.read(name("old"), 0, 1)
    write(name("old"), b"anew", 20)
    assert (await logs.read(name("old"), 0, 9)).content == b"anew"
