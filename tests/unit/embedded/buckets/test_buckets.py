import asyncio
import hashlib
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.buckets import INLINE_MAX, MIB, SetClock, files_in, get, noise, open_buckets, pieces, put

from tarry.core.errors import (
    BucketAlreadyOwned,
    BucketNotEmpty,
    BucketNotFound,
    InvalidBucketName,
    InvalidPartNumber,
    InvalidRange,
    InvalidRequest,
    KeyTooLong,
    ObjectNotFound,
    PreconditionFailed,
)
from tarry.embedded.buckets.buckets import Buckets
from tarry.embedded.buckets.values import ByteRange, ChecksumType, Condition, ListQuery, ObjectHeaders

SIZES = [0, 1, INLINE_MAX, INLINE_MAX + 1, 2 * MIB + 7]
BAD_KEYS = [
    "..",
    "../../etc/passwd",
    "/",
    "//",
    "/leading",
    "a//b",
    "a/../b",
    ".",
    "\0",
    "\n\t\x7f",
    "é" * 512,
    "C:\\x",
    " ",
    "%2e%2e",
]


# ------------------------------------------------------------------------------------------------------------- buckets


async def test_buckets_are_made_shown_and_deleted(buckets: Buckets, clock: SetClock) -> None:
    made = await buckets.create_bucket("a.second-bucket1")
    assert await buckets.head_bucket("a.second-bucket1") == made
    assert [(found.name, found.created_at_us, found.region) for found in await buckets.list_buckets()] == [
        ("a.second-bucket1", clock.us, "us-east-1"),
        ("bucket", clock.us, "us-east-1"),
    ]
    await buckets.delete_bucket("a.second-bucket1")
    with pytest.raises(BucketNotFound):
        await buckets.head_bucket("a.second-bucket1")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "ab",
        "a" * 64,
        "Upper",
        "under_score",
        "-a-b",
        "a-b-",
        "a..b",
        "10.0.0.1",
        "xn--abc",
        "a-s3alias",
        "../x",
        "_tarry",
        "é12",
    ],
)
async def test_names_that_s3_refuses(buckets: Buckets, name: str) -> None:
    with pytest.raises(InvalidBucketName):
        await buckets.create_bucket(name)


async def test_a_bucket_is_made_once(buckets: Buckets) -> None:
    with pytest.raises(BucketAlreadyOwned):
        await buckets.create_bucket("bucket")


async def test_only_an_empty_bucket_is_deleted(buckets: Buckets) -> None:
    await put(buckets, "key")
    with pytest.raises(BucketNotEmpty):
        await buckets.delete_bucket("bucket")
    await buckets.delete_object("bucket", "key")
    await buckets.delete_bucket("bucket")
    with pytest.raises(BucketNotFound):
        await put(buckets, "key")


# ------------------------------------------------------------------------------------------------------------- objects


@pytest.mark.parametrize("size", SIZES)
async def test_bytes_and_headers_come_back(buckets: Buckets, tmp_path: Path, size: int) -> None:
    headers = ObjectHeaders(
        content_type="text/csv; charset=ü",
        content_encoding="gzip",
        cache_control="no-cache",
        content_disposition="attachment",
        content_language="en",
        expires="Thu, 01 Dec 2030 16:00:00 GMT",
        metadata={"owner": "ü", "empty": ""},
    )
    body = noise(size)
    put_info = await buckets.put_object("bucket", "key", pieces(body), headers, checksums={"crc32": "AAAAAA=="})
    assert put_info.etag == hashlib.md5(body).hexdigest()
    assert (put_info.headers, put_info.size) == (headers, size)
    assert (put_info.checksums, put_info.checksum_type) == ({"crc32": "AAAAAA=="}, ChecksumType.FULL_OBJECT)
    assert await buckets.head_object("bucket", "key") == put_info
    assert await get(buckets, "key") == body
    assert len(files_in(tmp_path)) == (1 if size > INLINE_MAX else 0)


