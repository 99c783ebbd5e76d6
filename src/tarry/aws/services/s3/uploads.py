"""Multipart uploads: begun, filled in any order, completed or aborted.

An upload is named by bucket, key and id together: an id under another key is no upload.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from tarry.aws.call import Call, Operation, Params
from tarry.aws.services.s3.copy_source import CopySource, open_source
from tarry.aws.services.s3.errors import invalid_request, malformed_xml, no_such_upload, not_implemented
from tarry.aws.services.s3.listing import page_limit
from tarry.aws.services.s3.members import (
    ENCRYPTION,
    STORAGE_CLASS,
    algorithm_of,
    checksum_members,
    given_checksums,
    moment,
    object_headers,
    object_url,
    owner,
    quoted,
)
from tarry.aws.services.s3.objects import PUT_BYTES_MAX, SizedBody
from tarry.aws.services.s3.preconditions import bare_etag, copy_slice, write_condition
from tarry.core.errors import InvalidPartNumber, NoSuchUpload
from tarry.core.names import Scope
from tarry.embedded.buckets.api import BucketsApi
from tarry.embedded.buckets.values import PARTS_MAX, ChecksumType, NamedPart, NewUpload, PartInfo, UploadInfo

_UPLOAD_ALGORITHMS = frozenset({"crc32", "crc32c", "crc64nvme", "sha1", "sha256"})


class UploadOperations:
    """The operations on multipart uploads, their listing in a bucket aside."""

    def __init__(self, buckets: BucketsApi, scope: Scope) -> None:
        self._uploads = buckets.uploads
        self._buckets = buckets
        self._scope = scope

    def table(self) -> Mapping[str, Operation]:
        """The operations by name."""
        return {
            "CreateMultipartUpload": self.create,
            "UploadPart": self.upload_part,
            "UploadPartCopy": self.upload_part_copy,
            "CompleteMultipartUpload": self.complete,
            "AbortMultipartUpload": self.abort,
            "ListParts": self.list_parts,
        }

    async def create(self, call: Call, params: Params) -> Mapping[str, Any]:
        """CreateMultipartUpload."""
        new = NewUpload(
            key=params["Key"],
            headers=object_headers(call, params),
            checksum_algorithm=algorithm_of(params, "x-amz-checksum-algorithm"),
            checksum_type=_checksum_type(params),
        )
        if new.checksum_algorithm is not None and new.checksum_algorithm not in _UPLOAD_ALGORITHMS:
            why = f"Uploads in parts take one of {', '.join(sorted(_UPLOAD_ALGORITHMS)).upper()}."
            raise not_implemented("x-amz-checksum-algorithm", why)
        if new.checksum_type is not None and new.checksum_algorithm is None:
            raise invalid_request("The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.")
        upload = await self._uploads.create(params["Bucket"], new)
        return {"Bucket": params["Bucket"], "Key": upload.key, "UploadId": upload.id, **ENCRYPTION, **_kind(upload)}

    async def upload_part(self, call: Call, params: Params) -> Mapping[str, Any]:
        """UploadPart. The checksum is always echoed: clients name it again when they complete the upload."""
        body = SizedBody(call.body)
        upload = await self._find(params)
        promised = _promised_algorithm(call, params)
        if upload.checksum_algorithm is not None and promised not in {None, upload.checksum_algorithm}:
            raise invalid_request(
                f"Checksum Type mismatch occurred, expected checksum Type: {upload.checksum_algorithm}, "
                f"actual checksum Type: {promised}"
            )
        part = await self._put(params, aiter(body), body.checksums)
        return {"ETag": quoted(part.etag), **ENCRYPTION, **checksum_members(part.checksums)}

    async def upload_part_copy(self, call: Call, params: Params) -> Mapping[str, Any]:
        """UploadPartCopy."""
        source = CopySource.parse(params["CopySource"])
        await self._find(params)
        opened = await open_source(self._buckets, source, params)
        try:
            start, length = copy_slice(params.get("CopySourceRange"), opened.info.size)
            if length > PUT_BYTES_MAX:
                raise invalid_request(
                    f"The specified copy source is larger than the maximum allowable size for a copy source: {PUT_BYTES_MAX}"
                )
            # The bytes of a whole object have its checksum; what a slice has, nobody has calculated.
            whole = length == opened.info.size and opened.info.checksum_type is ChecksumType.FULL_OBJECT
            part = await self._put(params, opened.chunks(start, length), opened.info.checksums if whole else {})
        finally:
            await opened.aclose()
        result = {
            "ETag": quoted(part.etag),
            "LastModified": moment(part.modified_at_us),
            **checksum_members(part.checksums),
        }
        return {"CopyPartResult": result, **ENCRYPTION}

    async def _put(self, params: Params, chunks: AsyncIterator[bytes], checksums: Mapping[str, str]) -> PartInfo:
        return await self._uploads.put_part(
            params["Bucket"], params["UploadId"], params["PartNumber"], chunks, checksums=checksums
        )

    async def complete(self, call: Call, params: Params) -> Mapping[str, Any]:
        """CompleteMultipartUpload; a repeat with the same parts is answered the same."""
        named = _named_parts((params.get("MultipartUpload") or {}).get("Parts") or [])
        condition, expected = write_condition(params), given_checksums(params)
        try:
            upload = await self._unfinished(params)
        except NoSuchUpload:
            upload = None  # perhaps it has been completed: the store remembers for a day
        if upload is not None:
            _check_key(upload, params)
            _check_completion(upload, named, params)
            await self._check_size(params, named)
        info = await self._uploads.complete(params["Bucket"], params["UploadId"], named, condition=condition, checksums=expected)
        if info.key != params["Key"]:
            raise no_such_upload(params["UploadId"])
        return {
            "Location": object_url(call, params["Bucket"], info.key),
            "Bucket": params["Bucket"],
            "Key": info.key,
            "ETag": quoted(info.etag),
            **ENCRYPTION,
            **checksum_members(info.checksums, info.checksum_type),
        }

    async def abort(self, call: Call, params: Params) -> Mapping[str, Any]:
        """AbortMultipartUpload."""
        await self._find(params)
        await self._uploads.abort(params["Bucket"], params["UploadId"])
        return {}

    async def list_parts(self, call: Call, params: Params) -> Mapping[str, Any]:
        """ListParts."""
        limit, marker = page_limit(params, "MaxParts", "max-parts"), max(params.get("PartNumberMarker") or 0, 0)
        upload = await self._find(params)
        page = await self._uploads.list_parts(params["Bucket"], params["UploadId"], after=marker, limit=max(limit, 1))
        parts = page.parts[:limit]
        output: dict[str, Any] = {
            "Bucket": params["Bucket"],
            "Key": upload.key,
            "UploadId": upload.id,
            "PartNumberMarker": marker,
            "NextPartNumberMarker": parts[-1].number if parts else 0,
            "MaxParts": limit,
            "IsTruncated": bool(limit) and page.next_number is not None,
            "Initiator": owner(self._scope.account_id),
            "Owner": owner(self._scope.account_id),
            "StorageClass": STORAGE_CLASS,
            **_kind(upload),
        }
        if parts:
            output["Parts"] = [_part(part) for part in parts]
        return output

    async def _find(self, params: Params) -> UploadInfo:
        number = params.get("PartNumber")
        if number is not None and not 1 <= number <= PARTS_MAX:
            raise InvalidPartNumber(number, PARTS_MAX)
        upload = await self._unfinished(params)
        _check_key(upload, params)
        return upload

    async def _unfinished(self, params: Params) -> UploadInfo:
        return (await self._uploads.list_parts(params["Bucket"], params["UploadId"], limit=1)).upload

    async def _check_size(self, params: Params, named: Sequence[NamedPart]) -> None:
        announced = params.get("MpuObjectSize")
        if announced is None:
            return
        numbers, total, after = {part.number for part in named}, 0, 0
        while True:
            page = await self._uploads.list_parts(params["Bucket"], params["UploadId"], after=after)
            total += sum(part.size for part in page.parts if part.number in numbers)
            if page.next_number is None:
                break
            after = page.next_number
        if total != announced:
            raise invalid_request(
                f"The provided 'x-amz-mp-object-size' header value {announced} does not match what was computed: {total}"
            )


def _check_key(upload: UploadInfo, params: Params) -> None:
    if upload.key != params["Key"]:
        raise NoSuchUpload(upload.id)


def _checksum_type(params: Params) -> ChecksumType | None:
    name = params.get("ChecksumType")
    if not name:
        return None
    if name not in list(ChecksumType):
        raise invalid_request("Value for x-amz-checksum-type header is invalid.")
    return ChecksumType(name)


def _promised_algorithm(call: Call, params: Params) -> str | None:
    """The algorithm of the checksum that comes with a part, in its headers or its trailer."""
    if given := given_checksums(params):
        return next(iter(given))
    trailer = call.headers.get("x-amz-trailer", "").split(",")[0].strip().lower()
    return trailer.removeprefix("x-amz-checksum-") or None


def _named_parts(parts: Sequence[Mapping[str, Any]]) -> list[NamedPart]:
    if any(part.get("PartNumber") is None or part.get("ETag") is None for part in parts):
        raise malformed_xml()
    for part in parts:
        if not 1 <= part["PartNumber"] <= PARTS_MAX:
            raise InvalidPartNumber(part["PartNumber"], PARTS_MAX)
    return [NamedPart(number=part["PartNumber"], etag=bare_etag(part["ETag"]), checksums=given_checksums(part)) for part in parts]


def _check_completion(upload: UploadInfo, named: Sequence[NamedPart], params: Params) -> None:
    wanted = _checksum_type(params)
    if wanted is not None and upload.checksum_type is not None and wanted is not upload.checksum_type:
        raise invalid_request(
            f"The upload was created using the {upload.checksum_type} checksum mode. "
            "The complete request must use the same checksum mode."
        )
    algorithm = upload.checksum_algorithm
    if algorithm is None or upload.checksum_type is not ChecksumType.COMPOSITE:
        return
    for part in named:
        if algorithm not in part.checksums:
            raise invalid_request(
                f"The upload was created using a {algorithm} checksum. The complete request must include the checksum for "
                f"each part. It was missing for part {part.number} in the request."
            )


def _kind(upload: UploadInfo) -> dict[str, str]:
    if upload.checksum_algorithm is None:
        return {}
    return {"ChecksumAlgorithm": upload.checksum_algorithm.upper(), "ChecksumType": str(upload.checksum_type)}


def _part(part: PartInfo) -> dict[str, Any]:
    return {
        "PartNumber": part.number,
        "LastModified": moment(part.modified_at_us),
        "ETag": quoted(part.etag),
        "Size": part.size,
        **checksum_members(part.checksums),
    }
