"""Listings: keys in UTF-8 byte order, keys below a delimiter rolled up into common prefixes.

The entries of a listing are keys and common prefixes in one order. A page is the first entries after a given one, so a
page's last entry is all that the next page needs. A common prefix is stepped over with one seek, however many keys it has.
"""

from collections.abc import Generator
from contextlib import closing
from typing import Any

from sqlalchemy import Connection, Row, select

from tarry.embedded.buckets.naming import utf8
from tarry.embedded.buckets.rows import bucket_seq
from tarry.embedded.buckets.schema import stored_object
from tarry.embedded.buckets.values import ChecksumType, ListPage, ListQuery, ObjectInfo

_ROWS_AT_ONCE = 1001
_COLUMNS = [stored_object.c[name] for name in ("key", "size", "etag", "modified_at_us", "checksums", "checksum_type")]


def list_objects(connection: Connection, bucket_name: str, query: ListQuery) -> ListPage:
    """One page. Errors: BucketNotFound."""
    seq = bucket_seq(connection, bucket_name)
    objects: list[ObjectInfo] = []
    prefixes: list[str] = []
    last = None
    with closing(_entries(connection, seq, query)) as entries:
        for entry in entries:
            if len(objects) + len(prefixes) >= query.limit:
                return ListPage(objects=tuple(objects), prefixes=tuple(prefixes), next_after=last)
            if isinstance(entry, bytes):
                last = entry.decode()
                prefixes.append(last)
            else:
                last = entry.key.decode()
                objects.append(_listed(entry))
    return ListPage(objects=tuple(objects), prefixes=tuple(prefixes))


def common_prefix(key: bytes, prefix: bytes, delimiter: bytes) -> bytes | None:
    """What ``key`` is rolled up into: everything up to the first delimiter after the prefix."""
    if not delimiter:
        return None
    found = key.find(delimiter, len(prefix))
    return None if found < 0 else key[: found + len(delimiter)]


def after_prefix(prefix: bytes) -> bytes | None:
    """The lowest bytes above all that begin with ``prefix``; None: there are none above."""
    stripped = prefix.rstrip(b"\xff")
    return stripped[:-1] + bytes([stripped[-1] + 1]) if stripped else None


def _entries(connection: Connection, bucket: int, query: ListQuery) -> Generator[Row[Any] | bytes, None, None]:
    """Rows, and common prefixes as bytes, that sort after ``query.after``."""
    prefix, delimiter, after = utf8(query.prefix), utf8(query.delimiter), utf8(query.after)
    low: bytes | None = prefix
    if after >= prefix and query.limit > 0:
        low = after + b"\0" if after else prefix  # the very next bytes
        rolled_up = common_prefix(after, prefix, delimiter) if after.startswith(prefix) else None
        if rolled_up is not None:
            low = after_prefix(rolled_up)
    high = after_prefix(prefix)
    while low is not None and query.limit > 0:
        low = yield from _stretch(connection, bucket, (low, high), (prefix, delimiter))


def _stretch(
    connection: Connection, bucket: int, bounds: tuple[bytes, bytes | None], shape: tuple[bytes, bytes]
) -> Generator[Row[Any] | bytes, None, bytes | None]:
    """Entries up to the first common prefix; returns where to go on, or None at the end."""
    low, high = bounds
    query = select(*_COLUMNS).where(stored_object.c.bucket_seq == bucket, stored_object.c.key >= low)
    if high is not None:
        query = query.where(stored_object.c.key < high)
    result = connection.execute(query.order_by(stored_object.c.key).limit(_ROWS_AT_ONCE))
    with closing(result):
        count = 0
        for row in result:
            count += 1
            rolled_up = common_prefix(row.key, *shape)
            if rolled_up is not None:
                yield rolled_up
                return after_prefix(rolled_up)
            yield row
        return row.key + b"\0" if count == _ROWS_AT_ONCE else None


def _listed(row: Row[Any]) -> ObjectInfo:
    return ObjectInfo(
        key=row.key.decode(),
        size=row.size,
        etag=row.etag,
        modified_at_us=row.modified_at_us,
        checksums=row.checksums,
        checksum_type=ChecksumType(row.checksum_type) if row.checksum_type else None,
    )