async def test_checksums_are_read_after_the_last_byte(buckets: Buckets) -> None:
    trailers: dict[str, str] = {}

    async def chunks() -> AsyncIterator[bytes]:
        yield b"body"
        trailers["crc32"] = "AAAAAA=="

    info = await buckets.put_object("bucket", "key", chunks(), checksums=trailers)
    assert info.checksums == {"crc32": "AAAAAA=="}


@pytest.mark.parametrize("key", BAD_KEYS)
@pytest.mark.parametrize("size", [3, INLINE_MAX + 1])
async def test_no_key_becomes_a_file_name(buckets: Buckets, tmp_path: Path, key: str, size: int) -> None:
    await put(buckets, key, noise(size))
    assert await get(buckets, key) == noise(size)
    page = await buckets.list_objects("bucket", ListQuery())
    assert [found.key for found in page.objects] == [key]
    assert all(path.parent.parent == tmp_path / "blobs" for path in files_in(tmp_path))
    await buckets.delete_object("bucket", key)
    with pytest.raises(ObjectNotFound):
        await buckets.head_object("bucket", key)


async def test_keys_that_cannot_be(buckets: Buckets) -> None:
    with pytest.raises(KeyTooLong) as refused:
        await put(buckets, "é" * 513)
    assert (refused.value.size, refused.value.size_max) == (1026, 1024)
    for key in ("", "\ud800"):
        with pytest.raises(InvalidRequest):
            await put(buckets, key)


@pytest.mark.parametrize("size", [10, 3 * MIB])
async def test_a_body_that_breaks_off_leaves_the_old_object_and_no_file(buckets: Buckets, tmp_path: Path, size: int) -> None:
    await put(buckets, "key", b"old")

    async def broken() -> AsyncIterator[bytes]:
        async for piece in pieces(noise(size)):
            yield piece
        raise ValueError("the signature of the last chunk is wrong")

    with pytest.raises(ValueError, match="signature"):
        await buckets.put_object("bucket", "key", broken())
    assert await get(buckets, "key") == b"old"
    assert files_in(tmp_path) == []
    assert not buckets.bodies.in_flight


async def test_a_cancelled_put_leaves_no_file(buckets: Buckets, tmp_path: Path) -> None:
    begun = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield noise(2 * MIB)
        yield noise(2 * MIB)
        begun.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(buckets.put_object("bucket", "key", slow()))
    await begun.wait()
    assert len(files_in(tmp_path)) == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await buckets.bodies.close()
    assert files_in(tmp_path) == []


async def test_a_put_cancelled_in_its_commit_is_whole_or_absent(buckets: Buckets, tmp_path: Path) -> None:
    for number in range(20):
        task = asyncio.create_task(put(buckets, f"{number}", noise(INLINE_MAX + 1, number)))
        for _ in range(number * 3):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await buckets.bodies.close()
    page = await buckets.list_objects("bucket", ListQuery())
    for found in page.objects:
        assert await get(buckets, found.key) == noise(INLINE_MAX + 1, int(found.key))
    await buckets.sweeper.sweep(grace_s=0)
    assert len(files_in(tmp_path)) == len(page.objects)


@pytest.mark.parametrize("sizes", [(3 * MIB, 2 * MIB), (3 * MIB, 1), (1, 3 * MIB), (1, 2)])
async def test_an_open_object_stays_whole_when_overwritten_and_deleted(
    buckets: Buckets, tmp_path: Path, sizes: tuple[int, int]
) -> None:
    old, new = noise(sizes[0], 1), noise(sizes[1], 2)
    await put(buckets, "key", old)
    opened = await buckets.open_object("bucket", "key")
    chunks = opened.chunks()
    first = await anext(chunks)
    await put(buckets, "key", new)
    await buckets.sweeper.collect()
    assert await get(buckets, "key") == new
    await buckets.delete_object("bucket", "key")
    await buckets.sweeper.collect()
    assert first + b"".join([chunk async for chunk in chunks]) == old
    await opened.aclose()
    await opened.aclose()
    assert files_in(tmp_path) == []


