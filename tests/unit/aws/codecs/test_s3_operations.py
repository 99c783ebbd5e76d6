"""Which S3 operation a request is; and that it is never taken for another."""

import pytest

from tarry.aws.auth import RawRequest
from tarry.aws.codecs.s3_operations import Place, place_of, resolve
from tarry.aws.errors import AwsError
from tarry.aws.request import Request, join_headers
from tarry.aws.specs import load_spec

S3 = load_spec("s3")


def asked(line: str, virtual_bucket: str | None = None, **headers: str) -> Request:
    method, _, target = line.partition(" ")
    path, _, query = target.partition("?")
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    raw = RawRequest(
        method=method, raw_path=path.encode(), raw_query=query.encode(), headers=pairs, host="x", virtual_bucket=virtual_bucket
    )
    return Request(raw=raw, headers=join_headers(pairs))


@pytest.mark.parametrize(
    ("line", "operation"),
    [
        ("GET /", "ListBuckets"),
        ("PUT /b", "CreateBucket"),
        ("PUT /b/", "CreateBucket"),
        ("HEAD /b", "HeadBucket"),
        ("DELETE /b", "DeleteBucket"),
        ("GET /b", "ListObjects"),
        ("GET /b?prefix=&delimiter=", "ListObjects"),
        ("GET /b?list-type=2&encoding-type=url", "ListObjectsV2"),
        ("GET /b?location", "GetBucketLocation"),
        ("GET /b?location=", "GetBucketLocation"),
        ("GET /b?uploads", "ListMultipartUploads"),
        ("GET /b?versions", "ListObjectVersions"),
        ("GET /b?inventory", "ListBucketInventoryConfigurations"),
        ("GET /b?inventory&id=1", "GetBucketInventoryConfiguration"),
        ("GET /b?lifecycle", "GetBucketLifecycleConfiguration"),
        ("POST /b?delete", "DeleteObjects"),
        ("GET /b/k", "GetObject"),
        ("GET /b/k?partNumber=1", "GetObject"),
        ("GET /b/k?x-id=GetObject&X-Amz-Signature=1&X-Amz-Foo=2", "GetObject"),
        ("GET /b/k?AWSAccessKeyId=A&Expires=1&Signature=s", "GetObject"),
        ("GET /b/k?response-content-type=text/csv", "GetObject"),
        ("GET /b/k?uploadId=u", "ListParts"),
        ("GET /b/k?tagging", "GetObjectTagging"),
        ("GET /b/k?acl", "GetObjectAcl"),
        ("GET /b/k?attributes", "GetObjectAttributes"),
        ("GET /b/k?torrent", "GetObjectTorrent"),
        ("HEAD /b/k", "HeadObject"),
        ("PUT /b/k", "PutObject"),
        ("PUT /b/k?tagging", "PutObjectTagging"),
        ("PUT /b/k?acl", "PutObjectAcl"),
        ("PUT /b/k?uploadId=u&partNumber=2", "UploadPart"),
        ("POST /b/k?uploads", "CreateMultipartUpload"),
        ("POST /b/k?uploads=", "CreateMultipartUpload"),
        ("POST /b/k?uploadId=u", "CompleteMultipartUpload"),
        ("POST /b/k?select&select-type=2", "SelectObjectContent"),
        ("DELETE /b/k", "DeleteObject"),
        ("DELETE /b/k?versionId=v", "DeleteObject"),
        ("DELETE /b/k?uploadId=u", "AbortMultipartUpload"),
        ("DELETE /b/k?tagging", "DeleteObjectTagging"),
    ],
)
def test_operation(line: str, operation: str) -> None:
    assert resolve(S3, asked(line)) == operation


def test_copies_are_told_by_their_header() -> None:
    assert resolve(S3, asked("PUT /b/k", x_amz_copy_source="/a/b")) == "CopyObject"
    assert resolve(S3, asked("PUT /b/k?uploadId=u&partNumber=1", x_amz_copy_source="/a/b")) == "UploadPartCopy"


@pytest.mark.parametrize(
    "line",
    [
        "GET /b/k?frobnicate",
        "PUT /b/k?frobnicate=1",
        "PUT /b/k?partNumber=1",
        "PUT /b/k?uploadId=u",
        "DELETE /b/k?acl",
        "DELETE /b?versioning",
        "GET /b/k?policy",
        "PUT /b/k?versionId=1",
        "GET /?acl",
        "POST /b?nothing",
        "GET /b?list-type=3",
        "PUT /b/k?tagging&acl",
    ],
)
def test_a_word_that_the_operation_does_not_have_is_refused(line: str) -> None:
    with pytest.raises(AwsError) as caught:
        resolve(S3, asked(line))
    assert (caught.value.code, caught.value.status) == ("NotImplemented", 501)


@pytest.mark.parametrize("line", ["POST /", "POST /b", "POST /b/k", "PATCH /b/k", "DELETE /", "HEAD /"])
def test_method_without_operation(line: str) -> None:
    with pytest.raises(AwsError) as caught:
        resolve(S3, asked(line))
    assert (caught.value.code, caught.value.status) == ("MethodNotAllowed", 405)


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/", Place("", "")),
        ("/b", Place("b", "")),
        ("/b/", Place("b", "")),
        ("/b//k", Place("b", "/k")),
        ("/b/../k", Place("b", "../k")),
        ("/b/%252F", Place("b", "%2F")),
        ("/b/a%2Fb", Place("b", "a/b")),
        ("/b/a+b%20c", Place("b", "a+b c")),
        ("/b/%C3%BC", Place("b", "ü")),
        ("/b%2Fk", Place("b", "k")),
    ],
)
def test_keys_are_decoded_once(path: str, place: Place) -> None:
    assert place_of(asked(f"GET {path}")) == place


def test_bucket_in_the_host() -> None:
    assert place_of(asked("GET /a/b", virtual_bucket="bucket")) == Place("bucket", "a/b")
    assert resolve(S3, asked("GET /?list-type=2", virtual_bucket="bucket")) == "ListObjectsV2"


@pytest.mark.parametrize("path", ["//b/k", "/b/%FF", "*", "b/k"])
def test_path_that_names_nothing(path: str) -> None:
    with pytest.raises(AwsError) as caught:
        place_of(asked(f"GET {path}"))
    assert (caught.value.code, caught.value.status) == ("InvalidURI", 400)
