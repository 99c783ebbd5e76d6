from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.support.s3 import S3, GivenBody, crc32, etag

from tarry.aws.errors import AwsError
from tarry.aws.services.s3 import objects


async def test_put_answers_with_etag_and_checksum(s3: S3) -> None:
    answer = await s3("PutObject", Key="k", body=GivenBody(b"abc", trailers={"crc32": crc32(b"abc")}))
    assert answer == {
        "ETag": etag(b"abc"),
        "ServerSideEncryption": "AES256",
        "ChecksumCRC32": crc32(b"abc"),
        "ChecksumType": "FULL_OBJECT",
    }
    assert await s3("PutObject", Key="none") == {"ETag": etag(b""), "ServerSideEncryption": "AES256"}


class BrokenBody(GivenBody):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"abc"
        raise AwsError(code="BadDigest", message="wrong")


async def test_nothing_of_a_wrong_body_is_kept(s3: S3) -> None:
    await s3("PutObject", Key="k", body=b"old")
    assert (await s3.error("PutObject", Key="k", body=BrokenBody(b"abc"))).code == "BadDigest"
    assert await s3.read(Key="k") == b"old"


async def test_conditional_writes(s3: S3) -> None:
    await s3("PutObject", Key="k", body=b"1", IfNoneMatch="*")
    error = await s3.error("PutObject", Key="k", body=b"2", IfNoneMatch="*")
    assert (error.code, error.status, error.extras) == ("PreconditionFailed", 412, {"Condition": "If-None-Match"})
    assert (await s3.error("PutObject", Key="k", body=b"2", IfMatch=etag(b"x"))).extras == {"Condition": "If-Match"}
    assert (await s3.error("PutObject", Key="absent", body=b"2", IfMatch=etag(b"x"))).code == "NoSuchKey"
    await s3("PutObject", Key="k", body=b"3", IfMatch=etag(b"1"))
    assert await s3.read(Key="k") == b"3"


