"""S3's operations called as the gateway calls them, over a bucket store in a temporary directory."""

import base64
import hashlib
import zlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from tarry.aws.call import Call, Reply, Service
from tarry.aws.errors import AwsError
from tarry.embedded.buckets.buckets import Buckets

ACCOUNT = "123456789012"


class GivenBody:
    """A request body; ``trailers`` are known only after the last byte, as on the wire."""

    def __init__(self, data: bytes, headers: Mapping[str, str] | None = None, trailers: Mapping[str, str] | None = None) -> None:
        self.size: int | None = len(data)
        self.checksums: Mapping[str, str] = dict(headers or {})
        self._data = data
        self._trailers = trailers or {}

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self._data), 65536):
            yield self._data[start : start + 65536]
        self.checksums = {**self.checksums, **self._trailers}


@dataclass(frozen=True, slots=True)
class S3:
    """The service with bucket ``b`` in it."""

    service: Service
    buckets: Buckets

    async def reply(
        self, operation: str, /, *, body: bytes | GivenBody | None = None, headers: Mapping[str, str] | None = None, **params: Any
    ) -> Reply:
        """The whole answer; ``Bucket`` is ``b`` unless it is given."""
        call = Call(
            service="s3",
            operation=operation,
            request_id="r",
            caller=None,
            headers=headers or {},
            public_url="http://localhost:8780",
            body=GivenBody(body) if isinstance(body, bytes) else body,
        )
        given = params if operation == "ListBuckets" else {"Bucket": "b" * 3, **params}
        answer = await self.service.operations[operation](call, given)
        return answer if isinstance(answer, Reply) else Reply(output=answer)

    async def __call__(self, operation: str, /, **given: Any) -> dict[str, Any]:
        """The output members."""
        return dict((await self.reply(operation, **given)).output)

    async def read(self, **params: Any) -> bytes:
        """The bytes of GetObject."""
        stream = (await self.reply("GetObject", **params)).stream
        assert stream is not None
        return b"".join([chunk async for chunk in stream])

    async def error(self, operation: str, /, **given: Any) -> AwsError:
        """The error that the call ends in."""
        with pytest.raises(AwsError) as caught:
            await self(operation, **given)
        return caught.value

    async def upload(self, key: str, parts: list[bytes], **create: Any) -> str:
        """Begin an upload and fill it; its id."""
        upload_id: str = (await self("CreateMultipartUpload", Key=key, **create))["UploadId"]
        for number, part in enumerate(parts, 1):
            sums = {"crc32": crc32(part)} if "ChecksumAlgorithm" in create else {}
            await self("UploadPart", Key=key, UploadId=upload_id, PartNumber=number, body=GivenBody(part, headers=sums))
        return upload_id

    async def complete(self, key: str, parts: list[bytes], **create: Any) -> dict[str, Any]:
        """A whole upload."""
        upload_id = await self.upload(key, parts, **create)
        named = named_parts(parts, checksums="ChecksumAlgorithm" in create)
        return await self("CompleteMultipartUpload", Key=key, UploadId=upload_id, MultipartUpload={"Parts": named})


def named_parts(parts: list[bytes], *, checksums: bool = False) -> list[dict[str, Any]]:
    """Parts as a completion names them."""
    return [
        {"PartNumber": number, "ETag": etag(part)} | ({"ChecksumCRC32": crc32(part)} if checksums else {})
        for number, part in enumerate(parts, 1)
    ]


def etag(data: bytes) -> str:
    """The quoted ETag of a plain object."""
    return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'


def crc32(data: bytes) -> str:
    """As ``x-amz-checksum-crc32``."""
    return base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()
