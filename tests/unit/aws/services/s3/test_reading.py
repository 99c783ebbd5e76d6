from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.support.buckets import noise
from tests.support.s3 import S3, GivenBody, crc32, etag

PART = noise(5 * 1024 * 1024)


async def test_whole_object(s3: S3) -> None:
    given = {"ContentType": "text/csv", "CacheControl": "no-cache", "ContentEncoding": "gzip,aws-chunked"}
    await s3("PutObject", Key="k", body=b"0123456789", headers={"expires": "soon"}, Metadata={"Case": "Value"}, **given)
    reply = await s3.reply("GetObject", Key="k")
    assert reply.status == 200
    assert reply.headers == {"Expires": "soon"}
    assert reply.output == {
        "AcceptRanges": "bytes",
        "LastModified": datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC),
        "ContentLength": 10,
        "ETag": etag(b"0123456789"),
        "ServerSideEncryption": "AES256",
        "ContentType": "text/csv",
        "CacheControl": "no-cache",
        "ContentEncoding": "gzip",
        "Metadata": {"case": "Value"},
    }
    head = await s3.reply("HeadObject", Key="k")
    assert (head.output, head.status, head.headers, head.stream) == (reply.output, reply.status, reply.headers, None)
    assert await s3.read(Key="k") == b"0123456789"


async def test_default_content_type(s3: S3) -> None:
    await s3("PutObject", Key="k", body=b"", ContentType="")
    assert (await s3("HeadObject", Key="k"))["ContentType"] == "binary/octet-stream"


@pytest.mark.parametrize(
    ("text", "body", "shown"),
    [
        ("bytes=2-4", b"234", "bytes 2-4/10"),
        ("bytes=8-100", b"89", "bytes 8-9/10"),
        ("bytes=-3", b"789", "bytes 7-9/10"),
        ("bytes=0-", b"0123456789", "bytes 0-9/10"),
    ],
)
async def test_range(s3: S3, text: str, body: bytes, shown: str) -> None:
    await s3("PutObject", Key="k", body=GivenBody(b"0123456789", headers={"crc32": crc32(b"0123456789")}))
    reply = await s3.reply("GetObject", Key="k", Range=text, ChecksumMode="ENABLED")
    assert (reply.status, reply.output["ContentRange"], reply.output["ContentLength"]) == (206, shown, len(body))
    assert "ChecksumCRC32" not in reply.output  # a client would compare the whole object's with a part of its bytes
    assert await s3.read(Key="k", Range=text) == body
    head = await s3.reply("HeadObject", Key="k", Range=text)
    assert (head.status, head.output["ContentRange"]) == (206, shown)


@pytest.mark.parametrize(("size", "text"), [(10, "bytes=10-"), (10, "bytes=-0"), (0, "bytes=0-"), (0, "bytes=-1")])
async def test_range_outside(s3: S3, size: int, text: str) -> None:
    await s3("PutObject", Key="k", body=b"x" * size)
    error = await s3.error("GetObject", Key="k", Range=text)
    assert (error.code, error.status) == ("InvalidRange", 416)
    assert error.extras == {"RangeRequested": text, "ActualObjectSize": str(size)}


async def test_unreadable_range_is_ignored(s3: S3) -> None:
    await s3("PutObject", Key="k", body=b"x")
    assert (await s3.reply("GetObject", Key="k", Range="bytes=9-1")).status == 200


async def test_checksum_only_on_request(s3: S3) -> None:
    await s3("PutObject", Key="k", body=GivenBody(b"abc", trailers={"crc32": crc32(b"abc")}))
    assert "ChecksumCRC32" not in await s3("GetObject", Key="k")
    shown = await s3("GetObject", Key="k", ChecksumMode="ENABLED")
    assert (shown["ChecksumCRC32"], shown["ChecksumType"]) == (crc32(b"abc"), "FULL_OBJECT")


async def test_not_modified_has_no_stream(s3: S3) -> None:
    await s3("PutObject", Key="k", body=b"abc")
    for operation in ("GetObject", "HeadObject"):
        reply = await s3.reply(operation, Key="k", IfNoneMatch=etag(b"abc"))
        assert (reply.status, reply.stream) == (304, None)
        assert reply.output["ETag"] == etag(b"abc")
    assert (await s3.error("GetObject", Key="k", IfMatch='"x"')).code == "PreconditionFailed"


