"""What goes into and comes out of the bucket store: values only, nothing here touches a disk.

ETags have no quotes here. Keys are text; they are ordered by their UTF-8 bytes. Times are microseconds since the epoch, UTC.
Checksums are base64 text by algorithm in lower case (``crc32``, ``crc32c``, ``crc64nvme``, ``sha1``, ``sha256``).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from tarry.core.errors import InvalidRange

CONTENT_TYPE_DEFAULT = "binary/octet-stream"  # AWS: S3 user guide, system-defined object metadata
PART_BYTES_MIN = 5 * 1024 * 1024  # AWS: S3 user guide, multipart upload limits
PARTS_MAX = 10_000  # AWS: the same page
KEY_BYTES_MAX = 1024  # AWS: S3 user guide, object key names


class ChecksumType(StrEnum):
    """How the checksum of a multipart object came about."""

    FULL_OBJECT = "FULL_OBJECT"  # over all bytes
    COMPOSITE = "COMPOSITE"  # over the checksums of the parts; ends in "-<number of parts>"


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketInfo:
    """A bucket."""

    name: str
    created_at_us: int
    region: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectHeaders:
    """What a writer says about an object and every reader is told again, exactly as it came."""

    content_type: str = CONTENT_TYPE_DEFAULT
    content_encoding: str | None = None
    cache_control: str | None = None
    content_disposition: str | None = None
    content_language: str | None = None
    expires: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    """User metadata by name, without ``x-amz-meta-``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectInfo:
    """An object as head and get show it."""

    key: str
    size: int
    etag: str
    modified_at_us: int
    headers: ObjectHeaders = field(default_factory=ObjectHeaders)
    checksums: Mapping[str, str] = field(default_factory=dict)
    checksum_type: ChecksumType | None = None
    """None where there are no checksums."""
    part_count: int | None = None
    """How many parts it was uploaded in; None for a plain PUT."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What has to hold of the current object at the moment of a write, else PreconditionFailed and nothing changes."""

    absent: bool = False
    """If-None-Match: * (there is no object of this key)."""
    etag: str | None = None
    """If-Match: the object has this ETag. No object at all: ObjectNotFound."""


ANY = Condition()
"""No condition."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ByteRange:
    """A range as asked for: ``first``-``last`` inclusive, ``first``- to the end, or the ``suffix`` last bytes."""

    first: int | None = None
    last: int | None = None
    suffix: int | None = None

    def resolve(self, size: int) -> tuple[int, int]:
        """(start, length) within an object of ``size`` bytes; the end is cut to the object's.

        Raises:
            InvalidRange: no byte of the object lies in the range.
        """
        if self.suffix is not None:
            start, end = max(0, size - self.suffix), size
        else:
            start, end = self.first or 0, size if self.last is None else min(self.last + 1, size)
        if start >= end:
            raise InvalidRange(str(self), size)
        return start, end - start

    def __str__(self) -> str:
        """As it stands in a Range header."""
        if self.suffix is not None:
            return f"bytes=-{self.suffix}"
        return f"bytes={self.first or 0}-{'' if self.last is None else self.last}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PartOfObject:
    """One part of a finished multipart object: where it lies in the object, and its own checksums."""

    number: int
    start: int
    size: int
    checksums: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListQuery:
    """One page of a listing. Entries are keys, and common prefixes if there is a delimiter, in one UTF-8 byte order."""

    prefix: str = ""
    delimiter: str = ""
    after: str = ""
    """Only entries (keys *and* common prefixes) that sort after this: StartAfter, Marker or a page's ``next_after``."""
    limit: int = 1000
    """Entries on the page, keys and common prefixes together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListPage:
    """Keys and common prefixes, each in order. ``next_after`` is None on the last page."""

    objects: tuple[ObjectInfo, ...] = ()
    """Without ``headers`` (a listing does not show them) and without ``part_count``."""
    prefixes: tuple[str, ...] = ()
    next_after: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewUpload:
    """What CreateMultipartUpload fixes for the object to come."""

    key: str
    headers: ObjectHeaders = field(default_factory=ObjectHeaders)
    checksum_algorithm: str | None = None
    checksum_type: ChecksumType | None = None
    """None with an algorithm: COMPOSITE, for crc64nvme FULL_OBJECT."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadInfo:
    """A multipart upload that has been begun."""

    id: str
    key: str
    initiated_at_us: int
    headers: ObjectHeaders = field(default_factory=ObjectHeaders)
    checksum_algorithm: str | None = None
    checksum_type: ChecksumType | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PartInfo:
    """An uploaded part."""

    number: int
    size: int
    etag: str
    modified_at_us: int
    checksums: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PartPage:
    """Parts by number. ``next_number`` (the marker for the next page) is None on the last page."""

    upload: UploadInfo
    parts: tuple[PartInfo, ...]
    next_number: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadQuery:
    """One page of unfinished uploads, by key, then by age."""

    prefix: str = ""
    delimiter: str = ""
    after_key: str = ""
    after_id: str = ""
    """With ``after_key``: also the younger uploads of that very key."""
    limit: int = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadPage:
    """Unfinished uploads and common prefixes. The ``next_*`` markers are None on the last page."""

    uploads: tuple[UploadInfo, ...] = ()
    prefixes: tuple[str, ...] = ()
    next_key: str | None = None
    next_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedPart:
    """A part as CompleteMultipartUpload names it; checksums are compared where they are given."""

    number: int
    etag: str
    checksums: Mapping[str, str] = field(default_factory=dict)
