"""Buckets and objects as rows. Plain functions of a connection; each is one step of somebody's transaction."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from tarry.backends.database.prepared import Prepared
from tarry.core.errors import BucketAlreadyOwned, BucketNotEmpty, BucketNotFound, ObjectNotFound, PreconditionFailed
from tarry.embedded.buckets.schema import bucket, garbage_blob, stored_object, upload, upload_part
from tarry.embedded.buckets.values import ANY, BucketInfo, ChecksumType, Condition, ObjectHeaders, ObjectInfo, PartOfObject

_HEADERS = tuple(each.name for each in fields(ObjectHeaders))
INFO_COLUMNS = [column for column in stored_object.c if column.name not in ("body", "parts")]

_BUCKET = Prepared(select(bucket.c.seq).where(bucket.c.name == bindparam("name")))
_at_key = (stored_object.c.bucket_seq == bindparam("bucket_seq"), stored_object.c.key == bindparam("key"))
_CURRENT = Prepared(select(stored_object.c.seq, stored_object.c.etag, stored_object.c.blob_id).where(*_at_key))
_FIND = Prepared(select(stored_object).where(*_at_key))
_VALUES = tuple(column.name for column in stored_object.c if column.name not in ("seq", "bucket_seq", "key"))
_ADD = Prepared(insert(stored_object), "bucket_seq", "key", *_VALUES)
_REPLACE = Prepared(
    update(stored_object)
    .where(stored_object.c.seq == bindparam("of"))
    .values({name: bindparam(f"new_{name}", type_=stored_object.c[name].type) for name in _VALUES})
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewObject:
    """An object about to become visible; its bytes are ``body``, or the file of ``blob_id``."""

    key: bytes
    size: int
    etag: str
    now_us: int
    headers: ObjectHeaders
    checksums: Mapping[str, str] = field(default_factory=dict)
    checksum_type: ChecksumType | None = None
    parts: Sequence[PartOfObject] | None = None
    body: bytes | None = None
    blob_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundObject:
    """An object with what is needed to read it."""

    info: ObjectInfo
    parts: tuple[PartOfObject, ...]
    body: bytes | None
    blob_id: str | None


@dataclass(frozen=True, slots=True)
class _Current:
    """What a write has to know of the object that it replaces."""

    seq: int
    etag: str
    blob_id: str | None


# ------------------------------------------------------------------------------------------------------------- buckets


def add_bucket(connection: Connection, name: str, now_us: int) -> None:
    """Insert a bucket. Errors: BucketAlreadyOwned."""
    if connection.execute(select(bucket.c.seq).where(bucket.c.name == name)).first() is not None:
        raise BucketAlreadyOwned(name)
    connection.execute(insert(bucket).values(name=name, created_at_us=now_us))


def bucket_seq(connection: Connection, name: str) -> int:
    """The bucket's key. Errors: BucketNotFound."""
    found = _BUCKET.first(connection, {"name": name})
    if found is None:
        raise BucketNotFound(f"There is no bucket {name!r}.")
    return int(found.seq)


def find_buckets(connection: Connection, region: str, name: str | None = None) -> list[BucketInfo]:
    """All buckets by name, or the one of this name."""
    query = select(bucket).order_by(bucket.c.name)
    if name is not None:
        query = query.where(bucket.c.name == name)
    return [BucketInfo(name=row.name, created_at_us=row.created_at_us, region=region) for row in connection.execute(query)]


def remove_bucket(connection: Connection, name: str) -> None:
    """Delete an empty bucket and its uploads. Errors: BucketNotFound, BucketNotEmpty."""
    seq = bucket_seq(connection, name)
    if connection.execute(select(stored_object.c.seq).where(stored_object.c.bucket_seq == seq).limit(1)).first() is not None:
        raise BucketNotEmpty(name)
    uploads = select(upload.c.seq).where(upload.c.bucket_seq == seq)
    parts = select(upload_part.c.blob_id).where(upload_part.c.upload_seq.in_(uploads))
    add_garbage(connection, connection.execute(parts).scalars().all())
    connection.execute(delete(upload_part).where(upload_part.c.upload_seq.in_(uploads)))
    connection.execute(delete(upload).where(upload.c.bucket_seq == seq))
    connection.execute(delete(bucket).where(bucket.c.seq == seq))


# ------------------------------------------------------------------------------------------------------------- objects


def put_object(connection: Connection, bucket_name: str, new: NewObject, condition: Condition = ANY) -> ObjectInfo:
    """Make an object visible; the blob that it replaces becomes garbage in the same commit.

    Errors: BucketNotFound, PreconditionFailed, ObjectNotFound.
    """
    seq = bucket_seq(connection, bucket_name)
    old = _current(connection, seq, new.key)
    _check_condition(old, condition, bucket_name, new.key)
    values = _values(new)
    if old is None:
        _ADD.run(connection, {"bucket_seq": seq, "key": new.key, **values})
    else:
        _REPLACE.run(connection, {"of": old.seq, **{f"new_{name}": value for name, value in values.items()}})
        if old.blob_id is not None:
            add_garbage(connection, [old.blob_id])
    return _new_info(new)


