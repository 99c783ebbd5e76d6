"""``x-amz-copy-source``: which object a copy reads, and whether it may.

The header is percent-encoded by every client that is asked nicely and raw from some; AWS decodes it once either way.
"""

from dataclasses import dataclass
from typing import Self
from urllib.parse import unquote_to_bytes

from tarry.aws.call import Params
from tarry.aws.services.s3.errors import invalid_argument, not_implemented, translate
from tarry.aws.services.s3.preconditions import check_copy_source
from tarry.aws.services.s3.refusals import check_version
from tarry.core.errors import TarryError
from tarry.embedded.buckets.api import BucketsApi, OpenedObject

_HEADER = "x-amz-copy-source"


@dataclass(frozen=True, slots=True, kw_only=True)
class CopySource:
    """An object to copy from."""

    bucket: str
    key: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``bucket/key`` or ``/bucket/key``, percent-encoded, with or without ``?versionId=null``.

        Raises:
            AwsError: InvalidArgument (no bucket, no key, not UTF-8, another version), NotImplemented (access points).
        """
        path, _, version = text.partition("?versionId=")
        if version:
            check_version(version)
        try:
            bucket, _, key = unquote_to_bytes(path.encode("latin-1")).decode().removeprefix("/").partition("/")
        except UnicodeError:
            raise invalid_argument("Invalid copy source encoding.", _HEADER, text) from None
        if bucket.startswith("arn:"):
            raise not_implemented(_HEADER, "Access points are not available; name the bucket and the key.")
        if not bucket or not key:
            raise invalid_argument("Invalid copy source object key", _HEADER, text)
        return cls(bucket=bucket, key=key)


async def open_source(buckets: BucketsApi, source: CopySource, params: Params) -> OpenedObject:
    """Open the source of a copy if the conditions on it hold. The caller closes it.

    Raises:
        AwsError: NoSuchBucket and NoSuchKey naming the source, PreconditionFailed.
    """
    try:
        opened = await buckets.open_object(source.bucket, source.key)
    except TarryError as error:
        told = translate(error, {"Bucket": source.bucket, "Key": source.key})
        if told is None:
            raise
        raise told from None
    try:
        check_copy_source(params, opened.info)
    except BaseException:
        await opened.aclose()
        raise
    return opened
