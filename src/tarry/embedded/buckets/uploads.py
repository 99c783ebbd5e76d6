"""Multipart uploads: parts are blobs of their own until the completion concatenates them into one.

Concatenating costs a second write of the bytes; in return a finished object is one file like any other, that a reader can
hold open whole. The completion is one commit: the object appears, the parts become garbage, the answer is kept for a day.
"""

import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

from tarry.core.errors import (
    ChecksumMismatch,
    Conflict,
    EntityTooSmall,
    InvalidPart,
    InvalidPartNumber,
    InvalidPartOrder,
    InvalidRequest,
    NoParts,
    NoSuchUpload,
)
from tarry.embedded.buckets import upload_rows as rows
from tarry.embedded.buckets.bodies import Bodies, Body
from tarry.embedded.buckets.checksums import checksum_type_of, of_parts
from tarry.embedded.buckets.naming import key_bytes
from tarry.embedded.buckets.rows import NewObject
from tarry.embedded.buckets.upload_rows import Completion, FoundUpload, StoredPart, new_upload_info
from tarry.embedded.buckets.values import (
    ANY,
    PART_BYTES_MIN,
    PARTS_MAX,
    ChecksumType,
    Condition,
    NamedPart,
    NewUpload,
    ObjectInfo,
    PartInfo,
    PartOfObject,
    PartPage,
    UploadInfo,
    UploadPage,
    UploadQuery,
)
from tarry.ports import Clock, Ids

_ALWAYS_A_FILE = -1
_COMPLETE_TRIES = 10
"""A completion starts again if a part is uploaded anew under it; this often, the caller hears of it."""


class Uploads:
    """Multipart uploads; see ``api.UploadsApi`` for what each method promises."""

    def __init__(self, bodies: Bodies, clock: Clock, ids: Ids) -> None:
        self._bodies = bodies
        self._database = bodies.database
        self._clock = clock
        self._ids = ids

    async def create(self, bucket: str, new: NewUpload) -> UploadInfo:
        """Begin an upload. Errors: BucketNotFound, KeyTooLong, InvalidRequest (checksum algorithm and type)."""
        key_bytes(new.key)
        checksum_type = checksum_type_of(new.checksum_algorithm, new.checksum_type)
        info = new_upload_info(new, self._ids.token(), self._clock.now_us(), checksum_type)
        await self._database.write(lambda connection: rows.add_upload(connection, bucket, info))
        return info

    async def put_part(
        self,
        bucket: str,
        upload_id: str,
        number: int,
        chunks: AsyncIterator[bytes],
        *,
        checksums: Mapping[str, str] | None = None,
    ) -> PartInfo:
        """Store a part when ``chunks`` has ended; the last upload of a number counts.

        Errors: BucketNotFound, NoSuchUpload, InvalidPartNumber, StorageFull.
        """
        if not 1 <= number <= PARTS_MAX:
            raise InvalidPartNumber(number, PARTS_MAX)
        await self._database.read(lambda connection: rows.require_upload(connection, bucket, upload_id))
        body = await self._bodies.receive(chunks, inline_bytes_max=_ALWAYS_A_FILE)
        part = PartInfo(
            number=number,
            size=body.size,
            etag=body.md5,
            modified_at_us=self._clock.now_us(),
            checksums=dict(checksums or {}),
        )
        await self._bodies.commit(body, lambda connection: rows.put_part(connection, bucket, upload_id, part, body))
        return part

    async def list_parts(self, bucket: str, upload_id: str, *, after: int = 0, limit: int = 1000) -> PartPage:
        """Parts with a number above ``after``. Errors: BucketNotFound, NoSuchUpload."""
        return await self._database.read(lambda connection: rows.list_parts(connection, bucket, upload_id, after, limit))

    async def list(self, bucket: str, query: UploadQuery) -> UploadPage:
        """Unfinished uploads by key, then by age. Errors: BucketNotFound."""
        return await self._database.read(lambda connection: rows.list_uploads(connection, bucket, query))

    async def complete(
        self,
        bucket: str,
        upload_id: str,
        parts: Sequence[NamedPart],
        *,
        condition: Condition = ANY,
        checksums: Mapping[str, str] | None = None,
    ) -> ObjectInfo:
        """Make the object, atomically; repeated with the same parts it answers the same, for a day.

        Errors: BucketNotFound, NoSuchUpload, NoParts, InvalidPart, InvalidPartOrder, EntityTooSmall, ChecksumMismatch,
        PreconditionFailed, ObjectNotFound, StorageFull; the upload stays as it was.
        """
        named = [[part.number, part.etag] for part in parts]
        tries = 0
        while True:
            found = await self._database.read(lambda connection: rows.find_upload(connection, bucket, upload_id))
            if found.completed_object is not None:
                if found.completed_parts != named:
                    raise NoSuchUpload(upload_id)
                return found.completed_object
            chosen = _chosen(found, parts)
            new = self._new_object(found, chosen, checksums or {})
            completion = Completion(
                bucket=bucket,
                upload_id=upload_id,
                named=named,
                blobs=[part.blob_id for part in chosen],
                new=new,
                condition=condition,
            )
            try:
                return await self._assemble(completion, chosen)
            except (FileNotFoundError, Conflict, NoSuchUpload):  # somebody else was first: look again
                tries += 1
                if tries == _COMPLETE_TRIES:
                    raise

    async def abort(self, bucket: str, upload_id: str) -> None:
        """Forget the upload and its parts. Errors: BucketNotFound, NoSuchUpload."""
        await self._database.write(lambda connection: rows.remove_upload(connection, bucket, upload_id))

    async def _assemble(self, completion: Completion, chosen: Sequence[StoredPart]) -> ObjectInfo:
        body = await self._bodies.concatenate([(part.blob_id, part.info.size) for part in chosen])
        filled = _with_blob(completion, body)
        return await self._bodies.commit(body, lambda connection: rows.complete(connection, filled))

    def _new_object(self, found: FoundUpload, chosen: Sequence[StoredPart], expected: Mapping[str, str]) -> NewObject:
        algorithm = found.info.checksum_algorithm
        value = _checksum(algorithm, found.info.checksum_type, chosen)
        for name, wanted in expected.items():
            if name != algorithm or value is None:
                raise InvalidRequest(
                    f"A {name.upper()} checksum of the object was given, but the parts were not uploaded with that algorithm."
                )
            if wanted.partition("-")[0] != value.partition("-")[0]:
                raise ChecksumMismatch(name, expected=wanted, calculated=value)
        digests = b"".join(bytes.fromhex(part.info.etag) for part in chosen)
        return NewObject(
            key=found.info.key.encode(),
            size=sum(part.info.size for part in chosen),
            etag=f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(chosen)}",
            now_us=self._clock.now_us(),
            headers=found.info.headers,
            checksums={} if algorithm is None or value is None else {algorithm: value},
            checksum_type=None if value is None else found.info.checksum_type,
            parts=_laid_out(chosen),
        )


