"""The bucket store: S3's buckets and objects in a data directory and the server's database.

A small object is one row, a large one a file and a row; either way there is one commit that makes it appear, and nothing
is answered before that commit is on disk. What a commit stops using is written down in it as garbage and unlinked soon
after, so readers that hold a file open read on, and a crash leaves at most files that the sweeper knows how to find.
"""

from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from pathlib import Path

from sqlalchemy import Connection

from tarry.backends.database.transactions import Database
from tarry.core.errors import BucketNotFound, ObjectDamaged
from tarry.embedded.buckets import listing, rows
from tarry.embedded.buckets.api import OpenedObject as AnyOpenedObject
from tarry.embedded.buckets.bodies import Bodies
from tarry.embedded.buckets.naming import check_bucket_name, key_bytes
from tarry.embedded.buckets.opened import OpenedObject
from tarry.embedded.buckets.rows import NewObject
from tarry.embedded.buckets.sweeper import Sweeper
from tarry.embedded.buckets.uploads import Uploads
from tarry.embedded.buckets.values import (
    ANY,
    BucketInfo,
    ChecksumType,
    Condition,
    ListPage,
    ListQuery,
    ObjectHeaders,
    ObjectInfo,
)
from tarry.ports import Clock, Ids

_OPEN_TRIES = 100
"""An object that is overwritten between its row and its file is looked up again; this often, somebody else is wrong."""


