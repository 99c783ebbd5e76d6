import asyncio
import base64
import hashlib
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.buckets import MIB, SetClock, files_in, get, noise, open_buckets, pieces, put

from tarry.core.errors import (
    BucketNotFound,
    ChecksumMismatch,
    EntityTooSmall,
    InvalidPart,
    InvalidPartNumber,
    InvalidPartOrder,
    InvalidRequest,
    NoParts,
    NoSuchUpload,
    ObjectNotFound,
    PreconditionFailed,
)
from tarry.embedded.buckets.buckets import Buckets
from tarry.embedded.buckets.values import (
    ChecksumType,
    Condition,
    NamedPart,
    NewUpload,
    ObjectHeaders,
    PartInfo,
    UploadQuery,
)

PART = 5 * MIB


def crc32(body: bytes) -> str:
    return base64.b64encode(zlib.crc32(body).to_bytes(4)).decode()


def named(*parts: PartInfo) -> list[NamedPart]:
    return [NamedPart(number=part.number, etag=part.etag, checksums=part.checksums) for part in parts]


async def begin(buckets: Buckets, key: str = "key") -> str:
    return (await buckets.uploads.create("bucket", NewUpload(key=key))).id


async def part(buckets: Buckets, upload_id: str, number: int, body: bytes) -> PartInfo:
    return await buckets.uploads.put_part("bucket", upload_id, number, pieces(body, MIB), checksums={"crc32": crc32(body)})


async def test_parts_in_any_order_again_and_at_once_make_one_object(buckets: Buckets, tmp_path: Path) -> None:
    headers = ObjectHeaders(content_type="text/csv", metadata={"a": "ü"})
    upload = await buckets.uploads.create("bucket", NewUpload(key="key", headers=headers))
    bodies = {1: noise(PART, 1), 4: noise(PART + 3, 4), 9: noise(10, 9)}
    await part(buckets, upload.id, 4, b"replaced later")
    sent = await asyncio.gather(*(part(buckets, upload.id, number, bodies[number]) for number in (9, 4, 1)))
    unused = await part(buckets, upload.id, 10, b"never named")
    parts = sorted(sent, key=lambda sent: sent.number)

    listed = await buckets.uploads.list_parts("bucket", upload.id)
    assert listed.upload == upload
    assert list(listed.parts) == [*parts, unused]
    with pytest.raises(ObjectNotFound):
        await buckets.head_object("bucket", "key")

    info = await buckets.uploads.complete("bucket", upload.id, named(*parts))
    digests = b"".join(hashlib.md5(bodies[number]).digest() for number in (1, 4, 9))
    assert info.etag == hashlib.md5(digests).hexdigest() + "-3"
    assert (info.headers, info.part_count, info.size) == (headers, 3, 2 * PART + 13)
    assert await buckets.head_object("bucket", "key") == info
    assert await get(buckets, "key") == bodies[1] + bodies[4] + bodies[9]

    opened = await buckets.open_object("bucket", "key")
    second = opened.part(2)
    assert (second.number, second.start, second.size) == (4, PART, PART + 3)
    assert second.checksums == {"crc32": crc32(bodies[4])}
    with pytest.raises(InvalidPartNumber) as refused:
        opened.part(4)
    assert refused.value.number_max == 3
    await opened.aclose()
    await buckets.sweeper.collect()
    assert len(files_in(tmp_path)) == 1


async def test_a_repeated_completion_answers_the_same_for_a_day(buckets: Buckets, clock: SetClock) -> None:
    upload_id = await begin(buckets)
    only = await part(buckets, upload_id, 1, b"small is enough for the last")
    info = await buckets.uploads.complete("bucket", upload_id, named(only))
    await put(buckets, "key", b"later")
    assert await buckets.uploads.complete("bucket", upload_id, named(only)) == info
    assert await get(buckets, "key") == b"later"
    with pytest.raises(NoSuchUpload):
        await buckets.uploads.complete("bucket", upload_id, [NamedPart(number=1, etag="other")])
    with pytest.raises(NoSuchUpload):
        await part(buckets, upload_id, 2, b"x")
    with pytest.raises(NoSuchUpload):
        await buckets.uploads.list_parts("bucket", upload_id)
    with pytest.raises(NoSuchUpload):
        await buckets.uploads.abort("bucket", upload_id)
    clock.us += 25 * 3600 * 1_000_000
    await buckets.sweeper.sweep()
    with pytest.raises(NoSuchUpload):
        await buckets.uploads.complete("bucket", upload_id, named(only))


