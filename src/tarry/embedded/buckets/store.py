"""The ObjectStore port on the bucket store: delivery reads inputs and publishes results without going through HTTP.

Staged results are blobs that ``staged_blob`` names and no object does; a small one needs no disk at all until it is
published. Publishing is a plain function of a connection, so that the invocation queue can make it part of its own commit.
"""

import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial

from sqlalchemy import Connection, bindparam, delete, insert, select

from tarry.backends.database.prepared import Prepared
from tarry.core.errors import Bug, ObjectNotFound, ObjectRefused, RequestError
from tarry.core.names import S3Location
from tarry.embedded.buckets import rows
from tarry.embedded.buckets.bodies import Body
from tarry.embedded.buckets.buckets import Buckets
from tarry.embedded.buckets.naming import key_bytes
from tarry.embedded.buckets.rows import NewObject, add_garbage
from tarry.embedded.buckets.schema import staged_blob, stored_object
from tarry.embedded.buckets.values import ListQuery, ObjectHeaders
from tarry.ports import ListedObject, OpenObject, Staged

_KEY_CHARS_SHOWN = 100
_VISIBLE = Prepared(
    select(stored_object.c.body, stored_object.c.headers).where(
        stored_object.c.bucket_seq == bindparam("bucket_seq"), stored_object.c.key == bindparam("key")
    )
)


class EmbeddedObjectStore:
    """The ObjectStore port; see ``ports.ObjectStore`` for what each method promises."""

    def __init__(self, buckets: Buckets) -> None:
        self._buckets = buckets
        self._bodies = buckets.bodies
        self._database = buckets.database

    @asynccontextmanager
    async def open(self, location: S3Location) -> AsyncIterator[OpenObject]:
        """Open for streaming. Errors: ObjectNotFound, BucketNotFound, ObjectDamaged, Throttled."""
        try:
            key_bytes(location.key)
        except RequestError as error:
            raise ObjectNotFound(f"There is no object at s3://{location.bucket}/{_shown(location.key)}: {error}") from error
        opened = await self._buckets.open_object(location.bucket, location.key)
        try:
            info = opened.info
            yield OpenObject(content_type=info.headers.content_type, size=info.size, etag=info.etag, chunks=opened.chunks())
        finally:
            await opened.aclose()

    async def list(self, prefix: S3Location) -> AsyncIterator[ListedObject]:
        """Objects under a prefix, in the order of their keys. Errors: BucketNotFound, Throttled."""
        after: str | None = ""
        while after is not None:
            page = await self._buckets.list_objects(prefix.bucket, ListQuery(prefix=prefix.key, after=after))
            for info in page.objects:
                yield ListedObject(key=info.key, size=info.size, etag=info.etag)
            after = page.next_after

    async def stage(
        self, location: S3Location, *, content_type: str, metadata: Mapping[str, str], chunks: AsyncIterator[bytes]
    ) -> Staged:
        """Keep bytes where nobody can see them; durable when this returns. Of small ones ``publish`` asks for the bucket.

        Errors: BucketNotFound, ObjectRefused, StorageFull, Throttled.
        After a crash: a staged blob is kept for a week, or for as long as an unfinished decision names it.
        """
        _storable_key(location)
        body = await self._bodies.receive(chunks, before_file=partial(self._buckets.head_bucket, location.bucket))
        if body.blob_id is not None:
            now_us = self._buckets.clock.now_us()
            await self._bodies.commit(body, lambda connection: _add_staged(connection, body, now_us))
        return Staged(
            location=location, content_type=content_type, metadata=dict(metadata), inline=body.inline, handle=body.blob_id
        )

    async def publish(self, staged: Staged) -> None:
        """Make it visible; repeating it after success changes nothing.

        Errors: BucketNotFound, ObjectRefused, StorageFull, Throttled.
        """
        now_us = self._buckets.clock.now_us()

        def publish_again(connection: Connection) -> None:
            if not _is_published(connection, staged):
                publish_in_transaction(connection, staged, now_us)

        await self._database.write(publish_again, after=self._buckets.sweeper.hint)

    async def discard(self, staged: Staged) -> None:
        """Forget a staged object; once it is published, or forgotten, this changes nothing."""
        if staged.handle is not None:
            handle = staged.handle
            await self._database.write(lambda connection: _remove_staged(connection, handle), after=self._buckets.sweeper.hint)


def publish_in_transaction(connection: Connection, staged: Staged, now_us: int) -> None:
    """Make a staged object visible at its location as part of the caller's transaction, replacing what was there.

    To be called once for a staged object. Errors: BucketNotFound, ObjectRefused; Bug for a handle that is not staged any more.
    """
    key = _storable_key(staged.location)
    bucket = staged.location.bucket
    headers = _object_headers(staged)
    if staged.handle is None:
        inline = staged.inline or b""
        etag = hashlib.md5(inline, usedforsecurity=False).hexdigest()
        new = NewObject(key=key, size=len(inline), etag=etag, now_us=now_us, headers=headers, body=inline)
    else:
        row = connection.execute(select(staged_blob).where(staged_blob.c.blob_id == staged.handle)).first()
        if row is None:
            raise Bug(f"The staged object {staged.handle} for {staged.location} was discarded before it was published.")
        connection.execute(delete(staged_blob).where(staged_blob.c.seq == row.seq))
        new = NewObject(key=key, size=row.size, etag=row.md5, now_us=now_us, headers=headers, blob_id=staged.handle)
    rows.put_object(connection, bucket, new)


def _storable_key(location: S3Location) -> bytes:
    """The key as it is stored. Errors: ObjectRefused; the port knows no requests, so none of theirs may leave here."""
    try:
        return key_bytes(location.key)
    except RequestError as error:
        where = f"s3://{location.bucket}/{_shown(location.key)}"
        raise ObjectRefused(f"The object store takes no object at {where}: {error}") from error


def _shown(key: str) -> str:
    return key if len(key) <= _KEY_CHARS_SHOWN else f"{key[:_KEY_CHARS_SHOWN]}…"


def _is_published(connection: Connection, staged: Staged) -> bool:
    """Whether it has been visible before; a later object may lie at its key by now. Errors: BucketNotFound, ObjectRefused."""
    bucket_seq, key = rows.bucket_seq(connection, staged.location.bucket), _storable_key(staged.location)
    if staged.handle is not None:
        return not _staged_row_exists(connection, staged.handle)
    row = _VISIBLE.first(connection, {"bucket_seq": bucket_seq, "key": key})
    return row is not None and row.body == staged.inline and row.headers == rows.headers_document(_object_headers(staged))


def _object_headers(staged: Staged) -> ObjectHeaders:
    return ObjectHeaders(content_type=staged.content_type, metadata=dict(staged.metadata))


def _add_staged(connection: Connection, body: Body, now_us: int) -> None:
    connection.execute(insert(staged_blob).values(blob_id=body.blob_id, size=body.size, md5=body.md5, staged_at_us=now_us))


def _staged_row_exists(connection: Connection, handle: str) -> bool:
    return connection.execute(select(staged_blob.c.seq).where(staged_blob.c.blob_id == handle)).first() is not None


def _remove_staged(connection: Connection, handle: str) -> None:
    if connection.execute(delete(staged_blob).where(staged_blob.c.blob_id == handle)).rowcount:
        add_garbage(connection, [handle])
