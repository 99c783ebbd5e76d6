"""S3 as unmodified boto3 speaks it, over HTTP and over TLS, where its bodies are framed and checked in other ways."""

import hashlib
import io
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError
from tests.support.buckets import noise
from tests.support.s3 import crc32
from tests.support.s3_server import Server, s3_server
from tests.support.server import Certificate

MIB = 1024 * 1024
SUM = crc32(b"0123456789")
KEYS = ["a b", "a+b", "100%", "a%2Fb", "ü/日本 語", "a//b", "../../etc/passwd", "a/./b", "'()*!$&,:;=@~", "a?b#c", "a\tb", "-._~"]


@pytest.fixture(scope="module", params=["http", "https"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("s3")
    certificate = Certificate.make(directory) if request.param == "https" else None
    with s3_server(directory, certificate=certificate) as served:
        served.client().create_bucket(Bucket="bbb")
        yield served


@pytest.fixture(scope="module")
def frankfurt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with s3_server(tmp_path_factory.mktemp("frankfurt"), region="eu-central-1") as served:
        yield served


@pytest.fixture
def s3(server: Server) -> Any:
    return server.client()


def code(call: Any, **params: Any) -> tuple[int, str, str]:
    """Status, code and message of the error that a call ends in."""
    with pytest.raises(ClientError) as caught:
        call(**params)
    answer = caught.value.response
    return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"], answer["Error"]["Message"]


def test_buckets(s3: Any) -> None:
    assert s3.create_bucket(Bucket="new-bucket")["Location"] == "/new-bucket"
    s3.create_bucket(Bucket="new-bucket")
    head = s3.head_bucket(Bucket="new-bucket")
    assert (head["BucketRegion"], head["AccessPointAlias"]) == ("us-east-1", False)
    assert s3.get_bucket_location(Bucket="new-bucket")["LocationConstraint"] is None
    assert "new-bucket" in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]
    s3.delete_bucket(Bucket="new-bucket")
    s3.get_waiter("bucket_not_exists").wait(Bucket="new-bucket", WaiterConfig={"Delay": 0, "MaxAttempts": 1})


def test_location_constraint(frankfurt: Server) -> None:
    s3 = frankfurt.client()
    assert code(s3.create_bucket, Bucket="bbb")[1] == "IllegalLocationConstraintException"
    where = {"LocationConstraint": "eu-central-1"}
    assert s3.create_bucket(Bucket="new", CreateBucketConfiguration=where)["Location"] == f"{frankfurt.url}/new/"
    assert s3.get_bucket_location(Bucket="new")["LocationConstraint"] == "eu-central-1"
    assert code(s3.create_bucket, Bucket="new", CreateBucketConfiguration=where)[:2] == (409, "BucketAlreadyOwnedByYou")


def test_put_get_head(s3: Any) -> None:
    put = s3.put_object(Bucket="bbb", Key="k", Body=b"0123456789", ContentType="text/csv", Metadata={"one": "1 2"})
    assert put["ETag"] == f'"{hashlib.md5(b"0123456789").hexdigest()}"'
    assert (put["ChecksumCRC32"], put["ChecksumType"], put["ServerSideEncryption"]) == (SUM, "FULL_OBJECT", "AES256")
    got = s3.get_object(Bucket="bbb", Key="k")
    assert got["Body"].read() == b"0123456789"
    assert got["ResponseMetadata"]["HTTPHeaders"]["x-amz-checksum-crc32"] == SUM
    assert (got["ContentType"], got["Metadata"], got["AcceptRanges"]) == ("text/csv", {"one": "1 2"}, "bytes")
    assert len(got["ResponseMetadata"]["RequestId"]) == 16
    head = s3.head_object(Bucket="bbb", Key="k")
    assert (head["ContentLength"], head["ETag"], head["LastModified"]) == (10, put["ETag"], got["LastModified"])
    assert "ChecksumCRC32" not in head
    part = s3.get_object(Bucket="bbb", Key="k", Range="bytes=2-4")
    assert (part["Body"].read(), part["ContentRange"], part["ContentLength"]) == (b"234", "bytes 2-4/10", 3)
    assert part["ResponseMetadata"]["HTTPStatusCode"] == 206


def test_empty_and_streamed_bodies(s3: Any, server: Server) -> None:
    s3.put_object(Bucket="bbb", Key="empty", Body=b"")
    s3.put_object(Bucket="bbb", Key="none")
    assert s3.get_object(Bucket="bbb", Key="empty")["Body"].read() == b""
    assert s3.head_object(Bucket="bbb", Key="none")["ContentLength"] == 0
    big = noise(3 * MIB + 17)
    s3.put_object(Bucket="bbb", Key="big", Body=io.BytesIO(big))
    assert s3.get_object(Bucket="bbb", Key="big")["Body"].read() == big

    class Unseekable(io.RawIOBase):
        def __init__(self) -> None:
            self.rest = io.BytesIO(big)

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            return self.rest.readinto(buffer)

    if server.cert:  # over http boto3 refuses such a body itself
        s3.put_object(Bucket="bbb", Key="unseekable", Body=Unseekable())
        assert s3.get_object(Bucket="bbb", Key="unseekable")["Body"].read() == big


@pytest.mark.parametrize("algorithm", ["CRC32", "SHA1", "SHA256"])
def test_checksum_algorithms(s3: Any, algorithm: str) -> None:
    put = s3.put_object(Bucket="bbb", Key="sum", Body=b"abc", ChecksumAlgorithm=algorithm)
    got = s3.get_object(Bucket="bbb", Key="sum", ChecksumMode="ENABLED")
    assert got["Body"].read() == b"abc"
    assert got[f"Checksum{algorithm}"] == put[f"Checksum{algorithm}"]


def test_errors_that_programs_compare(s3: Any) -> None:
    assert code(s3.get_object, Bucket="bbb", Key="missing") == (404, "NoSuchKey", "The specified key does not exist.")
    assert code(s3.head_object, Bucket="bbb", Key="missing") == (404, "404", "Not Found")
    assert code(s3.head_bucket, Bucket="missing") == (404, "404", "Not Found")
    assert code(s3.head_bucket, Bucket="bbb", ExpectedBucketOwner="210987654321") == (403, "403", "Forbidden")
    assert code(s3.get_object, Bucket="missing", Key="k") == (404, "NoSuchBucket", "The specified bucket does not exist")
    assert code(s3.put_object, Bucket="missing", Key="k", Body=b"x")[1] == "NoSuchBucket"
    s3.put_object(Bucket="bbb", Key="k", Body=b"abc")
    with pytest.raises(ClientError) as caught:
        s3.get_object(Bucket="bbb", Key="k", Range="bytes=3-")
    assert caught.value.response["Error"] | {"Message": ""} == {
        "Code": "InvalidRange",
        "Message": "",
        "RangeRequested": "bytes=3-",
        "ActualObjectSize": "3",
    }
    assert code(s3.delete_bucket, Bucket="bbb")[:2] == (409, "BucketNotEmpty")
    with pytest.raises(s3.exceptions.NoSuchKey):
        s3.get_object(Bucket="bbb", Key="missing")


def test_conditions(s3: Any) -> None:
    etag = s3.put_object(Bucket="bbb", Key="cond", Body=b"abc")["ETag"]
    assert code(s3.get_object, Bucket="bbb", Key="cond", IfNoneMatch=etag) == (304, "304", "Not Modified")
    assert code(s3.head_object, Bucket="bbb", Key="cond", IfNoneMatch=etag) == (304, "304", "Not Modified")
    modified = s3.head_object(Bucket="bbb", Key="cond")["LastModified"]
    assert code(s3.get_object, Bucket="bbb", Key="cond", IfModifiedSince=modified)[0] == 304
    assert code(s3.get_object, Bucket="bbb", Key="cond", IfMatch='"x"')[:2] == (412, "PreconditionFailed")
    assert code(s3.put_object, Bucket="bbb", Key="cond", Body=b"", IfNoneMatch="*")[:2] == (412, "PreconditionFailed")
    assert code(s3.put_object, Bucket="bbb", Key="cond", Body=b"", IfMatch='"x"')[:2] == (412, "PreconditionFailed")
    assert code(s3.put_object, Bucket="bbb", Key="absent", Body=b"", IfMatch='"x"')[:2] == (404, "NoSuchKey")
    s3.put_object(Bucket="bbb", Key="cond", Body=b"def", IfMatch=etag)
    assert s3.get_object(Bucket="bbb", Key="cond")["Body"].read() == b"def"


@pytest.mark.parametrize("key", KEYS)
def test_keys_are_names_and_nothing_else(s3: Any, key: str) -> None:
    s3.put_object(Bucket="bbb", Key=key, Body=key.encode())
    assert s3.get_object(Bucket="bbb", Key=key)["Body"].read() == key.encode()
    assert key in [entry["Key"] for entry in s3.list_objects_v2(Bucket="bbb")["Contents"]]
    s3.copy_object(Bucket="bbb", Key=f"{key}.copy", CopySource={"Bucket": "bbb", "Key": key})
    answer = s3.delete_objects(Bucket="bbb", Delete={"Objects": [{"Key": key}, {"Key": f"{key}.copy"}]})
    assert [entry["Key"] for entry in answer["Deleted"]] == [key, f"{key}.copy"]
    assert code(s3.head_object, Bucket="bbb", Key=key)[0] == 404


def test_keys_that_cannot_be(s3: Any) -> None:
    assert code(s3.put_object, Bucket="bbb", Key="k" * 1025, Body=b"")[:2] == (400, "KeyTooLongError")
    assert code(s3.put_object, Bucket="bbb", Key="k", Body=b"", Metadata={"m": "x" * 2048})[1] == "MetadataTooLarge"
    assert code(s3.put_object, Bucket="bbb", Key="k", Body=b"", ContentDisposition="x" * 10_000)[1] == (
        "RequestHeaderSectionTooLarge"
    )


def test_upload_and_download_in_parts(s3: Any, tmp_path: Path) -> None:
    data = noise(13 * MIB)
    (tmp_path / "up").write_bytes(data)
    parts = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB, max_concurrency=4)
    s3.upload_file(str(tmp_path / "up"), "bbb", "parts", Config=parts, ExtraArgs={"ContentType": "a/b", "Metadata": {"m": "1"}})
    head = s3.head_object(Bucket="bbb", Key="parts")
    assert (head["ETag"][-3:], head["ContentType"], head["Metadata"]) == ('-3"', "a/b", {"m": "1"})
    s3.download_file("bbb", "parts", str(tmp_path / "down"), Config=parts)
    assert (tmp_path / "down").read_bytes() == data
    whole = s3.get_object(Bucket="bbb", Key="parts")
    assert whole["Body"].read() == data
    assert whole["ChecksumType"] in {"COMPOSITE", "FULL_OBJECT"}
    third = s3.get_object(Bucket="bbb", Key="parts", PartNumber=3)
    assert (third["Body"].read(), third["PartsCount"]) == (data[10 * MIB :], 3)
    attributes = s3.get_object_attributes(Bucket="bbb", Key="parts", ObjectAttributes=["ETag", "ObjectParts", "ObjectSize"])
    assert (attributes["ETag"], attributes["ObjectSize"]) == (head["ETag"].strip('"'), len(data))
    assert attributes["ObjectParts"]["TotalPartsCount"] == 3
    s3.copy({"Bucket": "bbb", "Key": "parts"}, "bbb", "copied", Config=parts)
    assert s3.get_object(Bucket="bbb", Key="copied")["Body"].read() == data


