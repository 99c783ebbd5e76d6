import os
from collections.abc import Collection
from pathlib import Path

import pytest
from sqlalchemy import Connection
from tests.support.buckets import INLINE_MAX, SetClock, files_in, get, noise, open_buckets, pieces, put

from tarry.core.errors import Bug, ObjectNotFound
from tarry.core.names import S3Location
from tarry.embedded.buckets.buckets import Buckets
from tarry.embedded.buckets.store import EmbeddedObjectStore, publish_in_transaction
from tarry.ports import Staged

WEEK_US = 7 * 86_400_000_000
PLACE = S3Location("bucket", "key")


async def stage(buckets: Buckets, body: bytes) -> Staged:
    store = EmbeddedObjectStore(buckets)
    return await store.stage(PLACE, content_type="text/csv", metadata={"a": "b"}, chunks=pieces(body))


async def test_strays_go_and_everything_named_stays(buckets: Buckets, tmp_path: Path) -> None:
    await put(buckets, "key", noise(INLINE_MAX + 1, 1))
    await stage(buckets, noise(INLINE_MAX + 1, 2))
    kept = files_in(tmp_path)
    for name in ("ab/ab-finished", "cd/cd-unfinished.tmp", "00/00-old.tmp"):
        (tmp_path / "blobs" / name).write_bytes(b"left by a crash")
    os.utime(tmp_path / "blobs" / "00/00-old.tmp", (0, 0))
    assert await buckets.sweeper.sweep() == 1  # the others are too young
    assert await buckets.sweeper.sweep(grace_s=0) == 2
    assert files_in(tmp_path) == kept


async def test_what_is_in_flight_is_never_swept(buckets: Buckets, tmp_path: Path) -> None:
    body = await buckets.bodies.receive(pieces(noise(INLINE_MAX + 1)))
    assert await buckets.sweeper.sweep(grace_s=0) == 0
    await buckets.bodies.drop(body)
    assert files_in(tmp_path) == []


async def test_a_staged_blob_outlives_a_restart_and_a_week_only_if_decided(tmp_path: Path) -> None:
    clock = SetClock()
    names: set[str] = set()

    def decided(_connection: Connection) -> Collection[str]:
        return names

    async with open_buckets(tmp_path, clock) as buckets:
        await buckets.create_bucket("bucket")
        chosen, forgotten = await stage(buckets, noise(INLINE_MAX + 1, 1)), await stage(buckets, noise(INLINE_MAX + 1, 2))
    assert chosen.handle is not None
    names.add(chosen.handle)
    async with open_buckets(tmp_path, clock, decided) as buckets:
        assert len(files_in(tmp_path)) == 2
        clock.us += WEEK_US + 1
        await buckets.sweeper.sweep()
        assert [path.name for path in files_in(tmp_path)] == [chosen.handle]
        await EmbeddedObjectStore(buckets).publish(chosen)
        assert await get(buckets, "key") == noise(INLINE_MAX + 1, 1)
        with pytest.raises(Bug):
            await buckets.database.write(lambda connection: publish_in_transaction(connection, forgotten, 1))


async def test_the_replaced_blob_of_a_published_result_is_collected(buckets: Buckets, tmp_path: Path) -> None:
    await put(buckets, "key", noise(INLINE_MAX + 1, 1))
    staged = await stage(buckets, noise(INLINE_MAX + 1, 2))
    await buckets.database.write(lambda connection: publish_in_transaction(connection, staged, 77))
    await buckets.sweeper.collect()
    assert [path.name for path in files_in(tmp_path)] == [staged.handle]
    info = await buckets.head_object("bucket", "key")
    assert (info.modified_at_us, info.headers.metadata, info.headers.content_type) == (77, {"a": "b"}, "text/csv")


@pytest.mark.parametrize("size", [4, INLINE_MAX + 1])
async def test_publishing_is_part_of_the_callers_transaction(buckets: Buckets, size: int) -> None:
    staged = await stage(buckets, noise(size))

    def publish_and_fail(connection: Connection) -> None:
        publish_in_transaction(connection, staged, 1)
        raise LookupError("the lease is lost")

    with pytest.raises(LookupError):
        await buckets.database.write(publish_and_fail)
    with pytest.raises(ObjectNotFound):
        await buckets.head_object("bucket", "key")
    await buckets.database.write(lambda connection: publish_in_transaction(connection, staged, 1))
    await EmbeddedObjectStore(buckets).publish(staged)  # as the sweeper does after a crash
    assert (await buckets.head_object("bucket", "key")).modified_at_us == 1
    assert await get(buckets, "key") == noise(size)
