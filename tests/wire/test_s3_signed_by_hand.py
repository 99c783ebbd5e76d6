"""S3 requests that boto3 does not send: signed chunk by chunk, broken off, framed wrongly, encoded as other clients do."""

import base64
import errno
import hashlib
import os
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.support.buckets import noise
from tests.support.s3 import crc32
from tests.support.s3_server import Server, Signature, s3_server, target_of

STREAMING = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with s3_server(tmp_path_factory.mktemp("s3")) as served:
        served.client().create_bucket(Bucket="bbb")
        yield served


def in_chunks(server: Server, target: str, pieces: list[bytes], *, announced: int | None = None) -> tuple[dict[str, str], bytes]:
    """Headers and body of an upload whose chunks are signed one after the other."""
    size = sum(map(len, pieces)) if announced is None else announced
    headers = {
        "content-encoding": "aws-chunked",
        "x-amz-content-sha256": STREAMING,
        "x-amz-decoded-content-length": str(size),
    }
    signature = Signature.make(server, "PUT", target, headers)
    body, previous = b"", signature.value
    for piece in [*pieces, b""]:
        chunk, previous = signature.chunk(previous, piece)
        body += chunk
    return {**headers, **signature.headers}, body


def test_signed_chunks(server: Server) -> None:
    pieces = [noise(65536), noise(65536, 1), b"tail"]
    headers, body = in_chunks(server, "/bbb/chunks", pieces)
    assert server.send("PUT", "/bbb/chunks", headers=headers, body=body).status == 200
    got = server.client().get_object(Bucket="bbb", Key="chunks")
    assert got["Body"].read() == b"".join(pieces)
    assert "ContentEncoding" not in got


def test_signed_chunks_in_http_chunks_that_do_not_align(server: Server) -> None:
    headers, body = in_chunks(server, "/bbb/twice", [noise(70_000), noise(70_000, 1)])
    framed = [body[start : start + 999] for start in range(0, len(body), 999)]
    assert server.send("PUT", "/bbb/twice", headers=headers, body=framed).status == 200
    assert server.client().get_object(Bucket="bbb", Key="twice")["Body"].read() == noise(70_000) + noise(70_000, 1)


def test_a_changed_chunk_is_refused_and_nothing_kept(server: Server) -> None:
    headers, body = in_chunks(server, "/bbb/changed", [noise(8192), b"second chunk"])
    answer = server.send("PUT", "/bbb/changed", headers=headers, body=body.replace(b"second", b"sECOND"))
    assert (answer.status, b"<Code>SignatureDoesNotMatch</Code>" in answer.body) == (403, True)
    assert server.signed("GET", "/bbb/changed").status == 404


def test_chunks_have_a_least_size(server: Server) -> None:
    headers, body = in_chunks(server, "/bbb/small", [noise(8191), b"second chunk"])
    answer = server.send("PUT", "/bbb/small", headers=headers, body=body)
    assert (answer.status, b"<Code>InvalidChunkSizeError</Code>" in answer.body) == (403, True)


def test_fewer_chunks_than_announced(server: Server) -> None:
    headers, body = in_chunks(server, "/bbb/fewer", [b"abc"], announced=4)
    answer = server.send("PUT", "/bbb/fewer", headers=headers, body=body)
    assert (answer.status, b"<Code>IncompleteBody</Code>" in answer.body) == (400, True)


@pytest.mark.parametrize(("sum_of", "status"), [(b"hello", 200), (b"other", 400)])
def test_unsigned_trailer(server: Server, sum_of: bytes, status: int) -> None:
    body = b"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:" + crc32(sum_of).encode() + b"\r\n\r\n"
    headers = {
        "content-encoding": "gzip,aws-chunked",
        "x-amz-decoded-content-length": "5",
        "x-amz-trailer": "x-amz-checksum-crc32",
    }
    target = f"/bbb/trailer-{status}"
    answer = server.signed("PUT", target, headers=headers, body=body, payload_hash=UNSIGNED_TRAILER)
    assert answer.status == status
    if status == 200:
        assert answer.headers["x-amz-checksum-crc32"] == crc32(b"hello")
        assert server.signed("HEAD", target).headers["content-encoding"] == "gzip"
    else:
        assert b"<Code>BadDigest</Code>" in answer.body
        assert server.signed("HEAD", target).status == 404


