"""What the S3 front uses of the bucket store, as two Protocols: ``Buckets`` and its ``uploads`` are the implementation.

Everything acknowledged here is on disk: after any crash a finished write is there, whole, and an unfinished one is not.
Every method may raise BucketNotFound (except on buckets' own creation) and every write StorageFull; a name or key that
cannot be raises InvalidBucketName, KeyTooLong or InvalidRequest.
"""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Protocol

from tarry.embedded.buckets.values import (
    ANY,
    BucketInfo,
    Condition,
    ListPage,
    ListQuery,
    NamedPart,
    NewUpload,
    ObjectHeaders,
    ObjectInfo,
    PartInfo,
    PartOfObject,
    PartPage,
    UploadInfo,
    UploadPage,
    UploadQuery,
)


class OpenedObject(Protocol):
    """An object held open: its bytes stay as they are, whatever happens to the key. Close it when done."""

    info: ObjectInfo

    def chunks(self, start: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """The bytes of a range (``ByteRange.resolve`` makes one), in pieces of at most 1 MiB. Does not close the object."""
        ...

    def part(self, number: int) -> PartOfObject:
        """Where part ``number`` lies; a plain object is its own part 1. Errors: InvalidPartNumber (``number_max``: the count)."""
        ...

    async def aclose(self) -> None:
        """Let go of the bytes. Repeats change nothing."""
        ...


class UploadsApi(Protocol):
    """Multipart uploads. Parts may come in any order, again (the last one counts), and at once."""

    async def create(self, bucket: str, new: NewUpload) -> UploadInfo:
        """Begin. InvalidRequest for checksum type and algorithm that do not go together."""
        ...

    async def put_part(
        self,
        bucket: str,
        upload_id: str,
        number: int,
        chunks: AsyncIterator[bytes],
        *,
        checksums: Mapping[str, str] | None = None,
    ) -> PartInfo:
        """Store a part. As with ``put_object``, an exception of ``chunks`` undoes it and ``checksums`` is read after its end.

        To copy a part, pass ``opened.chunks(start, length)`` of the source. Errors: NoSuchUpload, InvalidPartNumber.
        """
        ...

    async def list_parts(self, bucket: str, upload_id: str, *, after: int = 0, limit: int = 1000) -> PartPage:
        """Parts with a number above ``after``. Errors: NoSuchUpload."""
        ...

    async def list(self, bucket: str, query: UploadQuery) -> UploadPage:
        """Unfinished uploads."""
        ...

    async def complete(
        self,
        bucket: str,
        upload_id: str,
        parts: Sequence[NamedPart],
        *,
        condition: Condition = ANY,
        checksums: Mapping[str, str] | None = None,
    ) -> ObjectInfo:
        """Make the object, atomically. Repeated with the same parts it answers the same, for a day.

        ``checksums`` are those the caller expects of the whole object. Errors: NoSuchUpload, NoParts, InvalidPart,
        InvalidPartOrder, EntityTooSmall, PreconditionFailed, ChecksumMismatch; the upload stays as it was.
        """
        ...

    async def abort(self, bucket: str, upload_id: str) -> None:
        """Forget the upload and its parts. Errors: NoSuchUpload."""
        ...


class BucketsApi(Protocol):
    """Buckets and their objects."""

    @property
    def uploads(self) -> UploadsApi:
        """Multipart uploads."""
        ...

    async def create_bucket(self, name: str) -> BucketInfo:
        """Errors: InvalidBucketName, BucketAlreadyOwned."""
        ...

    async def head_bucket(self, name: str) -> BucketInfo:
        """The bucket."""
        ...

    async def delete_bucket(self, name: str) -> None:
        """Delete an empty bucket; its unfinished uploads go with it. Errors: BucketNotEmpty."""
        ...

    async def list_buckets(self) -> list[BucketInfo]:
        """All buckets by name."""
        ...

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
        Errors: PreconditionFailed, ObjectNotFound (a ``condition.etag`` and no object).
        """
        ...

    async def open_object(self, bucket: str, key: str) -> OpenedObject:
        """Open for reading; check conditions against ``info``, then stream. Errors: ObjectNotFound."""
        ...

    async def head_object(self, bucket: str, key: str) -> ObjectInfo:
        """Errors: ObjectNotFound."""
        ...

    async def delete_object(self, bucket: str, key: str, *, condition: Condition = ANY) -> None:
        """Delete; a key without an object is no error. Errors: PreconditionFailed."""
        ...

    async def delete_objects(self, bucket: str, keys: Iterable[str]) -> None:
        """Delete many in one commit."""
        ...

    async def copy_object(
        self, source: OpenedObject, bucket: str, key: str, *, headers: ObjectHeaders | None = None, condition: Condition = ANY
    ) -> ObjectInfo:
        """Copy an open object (source conditions are checked on its ``info``). Does not close the source.

        ``headers`` None: those of the source (metadata directive COPY). Whole-object checksums are kept.
        """
        ...

    async def list_objects(self, bucket: str, query: ListQuery) -> ListPage:
        """One page of keys and common prefixes."""
        ...