def _chosen(found: FoundUpload, named: Sequence[NamedPart]) -> list[StoredPart]:
    """The stored parts that a completion names. Errors: NoParts, InvalidPartOrder, InvalidPart, EntityTooSmall."""
    upload_id = found.info.id
    if not named:
        raise NoParts
    if any(after.number <= before.number for before, after in pairwise(named)):
        raise InvalidPartOrder(upload_id)
    chosen = []
    for part in named:
        stored = found.parts.get(part.number)
        if stored is None or stored.info.etag != part.etag or not _agrees(stored.info.checksums, part.checksums):
            raise InvalidPart(upload_id, part.number, part.etag)
        chosen.append(stored)
    for stored in chosen[:-1]:
        info = stored.info
        if info.size < PART_BYTES_MIN:
            raise EntityTooSmall(number=info.number, etag=info.etag, size=info.size, size_min=PART_BYTES_MIN)
    return chosen


def _agrees(stored: Mapping[str, str], named: Mapping[str, str]) -> bool:
    return all(stored[name] == value for name, value in named.items() if name in stored)


def _checksum(algorithm: str | None, type: ChecksumType | None, chosen: Sequence[StoredPart]) -> str | None:
    """The object's checksum. OURS: none where a part came without one; AWS would compute it from the bytes."""
    if algorithm is None or type is None or any(algorithm not in part.info.checksums for part in chosen):
        return None
    return of_parts(algorithm, type, [(part.info.checksums[algorithm], part.info.size) for part in chosen])


def _laid_out(chosen: Sequence[StoredPart]) -> list[PartOfObject]:
    laid_out, start = [], 0
    for part in chosen:
        info = part.info
        laid_out.append(PartOfObject(number=info.number, start=start, size=info.size, checksums=info.checksums))
        start += info.size
    return laid_out


def _with_blob(completion: Completion, body: Body) -> Completion:
    return replace(completion, new=replace(completion.new, blob_id=body.blob_id))