def test_parts_in_any_order_listed_and_aborted(s3: Any) -> None:
    upload = s3.create_multipart_upload(Bucket="bbb", Key="order", ChecksumAlgorithm="CRC32")
    assert (upload["ChecksumAlgorithm"], upload["ChecksumType"]) == ("CRC32", "COMPOSITE")
    given = {"Bucket": "bbb", "Key": "order", "UploadId": upload["UploadId"]}
    first = noise(5 * MIB)
    done = {2: s3.upload_part(**given, PartNumber=2, Body=b"tail"), 1: s3.upload_part(**given, PartNumber=1, Body=first)}
    assert [part["PartNumber"] for part in s3.list_parts(**given)["Parts"]] == [1, 2]
    assert upload["UploadId"] in [entry["UploadId"] for entry in s3.list_multipart_uploads(Bucket="bbb")["Uploads"]]
    bare = [{"PartNumber": number, "ETag": done[number]["ETag"]} for number in (1, 2)]
    assert "for each part" in code(s3.complete_multipart_upload, **given, MultipartUpload={"Parts": bare})[2]
    assert code(s3.complete_multipart_upload, **given, MultipartUpload={"Parts": []})[0] == 400
    full = [part | {"ChecksumCRC32": done[part["PartNumber"]]["ChecksumCRC32"]} for part in bare]
    answer = s3.complete_multipart_upload(**given, MultipartUpload={"Parts": full})
    assert answer["Key"] == "order"
    assert s3.complete_multipart_upload(**given, MultipartUpload={"Parts": full})["ETag"] == answer["ETag"]
    assert s3.get_object(Bucket="bbb", Key="order")["Body"].read() == first + b"tail"
    other = {**given, "UploadId": s3.create_multipart_upload(Bucket="bbb", Key="order")["UploadId"]}
    s3.upload_part(**other, PartNumber=1, Body=b"x")
    s3.abort_multipart_upload(**other)
    assert code(s3.upload_part, **other, PartNumber=2, Body=b"x")[:2] == (404, "NoSuchUpload")
    assert code(s3.list_parts, **other)[:2] == (404, "NoSuchUpload")
    assert code(s3.upload_part, **given | {"UploadId": "../../x"}, PartNumber=2, Body=b"x")[:2] == (404, "NoSuchUpload")