async def test_bounds(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    error = await s3.error("PutObject", Key="ü" * 513, body=b"")
    assert (error.code, error.status, error.extras) == ("KeyTooLongError", 400, {"Size": "1026", "MaxSizeAllowed": "1024"})
    await s3("PutObject", Key="ü" * 512, body=b"")
    error = await s3.error("PutObject", Key="k", body=b"", Metadata={"a": "x" * 2048})
    assert (error.code, error.extras) == ("MetadataTooLarge", {"Size": "2049", "MaxSizeAllowed": "2048"})
    error = await s3.error("PutObject", Key="k", body=b"", headers={"content-disposition": "x" * 10_000})
    assert (error.code, error.status) == ("RequestHeaderSectionTooLarge", 400)
    monkeypatch.setattr(objects, "PUT_BYTES_MAX", 3)
    announced, silent = GivenBody(b"1234"), GivenBody(b"1234")
    silent.size = None
    for body in (announced, silent):
        assert (await s3.error("PutObject", Key="big", body=body)).code == "EntityTooLarge"
    assert (await s3.error("HeadObject", Key="big")).code == "NoSuchKey"


@pytest.mark.parametrize("key", ["a b", "a+b", "a%2Fb", "..", "../../etc/passwd", "a//b", "/", "ü/日本", ".", "a\nb"])
async def test_any_key_is_just_a_name(s3: S3, key: str) -> None:
    await s3("PutObject", Key=key, body=key.encode())
    assert await s3.read(Key=key) == key.encode()
    listed = await s3("ListObjectsV2")
    assert [entry["Key"] for entry in listed["Contents"]] == [key]
    await s3("CopyObject", Key="copy", CopySource=f"bbb/{quoted(key)}")
    assert await s3.read(Key="copy") == key.encode()


def quoted(key: str) -> str:
    return "".join(f"%{byte:02X}" for byte in key.encode())


async def test_copy_keeps_or_replaces_metadata(s3: S3) -> None:
    body = GivenBody(b"abc", headers={"crc32": crc32(b"abc")})
    await s3("PutObject", Key="k", body=body, ContentType="text/csv", Metadata={"a": "1"})
    answer = await s3("CopyObject", Key="kept", CopySource="/bbb/k", ContentType="ignored/too")
    assert answer["CopyObjectResult"]["ETag"] == etag(b"abc")
    assert answer["CopyObjectResult"]["ChecksumCRC32"] == crc32(b"abc")
    kept = await s3("HeadObject", Key="kept")
    assert (kept["ContentType"], kept["Metadata"]) == ("text/csv", {"a": "1"})
    await s3("CopyObject", Key="new", CopySource="bbb/k?versionId=null", MetadataDirective="REPLACE", Metadata={"b": "2"})
    replaced = await s3("HeadObject", Key="new")
    assert (replaced["ContentType"], replaced["Metadata"]) == ("binary/octet-stream", {"b": "2"})


async def test_copy_onto_itself(s3: S3) -> None:
    await s3("PutObject", Key="k", body=b"abc")
    assert (await s3.error("CopyObject", Key="k", CopySource="bbb/k")).code == "InvalidRequest"
    await s3("CopyObject", Key="k", CopySource="bbb/k", MetadataDirective="REPLACE", ContentType="a/b")
    assert (await s3("HeadObject", Key="k"))["ContentType"] == "a/b"


@pytest.mark.parametrize(
    ("params", "code", "extra"),
    [
        ({"CopySource": "bbb/missing"}, "NoSuchKey", ("Key", "missing")),
        ({"CopySource": "other/k"}, "NoSuchBucket", ("BucketName", "other")),
        ({"CopySource": "bbb"}, "InvalidArgument", ("ArgumentName", "x-amz-copy-source")),
        ({"CopySource": "bbb/%ff"}, "InvalidArgument", ("ArgumentValue", "bbb/%ff")),
        ({"CopySource": "bbb/k?versionId=3"}, "InvalidArgument", ("ArgumentName", "versionId")),
        ({"CopySource": "arn:aws:s3:eu-west-1:1:accesspoint/a/object/k"}, "NotImplemented", ("Header", "x-amz-copy-source")),
        ({"CopySource": "bbb/k", "MetadataDirective": "MERGE"}, "InvalidArgument", ("ArgumentValue", "MERGE")),
        ({"CopySource": "bbb/k", "CopySourceIfMatch": '"x"'}, "PreconditionFailed", ("Condition", "x-amz-copy-source-If-Match")),
        ({"CopySource": "bbb/k", "ChecksumAlgorithm": "SHA256"}, "NotImplemented", ("Header", "x-amz-checksum-algorithm")),
        ({"CopySource": "bbb/k", "Bucket": "other"}, "NoSuchBucket", ("BucketName", "other")),
        ({"CopySource": "bbb/k", "ExpectedSourceBucketOwner": "210987654321"}, "AccessDenied", None),
    ],
)
async def test_copies_that_fail(s3: S3, params: dict[str, Any], code: str, extra: tuple[str, str] | None) -> None:
    await s3("PutObject", Key="k", body=b"abc")
    error = await s3.error("CopyObject", Key="new", **params)
    assert error.code == code
    assert extra is None or error.extras[extra[0]] == extra[1]


async def test_delete(s3: S3) -> None:
    assert await s3("DeleteObject", Key="never") == {}
    await s3("PutObject", Key="k", body=b"abc")
    assert (await s3.error("DeleteObject", Key="k", IfMatch='"x"')).code == "PreconditionFailed"
    await s3("DeleteObject", Key="k", IfMatch=etag(b"abc"))
    assert (await s3.error("DeleteObject", Key="k", IfMatch="*")).code == "NoSuchKey"


async def test_delete_many(s3: S3) -> None:
    for key in ("a", "b", "c"):
        await s3("PutObject", Key=key, body=b"abc")
    entries = [
        {"Key": "a"},
        {"Key": "never"},
        {"Key": "b", "ETag": '"x"'},
        {"Key": "c", "ETag": etag(b"abc")},
        {"Key": "a", "VersionId": "7"},
        {"Key": "x" * 1025},
    ]
    answer = await s3("DeleteObjects", Delete={"Objects": entries})
    assert sorted(entry["Key"] for entry in answer["Deleted"]) == ["a", "c", "never"]
    assert [(entry["Key"][:2], entry["Code"]) for entry in answer["Errors"]] == [
        ("b", "PreconditionFailed"),
        ("a", "NoSuchVersion"),
        ("xx", "KeyTooLongError"),
    ]
    assert [entry["Key"] for entry in (await s3("ListObjectsV2"))["Contents"]] == ["b"]
    assert await s3("DeleteObjects", Delete={"Objects": [{"Key": "b"}], "Quiet": True}) == {}


async def test_delete_many_has_bounds(s3: S3) -> None:
    for count in (0, 1001):
        error = await s3.error("DeleteObjects", Delete={"Objects": [{"Key": str(index)} for index in range(count)]})
        assert (error.code, error.status) == ("MalformedXML", 400)
    assert (await s3.error("DeleteObjects", Bucket="missing", Delete={"Objects": [{"Key": "k"}]})).code == "NoSuchBucket"
