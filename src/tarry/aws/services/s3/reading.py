"""GetObject, HeadObject and GetObjectAttributes: an object's bytes, and what is known of it.

The bytes are those of one version of the object from the first to the last, even if it is overwritten or deleted meanwhile.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, Self

from tarry.aws.call import Call, Operation, Params, Reply
from tarry.aws.services.s3.errors import invalid_argument
from tarry.aws.services.s3.members import (
    ENCRYPTION,
    STORAGE_CLASS,
    checksum_members,
    expires_header,
    moment,
    quoted,
    shown_headers,
)
from tarry.aws.services.s3.preconditions import Slice, check_one_kind_of_range, not_modified, read_slice
from tarry.embedded.buckets.api import BucketsApi, OpenedObject
from tarry.embedded.buckets.values import ObjectInfo

_OVERRIDES: Mapping[str, str] = {
    "ResponseCacheControl": "CacheControl",
    "ResponseContentDisposition": "ContentDisposition",
    "ResponseContentEncoding": "ContentEncoding",
    "ResponseContentLanguage": "ContentLanguage",
    "ResponseContentType": "ContentType",
    "ResponseExpires": "Expires",
}
_ATTRIBUTES: Final = frozenset({"ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"})
_PARTS_PAGE_MAX: Final = 1000  # AWS: GetObjectAttributes API reference, x-amz-max-parts


class ObjectStream:
    """The bytes of an answer. Lets go of the object at the end, at an error, or when closed early (also before the start)."""

    def __init__(self, opened: OpenedObject, wanted: Slice) -> None:
        self._opened = opened
        self._chunks = opened.chunks(wanted.start, wanted.length)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await anext(self._chunks)
        except BaseException:
            await self.aclose()
            raise

    async def aclose(self) -> None:
        """Let go of the object. Repeats change nothing."""
        await self._opened.aclose()


class ReadOperations:
    """The operations that read one object."""

    def __init__(self, buckets: BucketsApi) -> None:
        self._buckets = buckets

    def table(self) -> Mapping[str, Operation]:
        """The operations by name."""
        return {
            "GetObject": self.get_object,
            "HeadObject": self.head_object,
            "GetObjectAttributes": self.get_object_attributes,
        }

    async def get_object(self, call: Call, params: Params) -> Reply:
        """GetObject."""
        check_one_kind_of_range(params)
        opened = await self._buckets.open_object(params["Bucket"], params["Key"])
        try:
            reply, wanted = _read(params, opened.info, opened)
        except BaseException:
            await opened.aclose()
            raise
        if wanted is None:
            await opened.aclose()
            return reply
        return replace(reply, stream=ObjectStream(opened, wanted))

    async def head_object(self, call: Call, params: Params) -> Reply:
        """HeadObject: the answer of GetObject without its bytes."""
        check_one_kind_of_range(params)
        bucket, key = params["Bucket"], params["Key"]
        if params.get("PartNumber") is None:
            return _read(params, await self._buckets.head_object(bucket, key), None)[0]
        opened = await self._buckets.open_object(bucket, key)
        try:
            return _read(params, opened.info, opened)[0]
        finally:
            await opened.aclose()

    async def get_object_attributes(self, call: Call, params: Params) -> Mapping[str, Any]:
        """GetObjectAttributes."""
        wanted = set(params["ObjectAttributes"])
        if unknown := wanted - _ATTRIBUTES:
            raise invalid_argument("Invalid attribute name specified.", "x-amz-object-attributes", min(unknown))
        opened = await self._buckets.open_object(params["Bucket"], params["Key"])
        try:
            info = opened.info
            output: dict[str, Any] = {"LastModified": moment(info.modified_at_us)}
            if "ETag" in wanted:
                output["ETag"] = info.etag  # AWS: without quotes, here alone (recorded in LocalStack's snapshots)
            if "Checksum" in wanted and (checksums := checksum_members(info.checksums, info.checksum_type)):
                output["Checksum"] = checksums
            if "ObjectParts" in wanted and info.part_count is not None:
                output["ObjectParts"] = _parts(params, opened, info.part_count)
            if "StorageClass" in wanted:
                output["StorageClass"] = STORAGE_CLASS
            if "ObjectSize" in wanted:
                output["ObjectSize"] = info.size
            return output
        finally:
            await opened.aclose()


def _read(params: Params, info: ObjectInfo, opened: OpenedObject | None) -> tuple[Reply, Slice | None]:
    """The answer without its bytes, and which bytes they are; None: the caller has them already. ``opened`` for part numbers."""
    if not_modified(params, info):
        return Reply(output={"ETag": quoted(info.etag), "LastModified": moment(info.modified_at_us)}, status=304), None
    number = params.get("PartNumber")
    wanted = read_slice(params, info.size, opened.part(number) if opened is not None and number is not None else None)
    return _found(params, info, wanted), wanted


def _found(params: Params, info: ObjectInfo, wanted: Slice) -> Reply:
    output: dict[str, Any] = {
        "AcceptRanges": "bytes",
        "LastModified": moment(info.modified_at_us),
        "ContentLength": wanted.length,
        "ETag": quoted(info.etag),
        **ENCRYPTION,
        **shown_headers(info),
    }
    headers = expires_header(info)
    if not wanted.whole and wanted.length:
        output["ContentRange"] = wanted.content_range(info.size)
    if params.get("ChecksumMode") == "ENABLED":
        output |= _checksums(info, wanted)
    if params.get("PartNumber") is not None and info.part_count is not None:
        output["PartsCount"] = info.part_count
    for asked, member in _OVERRIDES.items():
        if (value := params.get(asked)) is not None:
            # Header texts are bytes read as Latin-1, here and in everything stored; a query's are UTF-8.
            output[member] = value.encode().decode("latin-1") if isinstance(value, str) else value
            if member == "Expires":
                headers = {}
    return Reply(output=output, status=200 if wanted.whole else 206, headers=headers)


def _checksums(info: ObjectInfo, wanted: Slice) -> dict[str, str]:
    # A client compares what it is told with the bytes it gets: of a range nothing is known, of a part its own checksum.
    if wanted.whole:
        return checksum_members(info.checksums, info.checksum_type)
    if wanted.part_checksums:
        return checksum_members(wanted.part_checksums, info.checksum_type)
    return {}


def _parts(params: Params, opened: OpenedObject, count: int) -> dict[str, Any]:
    """AWS: the single parts are listed only where they have checksums (GetObjectAttributes API reference)."""
    marker, limit = params.get("PartNumberMarker") or 0, params.get("MaxParts")
    if marker < 0 or (limit is not None and limit < 0):
        name, value = ("part-number-marker", marker) if marker < 0 else ("max-parts", limit)
        raise invalid_argument(f"Argument {name} must be an integer between 0 and 2147483647", name, value)
    output: dict[str, Any] = {"TotalPartsCount": count}
    if not opened.info.checksums:
        return output
    limit = _PARTS_PAGE_MAX if limit is None else min(limit, _PARTS_PAGE_MAX)
    every = [opened.part(number) for number in range(1, count + 1)]
    rest = [part for part in every if part.number > marker]
    page = rest[:limit]
    output |= {
        "PartNumberMarker": marker,
        "NextPartNumberMarker": page[-1].number if page else 0,
        "MaxParts": limit,
        "IsTruncated": len(rest) > len(page),
    }
    if page:
        output["Parts"] = [{"PartNumber": part.number, "Size": part.size, **checksum_members(part.checksums)} for part in page]
    return output
