"""The files that model servers write into: short enough, in their place, and read by nobody else."""

import asyncio
import os
import stat
import sys
from pathlib import Path

import pytest
from tests.support.small_disk import small_disk

from tarry.backends.engines.logs import LogFiles
from tarry.ports import LogName

NAME = LogName(endpoint_name="e", variant_name="v", instance_id="i")


def size_on_disk(directory: Path) -> int:
    return sum(file.stat().st_size for file in directory.rglob("*") if file.is_file())


def append(files: LogFiles, content: bytes, name: LogName = NAME) -> None:
    descriptor = files.open(name)
    os.write(descriptor, content)
    os.close(descriptor)


async def test_a_log_that_is_not_too_long_stays_as_it_is(tmp_path: Path) -> None:
    files = LogFiles(tmp_path, 5)
    files.shorten(NAME)
    append(files, b"01234")
    assert not files.is_long(NAME)
    files.shorten(NAME)
    assert (await files.read(NAME, 0, 9)).content == b"01234"
    assert [file.name for file in (tmp_path / "logs/e/v").iterdir()] == ["i.log"]


async def test_the_newest_part_is_kept_again_and_again_under_the_same_descriptor(tmp_path: Path) -> None:
    files = LogFiles(tmp_path, 4)
    descriptor = files.open(NAME)
    written = b""
    for number in range(10, 40):
        written += str(number).encode()
        os.write(descriptor, str(number).encode())
        before = (tmp_path / "logs/e/v/i.log").stat().st_mtime_ns
        files.shorten(NAME)
        assert (tmp_path / "logs/e/v/i.log").stat().st_mtime_ns == before, "the time of its last byte"
        assert size_on_disk(tmp_path) <= 8
        [log] = await files.find("e")
        part = await files.read(NAME, 0, 100)
        assert (log.first, log.end) == (part.offset, part.end) == (part.offset, len(written))
        assert part.content == written[part.offset :]
        assert len(part.content) >= min(4, len(written))
    os.close(descriptor)


async def test_who_writes_while_a_log_is_emptied_goes_on_at_its_beginning(tmp_path: Path) -> None:
    """A program that floods: at no look is there more than twice the bound and what it wrote between two looks."""
    files, bound = LogFiles(tmp_path, 1024 * 1024), 1024 * 1024
    program = "import os\nfor number in range(40_000): os.write(1, b'%09d\\n' % number * 50)"
    descriptor = files.open(NAME)
    flood = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=descriptor)
    os.close(descriptor)
    looks = 0
    while flood.returncode is None:
        await asyncio.sleep(0)
        if files.is_long(NAME):
            files.shorten(NAME)
            looks += 1
            assert (tmp_path / "logs/e/v/i.log.1").stat().st_size <= 2 * bound
    files.shorten(NAME)
    assert looks > 1
    assert size_on_disk(tmp_path) <= 3 * bound
    [log] = await files.find("e")
    part = await files.read(NAME, log.first, 4 * bound)
    assert part.content.endswith(b"000039999\n" * 50), "the last words are there"
    assert part.next_offset == log.end
    assert len(set(part.content.splitlines()[1:])) > 1000


async def test_another_process_reads_on_where_one_has_emptied_it(tmp_path: Path) -> None:
    """The next server counts from what is kept."""
    first = LogFiles(tmp_path, 4)
    append(first, b"0123456789")
    first.shorten(NAME)
    append(first, b"ab")
    later = LogFiles(tmp_path, 4)
    [log] = await later.find("e")
    assert (log.first, log.end) == (0, 6)
    assert (await later.read(NAME, 0, 9)).content == b"6789ab"
    append(later, b"cdefg")
    later.shorten(NAME)
    assert (await later.read(NAME, 0, 9)).content == b"defg"
    assert (await later.find("e"))[0].end == 11


