from typing import Any

import pytest
from tests.support.buckets import noise
from tests.support.s3 import S3, GivenBody, crc32, etag, named_parts

PART = noise(5 * 1024 * 1024)


async def test_whole_way(s3: S3) -> None:
    begun = await s3("CreateMultipartUpload", Key="k", ChecksumAlgorithm="CRC32", ContentType="a/b", Metadata={"m": "1"})
    assert (begun["ChecksumAlgorithm"], begun["ChecksumType"], begun["ServerSideEncryption"]) == ("CRC32", "COMPOSITE", "AES256")
    given: dict[str, Any] = {"Key": "k", "UploadId": begun["UploadId"]}
    second = await s3("UploadPart", PartNumber=2, body=GivenBody(b"tail", trailers={"crc32": crc32(b"tail")}), **given)
    assert second == {"ETag": etag(b"tail"), "ServerSideEncryption": "AES256", "ChecksumCRC32": crc32(b"tail")}
    await s3("UploadPart", PartNumber=1, body=GivenBody(PART, headers={"crc32": crc32(PART)}), **given)
    completion = {**given, "MultipartUpload": {"Parts": named_parts([PART, b"tail"], checksums=True)}}
    answer = await s3("CompleteMultipartUpload", **completion)
    assert answer["ETag"].endswith('-2"')
    assert answer["ChecksumCRC32"].endswith("-2")
    assert (answer["Location"], answer["ChecksumType"]) == ("http://localhost:8780/bbb/k", "COMPOSITE")
    assert await s3.read(Key="k") == PART + b"tail"
    head = await s3("HeadObject", Key="k")
    assert (head["ContentType"], head["Metadata"], head["ETag"]) == ("a/b", {"m": "1"}, answer["ETag"])
    assert await s3("CompleteMultipartUpload", **completion) == answer
    for operation in ("AbortMultipartUpload", "ListParts"):
        error = await s3.error(operation, **given)
        assert (error.code, error.status, error.extras) == ("NoSuchUpload", 404, {"UploadId": begun["UploadId"]})


async def test_upload_belongs_to_its_key(s3: S3) -> None:
    upload_id = await s3.upload("k", [b"x"])
    given: dict[str, Any] = {"Key": "other", "UploadId": upload_id}
    parts = {"Parts": named_parts([b"x"])}
    for operation, more in (
        ("UploadPart", {"PartNumber": 1, "body": b"y"}),
        ("ListParts", {}),
        ("AbortMultipartUpload", {}),
        ("CompleteMultipartUpload", {"MultipartUpload": parts}),
    ):
        assert (await s3.error(operation, **given, **more)).code == "NoSuchUpload", operation
    assert (await s3.error("HeadObject", Key="k")).code == "NoSuchKey"
    assert len((await s3("ListParts", Key="k", UploadId=upload_id))["Parts"]) == 1
    await s3("CompleteMultipartUpload", Key="k", UploadId=upload_id, MultipartUpload=parts)
    assert (await s3.error("CompleteMultipartUpload", **given, MultipartUpload=parts)).code == "NoSuchUpload"


async def test_after_abort(s3: S3) -> None:
    upload_id = await s3.upload("k", [b"x"])
    await s3("AbortMultipartUpload", Key="k", UploadId=upload_id)
    for operation in ("UploadPart", "ListParts", "AbortMultipartUpload", "CompleteMultipartUpload"):
        more = {"PartNumber": 1} if operation == "UploadPart" else {}
        error = await s3.error(operation, Key="k", UploadId=upload_id, MultipartUpload={"Parts": named_parts([b"x"])}, **more)
        assert (error.code, error.status) == ("NoSuchUpload", 404)


@pytest.mark.parametrize(
    ("parts", "code", "extra"),
    [
        ([], "InvalidRequest", None),
        ([{"PartNumber": 9, "ETag": '"x"'}], "InvalidPart", ("PartNumber", "9")),
        ([{"PartNumber": 1, "ETag": '"x"'}], "InvalidPart", ("ETag", "x")),
        ([{"PartNumber": 2, "ETag": etag(b"2")}, {"PartNumber": 1, "ETag": etag(b"1")}], "InvalidPartOrder", None),
        ([{"PartNumber": 1, "ETag": etag(b"1")}] * 2, "InvalidPartOrder", None),
        (named_parts([b"1", b"2"]), "EntityTooSmall", ("MinSizeAllowed", "5242880")),
        ([{"PartNumber": 1}], "MalformedXML", None),
        ([{"PartNumber": 10001, "ETag": '"x"'}], "InvalidArgument", ("ArgumentName", "partNumber")),
    ],
)
async def test_completions_that_fail(s3: S3, parts: list[dict[str, Any]], code: str, extra: tuple[str, str] | None) -> None:
    upload_id = await s3.upload("k", [b"1", b"2"])
    error = await s3.error("CompleteMultipartUpload", Key="k", UploadId=upload_id, MultipartUpload={"Parts": parts})
    assert (error.code, error.status) == (code, 400)
    assert extra is None or error.extras[extra[0]] == extra[1]
    assert len((await s3("ListParts", Key="k", UploadId=upload_id))["Parts"]) == 2


async def test_composite_needs_the_checksum_of_each_part(s3: S3) -> None:
    upload_id = await s3.upload("k", [b"1"], ChecksumAlgorithm="CRC32")
    error = await s3.error("CompleteMultipartUpload", Key="k", UploadId=upload_id, MultipartUpload={"Parts": named_parts([b"1"])})
    assert error.message == (
        "The upload was created using a crc32 checksum. The complete request must include the checksum for each part. "
        "It was missing for part 1 in the request."
    )