async def test_parts_of_an_object(s3: S3) -> None:
    await s3.complete("k", [PART, b"tail"], ChecksumAlgorithm="CRC32")
    reply = await s3.reply("GetObject", Key="k", PartNumber=2, ChecksumMode="ENABLED")
    assert (reply.status, reply.output["PartsCount"], reply.output["ContentLength"]) == (206, 2, 4)
    assert reply.output["ContentRange"] == f"bytes {len(PART)}-{len(PART) + 3}/{len(PART) + 4}"
    assert reply.output["ChecksumCRC32"] == crc32(b"tail")
    assert await s3.read(Key="k", PartNumber=2) == b"tail"
    assert (await s3("HeadObject", Key="k", PartNumber=1))["PartsCount"] == 2
    assert "PartsCount" not in await s3("HeadObject", Key="k")
    error = await s3.error("GetObject", Key="k", PartNumber=3)
    assert (error.code, error.status, error.extras["ActualPartCount"]) == ("InvalidPartNumber", 416, "2")
    assert (await s3.error("GetObject", Key="k", PartNumber=1, Range="bytes=0-1")).code == "InvalidRequest"
    assert (await s3.error("HeadObject", Key="k", PartNumber=1, Range="bytes=0-1")).code == "InvalidRequest"


async def test_plain_object_is_its_own_part(s3: S3) -> None:
    await s3("PutObject", Key="k", body=b"abc")
    reply = await s3.reply("HeadObject", Key="k", PartNumber=1)
    assert (reply.status, reply.output["ContentLength"]) == (206, 3)
    assert "PartsCount" not in reply.output
    assert (await s3.error("HeadObject", Key="k", PartNumber=0)).status == 416


async def test_overrides(s3: S3) -> None:
    await s3("PutObject", Key="k", body=b"abc", headers={"expires": "soon"})
    reply = await s3.reply(
        "GetObject", Key="k", ResponseContentType="text/plain", ResponseContentDisposition="x; filename=ü", ResponseExpires=2
    )
    assert reply.output["ContentType"] == "text/plain"
    assert reply.output["ContentDisposition"].encode("latin-1").decode() == "x; filename=ü"
    assert (reply.output["Expires"], reply.headers) == (2, {})


async def test_stream_keeps_its_version_and_closes_its_file(s3: S3) -> None:
    big = noise(300_000)
    await s3("PutObject", Key="k", body=big)
    stream: Any = (await s3.reply("GetObject", Key="k")).stream
    await s3("DeleteObject", Key="k")
    assert b"".join([chunk async for chunk in stream]) == big
    assert not open_blobs()
    await s3("PutObject", Key="k", body=big)
    early: Any = (await s3.reply("GetObject", Key="k")).stream
    assert open_blobs()
    await early.aclose()
    await s3.reply("GetObject", Key="k", IfNoneMatch=etag(big))
    await s3.error("GetObject", Key="k", Range="bytes=999999-")
    assert not open_blobs()


def open_blobs() -> list[str]:
    found = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return [name for name in found if "/blobs/" in name]


async def test_attributes(s3: S3) -> None:
    await s3.complete("k", [PART, b"tail"], ChecksumAlgorithm="CRC32")
    every = ["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"]
    found = await s3("GetObjectAttributes", Key="k", ObjectAttributes=every)
    assert found["ETag"].endswith("-2")
    assert '"' not in found["ETag"]
    assert found["Checksum"]["ChecksumType"] == "COMPOSITE"
    assert found["ObjectSize"] == len(PART) + 4
    assert [part["Size"] for part in found["ObjectParts"]["Parts"]] == [len(PART), 4]
    page = (await s3("GetObjectAttributes", Key="k", ObjectAttributes=["ObjectParts"], MaxParts=1))["ObjectParts"]
    assert (page["IsTruncated"], page["NextPartNumberMarker"], page["TotalPartsCount"]) == (True, 1, 2)
    assert set(await s3("GetObjectAttributes", Key="k", ObjectAttributes=["ObjectSize"])) == {"LastModified", "ObjectSize"}
    assert (await s3.error("GetObjectAttributes", Key="k", ObjectAttributes=["Owner"])).code == "InvalidArgument"


@pytest.mark.parametrize("operation", ["GetObject", "HeadObject", "GetObjectAttributes"])
async def test_missing(s3: S3, operation: str) -> None:
    error = await s3.error(operation, Key="missing", ObjectAttributes=["ETag"])
    assert (error.code, error.status, error.extras) == ("NoSuchKey", 404, {"Key": "missing"})
    error = await s3.error(operation, Bucket="missing", Key="missing", ObjectAttributes=["ETag"])
    assert (error.code, error.extras) == ("NoSuchBucket", {"BucketName": "missing"})