def test_the_last_lines_are_told_also_just_after_it_was_emptied(tmp_path: Path) -> None:
    files = LogFiles(tmp_path, 10)
    append(files, b"".join(b"line %d\n" % number for number in range(9)))
    files.shorten(NAME)
    assert files.tail("i", 1) == ("line 8",)


@pytest.mark.parametrize("odd", ["", ".", "..", "a/b", "../up", "%2E%2E", "a%2Fb", "with space", "ü"])
async def test_no_name_leads_elsewhere_and_each_is_found_again(tmp_path: Path, odd: str) -> None:
    files = LogFiles(tmp_path / "data", 10)
    for name in (
        LogName(endpoint_name=odd, variant_name="v", instance_id="i-1"),
        LogName(endpoint_name="e", variant_name=odd, instance_id="i-2"),
    ):
        append(files, b"mine", name)
        assert (await files.read(name, 0, 9)).content == b"mine"
    places = [file.relative_to(tmp_path).parts for file in tmp_path.rglob("*") if file.is_file()]
    assert all(len(place) == 5 and place[:2] == ("data", "logs") for place in places)
    if odd:
        [log] = await files.find(odd)
        assert (log.name.endpoint_name, log.name.instance_id) == (odd, "i-1")
        assert [log.name.variant_name for log in await files.find("e")] == [odd]


async def test_nobody_else_may_read_it(tmp_path: Path) -> None:
    files = LogFiles(tmp_path, 1)
    append(files, b"xyz")
    files.shorten(NAME)
    modes = {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.rglob("*") if file.is_file()}
    assert modes == {0o600}


def test_on_a_full_disk_the_log_is_lost_and_does_not_grow(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "tmpfs", 8) as disk:
        files = LogFiles(disk.path, 1024 * 1024)
        append(files, b"x" * 3 * 1024 * 1024)
        disk.fill()
        files.shorten(NAME)
        assert [file.stat().st_size for file in (disk.path / "logs/e/v").iterdir()] == [0]


async def test_what_is_discarded_leaves_nothing_behind(tmp_path: Path) -> None:
    files = LogFiles(tmp_path, 4)
    append(files, b"0123456789")
    files.shorten(NAME)
    assert await files.discard(2**62, ()) == 1
    assert list((tmp_path / "logs").iterdir()) == []


async def test_links_and_what_is_no_file_are_left_as_they_are(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "v").mkdir(parents=True)
    (outside / "v/theirs.log").write_text("theirs")
    files = LogFiles(tmp_path / "data", 4)
    append(files, b"mine")
    logs = tmp_path / "data/logs"
    (logs / "a").symlink_to(outside)
    (logs / "b").mkdir()
    (logs / "b/v").symlink_to(outside / "v")
    (logs / "e/v/c.log").symlink_to(outside / "v/theirs.log")
    (logs / "e/v/d.log").mkdir()
    assert await files.discard(2**62, ()) == 1
    assert (outside / "v/theirs.log").read_text() == "theirs"
    assert sorted(path.name for path in (logs / "e/v").iterdir()) == ["c.log", "d.log"]


async def test_the_directory_of_all_logs_may_be_a_link(tmp_path: Path) -> None:
    """To where there is room for them."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "logs").symlink_to("disk")
    files = LogFiles(tmp_path, 4)
    append(files, b"mine")
    assert await files.discard(2**62, ()) == 1
    assert list((tmp_path / "disk").iterdir()) == []


async def test_a_log_that_cannot_be_removed_does_not_keep_the_others(tmp_path: Path) -> None:
    files = LogFiles(tmp_path, 4)
    for number in range(5):
        append(files, b"mine", LogName(endpoint_name="e", variant_name="v", instance_id=f"i-{number}"))
    (tmp_path / "logs/e/v/i-2.log.1").mkdir()
    assert await files.discard(2**62, ()) == 4
    assert sorted(path.name for path in (tmp_path / "logs/e/v").iterdir()) == ["i-2.log", "i-2.log.1"]
