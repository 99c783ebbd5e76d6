"""Multipart uploads as rows. Plain functions of a connection; each is one step of somebody's transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from sqlalchemy import Connection, Row, and_, delete, insert, or_, select, update

from tarry.core.errors import Conflict, NoSuchUpload
from tarry.embedded.buckets.bodies import Body
from tarry.embedded.buckets.listing import after_prefix, common_prefix
from tarry.embedded.buckets.naming import utf8
from tarry.embedded.buckets.rows import NewObject, add_garbage, bucket_seq, headers_document, put_object
from tarry.embedded.buckets.schema import upload, upload_part
from tarry.embedded.buckets.values import (
    ANY,
    ChecksumType,
    Condition,
    NewUpload,
    ObjectHeaders,
    ObjectInfo,
    PartInfo,
    PartPage,
    UploadInfo,
    UploadPage,
    UploadQuery,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPart:
    """A part and the blob that holds it."""

    info: PartInfo
    blob_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundUpload:
    """An upload with its parts by number; once it is completed, with what was answered."""

    info: UploadInfo
    parts: Mapping[int, StoredPart]
    completed_parts: list[list[Any]] | None = None
    completed_object: ObjectInfo | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """Everything that makes an object of an upload. ``blobs`` are the parts as they were when they were assembled."""

    bucket: str
    upload_id: str
    named: list[list[Any]]
    """[number, etag] of each part, as the caller named them: what a repeat is recognised by."""
    blobs: Sequence[str]
    new: NewObject
    condition: Condition = field(default=ANY)


def add_upload(connection: Connection, bucket: str, info: UploadInfo) -> None:
    """Begin an upload. Errors: BucketNotFound."""
    connection.execute(
        insert(upload).values(
            id=info.id,
            bucket_seq=bucket_seq(connection, bucket),
            key=info.key.encode(),
            initiated_at_us=info.initiated_at_us,
            headers=headers_document(info.headers),
            checksum_algorithm=info.checksum_algorithm,
            checksum_type=info.checksum_type,
        )
    )


def require_upload(connection: Connection, bucket: str, upload_id: str) -> int:
    """The key of an unfinished upload. Errors: BucketNotFound, NoSuchUpload."""
    row = _upload_row(connection, bucket, upload_id)
    if row.completed_at_us is not None:
        raise NoSuchUpload(upload_id)
    return int(row.seq)


def put_part(connection: Connection, bucket: str, upload_id: str, part: PartInfo, body: Body) -> None:
    """Name a part's blob; an earlier part of this number becomes garbage. Errors: BucketNotFound, NoSuchUpload."""
    seq = require_upload(connection, bucket, upload_id)
    same = and_(upload_part.c.upload_seq == seq, upload_part.c.number == part.number)
    old = connection.execute(select(upload_part.c.blob_id).where(same)).scalar()
    values = {
        "size": part.size,
        "etag": part.etag,
        "modified_at_us": part.modified_at_us,
        "checksums": dict(part.checksums),
        "blob_id": body.blob_id,
    }
    if old is None:
        connection.execute(insert(upload_part).values(upload_seq=seq, number=part.number, **values))
    else:
        connection.execute(update(upload_part).where(same).values(**values))
        add_garbage(connection, [old])


def list_parts(connection: Connection, bucket: str, upload_id: str, after: int, limit: int) -> PartPage:
    """One page of parts. Errors: BucketNotFound, NoSuchUpload."""
    row = _upload_row(connection, bucket, upload_id)
    if row.completed_at_us is not None:
        raise NoSuchUpload(upload_id)
    query = select(upload_part).where(upload_part.c.upload_seq == row.seq, upload_part.c.number > after)
    found = connection.execute(query.order_by(upload_part.c.number).limit(limit + 1)).all()
    parts = tuple(_part_info(part) for part in found[:limit])
    more = len(found) > limit > 0
    return PartPage(upload=_upload_info(row), parts=parts, next_number=parts[-1].number if more else None)


def find_upload(connection: Connection, bucket: str, upload_id: str) -> FoundUpload:
    """An upload, finished or not, with its parts. Errors: BucketNotFound, NoSuchUpload."""
    row = _upload_row(connection, bucket, upload_id)
    parts = connection.execute(select(upload_part).where(upload_part.c.upload_seq == row.seq))
    return FoundUpload(
        info=_upload_info(row),
        parts={part.number: StoredPart(info=_part_info(part), blob_id=part.blob_id) for part in parts},
        completed_parts=row.completed_parts,
        completed_object=None if row.completed_object is None else _completed_object(row.completed_object),
    )


