"""ListObjectsV2, ListObjects and ListMultipartUploads: pages of keys and common prefixes.

boto3 always asks for ``encoding-type=url`` and decodes only if it is echoed; other clients do not ask and get keys as they are.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote_plus

from tarry.aws.call import Call, Operation, Params
from tarry.aws.services.s3.buckets import read_token, write_token
from tarry.aws.services.s3.errors import invalid_argument
from tarry.aws.services.s3.members import CHECKSUM_MEMBERS, STORAGE_CLASS, moment, owner, quoted
from tarry.core.names import Scope
from tarry.embedded.buckets.api import BucketsApi
from tarry.embedded.buckets.values import ListPage, ListQuery, ObjectInfo, UploadInfo, UploadPage, UploadQuery

_PAGE_MAX = 1000  # AWS: ListObjectsV2 API reference, "The action returns up to 1,000 key names"
_INT_MAX = 2**31 - 1


class Listing:
    """How one answer writes its names: percent-encoded if the caller asked for it."""

    def __init__(self, params: Params) -> None:
        encoding = params.get("EncodingType") or None
        if encoding not in {None, "url"}:
            raise invalid_argument("Invalid Encoding Method specified in Request", "encoding-type", encoding)
        self._encoded = encoding == "url"

    def name(self, text: str) -> str:
        """A key, prefix, delimiter or marker."""
        # AWS: blanks become "+", slashes stay, "=" does not (recorded in LocalStack's snapshots).
        return quote_plus(text, safe="/*", errors="surrogatepass") if self._encoded else text

    def common(self, params: Params, prefixes: tuple[str, ...]) -> dict[str, Any]:
        """The members that every listing has."""
        output: dict[str, Any] = {"Prefix": self.name(params.get("Prefix") or "")}
        if delimiter := params.get("Delimiter"):
            output["Delimiter"] = self.name(delimiter)
        if self._encoded:
            output["EncodingType"] = "url"
        if prefixes:
            output["CommonPrefixes"] = [{"Prefix": self.name(prefix)} for prefix in prefixes]
        return output


def page_limit(params: Params, member: str, argument: str) -> int:
    """How many entries a page may have; more than 1000 is cut.

    Raises:
        AwsError: InvalidArgument for a negative number.
    """
    limit: int | None = params.get(member)
    if limit is None:
        return _PAGE_MAX
    if not 0 <= limit <= _INT_MAX:
        raise invalid_argument(f"Argument {argument} must be an integer between 0 and {_INT_MAX}", argument, limit)
    return min(limit, _PAGE_MAX)


class ListOperations:
    """The listings of a bucket."""

    def __init__(self, buckets: BucketsApi, scope: Scope) -> None:
        self._buckets = buckets
        self._scope = scope

    def table(self) -> Mapping[str, Operation]:
        """The operations by name."""
        return {
            "ListObjectsV2": self.list_objects_v2,
            "ListObjects": self.list_objects,
            "ListMultipartUploads": self.list_multipart_uploads,
        }

    async def list_objects_v2(self, call: Call, params: Params) -> Mapping[str, Any]:
        """ListObjectsV2."""
        listing, limit = Listing(params), page_limit(params, "MaxKeys", "max-keys")
        token, start_after = params.get("ContinuationToken"), params.get("StartAfter") or ""
        if token == "":
            raise invalid_argument("The continuation token provided is incorrect", "continuation-token", token)
        # AWS: StartAfter is ignored once a token is given (recorded in LocalStack's snapshots).
        page = await self._page(params, limit, read_token(token) if token else start_after)
        output = {
            "Name": params["Bucket"],
            "MaxKeys": limit,
            "KeyCount": len(page.objects) + len(page.prefixes),
            "IsTruncated": page.next_after is not None,
            **listing.common(params, page.prefixes),
            **self._contents(listing, page, show_owner=bool(params.get("FetchOwner"))),
        }
        if start_after:
            output["StartAfter"] = listing.name(start_after)
        if token:
            output["ContinuationToken"] = token
        if page.next_after is not None:
            output["NextContinuationToken"] = write_token(page.next_after)
        return output

    async def list_objects(self, call: Call, params: Params) -> Mapping[str, Any]:
        """ListObjects, the first version, which boto3's ``bucket.objects`` still calls."""
        listing, limit = Listing(params), page_limit(params, "MaxKeys", "max-keys")
        marker = params.get("Marker") or ""
        page = await self._page(params, limit, marker)
        output = {
            "Name": params["Bucket"],
            "MaxKeys": limit,
            "Marker": listing.name(marker),
            "IsTruncated": page.next_after is not None,
            **listing.common(params, page.prefixes),
            **self._contents(listing, page, show_owner=True),
        }
        # AWS: without a delimiter the last key is the next marker, and NextMarker is left out (ListObjects API reference).
        if page.next_after is not None and params.get("Delimiter"):
            output["NextMarker"] = listing.name(page.next_after)
        return output

    async def _page(self, params: Params, limit: int, after: str) -> ListPage:
        if limit == 0:
            await self._buckets.head_bucket(params["Bucket"])
            return ListPage()
        query = ListQuery(prefix=params.get("Prefix") or "", delimiter=params.get("Delimiter") or "", after=after, limit=limit)
        return await self._buckets.list_objects(params["Bucket"], query)

    def _contents(self, listing: Listing, page: ListPage, *, show_owner: bool) -> dict[str, Any]:
        if not page.objects:
            return {}
        return {"Contents": [self._entry(listing, info, show_owner=show_owner) for info in page.objects]}

    def _entry(self, listing: Listing, info: ObjectInfo, *, show_owner: bool) -> dict[str, Any]:
        entry: dict[str, Any] = {
            "Key": listing.name(info.key),
            "LastModified": moment(info.modified_at_us),
            "ETag": quoted(info.etag),
            "Size": info.size,
            "StorageClass": STORAGE_CLASS,
        }
        if algorithms := [name.upper() for name in CHECKSUM_MEMBERS if name in info.checksums]:
            entry["ChecksumAlgorithm"] = algorithms
            if info.checksum_type is not None:
                entry["ChecksumType"] = str(info.checksum_type)
        if show_owner:
            entry["Owner"] = owner(self._scope.account_id)
        return entry

    async def list_multipart_uploads(self, call: Call, params: Params) -> Mapping[str, Any]:
        """ListMultipartUploads."""
        listing, limit = Listing(params), page_limit(params, "MaxUploads", "max-uploads")
        key_marker, id_marker = params.get("KeyMarker") or "", params.get("UploadIdMarker") or ""
        page = await self._uploads(params, limit, key_marker, id_marker if key_marker else "")
        output = {
            "Bucket": params["Bucket"],
            "KeyMarker": listing.name(key_marker),
            "UploadIdMarker": id_marker,
            "MaxUploads": limit,
            "IsTruncated": page.next_key is not None,
            **listing.common(params, page.prefixes),
        }
        if page.next_key is not None:
            output |= {"NextKeyMarker": listing.name(page.next_key), "NextUploadIdMarker": page.next_id or ""}
        if page.uploads:
            output["Uploads"] = [self._upload(listing, upload) for upload in page.uploads]
        return output

    async def _uploads(self, params: Params, limit: int, after_key: str, after_id: str) -> UploadPage:
        if limit == 0:
            await self._buckets.head_bucket(params["Bucket"])
            return UploadPage()
        query = UploadQuery(
            prefix=params.get("Prefix") or "",
            delimiter=params.get("Delimiter") or "",
            after_key=after_key,
            after_id=after_id,
            limit=limit,
        )
        return await self._buckets.uploads.list(params["Bucket"], query)

    def _upload(self, listing: Listing, upload: UploadInfo) -> dict[str, Any]:
        entry: dict[str, Any] = {
            "Key": listing.name(upload.key),
            "UploadId": upload.id,
            "Initiated": moment(upload.initiated_at_us),
            "StorageClass": STORAGE_CLASS,
            "Owner": owner(self._scope.account_id),
            "Initiator": owner(self._scope.account_id),
        }
        if upload.checksum_algorithm is not None:
            entry["ChecksumAlgorithm"] = upload.checksum_algorithm.upper()
        if upload.checksum_type is not None:
            entry["ChecksumType"] = str(upload.checksum_type)
        return entry
