"""PutObject, CopyObject, DeleteObject and DeleteObjects: what changes an object.

An answer means that the change is on disk. Bytes stream into the store while they are verified; nothing of a body that turns
out to be wrong is kept.
"""

from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from tarry.aws.call import Body, Call, Operation, Params
from tarry.aws.errors import AwsError
from tarry.aws.services.s3.copy_source import CopySource, open_source
from tarry.aws.services.s3.errors import invalid_argument, invalid_request, malformed_xml, not_implemented, translate
from tarry.aws.services.s3.members import (
    ENCRYPTION,
    LiveChecksums,
    algorithm_of,
    checksum_members,
    moment,
    object_headers,
    quoted,
)
from tarry.aws.services.s3.preconditions import bare_etag, write_condition
from tarry.core.errors import TarryError
from tarry.embedded.buckets.api import BucketsApi, OpenedObject
from tarry.embedded.buckets.naming import key_bytes
from tarry.embedded.buckets.values import Condition

PUT_BYTES_MAX: Final = 5 * 1024**3  # AWS: S3 user guide, "Amazon S3 objects overview"
_DELETE_KEYS_MAX: Final = 1000  # AWS: DeleteObjects API reference


class SizedBody:
    """A body that may not pass S3's bound for one PUT, also where its size was not announced."""

    def __init__(self, body: Body | None) -> None:
        self._body = body
        if body is not None and body.size is not None:
            _check_size(body.size)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The payload. AwsError EntityTooLarge at the first byte too many."""
        if self._body is None:
            return
        total = 0
        async for chunk in self._body:
            total += len(chunk)
            _check_size(total)
            yield chunk

    @property
    def checksums(self) -> Mapping[str, str]:
        """Those of the body, known after its end at the latest."""
        return {} if self._body is None else LiveChecksums(self._body)


def _check_size(size: int) -> None:
    if size > PUT_BYTES_MAX:
        message = "Your proposed upload exceeds the maximum allowed size"
        extras = {"ProposedSize": str(size), "MaxSizeAllowed": str(PUT_BYTES_MAX)}
        raise AwsError(code="EntityTooLarge", message=message, status=400, extras=extras)


class WriteOperations:
    """The operations that change single objects."""

    def __init__(self, buckets: BucketsApi) -> None:
        self._buckets = buckets

    def table(self) -> Mapping[str, Operation]:
        """The operations by name."""
        return {
            "PutObject": self.put_object,
            "CopyObject": self.copy_object,
            "DeleteObject": self.delete_object,
            "DeleteObjects": self.delete_objects,
        }

    async def put_object(self, call: Call, params: Params) -> Mapping[str, Any]:
        """PutObject."""
        body = SizedBody(call.body)
        info = await self._buckets.put_object(
            params["Bucket"],
            params["Key"],
            aiter(body),
            object_headers(call, params),
            checksums=body.checksums,
            condition=write_condition(params),
        )
        return {"ETag": quoted(info.etag), **ENCRYPTION, **checksum_members(info.checksums, info.checksum_type)}

    async def copy_object(self, call: Call, params: Params) -> Mapping[str, Any]:
        """CopyObject."""
        source = CopySource.parse(params["CopySource"])
        directive = params.get("MetadataDirective") or "COPY"
        if directive not in {"COPY", "REPLACE"}:
            raise invalid_argument("Unknown metadata directive.", "x-amz-metadata-directive", directive)
        same = (source.bucket, source.key) == (params["Bucket"], params["Key"])
        changes = directive == "REPLACE" or any(params.get(m) for m in ("ServerSideEncryption", "StorageClass"))
        if same and not changes:
            raise invalid_request(
                "This copy request is illegal because it is trying to copy an object to itself without changing the object's "
                "metadata, storage class, website redirect location or encryption attributes."
            )
        algorithm, condition = algorithm_of(params, "x-amz-checksum-algorithm"), write_condition(params)
        opened = await open_source(self._buckets, source, params)
        try:
            _check_copy(opened, algorithm)
            info = await self._buckets.copy_object(
                opened,
                params["Bucket"],
                params["Key"],
                headers=object_headers(call, params) if directive == "REPLACE" else None,
                condition=condition,
            )
        finally:
            await opened.aclose()
        result = {
            "ETag": quoted(info.etag),
            "LastModified": moment(info.modified_at_us),
            **checksum_members(info.checksums, info.checksum_type),
        }
        return {"CopyObjectResult": result, **ENCRYPTION}

    async def delete_object(self, call: Call, params: Params) -> Mapping[str, Any]:
        """DeleteObject."""
        await self._delete(params["Bucket"], params["Key"], params.get("IfMatch"))
        return {}

    async def delete_objects(self, call: Call, params: Params) -> Mapping[str, Any]:
        """DeleteObjects: those without a condition in one commit, the others one by one."""
        bucket, entries = params["Bucket"], params["Delete"].get("Objects") or []
        if not 0 < len(entries) <= _DELETE_KEYS_MAX:
            raise malformed_xml()
        await self._buckets.head_bucket(bucket)
        errors: list[dict[str, Any]] = []
        plain: list[dict[str, Any]] = []
        deleted: list[dict[str, Any]] = []
        for entry in entries:
            try:
                _check_entry(entry)
                if entry.get("ETag") is None:
                    plain.append(entry)
                    continue
                await self._delete(bucket, entry["Key"], entry["ETag"])
                deleted.append(entry)
            except (AwsError, TarryError) as error:
                errors.append(_entry_error(entry, error))
        if plain:
            await self._buckets.delete_objects(bucket, [entry["Key"] for entry in plain])
            deleted += plain
        output: dict[str, Any] = {}
        if deleted and not params["Delete"].get("Quiet"):
            output["Deleted"] = [{name: entry[name] for name in ("Key", "VersionId") if entry.get(name)} for entry in deleted]
        if errors:
            output["Errors"] = errors
        return output

    async def _delete(self, bucket: str, key: str, if_match: str | None) -> None:
        condition = Condition()
        if if_match is not None and bare_etag(if_match) == "*":
            # AWS: on deletes, unlike writes, "*" means that there has to be an object (S3 user guide, conditional deletes).
            await self._buckets.head_object(bucket, key)
        elif if_match is not None:
            condition = Condition(etag=bare_etag(if_match))
        await self._buckets.delete_object(bucket, key, condition=condition)


def _check_copy(opened: OpenedObject, algorithm: str | None) -> None:
    if opened.info.size > PUT_BYTES_MAX:
        raise invalid_request(
            f"The specified copy source is larger than the maximum allowable size for a copy source: {PUT_BYTES_MAX}"
        )
    if algorithm is not None and (algorithm not in opened.info.checksums or "-" in opened.info.checksums[algorithm]):
        raise not_implemented("x-amz-checksum-algorithm", "A copy keeps the checksum of its source; no other is calculated.")


def _check_entry(entry: Mapping[str, Any]) -> None:
    if entry.get("VersionId") not in {None, "null"}:
        message = "The specified version does not exist."
        raise AwsError(code="NoSuchVersion", message=message, status=404)
    for member in ("LastModifiedTime", "Size"):
        if entry.get(member) is not None:
            raise not_implemented(member, "Use ETag to delete an object only if it is the one you mean.")
    key_bytes(entry["Key"])


def _entry_error(entry: Mapping[str, Any], error: AwsError | TarryError) -> dict[str, Any]:
    told = error if isinstance(error, AwsError) else translate(error, entry)
    if told is None:
        raise error
    found = {"Key": entry["Key"], "Code": told.code, "Message": told.message}
    return found | ({"VersionId": entry["VersionId"]} if entry.get("VersionId") else {})