def complete(connection: Connection, completion: Completion) -> ObjectInfo:
    """Make the object visible, forget the parts, keep the answer.

    Errors: BucketNotFound, NoSuchUpload (completed or aborted meanwhile), Conflict (parts have changed since they were
    assembled), PreconditionFailed, ObjectNotFound.
    """
    seq = require_upload(connection, completion.bucket, completion.upload_id)
    query = select(upload_part.c.number, upload_part.c.blob_id).where(upload_part.c.upload_seq == seq)
    blobs: dict[int, str] = {part.number: part.blob_id for part in connection.execute(query)}
    if [blobs.get(number) for number, _ in completion.named] != list(completion.blobs):
        raise Conflict("Parts of the upload have been uploaded again while it was being completed.")
    info = put_object(connection, completion.bucket, completion.new, completion.condition)
    add_garbage(connection, list(blobs.values()))
    connection.execute(delete(upload_part).where(upload_part.c.upload_seq == seq))
    connection.execute(
        update(upload)
        .where(upload.c.seq == seq)
        .values(completed_at_us=completion.new.now_us, completed_parts=completion.named, completed_object=asdict(info))
    )
    return info


def remove_upload(connection: Connection, bucket: str, upload_id: str) -> None:
    """Forget an unfinished upload; its parts become garbage. Errors: BucketNotFound, NoSuchUpload."""
    seq = require_upload(connection, bucket, upload_id)
    parts = select(upload_part.c.blob_id).where(upload_part.c.upload_seq == seq)
    add_garbage(connection, connection.execute(parts).scalars().all())
    connection.execute(delete(upload_part).where(upload_part.c.upload_seq == seq))
    connection.execute(delete(upload).where(upload.c.seq == seq))


def forget_completed(connection: Connection, before_us: int) -> None:
    """Delete uploads that were completed before this time."""
    connection.execute(delete(upload).where(upload.c.completed_at_us < before_us))


def list_uploads(connection: Connection, bucket: str, query: UploadQuery) -> UploadPage:
    """One page of unfinished uploads. Errors: BucketNotFound."""
    prefix, delimiter, after = utf8(query.prefix), utf8(query.delimiter), utf8(query.after_key)
    uploads: list[UploadInfo] = []
    prefixes: list[str] = []
    rows = connection.execute(_uploads_after(connection, bucket_seq(connection, bucket), query))
    marker: tuple[str, str] = ("", "")
    seen = after if common_prefix(after, prefix, delimiter) == after else None
    for row in rows if query.limit > 0 else ():
        rolled_up = common_prefix(row.key, prefix, delimiter)
        if rolled_up is not None and rolled_up == seen:
            continue
        if len(uploads) + len(prefixes) >= query.limit:
            rows.close()
            return UploadPage(uploads=tuple(uploads), prefixes=tuple(prefixes), next_key=marker[0], next_id=marker[1])
        if rolled_up is not None:
            seen = rolled_up
            prefixes.append(rolled_up.decode())
            marker = (prefixes[-1], "")
        else:
            uploads.append(_upload_info(row))
            marker = (uploads[-1].key, uploads[-1].id)
    return UploadPage(uploads=tuple(uploads), prefixes=tuple(prefixes))


def _uploads_after(connection: Connection, bucket: int, query: UploadQuery) -> Any:
    prefix, after = utf8(query.prefix), utf8(query.after_key)
    unfinished = select(upload).where(upload.c.bucket_seq == bucket, upload.c.completed_at_us.is_(None))
    unfinished = unfinished.where(upload.c.key >= prefix)
    high = after_prefix(prefix)
    if high is not None:
        unfinished = unfinished.where(upload.c.key < high)
    if query.after_id:
        marker = select(upload.c.seq).where(upload.c.id == query.after_id)
        younger = connection.execute(marker).scalar() or 0
        unfinished = unfinished.where(or_(upload.c.key > after, and_(upload.c.key == after, upload.c.seq > younger)))
    elif after:
        unfinished = unfinished.where(upload.c.key > after)
    return unfinished.order_by(upload.c.key, upload.c.seq)


def new_upload_info(new: NewUpload, upload_id: str, now_us: int, type: ChecksumType | None) -> UploadInfo:
    """The upload that ``new`` begins."""
    return UploadInfo(
        id=upload_id,
        key=new.key,
        initiated_at_us=now_us,
        headers=new.headers,
        checksum_algorithm=new.checksum_algorithm,
        checksum_type=type,
    )


def _upload_row(connection: Connection, bucket: str, upload_id: str) -> Row[Any]:
    query = select(upload).where(upload.c.bucket_seq == bucket_seq(connection, bucket), upload.c.id == upload_id)
    row = connection.execute(query).first()
    if row is None:
        raise NoSuchUpload(upload_id)
    return row


def _upload_info(row: Row[Any]) -> UploadInfo:
    return UploadInfo(
        id=row.id,
        key=row.key.decode(),
        initiated_at_us=row.initiated_at_us,
        headers=ObjectHeaders(**row.headers),
        checksum_algorithm=row.checksum_algorithm,
        checksum_type=ChecksumType(row.checksum_type) if row.checksum_type else None,
    )


def _part_info(row: Row[Any]) -> PartInfo:
    return PartInfo(number=row.number, size=row.size, etag=row.etag, modified_at_us=row.modified_at_us, checksums=row.checksums)


def _completed_object(document: Mapping[str, Any]) -> ObjectInfo:
    kind = document["checksum_type"]
    restored = {"headers": ObjectHeaders(**document["headers"]), "checksum_type": ChecksumType(kind) if kind else None}
    return ObjectInfo(**{**document, **restored})