async def test_concurrent_completions_agree(buckets: Buckets, tmp_path: Path) -> None:
    upload_id = await begin(buckets)
    only = await part(buckets, upload_id, 1, noise(MIB))
    tries = [buckets.uploads.complete("bucket", upload_id, named(only)) for _ in range(4)]
    first, *others = await asyncio.gather(*tries)
    assert all(other == first for other in others)
    await buckets.sweeper.collect()
    assert len(files_in(tmp_path)) == 1
    assert not buckets.bodies.in_flight


async def test_completions_that_cannot_be(buckets: Buckets) -> None:
    upload_id = await begin(buckets)
    small = await part(buckets, upload_id, 1, noise(PART - 1))
    last = await part(buckets, upload_id, 2, b"x")

    async def refused(error: type[Exception], *parts: NamedPart) -> Exception:
        with pytest.raises(error) as caught:
            await buckets.uploads.complete("bucket", upload_id, parts)
        return caught.value

    await refused(NoParts)
    await refused(InvalidPartOrder, *named(last, small))
    await refused(InvalidPartOrder, *named(small, small))
    await refused(InvalidPart, *named(small), NamedPart(number=3, etag="e"))
    await refused(InvalidPart, NamedPart(number=1, etag="e"))
    await refused(InvalidPart, NamedPart(number=1, etag=small.etag, checksums={"crc32": "AAAAAA=="}))
    error = await refused(EntityTooSmall, *named(small, last))
    assert isinstance(error, EntityTooSmall)
    assert (error.number, error.size, error.size_min, error.etag) == (1, PART - 1, PART, small.etag)
    assert (await buckets.uploads.list_parts("bucket", upload_id)).parts == (small, last)
    await buckets.uploads.complete("bucket", upload_id, named(small))


async def test_uploads_and_parts_that_cannot_be(buckets: Buckets) -> None:
    upload_id = await begin(buckets)
    for number in (0, -1, 10_001):
        with pytest.raises(InvalidPartNumber):
            await part(buckets, upload_id, number, b"x")
    with pytest.raises(NoSuchUpload):
        await part(buckets, "unknown", 1, b"x")
    await buckets.create_bucket("other")
    with pytest.raises(NoSuchUpload):
        await buckets.uploads.abort("other", upload_id)
    with pytest.raises(BucketNotFound):
        await buckets.uploads.create("no-such-bucket", NewUpload(key="key"))
    for algorithm, kind in [("sha256", ChecksumType.FULL_OBJECT), ("crc64nvme", ChecksumType.COMPOSITE), ("md4", None)]:
        with pytest.raises(InvalidRequest):
            await buckets.uploads.create("bucket", NewUpload(key="key", checksum_algorithm=algorithm, checksum_type=kind))


async def test_aborting_leaves_nothing(buckets: Buckets, tmp_path: Path) -> None:
    upload_id = await begin(buckets)
    await part(buckets, upload_id, 1, b"x")
    await buckets.uploads.abort("bucket", upload_id)
    with pytest.raises(NoSuchUpload):
        await buckets.uploads.abort("bucket", upload_id)
    with pytest.raises(NoSuchUpload):
        await part(buckets, upload_id, 2, b"x")
    await buckets.sweeper.collect()
    assert files_in(tmp_path) == []


async def test_a_part_that_breaks_off_leaves_the_earlier_one(buckets: Buckets, tmp_path: Path) -> None:
    upload_id = await begin(buckets)
    kept = await part(buckets, upload_id, 1, b"kept")

    async def broken() -> AsyncIterator[bytes]:
        yield b"other"
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await buckets.uploads.put_part("bucket", upload_id, 1, broken())
    assert (await buckets.uploads.list_parts("bucket", upload_id)).parts == (kept,)
    assert len(files_in(tmp_path)) == 1


async def test_deleting_a_bucket_forgets_its_uploads(buckets: Buckets, tmp_path: Path) -> None:
    await part(buckets, await begin(buckets), 1, b"x")
    await buckets.delete_bucket("bucket")
    await buckets.sweeper.collect()
    assert files_in(tmp_path) == []


async def test_a_conditional_completion(buckets: Buckets) -> None:
    upload_id = await begin(buckets)
    only = await part(buckets, upload_id, 1, b"x")
    await put(buckets, "key", b"there already")
    with pytest.raises(PreconditionFailed):
        await buckets.uploads.complete("bucket", upload_id, named(only), condition=Condition(absent=True))
    assert await get(buckets, "key") == b"there already"
    await buckets.delete_object("bucket", "key")
    await buckets.uploads.complete("bucket", upload_id, named(only), condition=Condition(absent=True))