def test_listings(s3: Any, server: Server) -> None:
    s3.create_bucket(Bucket="listed")
    keys = [f"dir {number % 3}/k+{number:02}" for number in range(12)] + ["top=1", "ü"]
    for key in keys:
        s3.put_object(Bucket="listed", Key=key, Body=b"x")
    pages = list(s3.get_paginator("list_objects_v2").paginate(Bucket="listed", PaginationConfig={"PageSize": 5}))
    assert [entry["Key"] for page in pages for entry in page["Contents"]] == sorted(keys)
    assert [page["KeyCount"] for page in pages] == [5, 5, 4]
    rolled = list(s3.get_paginator("list_objects_v2").paginate(Bucket="listed", Delimiter="/", PaginationConfig={"PageSize": 2}))
    assert [entry["Prefix"] for page in rolled for entry in page.get("CommonPrefixes", [])] == ["dir 0/", "dir 1/", "dir 2/"]
    assert [entry["Key"] for page in rolled for entry in page.get("Contents", [])] == ["top=1", "ü"]
    bucket = server.resource().Bucket("listed")
    assert [entry.key for entry in bucket.objects.filter(Prefix="dir 1/").page_size(3)] == sorted(keys)[4:8]
    assert bucket.creation_date is not None
    bucket.objects.all().delete()
    assert s3.list_objects_v2(Bucket="listed")["KeyCount"] == 0