def _check_condition(old: _Current | None, condition: Condition, bucket_name: str, key: bytes) -> None:
    """Compare the current object with a write's condition. Errors: PreconditionFailed, ObjectNotFound."""
    if condition.absent and old is not None:
        raise PreconditionFailed("If-None-Match")
    if condition.etag is not None:
        if old is None:
            raise object_not_found(bucket_name, key)
        if old.etag != condition.etag:
            raise PreconditionFailed("If-Match")


def head_object(connection: Connection, bucket_name: str, key: bytes) -> ObjectInfo:
    """An object without its bytes. Errors: BucketNotFound, ObjectNotFound."""
    query = select(*INFO_COLUMNS).where(
        stored_object.c.bucket_seq == bucket_seq(connection, bucket_name), stored_object.c.key == key
    )
    row = connection.execute(query).first()
    if row is None:
        raise object_not_found(bucket_name, key)
    return info_of(row)


def find_object(connection: Connection, bucket_name: str, key: bytes) -> FoundObject:
    """An object with its inline body or the name of its blob. Errors: BucketNotFound, ObjectNotFound."""
    row = _FIND.first(connection, {"bucket_seq": bucket_seq(connection, bucket_name), "key": key})
    if row is None:
        raise object_not_found(bucket_name, key)
    return FoundObject(info=info_of(row), parts=_parts_of(row), body=row.body, blob_id=row.blob_id)


def remove_objects(connection: Connection, bucket_name: str, keys: Iterable[bytes], condition: Condition = ANY) -> None:
    """Delete objects; keys without one are no error. Errors: BucketNotFound, PreconditionFailed, ObjectNotFound."""
    seq = bucket_seq(connection, bucket_name)
    for key in keys:
        old = _current(connection, seq, key)
        _check_condition(old, condition, bucket_name, key)
        if old is None:
            continue
        connection.execute(delete(stored_object).where(stored_object.c.seq == old.seq))
        if old.blob_id is not None:
            add_garbage(connection, [old.blob_id])


def add_garbage(connection: Connection, blob_ids: Sequence[str]) -> None:
    """Hand blobs that no row names any more to the sweeper."""
    if blob_ids:
        connection.execute(insert(garbage_blob), [{"blob_id": blob_id} for blob_id in blob_ids])


def object_not_found(bucket_name: str, key: bytes) -> ObjectNotFound:
    """The error for a key without an object."""
    return ObjectNotFound(f"There is no object at s3://{bucket_name}/{key.decode()}.")


# ----------------------------------------------------------------------------------------------------- to and from rows


def headers_document(headers: ObjectHeaders) -> dict[str, Any]:
    """Headers as they are stored: what is None is left out."""
    return {name: value for name in _HEADERS if (value := getattr(headers, name)) is not None}


def info_of(row: Any) -> ObjectInfo:
    """The object of a row that has at least INFO_COLUMNS."""
    return ObjectInfo(
        key=row.key.decode(),
        size=row.size,
        etag=row.etag,
        modified_at_us=row.modified_at_us,
        headers=ObjectHeaders(**row.headers),
        checksums=row.checksums,
        checksum_type=ChecksumType(row.checksum_type) if row.checksum_type else None,
        part_count=row.part_count,
    )


def _current(connection: Connection, bucket: int, key: bytes) -> _Current | None:
    row = _CURRENT.first(connection, {"bucket_seq": bucket, "key": key})
    return None if row is None else _Current(row.seq, row.etag, row.blob_id)


def _values(new: NewObject) -> dict[str, Any]:
    return {
        "size": new.size,
        "etag": new.etag,
        "modified_at_us": new.now_us,
        "headers": headers_document(new.headers),
        "checksums": dict(new.checksums),
        "checksum_type": new.checksum_type,
        "part_count": None if new.parts is None else len(new.parts),
        "parts": None if new.parts is None else [[part.number, part.size, dict(part.checksums)] for part in new.parts],
        "blob_id": new.blob_id,
        "body": new.body,
    }


def _new_info(new: NewObject) -> ObjectInfo:
    return ObjectInfo(
        key=new.key.decode(),
        size=new.size,
        etag=new.etag,
        modified_at_us=new.now_us,
        headers=new.headers,
        checksums=dict(new.checksums),
        checksum_type=new.checksum_type,
        part_count=None if new.parts is None else len(new.parts),
    )


def _parts_of(row: Any) -> tuple[PartOfObject, ...]:
    parts, start = [], 0
    for number, size, checksums in row.parts or ():
        parts.append(PartOfObject(number=number, start=start, size=size, checksums=checksums))
        start += size
    return tuple(parts)
