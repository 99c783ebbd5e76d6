"""Between S3's members and the store's values: object headers, checksums, ETags, times.

Every operation shows an object in its own members (``ChecksumCRC32``, ``LastModified``, a quoted ETag), the store has one
form. This is the only place that knows both.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

from tarry.aws.call import Body, Call, Params
from tarry.aws.errors import AwsError
from tarry.aws.services.s3.errors import not_implemented
from tarry.embedded.buckets.values import CONTENT_TYPE_DEFAULT, ObjectHeaders, ObjectInfo

STORAGE_CLASS: Final = "STANDARD"
ENCRYPTION: Final = {"ServerSideEncryption": "AES256"}
"""AWS: objects are encrypted with AES256 unless told otherwise, and every answer says so (S3 user guide, default encryption)."""

CHECKSUM_MEMBERS: Mapping[str, str] = {
    "crc32": "ChecksumCRC32",
    "crc32c": "ChecksumCRC32C",
    "crc64nvme": "ChecksumCRC64NVME",
    "sha1": "ChecksumSHA1",
    "sha256": "ChecksumSHA256",
    "sha512": "ChecksumSHA512",
    "md5": "ChecksumMD5",
}
"""The member of each algorithm that a body can be verified with."""

METADATA_BYTES_MAX: Final = 2048  # AWS: S3 user guide, user-defined object metadata


class LiveChecksums(Mapping[str, str]):
    """The checksums of a body as they are at the moment of reading: trailers come after the last byte."""

    def __init__(self, body: Body) -> None:
        self._body = body

    def __getitem__(self, algorithm: str) -> str:
        return self._body.checksums[algorithm]

    def __iter__(self) -> Iterator[str]:
        return iter(self._body.checksums)

    def __len__(self) -> int:
        return len(self._body.checksums)


def object_headers(call: Call, params: Params) -> ObjectHeaders:
    """What a write says about the object.

    Raises:
        AwsError: MetadataTooLarge.
    """
    metadata = {name.lower(): value for name, value in (params.get("Metadata") or {}).items()}
    size = sum(len(name) + len(value) for name, value in metadata.items())  # a character is a byte: headers are Latin-1
    if size > METADATA_BYTES_MAX:
        message = "Your metadata headers exceed the maximum allowed metadata size"
        extras = {"Size": str(size), "MaxSizeAllowed": str(METADATA_BYTES_MAX)}
        raise AwsError(code="MetadataTooLarge", message=message, status=400, extras=extras)
    return ObjectHeaders(
        content_type=params.get("ContentType") or CONTENT_TYPE_DEFAULT,
        content_encoding=_content_encoding(params.get("ContentEncoding")),
        cache_control=params.get("CacheControl"),
        content_disposition=params.get("ContentDisposition"),
        content_language=params.get("ContentLanguage"),
        # The text as it came: S3 keeps and returns it even where it is no date.
        expires=call.headers.get("expires"),
        metadata=metadata,
    )


def _content_encoding(value: str | None) -> str | None:
    # AWS: aws-chunked is the framing of the upload and is not stored (S3 API reference, sigv4-streaming).
    kept = [coding for part in (value or "").split(",") if (coding := part.strip()) and coding.lower() != "aws-chunked"]
    return ",".join(kept) or None


def shown_headers(info: ObjectInfo) -> dict[str, Any]:
    """The members in which a read shows what the writer said, ``Expires`` aside (see ``expires_header``)."""
    headers = info.headers
    found = {
        "ContentType": headers.content_type,
        "ContentEncoding": headers.content_encoding,
        "CacheControl": headers.cache_control,
        "ContentDisposition": headers.content_disposition,
        "ContentLanguage": headers.content_language,
        "Metadata": dict(headers.metadata),
    }
    return {member: value for member, value in found.items() if value}


def expires_header(info: ObjectInfo) -> dict[str, str]:
    """``Expires`` as it came, as a plain header: the member is a time, and the text need not be one."""
    return {} if info.headers.expires is None else {"Expires": info.headers.expires}


def checksum_members(checksums: Mapping[str, str], checksum_type: str | None = None) -> dict[str, str]:
    """Checksums as members; the type only where there are any."""
    found = {member: checksums[algorithm] for algorithm, member in CHECKSUM_MEMBERS.items() if algorithm in checksums}
    if found and checksum_type is not None:
        found["ChecksumType"] = str(checksum_type)
    return found


def given_checksums(params: Params) -> dict[str, str]:
    """The checksums among the members of a request or of a part in a completion."""
    return {algorithm: params[member] for algorithm, member in CHECKSUM_MEMBERS.items() if params.get(member)}


def algorithm_of(params: Params, header: str) -> str | None:
    """The ChecksumAlgorithm member in lower case.

    Raises:
        AwsError: NotImplemented for one that the store does not keep.
    """
    name: str | None = params.get("ChecksumAlgorithm")
    if not name:
        return None
    if name.lower() not in CHECKSUM_MEMBERS:
        raise not_implemented(header, f"Choose one of these algorithms: {', '.join(CHECKSUM_MEMBERS).upper()}.")
    return name.lower()


def quoted(etag: str) -> str:
    """An ETag as headers and documents show it."""
    return f'"{etag}"'


def moment(time_us: int) -> datetime:
    """A time as answers show it: UTC, whole seconds, since that is all that Last-Modified can say."""
    return datetime.fromtimestamp(time_us // 1_000_000, UTC)


def owner(account_id: str) -> dict[str, str]:
    """The one owner of everything."""
    # OURS: AWS shows a canonical user id, 64 hex digits that only AWS can make; the account id takes its place.
    return {"ID": account_id.rjust(64, "0")}


def object_url(call: Call, bucket: str, key: str) -> str:
    """The URL of an object."""
    return f"{call.public_url}/{bucket}/{quote(key, safe='/~')}"