async def test_checksum_and_size_of_the_whole(s3: S3) -> None:
    upload_id = await s3.upload("k", [b"1"], ChecksumAlgorithm="CRC32", ChecksumType="FULL_OBJECT")
    completion: dict[str, Any] = {"Key": "k", "UploadId": upload_id, "MultipartUpload": {"Parts": named_parts([b"1"])}}
    error = await s3.error("CompleteMultipartUpload", **completion, ChecksumCRC32=crc32(b"2"))
    assert (error.code, error.message) == ("BadDigest", "The CRC32 you specified did not match the calculated checksum.")
    assert "x-amz-mp-object-size" in (await s3.error("CompleteMultipartUpload", **completion, MpuObjectSize=2)).message
    assert "checksum mode" in (await s3.error("CompleteMultipartUpload", **completion, ChecksumType="COMPOSITE")).message
    done = await s3("CompleteMultipartUpload", **completion, ChecksumCRC32=crc32(b"1"), MpuObjectSize=1)
    assert (done["ChecksumCRC32"], done["ChecksumType"]) == (crc32(b"1"), "FULL_OBJECT")


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"ChecksumType": "COMPOSITE"}, "InvalidRequest"),
        ({"ChecksumType": "COMPOSITE", "ChecksumAlgorithm": "CRC64NVME"}, "InvalidRequest"),
        ({"ChecksumType": "FULL_OBJECT", "ChecksumAlgorithm": "SHA256"}, "InvalidRequest"),
        ({"ChecksumAlgorithm": "XXHASH3"}, "NotImplemented"),
        ({"ChecksumAlgorithm": "MD5"}, "NotImplemented"),
    ],
)
async def test_uploads_that_cannot_begin(s3: S3, given: dict[str, str], code: str) -> None:
    assert (await s3.error("CreateMultipartUpload", Key="k", **given)).code == code


async def test_part_of_another_algorithm(s3: S3) -> None:
    upload_id = await s3.upload("k", [], ChecksumAlgorithm="SHA256")
    headers = {"x-amz-trailer": "x-amz-checksum-crc32"}
    error = await s3.error("UploadPart", Key="k", UploadId=upload_id, PartNumber=1, body=b"", headers=headers)
    assert "expected checksum Type: sha256, actual checksum Type: crc32" in error.message


@pytest.mark.parametrize("number", [0, -1, 10001])
async def test_part_numbers(s3: S3, number: int) -> None:
    upload_id = await s3.upload("k", [])
    error = await s3.error("UploadPart", Key="k", UploadId=upload_id, PartNumber=number, body=b"")
    assert (error.code, error.status) == ("InvalidArgument", 400)
    assert error.extras == {"ArgumentName": "partNumber", "ArgumentValue": str(number)}


async def test_conditional_completion(s3: S3) -> None:
    upload_id = await s3.upload("k", [b"1"])
    await s3("PutObject", Key="k", body=b"meanwhile")
    completion: dict[str, Any] = {"Key": "k", "UploadId": upload_id, "MultipartUpload": {"Parts": named_parts([b"1"])}}
    assert (await s3.error("CompleteMultipartUpload", **completion, IfNoneMatch="*")).code == "PreconditionFailed"
    await s3("CompleteMultipartUpload", **completion, IfMatch=etag(b"meanwhile"))
    assert await s3.read(Key="k") == b"1"


async def test_list_parts_in_pages(s3: S3) -> None:
    upload_id = await s3.upload("k", [b"1", b"2", b"3"])
    given: dict[str, Any] = {"Key": "k", "UploadId": upload_id, "MaxParts": 2}
    first = await s3("ListParts", **given)
    assert ([part["Size"] for part in first["Parts"]], first["IsTruncated"], first["NextPartNumberMarker"]) == ([1, 1], True, 2)
    rest = await s3("ListParts", **given, PartNumberMarker=2)
    assert ([part["PartNumber"] for part in rest["Parts"]], rest["IsTruncated"]) == ([3], False)
    empty = await s3("ListParts", **given | {"MaxParts": 0})
    assert (empty.get("Parts"), empty["IsTruncated"], empty["MaxParts"]) == (None, False, 0)


async def test_part_copies(s3: S3) -> None:
    source = GivenBody(b"0123456789", headers={"crc32": crc32(b"0123456789")})
    await s3("PutObject", Key="source", body=source)
    upload_id = await s3.upload("k", [])
    given: dict[str, Any] = {"Key": "k", "UploadId": upload_id, "CopySource": "bbb/source"}
    part = await s3("UploadPartCopy", PartNumber=1, CopySourceRange="bytes=2-4", **given)
    assert part["CopyPartResult"]["ETag"] == etag(b"234")
    assert "ChecksumCRC32" not in part["CopyPartResult"]
    whole = await s3("UploadPartCopy", PartNumber=2, **given)
    assert whole["CopyPartResult"]["ChecksumCRC32"] == crc32(b"0123456789")
    error = await s3.error("UploadPartCopy", PartNumber=1, CopySourceRange="bytes=2-10", **given)
    assert error.message == "Range specified is not valid for source object of size: 10"
    assert (await s3.error("UploadPartCopy", PartNumber=1, CopySourceIfNoneMatch="*", **given)).code == "PreconditionFailed"
    await s3("CompleteMultipartUpload", Key="k", UploadId=upload_id, MultipartUpload={"Parts": named_parts([b"234"])})
    assert await s3.read(Key="k") == b"234"