def test_waiters(s3: Any) -> None:
    later = threading.Timer(0.1, lambda: s3.put_object(Bucket="bbb", Key="awaited", Body=b"x"))
    later.start()
    s3.get_waiter("object_exists").wait(Bucket="bbb", Key="awaited", WaiterConfig={"Delay": 0.05, "MaxAttempts": 200})
    later.join()
    s3.delete_object(Bucket="bbb", Key="awaited")
    s3.get_waiter("object_not_exists").wait(Bucket="bbb", Key="awaited", WaiterConfig={"Delay": 0.05, "MaxAttempts": 1})


@pytest.mark.parametrize(
    ("operation", "params"),
    [
        ("get_bucket_versioning", {}),
        ("get_bucket_acl", {}),
        ("get_bucket_policy", {}),
        ("list_object_versions", {}),
        ("get_object_tagging", {"Key": "k"}),
        ("get_object_acl", {"Key": "k"}),
        ("put_object_tagging", {"Key": "k", "Tagging": {"TagSet": []}}),
        ("put_bucket_versioning", {"VersioningConfiguration": {"Status": "Enabled"}}),
        ("restore_object", {"Key": "k"}),
        ("put_object", {"Key": "k", "ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "alias/k"}),
        ("put_object", {"Key": "k", "Tagging": "a=b"}),
        ("put_object", {"Key": "k", "ACL": "public-read"}),
    ],
)
def test_refusals(s3: Any, operation: str, params: dict[str, Any]) -> None:
    s3.put_object(Bucket="bbb", Key="k", Body=b"kept")
    assert code(getattr(s3, operation), Bucket="bbb", **params)[:2] == (501, "NotImplemented")
    assert s3.get_object(Bucket="bbb", Key="k")["Body"].read() == b"kept"


def fetch(server: Server, url: str, method: str = "GET", body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
    import ssl

    context = ssl.create_default_context(cafile=str(server.cert)) if server.cert else None
    request = urllib.request.Request(url, data=body, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30, context=context) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def presigned(server: Server, s3: Any, marker: str) -> None:
    key = "ü +&/signed"
    s3.put_object(Bucket="signed", Key=key, Body=b"secret")
    url = s3.generate_presigned_url("get_object", {"Bucket": "signed", "Key": key})
    assert marker in url
    assert fetch(server, url) == (200, b"secret")
    assert fetch(server, url.replace("signed?", "signed2?"))[0] == 403
    shown = {"Bucket": "signed", "Key": key, "ResponseContentType": "text/plain; x=ü"}
    assert fetch(server, s3.generate_presigned_url("get_object", shown)) == (200, b"secret")
    put = s3.generate_presigned_url("put_object", {"Bucket": "signed", "Key": "put", "ContentType": "text/csv"})
    assert fetch(server, put, "PUT", b"a,b", **{"Content-Type": "text/csv"})[0] == 200
    assert fetch(server, put, "PUT", b"a,b", **{"Content-Type": "text/html"})[0] == 403
    assert fetch(server, put)[0] == 403
    got = s3.get_object(Bucket="signed", Key="put")
    assert (got["Body"].read(), got["ContentType"]) == (b"a,b", "text/csv")
    missing = s3.generate_presigned_url("get_object", {"Bucket": "signed", "Key": "missing"})
    status, body = fetch(server, missing)
    assert (status, b"<Code>NoSuchKey</Code>" in body) == (404, True)


def test_presigned_with_v2_in_an_old_region(server: Server, s3: Any) -> None:
    s3.create_bucket(Bucket="signed")
    presigned(server, s3, "AWSAccessKeyId=")


def test_presigned_with_v4(server: Server) -> None:
    s3 = server.client(signature_version="s3v4")
    s3.create_bucket(Bucket="signed")
    presigned(server, s3, "X-Amz-Algorithm=AWS4-HMAC-SHA256")


def test_presigned_with_v4_in_a_new_region(frankfurt: Server) -> None:
    s3 = frankfurt.client()
    s3.create_bucket(Bucket="signed", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    presigned(frankfurt, s3, "X-Amz-Algorithm=AWS4-HMAC-SHA256")


def test_wrong_digest(s3: Any) -> None:
    md5 = {"ContentMD5": "1B2M2Y8AsgTpgAmY7PhCfg=="}
    assert code(s3.put_object, Bucket="bbb", Key="digest", Body=b"abc", **md5)[:2] == (400, "BadDigest")
    assert code(s3.put_object, Bucket="bbb", Key="digest", Body=b"abc", ContentMD5="x")[:2] == (400, "InvalidDigest")
    assert code(s3.put_object, Bucket="bbb", Key="digest", Body=b"abc", ChecksumCRC32="AAAAAA==")[1] == "BadDigest"
    assert code(s3.head_object, Bucket="bbb", Key="digest")[0] == 404


def test_wrong_keys(server: Server) -> None:
    session = server.session()
    verify = str(server.cert) if server.cert else None
    config = Config(retries={"total_max_attempts": 1})
    for key_id, secret, wanted in (("AKIANOBODY", "x", "InvalidAccessKeyId"), (None, "x", "SignatureDoesNotMatch")):
        client = session.client(
            "s3",
            endpoint_url=server.url,
            verify=verify,
            config=config,
            aws_access_key_id=key_id or session.get_credentials().access_key,
            aws_secret_access_key=secret,
        )
        assert code(client.list_buckets)[:2] == (403, wanted)
