"""AWS's own worked examples: the S3 API reference's pages on SigV4 (header, query, chunks, trailers), the user guide's on V2."""

from collections.abc import AsyncIterator

import pytest
from tests.support.signing import SCOPE, Ring

from tarry.aws.auth import RawRequest, Verified, authenticate, open_body
from tarry.aws.auth.canonical import Header
from tarry.aws.errors import AwsError

MAY_24_2013 = 1_369_353_600
DATE = (b"x-amz-date", b"20130524T000000Z")
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
HOST = "examplebucket.s3.amazonaws.com"
CREDENTIAL = "AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request"


def authorization(signed: str, signature: str) -> Header:
    return (b"authorization", f"AWS4-HMAC-SHA256 Credential={CREDENTIAL},SignedHeaders={signed},Signature={signature}".encode())


async def verified(request: RawRequest, *, now_s: int = MAY_24_2013) -> Verified:
    return await authenticate(request, keyring=Ring(), scope=SCOPE, now_us=now_s * 1_000_000, protocol="rest-xml", service="s3")


@pytest.mark.parametrize(
    ("path", "query", "extra", "signed", "signature"),
    [
        (
            b"/test.txt",
            b"",
            [(b"Range", b"bytes=0-9")],
            "host;range;x-amz-content-sha256;x-amz-date",
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        (
            b"/",
            b"lifecycle",
            [],
            "host;x-amz-content-sha256;x-amz-date",
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
        ),
        (
            b"/",
            b"max-keys=2&prefix=J",
            [],
            "host;x-amz-content-sha256;x-amz-date",
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ],
)
async def test_get_with_a_header(path: bytes, query: bytes, extra: list[Header], signed: str, signature: str) -> None:
    headers = [*extra, (b"x-amz-content-sha256", EMPTY.encode()), DATE, authorization(signed, signature)]
    request = RawRequest(method="GET", raw_path=path, raw_query=query, headers=headers, host=HOST)
    assert (await verified(request)).payload_hash == EMPTY


async def test_put_with_a_header() -> None:
    digest = "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"
    headers = [
        (b"Date", b"Fri, 24 May 2013 00:00:00 GMT"),
        DATE,
        (b"x-amz-storage-class", b"REDUCED_REDUNDANCY"),
        (b"x-amz-content-sha256", digest.encode()),
        authorization(
            "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        ),
    ]
    request = RawRequest(method="PUT", raw_path=b"/test$file.text", raw_query=b"", headers=headers, host=HOST)
    body = open_body(request, await verified(request), pieces(b"Welcome to Amazon S3."))
    assert b"".join([piece async for piece in body]) == b"Welcome to Amazon S3."


async def test_presigned_url() -> None:
    query = (
        f"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={CREDENTIAL.replace('/', '%2F')}&X-Amz-Date=20130524T000000Z"
        "&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"
        "&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
    )
    request = RawRequest(method="GET", raw_path=b"/test.txt", raw_query=query.encode(), headers=[], host=HOST)
    await verified(request, now_s=MAY_24_2013 + 86_400)


async def pieces(data: bytes, size: int = 1000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def chunked(signatures: list[str], end: bytes) -> bytes:
    sizes = (65_536, 1024, 0)
    framed = [
        f"{size:x};chunk-signature={signature}\r\n".encode() + b"a" * size
        for size, signature in zip(sizes, signatures, strict=True)
    ]
    return b"\r\n".join(framed) + end


async def test_signed_chunks() -> None:
    headers = [
        DATE,
        (b"x-amz-storage-class", b"REDUCED_REDUNDANCY"),
        (b"x-amz-content-sha256", b"STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
        (b"Content-Encoding", b"aws-chunked"),
        (b"x-amz-decoded-content-length", b"66560"),
        (b"Content-Length", b"66824"),
        authorization(
            "content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class",
            "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
        ),
    ]
    request = RawRequest(
        method="PUT", raw_path=b"/examplebucket/chunkObject.txt", raw_query=b"", headers=headers, host="s3.amazonaws.com"
    )
    framed = chunked(
        [
            "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
            "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
            "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
        ],
        b"\r\n",
    )
    assert len(framed) == 66_824
    body = open_body(request, await verified(request), pieces(framed))
    assert body.size == 66_560
    assert b"".join([piece async for piece in body]) == b"a" * 66_560
    for at in (100, 66_000):
        changed = framed[:at] + b"b" + framed[at + 1 :]
        with pytest.raises(AwsError, match="SignatureDoesNotMatch"):
            [piece async for piece in open_body(request, await verified(request), pieces(changed))]


async def test_signed_chunks_with_a_signed_trailer() -> None:
    headers = [
        DATE,
        (b"x-amz-storage-class", b"REDUCED_REDUNDANCY"),
        (b"x-amz-content-sha256", b"STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"),
        (b"Content-Encoding", b"aws-chunked"),
        (b"x-amz-decoded-content-length", b"66560"),
        (b"x-amz-trailer", b"x-amz-checksum-crc32c"),
        authorization(
            "content-encoding;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class;x-amz-trailer",
            "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e",
        ),
    ]
    request = RawRequest(
        method="PUT", raw_path=b"/examplebucket/chunkObject.txt", raw_query=b"", headers=headers, host="s3.amazonaws.com"
    )
    signatures = [
        "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
        "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
        "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992",
    ]
    signature = "d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435"
    trailer = f"x-amz-checksum-crc32c:sOO8/Q==\r\nx-amz-trailer-signature:{signature}\r\n\r\n".encode()
    framed = chunked(signatures, b"").removesuffix(b"\r\n") + b"\r\n" + trailer
    body = open_body(request, await verified(request), pieces(framed))
    assert body.checksums == {}
    assert b"".join([piece async for piece in body]) == b"a" * 66_560
    assert body.checksums == {"crc32c": "sOO8/Q=="}
    changed = framed.replace(b"sOO8/Q==", b"sOO8/A==")
    with pytest.raises(AwsError, match="SignatureDoesNotMatch"):
        [piece async for piece in open_body(request, await verified(request), pieces(changed))]


@pytest.mark.parametrize(
    ("method", "path", "query", "extra", "date", "signature"),
    [
        ("GET", b"/photos/puppy.jpg", b"", [], b"27 Mar 2007 19:36:42", b"bWq2s1WEIj+Ydj0vQ697zp+IXMU="),
        (
            "PUT",
            b"/photos/puppy.jpg",
            b"",
            [(b"Content-Type", b"image/jpeg"), (b"Content-Length", b"94328")],
            b"27 Mar 2007 21:15:45",
            b"MyyxeRY7whkBe+bq8fHCL/2kKUg=",
        ),
        ("GET", b"/", b"prefix=photos&max-keys=50&marker=puppy", [], b"27 Mar 2007 19:42:41", b"htDYFYduRNen8P9ZfE/s9SuKy0U="),
        ("GET", b"/", b"acl", [], b"27 Mar 2007 19:44:46", b"c2WLPFtWHVgbEmeEG93a4cG37dM="),
    ],
)
async def test_v2(method: str, path: bytes, query: bytes, extra: list[Header], date: bytes, signature: bytes) -> None:
    headers = [*extra, (b"Date", b"Tue, " + date + b" +0000"), (b"Authorization", b"AWS AKIAIOSFODNN7EXAMPLE:" + signature)]
    clock = {"19:36:42": 1_175_024_202, "21:15:45": 1_175_030_145, "19:42:41": 1_175_024_561, "19:44:46": 1_175_024_686}
    host = "johnsmith.s3.amazonaws.com"
    request = RawRequest(method=method, raw_path=path, raw_query=query, headers=headers, host=host, virtual_bucket="johnsmith")
    await verified(request, now_s=clock[date[-8:].decode()])