async def test_a_part_uploaded_anew_while_completing_is_not_mixed_in(buckets: Buckets, monkeypatch: pytest.MonkeyPatch) -> None:
    upload_id = await begin(buckets)
    old = await part(buckets, upload_id, 1, b"old")
    concatenate = buckets.bodies.concatenate

    async def interrupted(blobs: list[tuple[str, int]]) -> object:
        monkeypatch.setattr(buckets.bodies, "concatenate", concatenate)
        await part(buckets, upload_id, 1, b"new")
        return await concatenate(blobs)

    monkeypatch.setattr(buckets.bodies, "concatenate", interrupted)
    with pytest.raises(InvalidPart):
        await buckets.uploads.complete("bucket", upload_id, named(old))
    with pytest.raises(ObjectNotFound):
        await buckets.head_object("bucket", "key")


@pytest.mark.parametrize("kind", [None, ChecksumType.COMPOSITE, ChecksumType.FULL_OBJECT])
async def test_checksums_of_the_whole_come_from_those_of_the_parts(buckets: Buckets, kind: ChecksumType | None) -> None:
    upload = await buckets.uploads.create("bucket", NewUpload(key="key", checksum_algorithm="crc32", checksum_type=kind))
    first, last = noise(PART, 1), noise(77, 2)
    parts = [await part(buckets, upload.id, 1, first), await part(buckets, upload.id, 2, last)]
    both = b"".join(zlib.crc32(body).to_bytes(4) for body in (first, last))
    expected = crc32(first + last) if kind is ChecksumType.FULL_OBJECT else crc32(both) + "-2"
    with pytest.raises(ChecksumMismatch):
        await buckets.uploads.complete("bucket", upload.id, named(*parts), checksums={"crc32": crc32(b"other")})
    with pytest.raises(InvalidRequest):
        await buckets.uploads.complete("bucket", upload.id, named(*parts), checksums={"sha1": crc32(b"other")})
    info = await buckets.uploads.complete("bucket", upload.id, named(*parts), checksums={"crc32": expected})
    assert info.checksums == {"crc32": expected}
    assert info.checksum_type == (kind or ChecksumType.COMPOSITE)


async def test_pages_of_parts(buckets: Buckets) -> None:
    upload_id = await begin(buckets)
    for number in (3, 1, 2):
        await part(buckets, upload_id, number, b"x")
    page = await buckets.uploads.list_parts("bucket", upload_id, limit=2)
    assert ([found.number for found in page.parts], page.next_number) == ([1, 2], 2)
    page = await buckets.uploads.list_parts("bucket", upload_id, after=2, limit=2)
    assert ([found.number for found in page.parts], page.next_number) == ([3], None)


async def test_pages_of_uploads(buckets: Buckets) -> None:
    ids = [await begin(buckets, key) for key in ("b", "a", "a", "dir/1", "dir/2", "z")]
    page = await buckets.uploads.list("bucket", UploadQuery(limit=2))
    assert [found.id for found in page.uploads] == [ids[1], ids[2]]
    assert (page.next_key, page.next_id) == ("a", ids[2])
    page = await buckets.uploads.list("bucket", UploadQuery(limit=1, after_key="a", after_id=ids[1]))
    assert [found.id for found in page.uploads] == [ids[2]]
    page = await buckets.uploads.list("bucket", UploadQuery(after_key="a", delimiter="/"))
    assert ([found.key for found in page.uploads], page.prefixes) == (["b", "z"], ("dir/",))
    page = await buckets.uploads.list("bucket", UploadQuery(after_key="dir/", delimiter="/"))
    assert ([found.key for found in page.uploads], page.prefixes) == (["z"], ())
    page = await buckets.uploads.list("bucket", UploadQuery(prefix="dir/", limit=1))
    assert ([found.key for found in page.uploads], page.next_key) == (["dir/1"], "dir/1")


async def test_an_upload_goes_on_after_a_restart(tmp_path: Path) -> None:
    async with open_buckets(tmp_path) as buckets:
        await buckets.create_bucket("bucket")
        upload_id = await begin(buckets)
        only = await part(buckets, upload_id, 1, noise(MIB))
    async with open_buckets(tmp_path) as buckets:
        info = await buckets.uploads.complete("bucket", upload_id, named(only))
    async with open_buckets(tmp_path) as buckets:
        assert await buckets.uploads.complete("bucket", upload_id, named(only)) == info
        assert await get(buckets, "key") == noise(MIB)
