"""What every ObjectStore promises, asked of the embedded one and of the fake."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.buckets import INLINE_MAX, MIB, files_in, noise, open_buckets, pieces

from tarry.core.errors import BucketNotFound, ObjectDamaged, ObjectNotFound, ObjectRefused
from tarry.core.names import S3Location
from tarry.embedded.buckets.store import EmbeddedObjectStore
from tarry.ports import ObjectStore, Staged
from tarry.testing.objects import FakeObjectStore

PLACE = S3Location("bucket", "results/a b/ü.out")
SIZES = [0, 1, INLINE_MAX, INLINE_MAX + 1, 3 * MIB]


@dataclass
class Subject:
    store: ObjectStore
    delete_bucket: Callable[[str], Awaitable[None]]
    damage: Callable[[], None]
    """Make the object at PLACE unreadable."""


@pytest.fixture(params=["embedded", "fake"])
async def subject(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Subject]:
    if request.param == "fake":
        fake = FakeObjectStore()
        fake.create_bucket("bucket")

        async def forget(name: str) -> None:
            del fake.buckets[name]

        yield Subject(fake, forget, lambda: fake.damaged.add(PLACE))
        return
    async with open_buckets(tmp_path) as buckets:
        await buckets.create_bucket("bucket")

        def lose_files() -> None:
            for path in files_in(tmp_path):
                path.unlink()

        yield Subject(EmbeddedObjectStore(buckets), buckets.delete_bucket, lose_files)


@pytest.fixture
def store(subject: Subject) -> ObjectStore:
    return subject.store


async def stage(store: ObjectStore, body: bytes, location: S3Location = PLACE, content_type: str = "text/csv") -> Staged:
    return await store.stage(location, content_type=content_type, metadata={"tarry-invocation": "1"}, chunks=pieces(body))


async def read(store: ObjectStore, location: S3Location = PLACE) -> bytes:
    async with store.open(location) as opened:
        body = b"".join([chunk async for chunk in opened.chunks])
        assert len(body) == opened.size
        return body


@pytest.mark.parametrize("size", SIZES)
async def test_published_bytes_are_read_back(store: ObjectStore, size: int) -> None:
    body = noise(size)
    await store.publish(await stage(store, body))
    async with store.open(PLACE) as opened:
        assert (opened.content_type, opened.size) == ("text/csv", size)
    assert await read(store) == body


@pytest.mark.parametrize("size", SIZES)
async def test_staged_bytes_are_invisible(store: ObjectStore, size: int) -> None:
    staged = await stage(store, noise(size))
    assert (staged.inline is None) == (size > INLINE_MAX)
    assert (staged.handle is None) == (size <= INLINE_MAX)
    with pytest.raises(ObjectNotFound):
        await read(store)


@pytest.mark.parametrize("size", [5, INLINE_MAX + 1])
async def test_the_later_publish_wins(store: ObjectStore, size: int) -> None:
    first, second = await stage(store, noise(size, 1)), await stage(store, noise(size, 2))
    await store.publish(second)
    await store.publish(first)
    assert await read(store) == noise(size, 1)


@pytest.mark.parametrize("size", [5, INLINE_MAX + 1])
async def test_publishing_again_changes_nothing(store: ObjectStore, size: int) -> None:
    staged = await stage(store, noise(size))
    await store.publish(staged)
    await store.publish(staged)
    assert await read(store) == noise(size)


async def test_publishing_a_large_one_again_does_not_take_a_later_one_back(store: ObjectStore) -> None:
    first, second = await stage(store, noise(INLINE_MAX + 1, 1)), await stage(store, b"later")
    await store.publish(first)
    await store.publish(second)
    await store.publish(first)
    assert await read(store) == b"later"


@pytest.mark.parametrize("size", [5, INLINE_MAX + 1])
async def test_discarding_leaves_nothing_and_repeats(store: ObjectStore, size: int) -> None:
    staged = await stage(store, noise(size))
    await store.discard(staged)
    await store.discard(staged)
    with pytest.raises(ObjectNotFound):
        await read(store)


async def test_discarding_what_is_published_changes_nothing(store: ObjectStore) -> None:
    staged = await stage(store, noise(INLINE_MAX + 1))
    await store.publish(staged)
    await store.discard(staged)
    assert await read(store) == noise(INLINE_MAX + 1)


@pytest.mark.parametrize("size", [5, 3 * MIB])
async def test_an_open_object_stays_whole_while_it_is_replaced(store: ObjectStore, size: int) -> None:
    await store.publish(await stage(store, noise(size, 1)))
    async with store.open(PLACE) as opened:
        await store.publish(await stage(store, noise(size, 2)))
        assert b"".join([chunk async for chunk in opened.chunks]) == noise(size, 1)
    assert await read(store) == noise(size, 2)


async def test_missing_buckets_and_objects_are_told_apart(store: ObjectStore) -> None:
    elsewhere = S3Location("no-such-bucket", "key")
    with pytest.raises(BucketNotFound):
        await read(store, elsewhere)
    with pytest.raises(BucketNotFound):
        await stage(store, noise(INLINE_MAX + 1), elsewhere)
    with pytest.raises(BucketNotFound):
        await store.publish(await stage(store, b"x", elsewhere))
    with pytest.raises(ObjectNotFound):
        await read(store, S3Location("bucket", "no such key"))


@pytest.mark.parametrize("size", [5, INLINE_MAX + 1])
async def test_publishing_into_a_bucket_that_has_gone_is_told(subject: Subject, size: int) -> None:
    staged = await stage(subject.store, noise(size))
    await subject.delete_bucket("bucket")
    with pytest.raises(BucketNotFound):
        await subject.store.publish(staged)


@pytest.mark.parametrize("size", [5, 3 * MIB])
async def test_a_source_that_breaks_off_stages_nothing(store: ObjectStore, size: int) -> None:
    async def broken() -> AsyncIterator[bytes]:
        async for piece in pieces(noise(size)):
            yield piece
        raise ConnectionResetError("the model server has gone")

    with pytest.raises(ConnectionResetError):
        await store.stage(PLACE, content_type="text/csv", metadata={}, chunks=broken())
    with pytest.raises(ObjectNotFound):
        await read(store)


@pytest.mark.parametrize("key", ["k" * 1025, "中" * 342, "", "\ud800"], ids=["long", "long-unicode", "empty", "surrogate"])
async def test_a_key_that_no_object_can_have_is_refused_as_the_port_says(store: ObjectStore, key: str) -> None:
    location = S3Location("bucket", key)
    with pytest.raises(ObjectNotFound):
        await read(store, location)
    with pytest.raises(ObjectRefused):
        await stage(store, b"x", location)
    with pytest.raises(ObjectRefused):
        await store.publish(Staged(location=location, content_type="text/csv", inline=b"x"))


async def test_the_longest_key_is_taken(store: ObjectStore) -> None:
    longest = S3Location("bucket", "中" * 341 + "k")
    await store.publish(await stage(store, b"x", longest))
    assert await read(store, longest) == b"x"


async def test_an_object_whose_bytes_are_lost_is_told(subject: Subject) -> None:
    await subject.store.publish(await stage(subject.store, noise(INLINE_MAX + 1)))
    subject.damage()
    with pytest.raises(ObjectDamaged):
        await read(subject.store)


async def listed(store: ObjectStore, prefix: str, bucket: str = "bucket") -> list[tuple[str, int]]:
    return [(one.key, one.size) async for one in store.list(S3Location(bucket, prefix))]


async def test_a_listing_has_all_keys_under_a_prefix_in_order(store: ObjectStore) -> None:
    keys = ["a", "a/", "a/b", "a/é", "a/ü/c", "b"]
    for key in reversed(keys):
        await store.publish(await stage(store, key.encode(), S3Location("bucket", key)))
    assert await listed(store, "a/") == [(key, len(key.encode())) for key in ["a/", "a/b", "a/é", "a/ü/c"]]
    assert [key for key, _ in await listed(store, "")] == keys
    assert await listed(store, "none/") == []


async def test_a_listing_names_the_etag_that_open_names(store: ObjectStore) -> None:
    await store.publish(await stage(store, b"x"))
    [one] = [one async for one in store.list(S3Location("bucket", "results/"))]
    async with store.open(PLACE) as opened:
        assert one.etag == opened.etag


async def test_a_long_listing_comes_whole(store: ObjectStore) -> None:
    for number in range(1100):
        await store.publish(await stage(store, b"", S3Location("bucket", f"many/{number:05}")))
    assert [key for key, _ in await listed(store, "many/")] == [f"many/{number:05}" for number in range(1100)]


async def test_listing_a_bucket_that_is_not_there(store: ObjectStore) -> None:
    with pytest.raises(BucketNotFound):
        await listed(store, "", "no-such-bucket")