async def test_an_object_replaced_between_its_row_and_its_file_is_looked_up_again(
    buckets: Buckets, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(buckets, "key", noise(INLINE_MAX + 1, 1))
    read = buckets.database.read_small

    async def read_then_replaced(fn: Any) -> Any:
        found = await read(fn)
        monkeypatch.setattr(buckets.database, "read_small", read)
        await put(buckets, "key", noise(INLINE_MAX + 1, 2))
        await buckets.sweeper.collect()
        return found

    monkeypatch.setattr(buckets.database, "read_small", read_then_replaced)
    assert await get(buckets, "key") == noise(INLINE_MAX + 1, 2)


async def test_readers_and_writers_of_one_key_never_see_a_mixture(buckets: Buckets) -> None:
    bodies = [bytes([number]) * (INLINE_MAX + 1 + number) for number in range(6)]
    await put(buckets, "key", bodies[0])

    async def write() -> None:
        for _ in range(3):
            for body in bodies:
                await put(buckets, "key", body)

    async def read() -> None:
        for _ in range(20):
            assert await get(buckets, "key") in bodies

    await asyncio.gather(write(), write(), read(), read())


# ----------------------------------------------------------------------------------------------- conditions and ranges


async def test_create_only_if_absent(buckets: Buckets, tmp_path: Path) -> None:
    await buckets.put_object("bucket", "key", pieces(b"first"), condition=Condition(absent=True))
    with pytest.raises(PreconditionFailed) as refused:
        await buckets.put_object("bucket", "key", pieces(noise(INLINE_MAX + 1)), condition=Condition(absent=True))
    assert refused.value.condition == "If-None-Match"
    assert await get(buckets, "key") == b"first"
    assert files_in(tmp_path) == []


async def test_of_many_creations_exactly_one_wins(buckets: Buckets) -> None:
    tries = [buckets.put_object("bucket", "key", pieces(b"%d" % n), condition=Condition(absent=True)) for n in range(10)]
    results = await asyncio.gather(*tries, return_exceptions=True)
    winners = [number for number, result in enumerate(results) if not isinstance(result, BaseException)]
    assert len(winners) == 1
    assert await get(buckets, "key") == b"%d" % winners[0]


async def test_replace_only_the_known_one(buckets: Buckets) -> None:
    with pytest.raises(ObjectNotFound):
        await buckets.put_object("bucket", "key", pieces(b"x"), condition=Condition(etag="e"))
    info = await put(buckets, "key", b"first")
    with pytest.raises(PreconditionFailed) as refused:
        await buckets.put_object("bucket", "key", pieces(b"x"), condition=Condition(etag="e"))
    assert refused.value.condition == "If-Match"
    await buckets.put_object("bucket", "key", pieces(b"second"), condition=Condition(etag=info.etag))
    assert await get(buckets, "key") == b"second"
    with pytest.raises(PreconditionFailed):
        await buckets.delete_object("bucket", "key", condition=Condition(etag=info.etag))
    assert await get(buckets, "key") == b"second"


@pytest.mark.parametrize("size", [100, 3 * MIB])
@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [(ByteRange(first=0, last=0), 0, 1), (ByteRange(first=10, last=10**9), 10, None), (ByteRange(suffix=7), -7, None)],
)
async def test_ranges(buckets: Buckets, size: int, asked: ByteRange, first: int, last: int | None) -> None:
    body = noise(size)
    await put(buckets, "key", body)
    opened = await buckets.open_object("bucket", "key")
    start, length = asked.resolve(opened.info.size)
    assert b"".join([chunk async for chunk in opened.chunks(start, length)]) == body[first:last]
    await opened.aclose()