class Buckets:
    """Buckets and their objects; see ``api.BucketsApi`` for what each method promises.

    ``directory`` is the data directory (blobs lie in ``directory/blobs``), whose lock the caller holds. ``decided`` tells
    the sweeper which handles of staged objects are named by decisions that are not finished.
    """

    def __init__(
        self,
        database: Database,
        directory: Path,
        clock: Clock,
        ids: Ids,
        *,
        region: str,
        decided: Callable[[Connection], Collection[str]] | None = None,
    ) -> None:
        self.database = database
        self.clock = clock
        self.region = region
        self.bodies = Bodies(database, directory, ids)
        self.uploads = Uploads(self.bodies, clock, ids)
        self.sweeper = Sweeper(self.bodies, clock, decided=decided)

    async def start(self) -> None:
        """Make the directories, remove what a crash has left, and keep sweeping. Errors: StorageFull."""
        await self.sweeper.start()

    async def close(self) -> None:
        """Stop sweeping; commits under way are waited for. Repeats change nothing."""
        await self.sweeper.close()
        await self.bodies.close()

    # --------------------------------------------------------------------------------------------------------- buckets

    async def create_bucket(self, name: str) -> BucketInfo:
        """Make a bucket. Errors: InvalidBucketName, BucketAlreadyOwned, StorageFull."""
        check_bucket_name(name)
        now_us = self.clock.now_us()
        await self.database.write(lambda connection: rows.add_bucket(connection, name, now_us))
        return BucketInfo(name=name, created_at_us=now_us, region=self.region)

    async def head_bucket(self, name: str) -> BucketInfo:
        """The bucket. Errors: BucketNotFound."""
        found = await self.database.read(lambda connection: rows.find_buckets(connection, self.region, name))
        if not found:
            raise BucketNotFound(f"There is no bucket {name!r}.")
        return found[0]

    async def delete_bucket(self, name: str) -> None:
        """Delete an empty bucket; its unfinished uploads go with it. Errors: BucketNotFound, BucketNotEmpty."""
        await self.database.write(lambda connection: rows.remove_bucket(connection, name), after=self.sweeper.hint)

    async def list_buckets(self) -> list[BucketInfo]:
        """All buckets by name."""
        return await self.database.read(lambda connection: rows.find_buckets(connection, self.region))

    # --------------------------------------------------------------------------------------------------------- objects

    async def put_object(
        self,
        bucket: str,
        key: str,
        chunks: AsyncIterator[bytes],
        headers: ObjectHeaders | None = None,
        *,
        checksums: Mapping[str, str] | None = None,
        condition: Condition = ANY,
    ) -> ObjectInfo:
        """Store an object when ``chunks`` has ended; an exception of ``chunks`` undoes it all and comes through.

        ``checksums`` (verified by the caller) is read only after the end of ``chunks``: trailers may fill it meanwhile.
        Errors: BucketNotFound, KeyTooLong, PreconditionFailed, ObjectNotFound (``condition.etag``, no object), StorageFull.
        """
        encoded = key_bytes(key)
        await self.head_bucket(bucket)  # before the body is taken, not after
        body = await self.bodies.receive(chunks)
        new = NewObject(
            key=encoded,
            size=body.size,
            etag=body.md5,
            now_us=self.clock.now_us(),
            headers=headers or ObjectHeaders(),
            checksums=dict(checksums or {}),
            checksum_type=ChecksumType.FULL_OBJECT if checksums else None,
            body=body.inline,
            blob_id=body.blob_id,
        )
        info = await self.bodies.commit(body, lambda connection: rows.put_object(connection, bucket, new, condition))
        if body.blob_id is not None:
            self.sweeper.hint()
        return info

    async def open_object(self, bucket: str, key: str) -> OpenedObject:
        """Open for reading: the object stays whole while it is overwritten or deleted.

        Errors: BucketNotFound, ObjectNotFound, Throttled; ObjectDamaged if its file is missing or cannot be opened.
        """
        encoded = key_bytes(key)
        for _ in range(_OPEN_TRIES):
            found = await self.database.read_small(lambda connection: rows.find_object(connection, bucket, encoded))
            if found.blob_id is None:
                return OpenedObject(found.info, found.parts, found.body or b"")
            try:
                return OpenedObject(found.info, found.parts, self.bodies.files.reader(found.blob_id))
            except FileNotFoundError:
                continue  # replaced between the row and the file: look again
            except OSError as error:
                raise ObjectDamaged(f"The file of s3://{bucket}/{key} cannot be opened: {error.strerror}.") from error
        raise ObjectDamaged(f"The file of s3://{bucket}/{key} is missing in the data directory.")

    async def head_object(self, bucket: str, key: str) -> ObjectInfo:
        """An object without its bytes. Errors: BucketNotFound, ObjectNotFound."""
        encoded = key_bytes(key)
        return await self.database.read(lambda connection: rows.head_object(connection, bucket, encoded))

    async def delete_object(self, bucket: str, key: str, *, condition: Condition = ANY) -> None:
        """Delete; a key without an object is no error. Errors: BucketNotFound, PreconditionFailed, ObjectNotFound."""
        encoded = [key_bytes(key)]
        await self.database.write(
            lambda connection: rows.remove_objects(connection, bucket, encoded, condition), after=self.sweeper.hint
        )

    async def delete_objects(self, bucket: str, keys: Iterable[str]) -> None:
        """Delete many in one commit. Errors: BucketNotFound."""
        encoded = [key_bytes(key) for key in keys]
        await self.database.write(lambda connection: rows.remove_objects(connection, bucket, encoded), after=self.sweeper.hint)

    async def copy_object(
        self,
        source: AnyOpenedObject,
        bucket: str,
        key: str,
        *,
        headers: ObjectHeaders | None = None,
        condition: Condition = ANY,
    ) -> ObjectInfo:
        """Copy an open object; ``headers`` None keeps those of the source. Does not close the source.

        Errors: as ``put_object``. AWS: a copy is a plain object, so a multipart ETag or composite checksum is not kept (API
        reference of the type Object, ETag; localstack/localstack#3729).
        """
        info = source.info
        whole = info.checksum_type is ChecksumType.FULL_OBJECT
        return await self.put_object(
            bucket,
            key,
            source.chunks(),
            headers or info.headers,
            checksums=info.checksums if whole else None,
            condition=condition,
        )

    async def list_objects(self, bucket: str, query: ListQuery) -> ListPage:
        """One page of keys and common prefixes. Errors: BucketNotFound."""
        return await self.database.read(lambda connection: listing.list_objects(connection, bucket, query))
