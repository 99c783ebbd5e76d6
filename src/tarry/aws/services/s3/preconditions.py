"""If-Match and its family, and the range of a read: which bytes a caller gets, if any.

AWS: "Conditional requests" and "Downloading objects" in the S3 user guide; the precedence of two conditions is that of
RFC 9110 §13.2.2. Times are compared in whole seconds, since that is what callers are told.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from tarry.aws.call import Params
from tarry.aws.services.s3.errors import invalid_argument, invalid_request, not_implemented, precondition_failed
from tarry.embedded.buckets.values import ByteRange, Condition, ObjectInfo, PartOfObject

_RANGE = re.compile(r"bytes=(\d*)-(\d*)", re.ASCII)
_COPY_RANGE = re.compile(r"bytes=(\d+)-(\d+)", re.ASCII)
_DIGITS_MAX: Final = 19  # more bytes than a 64-bit size can count

READ_HEADERS: Mapping[str, str] = {
    "IfMatch": "If-Match",
    "IfNoneMatch": "If-None-Match",
    "IfModifiedSince": "If-Modified-Since",
    "IfUnmodifiedSince": "If-Unmodified-Since",
}
COPY_HEADERS: Mapping[str, str] = {f"CopySource{member}": f"x-amz-copy-source-{name}" for member, name in READ_HEADERS.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """The bytes of an object that a read asks for."""

    start: int
    length: int
    whole: bool
    part_checksums: Mapping[str, str] | None = None
    """Those of the part, where the bytes were asked for by part number."""

    def content_range(self, size: int) -> str:
        """The Content-Range header of an object of ``size`` bytes."""
        return f"bytes {self.start}-{self.start + self.length - 1}/{size}"


def not_modified(params: Params, info: ObjectInfo) -> bool:
    """Whether a read is answered 304.

    Raises:
        AwsError: PreconditionFailed.
    """
    _check_required(params, info, READ_HEADERS, "")
    return _first_unwanted(params, info, "") is not None


def check_copy_source(params: Params, info: ObjectInfo) -> None:
    """The conditions on the source of a copy.

    Raises:
        AwsError: PreconditionFailed, also where a read would be answered 304.
    """
    _check_required(params, info, COPY_HEADERS, "CopySource")
    if member := _first_unwanted(params, info, "CopySource"):
        raise precondition_failed(COPY_HEADERS[member])


def _check_required(params: Params, info: ObjectInfo, names: Mapping[str, str], prefix: str) -> None:
    modified = datetime.fromtimestamp(info.modified_at_us // 1_000_000, UTC)
    if (wanted := params.get(f"{prefix}IfMatch")) is not None:
        if not etag_matches(wanted, info.etag):
            raise precondition_failed(names[f"{prefix}IfMatch"])
    elif (limit := params.get(f"{prefix}IfUnmodifiedSince")) is not None and modified > limit:
        raise precondition_failed(names[f"{prefix}IfUnmodifiedSince"])


def _first_unwanted(params: Params, info: ObjectInfo, prefix: str) -> str | None:
    modified = datetime.fromtimestamp(info.modified_at_us // 1_000_000, UTC)
    if (unwanted := params.get(f"{prefix}IfNoneMatch")) is not None:
        return f"{prefix}IfNoneMatch" if etag_matches(unwanted, info.etag) else None
    if (since := params.get(f"{prefix}IfModifiedSince")) is not None and modified <= since:
        return f"{prefix}IfModifiedSince"
    return None


def etag_matches(header: str, etag: str) -> bool:
    """Whether an If-(None-)Match header, ``*`` or a list of ETags with or without quotes, has the ETag in it."""
    wanted = [bare_etag(item) for item in header.split(",")]
    return "*" in wanted or etag in wanted


def bare_etag(text: str) -> str:
    """An ETag without blanks, weakness mark and quotes."""
    return text.strip().removeprefix("W/").strip('"')


def write_condition(params: Params) -> Condition:
    """The condition of a write, delete or completion.

    Raises:
        AwsError: NotImplemented for what S3 does not take on writes.
    """
    match, none_match = params.get("IfMatch"), params.get("IfNoneMatch")
    if match is not None and none_match is not None:
        raise not_implemented("If-Match,If-None-Match", "We don't accept the provided value of both headers together")
    if none_match is not None:
        if none_match.strip() != "*":
            raise not_implemented("If-None-Match", "We don't accept the provided value of If-None-Match header for this API")
        return Condition(absent=True)
    if match is None:
        return Condition()
    if bare_etag(match) == "*":
        raise not_implemented("If-Match", "We don't accept the provided value of If-Match header for this API")
    return Condition(etag=bare_etag(match))


def check_one_kind_of_range(params: Params) -> None:
    """Range and partNumber exclude each other. Errors: AwsError InvalidRequest."""
    if params.get("Range") is not None and params.get("PartNumber") is not None:
        raise invalid_request("Cannot specify both Range header and partNumber query parameter")


def read_slice(params: Params, size: int, part: PartOfObject | None) -> Slice:
    """Which bytes of an object of ``size`` bytes a read asks for, by Range or by the ``part`` of its partNumber.

    Raises:
        InvalidRange: no such bytes.
    """
    if part is not None:
        return Slice(start=part.start, length=part.size, whole=False, part_checksums=part.checksums)
    # AWS: S3 answers a range that it cannot read, and more than one range, with the whole object (RFC 9110 §14.2 allows it).
    text = params.get("Range")
    asked = parse_range(text) if text else None
    if asked is None:
        return Slice(start=0, length=size, whole=True)
    start, length = asked.resolve(size)
    return Slice(start=start, length=length, whole=False)


def parse_range(text: str) -> ByteRange | None:
    """One byte range as a Range header has it, or None for what is to be ignored."""
    match = _RANGE.fullmatch(text.strip().replace(" ", ""))
    if match is None or max(map(len, match.groups())) > _DIGITS_MAX:
        return None
    first, last = match.groups()
    if first:
        found = ByteRange(first=int(first), last=int(last) if last else None)
        return None if found.last is not None and int(first) > found.last else found
    return ByteRange(suffix=int(last)) if last else None


def copy_slice(text: str | None, size: int) -> tuple[int, int]:
    """(start, length) of ``x-amz-copy-source-range``; unlike a read's range it has to be exact.

    Raises:
        AwsError: InvalidArgument (not ``bytes=first-last``, or past the end).
    """
    if text is None:
        return 0, size
    match = _COPY_RANGE.fullmatch(text.strip())
    if match is None or max(map(len, match.groups())) > _DIGITS_MAX or int(match[1]) > int(match[2]):
        message = "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the "
        message += "zero-based offsets of the first and last bytes to copy"
        raise invalid_argument(message, "x-amz-copy-source-range", text)
    first, last = int(match[1]), int(match[2])
    if last >= size:
        # AWS: recorded in LocalStack's snapshots for a range beyond the source.
        message = f"Range specified is not valid for source object of size: {size}"
        raise invalid_argument(message, "x-amz-copy-source-range", text)
    return first, last - first + 1