def test_range_arithmetic() -> None:
    assert ByteRange(first=2, last=5).resolve(10) == (2, 4)
    assert ByteRange(first=2).resolve(10) == (2, 8)
    assert ByteRange(suffix=50).resolve(10) == (0, 10)
    for asked, size in [
        (ByteRange(first=10), 10),
        (ByteRange(first=0), 0),
        (ByteRange(suffix=0), 10),
        (ByteRange(first=5, last=4), 9),
    ]:
        with pytest.raises(InvalidRange) as refused:
            asked.resolve(size)
        assert refused.value.size == size
    assert [str(r) for r in (ByteRange(first=2, last=5), ByteRange(first=2), ByteRange(suffix=3))] == [
        "bytes=2-5",
        "bytes=2-",
        "bytes=-3",
    ]


async def test_a_plain_object_is_its_own_first_part(buckets: Buckets) -> None:
    await put(buckets, "key", b"four")
    opened = await buckets.open_object("bucket", "key")
    assert (opened.part(1).start, opened.part(1).size) == (0, 4)
    for number in (0, 2):
        with pytest.raises(InvalidPartNumber):
            opened.part(number)


# -------------------------------------------------------------------------------------------------- deletes and copies


async def test_deleting_unlinks_and_repeats(buckets: Buckets, tmp_path: Path) -> None:
    await put(buckets, "key", noise(INLINE_MAX + 1))
    await buckets.delete_object("bucket", "key")
    await buckets.delete_object("bucket", "key")
    await buckets.sweeper.collect()
    assert files_in(tmp_path) == []
    with pytest.raises(ObjectNotFound):
        await buckets.open_object("bucket", "key")


async def test_deleting_many_at_once(buckets: Buckets) -> None:
    for key in ("a", "b", "c"):
        await put(buckets, key)
    await buckets.delete_objects("bucket", ["a", "c", "c", "never there"])
    assert [found.key for found in (await buckets.list_objects("bucket", ListQuery())).objects] == ["b"]
    with pytest.raises(BucketNotFound):
        await buckets.delete_objects("no-such-bucket", ["a"])


@pytest.mark.parametrize("size", [5, 2 * MIB])
async def test_copies(buckets: Buckets, size: int) -> None:
    await buckets.create_bucket("other")
    headers = ObjectHeaders(content_type="text/csv", metadata={"a": "b"})
    original = await buckets.put_object("bucket", "key", pieces(noise(size)), headers, checksums={"crc32": "AAAAAA=="})
    source = await buckets.open_object("bucket", "key")
    await buckets.delete_object("bucket", "key")
    same = await buckets.copy_object(source, "other", "copy")
    other = await buckets.copy_object(source, "bucket", "key", headers=ObjectHeaders(content_type="text/plain"))
    await source.aclose()
    assert await get(buckets, "copy", "other") == await get(buckets, "key") == noise(size)
    assert (same.etag, same.headers, same.checksums) == (original.etag, headers, original.checksums)
    assert (other.headers.content_type, other.headers.metadata) == ("text/plain", {})


async def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    async with open_buckets(tmp_path) as buckets:
        await buckets.create_bucket("bucket")
        before = [await put(buckets, f"{size}", noise(size)) for size in SIZES]
    async with open_buckets(tmp_path) as buckets:
        for info in before:
            assert await buckets.head_object("bucket", info.key) == info
            assert await get(buckets, info.key) == noise(info.size)


async def test_memory_does_not_grow_with_the_object(buckets: Buckets) -> None:
    async def long() -> AsyncIterator[bytes]:
        for _ in range(256):
            yield bytes(256 * 1024)

    tracemalloc.start()
    try:
        await buckets.put_object("bucket", "key", long())
        opened = await buckets.open_object("bucket", "key")
        size = 0
        async for chunk in opened.chunks():
            size += len(chunk)
        await opened.aclose()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert size == 64 * MIB
    assert peak < 8 * MIB
