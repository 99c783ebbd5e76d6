"""What is on disk at which moment: the order of the fsyncs, full disks, and processes that are killed half-way."""

import errno
import os
import signal
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.buckets import INLINE_MAX, files_in, get, noise, open_buckets, pieces, put

from tarry.core.errors import NoSuchUpload, ObjectDamaged, ObjectNotFound, StorageFull, Throttled
from tarry.embedded.buckets import files
from tarry.embedded.buckets.buckets import Buckets
from tarry.embedded.buckets.files import BUFFER_BYTES
from tarry.embedded.buckets.values import NamedPart, NewUpload

LARGE = INLINE_MAX + 1


async def test_a_blob_is_synced_renamed_and_its_directory_synced_before_its_row(
    buckets: Buckets, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    fsync, replace, write = os.fsync, os.replace, buckets.database.write

    def watched_fsync(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        steps.append("fsync directory" if path.is_dir() else "fsync temporary" if path.suffix == ".tmp" else f"fsync {path}")
        fsync(descriptor)

    def watched_replace(source: Any, target: Any) -> None:
        steps.append("rename")
        replace(source, target)

    async def watched_write(fn: Any, **options: Any) -> Any:
        steps.append("commit")
        result = await write(fn, **options)
        steps.append("committed")
        return result

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "replace", watched_replace)
    monkeypatch.setattr(buckets.database, "write", watched_write)
    in_order = ["fsync temporary", "rename", "fsync directory", "commit", "committed"]
    await put(buckets, "key", noise(LARGE))
    assert steps[:5] == in_order
    steps.clear()
    await put(buckets, "small", b"x")
    assert steps == ["commit", "committed"]
    upload = await buckets.uploads.create("bucket", NewUpload(key="multipart"))
    steps.clear()
    part = await buckets.uploads.put_part("bucket", upload.id, 1, pieces(b"x"))
    await buckets.uploads.complete("bucket", upload.id, [NamedPart(number=1, etag=part.etag)])
    assert steps == [*in_order, *in_order]


async def test_little_of_a_large_file_waits_to_be_written_out(buckets: Buckets, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "DIRTY_BYTES_MAX", 3 * BUFFER_BYTES)
    waiting, most = 0, 0
    write, sync = os.write, os.fdatasync

    def watched_write(descriptor: int, data: memoryview) -> int:
        nonlocal waiting, most
        written = write(descriptor, data)
        waiting += written
        most = max(most, waiting)
        return written

    def watched_sync(descriptor: int) -> None:
        nonlocal waiting
        sync(descriptor)
        waiting = 0

    monkeypatch.setattr(os, "write", watched_write)
    monkeypatch.setattr(os, "fdatasync", watched_sync)
    await put(buckets, "key", noise(12 * BUFFER_BYTES))
    assert BUFFER_BYTES < most < 5 * BUFFER_BYTES


async def test_the_event_loop_does_not_wait_for_the_disk(buckets: Buckets, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: dict[str, set[int]] = {}

    def watch(name: str) -> None:
        real = getattr(os, name)

        def watched(*args: Any) -> Any:
            threads.setdefault(name, set()).add(threading.get_ident())
            return real(*args)

        monkeypatch.setattr(os, name, watched)

    for name in ("write", "pread", "fsync"):
        watch(name)
    data = noise(2_000_000)
    await put(buckets, "key", data)
    assert await get(buckets, "key") == data
    upload = await buckets.uploads.create("bucket", NewUpload(key="multipart"))
    part = await buckets.uploads.put_part("bucket", upload.id, 1, pieces(data))
    await buckets.uploads.complete("bucket", upload.id, [NamedPart(number=1, etag=part.etag)])
    assert threads.keys() == {"write", "pread", "fsync"}
    assert threading.get_ident() not in set.union(*threads.values())


async def test_tiny_pieces_take_no_more_memory_than_large_ones(buckets: Buckets) -> None:
    async def two_by_two() -> AsyncIterator[bytes]:
        for number in range(150_000):
            yield bytes((number & 255, number >> 8 & 255))

    tracemalloc.start()
    try:
        await buckets.put_object("bucket", "key", two_by_two())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * BUFFER_BYTES


@pytest.mark.parametrize("call", ["open", "write", "fsync", "replace"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
async def test_a_full_disk_is_told_and_keeps_nothing(
    buckets: Buckets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    await put(buckets, "key", b"old")
    upload = await buckets.uploads.create("bucket", NewUpload(key="multipart"))
    real = getattr(os, call)

    def full(*args: Any, **options: Any) -> Any:
        if call == "open" and not str(args[0]).endswith(".tmp"):
            return real(*args, **options)
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(StorageFull):
            await put(buckets, "key", noise(LARGE))
        with pytest.raises(StorageFull):
            await buckets.uploads.put_part("bucket", upload.id, 1, pieces(noise(LARGE)))
    assert files_in(tmp_path) == []
    assert not buckets.bodies.in_flight
    assert await get(buckets, "key") == b"old"
    await put(buckets, "key", noise(LARGE))
    assert await get(buckets, "key") == noise(LARGE)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
async def test_too_many_open_files_are_told_and_keep_nothing(
    buckets: Buckets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    await put(buckets, "key", noise(LARGE))
    (kept,) = files_in(tmp_path)
    real = os.open

    def exhausted(path: Any, *args: Any, **options: Any) -> int:
        if "blobs" in str(path):
            raise OSError(number, os.strerror(number))
        return real(path, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", exhausted)
        with pytest.raises(Throttled):
            await put(buckets, "key", noise(LARGE, 1))
        with pytest.raises(Throttled):
            await get(buckets, "key")
    assert files_in(tmp_path) == [kept]
    assert not buckets.bodies.in_flight
    assert await get(buckets, "key") == noise(LARGE)


async def test_a_file_that_was_cut_short_or_cannot_be_opened_is_damage(
    buckets: Buckets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(buckets, "key", noise(LARGE))
    (file,) = files_in(tmp_path)
    os.truncate(file, 1000)
    with pytest.raises(ObjectDamaged):
        await get(buckets, "key")

    def broken(*_: Any) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "pread", broken)
        with pytest.raises(ObjectDamaged):
            await get(buckets, "key")
    file.unlink()
    file.symlink_to(file.name)  # nobody can open it, root neither
    with pytest.raises(ObjectDamaged):
        await get(buckets, "key")


async def test_a_disk_that_fills_up_half_way_keeps_nothing(
    buckets: Buckets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, room = os.write, 3 * LARGE

    def filling(descriptor: int, data: Any) -> int:
        nonlocal room
        if room <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = real(descriptor, data[: min(room, 1000)])
        room -= written
        return written

    monkeypatch.setattr(os, "write", filling)
    await put(buckets, "short writes", noise(LARGE))
    with pytest.raises(StorageFull):
        await put(buckets, "key", noise(20 * LARGE))
    assert len(files_in(tmp_path)) == 1
    assert await get(buckets, "short writes") == noise(LARGE)


async def test_a_full_database_disk_removes_the_blob_again(
    buckets: Buckets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(fn: Any, **options: Any) -> Any:
        raise StorageFull("full")

    with monkeypatch.context() as patch:
        patch.setattr(buckets.database, "write", full)
        with pytest.raises(StorageFull):
            await put(buckets, "key", noise(LARGE))
    assert files_in(tmp_path) == []


# ------------------------------------------------------------------------------------------------------- killed half-way

CHILD = """
import asyncio, os, signal, sys
from pathlib import Path
from tests.support.buckets import noise, open_buckets, pieces, put
from tarry.embedded.buckets.files import BlobFiles, BlobWriter
from tarry.embedded.buckets.store import EmbeddedObjectStore
from tarry.embedded.buckets.values import NamedPart, NewUpload
from tarry.core.names import S3Location

what, point, directory, size = sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])

def die(*args, **options):
    os.kill(os.getpid(), signal.SIGKILL)

def die_after(owner, name):
    real = getattr(owner, name)
    def dying(*args, **options):
        real(*args, **options)
        die()
    setattr(owner, name, dying)

async def main():
    async with open_buckets(directory) as buckets:
        await buckets.create_bucket("bucket")
        await put(buckets, "key", noise(size, 1))
        upload = await buckets.uploads.create("bucket", NewUpload(key="key"))
        part = await buckets.uploads.put_part("bucket", upload.id, 1, pieces(noise(size, 2)))
        store = EmbeddedObjectStore(buckets)
        print(upload.id, part.etag, flush=True)
        if point == "after temporary write":
            die_after(BlobWriter, "write" if what == "put" else "append_file")
        elif point == "after rename":
            die_after(BlobWriter, "finish")
        elif point == "after row":
            BlobFiles.remove = die
        if what == "put":
            await put(buckets, "key", noise(size, 2))
        else:
            await buckets.uploads.complete("bucket", upload.id, [NamedPart(number=1, etag=part.etag)])
        await buckets.sweeper.collect()

asyncio.run(main())
"""


def run_until_killed(script: str, *arguments: str) -> str:
    """Run a program that kills itself; returns what it has printed."""
    root = Path(__file__).parents[4]
    child = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=root,
        env={**os.environ, "PYTHONPATH": f"{root}:{root / 'src'}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert child.returncode == -signal.SIGKILL, child.stderr
    return child.stdout


@pytest.mark.parametrize("what", ["put", "complete"])
@pytest.mark.parametrize("point", ["after temporary write", "after rename", "after row"])
async def test_killed_half_way_leaves_one_whole_object_and_no_file_too_many(tmp_path: Path, what: str, point: str) -> None:
    printed = run_until_killed(CHILD, what, point, str(tmp_path), str(LARGE))
    upload_id, etag = printed.split()
    left_over = len(files_in(tmp_path))
    assert left_over >= 2
    async with open_buckets(tmp_path) as buckets:
        visible = point == "after row"
        assert await get(buckets, "key") == noise(LARGE, 2 if visible else 1)
        expected = 1 if visible and what == "complete" else 2  # the object, and the part that is still to be completed
        assert len(files_in(tmp_path)) == expected
        completed = await buckets.uploads.complete("bucket", upload_id, [NamedPart(number=1, etag=etag)])
        assert completed.size == LARGE
        await buckets.sweeper.collect()
        assert len(files_in(tmp_path)) == 1
        assert await get(buckets, "key") == noise(LARGE, 2)


async def test_an_answered_put_survives_a_kill(tmp_path: Path) -> None:
    script = (
        CHILD.partition("        upload = ")[0]
        + "        await put(buckets, 'small', b'x')\n        die()\nasyncio.run(main())\n"
    )
    run_until_killed(script, "", "", str(tmp_path), str(LARGE))
    async with open_buckets(tmp_path) as buckets:
        assert await get(buckets, "key") == noise(LARGE, 1)
        assert await get(buckets, "small") == b"x"
        with pytest.raises(ObjectNotFound):
            await get(buckets, "other")
        with pytest.raises(NoSuchUpload):
            await buckets.uploads.abort("bucket", "unknown")
