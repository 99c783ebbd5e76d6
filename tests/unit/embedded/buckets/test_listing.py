import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, create_engine, event, insert
from tests.support.buckets import SetClock, put

from tarry.backends.database.schema import metadata
from tarry.core.errors import BucketNotFound, InvalidRequest
from tarry.embedded.buckets.buckets import Buckets
from tarry.embedded.buckets.listing import after_prefix, list_objects
from tarry.embedded.buckets.rows import NewObject, add_bucket, put_object
from tarry.embedded.buckets.schema import stored_object
from tarry.embedded.buckets.values import ListPage, ListQuery, ObjectHeaders

KEY = st.text(alphabet="ab/.\0é\U0001f600\uffff", min_size=1, max_size=6)
PART = st.text(alphabet="ab/é", max_size=3)


def naive(keys: set[str], query: ListQuery) -> list[str]:
    entries = set()
    for key in keys:
        if key.startswith(query.prefix):
            found = key.find(query.delimiter, len(query.prefix)) if query.delimiter else -1
            entries.add(key if found < 0 else key[: found + len(query.delimiter)])
    return sorted((entry for entry in entries if entry.encode() > query.after.encode()), key=str.encode)


def entries_of(page: ListPage) -> list[str]:
    return sorted([*(found.key for found in page.objects), *page.prefixes], key=str.encode)


def fill(connection: Connection, keys: set[str]) -> None:
    add_bucket(connection, "bucket", 1)
    for key in keys:
        put_object(
            connection, "bucket", NewObject(key=key.encode(), size=1, etag="e", now_us=1, headers=ObjectHeaders(), body=b"x")
        )


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(keys=st.sets(KEY, max_size=25), prefix=PART, delimiter=PART, after=PART, limit=st.integers(1, 8))
def test_pages_are_those_of_the_naive_model(keys: set[str], prefix: str, delimiter: str, after: str, limit: int) -> None:
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        metadata.create_all(connection)
        fill(connection, keys)
        query = ListQuery(prefix=prefix, delimiter=delimiter, after=after)
        expected = naive(keys, query)
        seen: list[str] = []
        marker: str | None = after
        while marker is not None:
            page = list_objects(connection, "bucket", ListQuery(prefix=prefix, delimiter=delimiter, after=marker, limit=limit))
            assert len(page.objects) + len(page.prefixes) <= limit
            seen += entries_of(page)
            assert page.next_after is None or page.next_after.encode() > marker.encode()  # or paging would never end
            marker = page.next_after
        assert seen == expected
    engine.dispose()


def test_a_common_prefix_is_one_seek_however_many_keys_it_has() -> None:
    engine = create_engine("sqlite://")
    statements: list[str] = []
    with engine.begin() as connection:
        metadata.create_all(connection)
        add_bucket(connection, "bucket", 1)
        row = {"bucket_seq": 1, "size": 1, "etag": "e", "modified_at_us": 1, "headers": {}, "checksums": {}, "body": b"x"}
        many = [f"{folder}/{number:05}".encode() for folder in "abc" for number in range(5000)]
        connection.execute(insert(stored_object), [{**row, "key": key} for key in many])
        event.listen(connection, "before_cursor_execute", lambda *args: statements.append(args[2]))
        page = list_objects(connection, "bucket", ListQuery(delimiter="/"))
    engine.dispose()
    assert page.prefixes == ("a/", "b/", "c/")
    assert len(statements) <= 5


async def test_a_common_prefix_is_not_repeated_on_the_next_page(buckets: Buckets) -> None:
    for key in ("a/1", "a/2", "b/1", "c"):
        await put(buckets, key)
    page = await buckets.list_objects("bucket", ListQuery(delimiter="/", limit=1))
    assert (page.prefixes, page.next_after) == (("a/",), "a/")
    for after in ("a/", "a/1", "a/2"):
        page = await buckets.list_objects("bucket", ListQuery(delimiter="/", limit=1, after=after))
        assert (page.prefixes, page.next_after) == (("b/",), "b/")


async def test_more_keys_than_are_read_at_once(buckets: Buckets) -> None:
    row = {"bucket_seq": 1, "size": 1, "etag": "e", "modified_at_us": 1, "headers": {}, "checksums": {}, "body": b"x"}
    keys = [f"{number:05}" for number in range(2500)]
    await buckets.database.write(
        lambda c: c.execute(insert(stored_object), [{**row, "key": key.encode()} for key in keys]) and None
    )
    page = await buckets.list_objects("bucket", ListQuery(limit=3000))
    assert entries_of(page) == keys
    assert page.next_after is None
    page = await buckets.list_objects("bucket", ListQuery(limit=2500))
    assert page.next_after is None
    page = await buckets.list_objects("bucket", ListQuery(limit=2499))
    assert page.next_after == "02498"


async def test_a_page_of_nothing_is_the_last(buckets: Buckets) -> None:
    await put(buckets, "key")
    assert await buckets.list_objects("bucket", ListQuery(limit=0)) == ListPage()


async def test_what_a_listing_shows(buckets: Buckets, clock: SetClock) -> None:
    info = await put(buckets, "key", b"four")
    listed = (await buckets.list_objects("bucket", ListQuery())).objects[0]
    assert (listed.key, listed.size, listed.etag) == ("key", 4, info.etag)
    assert listed.modified_at_us == clock.us


async def test_a_missing_bucket_and_a_bad_prefix(buckets: Buckets) -> None:
    with pytest.raises(BucketNotFound):
        await buckets.list_objects("no-such-bucket", ListQuery())
    with pytest.raises(InvalidRequest, match="UTF-8"):
        await buckets.list_objects("bucket", ListQuery(prefix="\ud800"))


@pytest.mark.parametrize("character", ["a", "\x7f", "é", "\U0010ffff"])
def test_after_prefix_is_above_all_that_begin_with_it(character: str) -> None:
    above = after_prefix(character.encode())
    assert above is not None
    assert above > (character + "\U0010ffff" * 5).encode()
    assert after_prefix(b"") is None