def test_body_shorter_than_announced(server: Server) -> None:
    headers = {"content-length": "10", "x-amz-content-sha256": hashlib.sha256(b"abc").hexdigest()}
    signature = Signature.make(server, "PUT", "/bbb/short", headers)
    given = {**headers, **signature.headers, "host": urlsplit(server.url).netloc}
    head = "".join(f"{name}: {value}\r\n" for name, value in given.items())
    where = urlsplit(server.url)
    with socket.create_connection((where.hostname, where.port)) as connection:  # the client goes away in the middle
        connection.sendall(f"PUT /bbb/short HTTP/1.1\r\n{head}\r\n".encode() + b"abc")
    assert server.signed("HEAD", "/bbb/short").status == 404


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
def test_too_many_open_files_slow_the_client_down(server: Server, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    real = os.open

    def exhausted(path: Any, *args: Any, **options: Any) -> int:
        if "blobs" in str(path):
            raise OSError(number, os.strerror(number))
        return real(path, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", exhausted)
        answer = server.signed("PUT", f"/bbb/shortage-{number}", body=noise(200_000))
    assert (answer.status, b"<Code>SlowDown</Code>" in answer.body) == (503, True)
    assert server.signed("HEAD", f"/bbb/shortage-{number}").status == 404


def test_changed_body(server: Server) -> None:
    answer = server.signed("PUT", "/bbb/changed-body", body=b"abc", payload_hash=hashlib.sha256(b"abd").hexdigest())
    assert (answer.status, b"<Code>XAmzContentSHA256Mismatch</Code>" in answer.body) == (400, True)
    assert server.signed("HEAD", "/bbb/changed-body").status == 404


@pytest.mark.parametrize(("blanks", "status"), [(1_000_000, 200), (2 * 1024 * 1024, 400)])
def test_a_document_without_an_announced_size_is_bounded(server: Server, blanks: int, status: int) -> None:
    document = b"<Delete><Object><Key>none</Key></Object>" + b" " * blanks + b"</Delete>"
    pieces = [document[start : start + 100_000] for start in range(0, len(document), 100_000)]
    md5 = base64.b64encode(hashlib.md5(document).digest()).decode()
    answer = server.signed("POST", "/bbb?delete", headers={"content-md5": md5}, body=pieces)
    assert (answer.status, b"<Code>MaxMessageLengthExceeded</Code>" in answer.body) == (status, status == 400)


def test_wrong_md5(server: Server) -> None:
    md5 = base64.b64encode(hashlib.md5(b"abd").digest()).decode()
    answer = server.signed("PUT", "/bbb/md5", headers={"content-md5": md5}, body=b"abc")
    assert (answer.status, b"<Code>BadDigest</Code>" in answer.body) == (400, True)
    assert server.signed("PUT", "/bbb/md5", headers={"content-md5": "eA=="}, body=b"abc").status == 400


@pytest.mark.parametrize("word", ["tagging", "acl", "versioning", "policy", "torrent", "nonsense", "legal-hold", "versions"])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_subresources_are_never_taken_for_something_else(server: Server, word: str, method: str) -> None:
    assert server.signed("PUT", "/bbb/kept", body=b"kept").status == 200
    for target in (f"/bbb/kept?{word}", f"/bbb?{word}"):
        body = b"<x/>" if method == "PUT" else b""
        answer = server.signed(method, target, body=body)
        assert (answer.status, b"<Code>NotImplemented</Code>" in answer.body) == (501, True), target
    assert server.signed("GET", "/bbb/kept").body == b"kept"


def test_refused_header_is_named(server: Server) -> None:
    headers = {"x-amz-server-side-encryption": "aws:kms:dsse"}
    answer = server.signed("PUT", "/bbb/kms", headers=headers, body=b"x")
    assert answer.status == 501
    assert b"<Header>x-amz-server-side-encryption</Header><additionalMessage>" in answer.body


@pytest.mark.parametrize("key", ["a//b", "../../etc/passwd", "a/../b", "%", "a+b", "ü", "a b"])
def test_the_path_is_decoded_once_and_not_normalised(server: Server, key: str) -> None:
    target = target_of("bbb", key)
    assert server.signed("PUT", target, body=key.encode()).status == 200
    assert server.signed("GET", target).body == key.encode()
    listed = server.client().list_objects_v2(Bucket="bbb", Prefix=key)["Contents"]
    assert key in [entry["Key"] for entry in listed]


def test_conditional_and_partial_reads(server: Server) -> None:
    server.signed("PUT", "/bbb/read", body=b"0123456789", headers={"x-amz-meta-m": "1", "expires": "whenever"})
    whole = server.signed("GET", "/bbb/read")
    assert (whole.headers["accept-ranges"], whole.headers["x-amz-meta-m"]) == ("bytes", "1")
    assert (whole.headers["server"], whole.headers["expires"]) == ("AmazonS3", "whenever")
    same = server.signed("GET", "/bbb/read", headers={"if-none-match": whole.headers["etag"]})
    assert (same.status, same.body, same.headers["etag"]) == (304, b"", whole.headers["etag"])
    old = server.signed("GET", "/bbb/read", headers={"if-modified-since": whole.headers["last-modified"]})
    assert (old.status, old.body) == (304, b"")
    junk = server.signed("GET", "/bbb/read", headers={"if-modified-since": "not a date"})
    assert (junk.status, junk.body) == (200, b"0123456789")
    part = server.signed("GET", "/bbb/read", headers={"range": "bytes=-4"})
    assert (part.status, part.body, part.headers["content-range"]) == (206, b"6789", "bytes 6-9/10")
    head = server.signed("HEAD", "/bbb/read", headers={"range": "bytes=0-3"})
    assert (head.status, head.body, head.headers["content-length"]) == (206, b"", "4")
    outside = server.signed("GET", "/bbb/read", headers={"range": "bytes=10-"})
    assert (outside.status, b"<ActualObjectSize>10</ActualObjectSize>" in outside.body) == (416, True)


def test_error_documents(server: Server) -> None:
    answer = server.signed("GET", "/bbb/missing")
    assert answer.headers["content-type"] == "application/xml"
    assert answer.body.startswith(b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>NoSuchKey</Code>')
    assert b"<Key>missing</Key><RequestId>" in answer.body
    head = server.signed("HEAD", "/bbb/missing")
    assert (head.status, head.body) == (404, b"")
    anonymous = server.send("GET", "/bbb/kept")
    assert (anonymous.status, b"<Code>AccessDenied</Code>" in anonymous.body) == (403, True)


def test_answers_that_are_almost_empty(server: Server) -> None:
    location = server.signed("GET", "/bbb?location=")
    assert location.body.endswith(b'<LocationConstraint xmlns="http://s3.amazonaws.com/doc/2006-03-01/"></LocationConstraint>')
    assert server.signed("DELETE", "/bbb/never").status == 204
    empty = server.signed("GET", "/bbb?list-type=2&prefix=&delimiter=&max-keys=1").body
    assert b"<KeyCount>1</KeyCount>" in empty
    assert b"EncodingType" not in empty


def test_delete_many_as_other_clients_send_it(server: Server) -> None:
    server.signed("PUT", "/bbb/gone", body=b"x")
    body = b'<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Object><Key>gone</Key></Object></Delete>'
    md5 = base64.b64encode(hashlib.md5(body).digest()).decode()
    sums = {"content-md5": md5, "x-amz-checksum-sha256": base64.b64encode(hashlib.sha256(body).digest()).decode()}
    assert b"<Deleted><Key>gone</Key></Deleted>" in server.signed("POST", "/bbb?delete", headers=sums, body=body).body
    assert b"<Code>MalformedXML</Code>" in server.signed("POST", "/bbb?delete", body=b"<Delete>").body
    assert b"<Code>MalformedXML</Code>" in server.signed("POST", "/bbb?delete", body=b"<Delete></Delete>").body
    wrong = server.signed("POST", "/bbb?delete", headers={"content-md5": md5}, body=body + b" ")
    assert b"<Code>BadDigest</Code>" in wrong.body


def test_bucket_in_the_host_name(server: Server) -> None:
    where = urlsplit(server.url)
    headers = {"host": f"bbb.{where.netloc}", "x-amz-content-sha256": hashlib.sha256(b"v").hexdigest()}
    signature = Signature.make(server, "PUT", "/virtual/key", headers)
    assert server.send("PUT", "/virtual/key", headers={**headers, **signature.headers}, body=b"v").status == 200
    assert server.client().get_object(Bucket="bbb", Key="virtual/key")["Body"].read() == b"v"


def test_announced_size_beyond_the_bound(server: Server) -> None:
    headers = {"content-length": str(5 * 1024**3 + 1), "expect": "100-continue"}
    answer = server.signed("PUT", "/bbb/huge", headers={"x-amz-meta-m": "1"}, body=b"", payload_hash="UNSIGNED-PAYLOAD")
    assert answer.status == 200
    given = {"x-amz-content-sha256": "UNSIGNED-PAYLOAD"}
    signature = Signature.make(server, "PUT", "/bbb/huge", given)
    lines = {**given, **signature.headers, **headers, "host": urlsplit(server.url).netloc}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    where = urlsplit(server.url)
    with socket.create_connection((where.hostname, where.port), timeout=30) as connection:
        connection.sendall(f"PUT /bbb/huge HTTP/1.1\r\n{head}\r\n".encode())
        answer_bytes = b""
        while piece := connection.recv(65536):
            answer_bytes += piece
    assert answer_bytes.startswith(b"HTTP/1.1 400")  # at once, without a 100 and a single byte of the body
    assert b"<Code>EntityTooLarge</Code>" in answer_bytes
