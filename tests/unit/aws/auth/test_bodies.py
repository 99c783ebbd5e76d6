"""Bodies: what passes, what is refused, and that nothing is kept."""

import base64
import hashlib
import hmac
import threading
import tracemalloc
import zlib
from collections.abc import AsyncIterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.signing import KEY

from tarry.aws.auth import ChunkSeed, How, RawRequest, Verified, open_body
from tarry.aws.auth.case import derive_key
from tarry.aws.auth.checksums import ALGORITHMS, IN_LOOP_BYTES_MAX
from tarry.aws.call import Body
from tarry.aws.errors import AwsError
from tarry.core.errors import Bug

SEED = ChunkSeed(
    signing_key=derive_key(KEY.secret, "20261015", "us-east-1", "s3"),
    signature="5" * 64,
    timestamp="20261015T120000Z",
    credential_scope="20261015/us-east-1/s3/aws4_request",
)
SIGNED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
SIGNED_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
UNSIGNED = "UNSIGNED-PAYLOAD"
EMPTY = hashlib.sha256().hexdigest()


async def pieces(data: bytes, size: int) -> AsyncIterator[bytes]:
    yield b""
    for start in range(0, len(data), size):
        yield data[start : start + size]
        yield b""


def opened(
    form: str, data: bytes, headers: dict[str, str] | None = None, *, size: int = 1000, method: str = "PUT", query: bytes = b""
) -> Body:
    request = RawRequest(
        method=method,
        raw_path=b"/b/k",
        raw_query=query,
        headers=[(name.encode(), value.encode()) for name, value in (headers or {}).items()],
        host="h",
    )
    verified = Verified(
        access_key_id=KEY.id,
        principal_arn=KEY.principal_arn,
        service="s3",
        region="us-east-1",
        date="20261015",
        how=How.HEADER_V4,
        payload_hash=form,
        seed=SEED,
    )
    return open_body(request, verified, pieces(data, size))


async def read(body: Body) -> bytes:
    return b"".join([piece async for piece in body])


async def refused(form: str, data: bytes, headers: dict[str, str] | None = None, *, size: int = 1000) -> AwsError:
    with pytest.raises(AwsError) as caught:
        await read(opened(form, data, headers, size=size))
    return caught.value


def b64(algorithm: str, data: bytes) -> str:
    hasher = ALGORITHMS[algorithm]()
    hasher.update(data)
    return base64.b64encode(hasher.digest()).decode()


def chunk_signature(kind: str, covered: str) -> str:
    text = f"AWS4-HMAC-SHA256-{kind}\n{SEED.timestamp}\n{SEED.credential_scope}\n{covered}"
    return hmac.new(SEED.signing_key, text.encode(), "sha256").hexdigest()


def framed(chunks: list[bytes], *, signed: bool, trailers: dict[str, str] | None = None) -> bytes:
    out, previous = b"", SEED.signature
    for chunk in [*chunks, b""]:
        out += f"{len(chunk):x}".encode()
        if signed:
            previous = chunk_signature("PAYLOAD", f"{previous}\n{EMPTY}\n{hashlib.sha256(chunk).hexdigest()}")
            out += f";chunk-signature={previous}".encode()
        out += b"\r\n" + (chunk + b"\r\n" if chunk else b"")
    if trailers is not None:
        lines = "".join(f"{name}:{value}\n" for name, value in trailers.items())
        out += lines.replace("\n", "\r\n").encode()
        if signed:
            covered = f"{previous}\n{hashlib.sha256(lines.encode()).hexdigest()}"
            out += f"x-amz-trailer-signature:{chunk_signature('TRAILER', covered)}\r\n".encode()
    return out + b"\r\n"


async def test_plain_with_a_hash() -> None:
    digest = hashlib.sha256(b"hello").hexdigest()
    body = opened(digest.upper(), b"hello", {"Content-Length": "5"})
    assert (body.size, body.checksums) == (5, {})
    assert await read(body) == b"hello"
    error = await refused(digest, b"hallo", {"Content-Length": "5"})
    assert (error.code, error.status) == ("XAmzContentSHA256Mismatch", 400)
    computed = hashlib.sha256(b"hallo").hexdigest()
    assert error.extras == {"ClientComputedContentSHA256": digest, "S3ComputedContentSHA256": computed}


async def test_unsigned_payload() -> None:
    body = opened(UNSIGNED, b"anything")
    assert body.size is None
    assert await read(body) == b"anything"
    assert await read(opened(UNSIGNED, b"")) == b""


@pytest.mark.parametrize("length", ["4", "6", "0"])
async def test_length(length: str) -> None:
    error = await refused(UNSIGNED, b"hello", {"Content-Length": length})
    assert (error.code, error.status) == ("IncompleteBody", 400)
    error = await refused(UNSIGNED_TRAILER, framed([b"hello"], signed=False), {"x-amz-decoded-content-length": length})
    assert (error.code, error.status) == ("IncompleteBody", 400)


@pytest.mark.parametrize("length", ["", "-1", "1e3", "9" * 19, "5,5", "٣"])
async def test_length_that_is_none(length: str) -> None:
    for form, name in ((UNSIGNED, "content-length"), (SIGNED, "x-amz-decoded-content-length")):
        error = await refused(form, b"", {name: length})
        assert (error.code, error.extras["ArgumentName"]) == ("InvalidArgument", name)


async def test_too_many_bytes_are_refused_before_they_are_handed_on() -> None:
    iterator = opened(UNSIGNED, b"x" * 5000, {"Content-Length": "1500"}).__aiter__()
    assert [len(await anext(iterator)) for _ in range(3)] == [0, 1000, 0]  # the source has empty pieces in between
    with pytest.raises(AwsError, match="IncompleteBody"):
        await anext(iterator)


async def test_a_body_is_read_once() -> None:
    body = opened(UNSIGNED, b"x")
    await read(body)
    with pytest.raises(Bug):
        await read(body)


@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
async def test_checksums_in_headers_and_trailers(algorithm: str) -> None:
    name, right, wrong = f"x-amz-checksum-{algorithm}", b64(algorithm, b"hello"), b64(algorithm, b"hallo")
    body = opened(UNSIGNED, b"hello", {name: right})
    assert body.checksums == {algorithm: right}
    assert await read(body) == b"hello"
    for signed, form in ((False, UNSIGNED_TRAILER), (True, SIGNED_TRAILER)):
        announced = {"x-amz-trailer": name.upper(), "x-amz-decoded-content-length": "5"}
        body = opened(form, framed([b"hello"], signed=signed, trailers={name: right}), announced)
        assert (body.size, body.checksums) == (5, {})
        assert await read(body) == b"hello"
        assert body.checksums == {algorithm: right}
        error = await refused(form, framed([b"hello"], signed=signed, trailers={name: wrong}), announced)
        assert error.code == "BadDigest"
        error = await refused(form, framed([b"hello"], signed=signed, trailers={name: "AA"}), announced)
        assert error.code == "InvalidRequest"
    error = await refused(UNSIGNED, b"hello", {name: wrong})
    assert (error.code, error.status) == ("BadDigest", 400)
    assert error.message == f"The {algorithm.upper()} you specified did not match the calculated checksum."


@pytest.mark.parametrize("value", ["", "AAAA", "!!!!!!==", "AAAAAAAA", "ä"])
async def test_checksum_values_are_base64_of_the_right_length(value: str) -> None:
    error = await refused(UNSIGNED, b"", {"x-amz-checksum-crc32": value})
    assert (error.code, error.message) == ("InvalidRequest", "Value for x-amz-checksum-crc32 header is invalid.")


async def test_one_checksum_of_a_known_kind() -> None:
    crc, sha = {"x-amz-checksum-crc32": "AAAAAA=="}, {"x-amz-checksum-sha1": b64("sha1", b"")}
    error = await refused(UNSIGNED, b"", crc | sha)
    assert (error.code, error.message.startswith("Expecting a single x-amz-checksum- header.")) == ("InvalidRequest", True)
    error = await refused(UNSIGNED_TRAILER, b"0\r\n\r\n", crc | {"x-amz-trailer": "x-amz-checksum-sha1"})
    assert error.code == "InvalidRequest"
    assert (await refused(UNSIGNED, b"", {"x-amz-checksum-foo": "AA=="})).code == "InvalidRequest"
    error = await refused(UNSIGNED, b"", {"x-amz-checksum-xxhash3": "AA=="})
    assert (error.code, error.status) == ("NotImplemented", 501)
    error = await refused(UNSIGNED, b"", {"x-amz-sdk-checksum-algorithm": "CRC32"})
    assert error.message.startswith("x-amz-sdk-checksum-algorithm specified, but no corresponding")
    await read(opened(UNSIGNED, b"", {"x-amz-checksum-algorithm": "CRC32", "x-amz-checksum-type": "COMPOSITE"}))


async def test_complete_multipart_upload_sends_the_checksum_of_the_object() -> None:
    body = opened(UNSIGNED, b"<xml/>", {"x-amz-checksum-crc32": "AAAAAA==-2"}, method="POST", query=b"uploadId=u")
    assert await read(body) == b"<xml/>"
    assert body.checksums == {}


async def test_content_md5() -> None:
    right = b64("md5", b"hello")
    assert await read(opened(UNSIGNED, b"hello", {"Content-MD5": right})) == b"hello"
    error = await refused(UNSIGNED, b"hallo", {"Content-MD5": right})
    assert (error.code, error.status) == ("BadDigest", 400)
    assert error.extras == {"ExpectedDigest": right, "CalculatedDigest": b64("md5", b"hallo")}
    for invalid in ("", "AAAA", "not base64", hashlib.md5(b"hello").hexdigest()):
        error = await refused(UNSIGNED, b"hello", {"Content-MD5": invalid})
        assert (error.code, error.status) == ("InvalidDigest", 400)


@given(
    data=st.lists(st.sampled_from([8192, 9000, 20_000]), max_size=3),
    last=st.integers(0, 300),
    size=st.sampled_from([1, 2, 7, 100, 5000, 100_000]),
    form=st.sampled_from([SIGNED, SIGNED_TRAILER, UNSIGNED_TRAILER]),
)
@settings(max_examples=40, deadline=None)
async def test_framing_is_removed_however_the_pieces_fall(data: list[int], last: int, size: int, form: str) -> None:
    chunks = [bytes([index]) * length for index, length in enumerate([*data, last]) if length]
    whole = b"".join(chunks)
    name = "x-amz-checksum-crc32"
    trailers = {name: base64.b64encode(zlib.crc32(whole).to_bytes(4, "big")).decode()} if form != SIGNED else None
    headers = {"x-amz-trailer": name} if trailers else {}
    wire = framed(chunks, signed=form != UNSIGNED_TRAILER, trailers=trailers)
    body = opened(form, wire, headers, size=size)
    assert body.size is None
    assert await read(body) == whole


def test_the_example_that_boto3_sends() -> None:
    wire = framed([b"hello"], signed=False, trailers={"x-amz-checksum-crc32": "NhCmhg=="})
    assert wire == b"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n"


@given(st.data())
@settings(max_examples=150, deadline=None)
async def test_one_changed_bit_in_signed_chunks_is_refused(data: st.DataObject) -> None:
    name = "x-amz-checksum-crc32"
    headers = {"x-amz-trailer": name, "x-amz-decoded-content-length": "8292"}
    crc = base64.b64encode(zlib.crc32(b"a" * 8192 + b"b" * 100).to_bytes(4, "big")).decode()
    wire = framed([b"a" * 8192, b"b" * 100], signed=True, trailers={name: crc})
    at, bit = data.draw(st.one_of(st.integers(0, 200), st.integers(8100, len(wire) - 1))), data.draw(st.integers(0, 7))
    changed = wire[:at] + bytes([wire[at] ^ 1 << bit]) + wire[at + 1 :]
    if changed.lower() == wire.lower() and b"chunk-signature" in changed and b"x-amz-trailer-signature" in changed.lower():
        return  # the case of a trailer's name says nothing
    with pytest.raises(AwsError):
        await read(opened(SIGNED_TRAILER, changed, headers))


@given(st.data())
@settings(max_examples=100, deadline=None)
async def test_a_body_that_is_cut_short_is_refused(data: st.DataObject) -> None:
    form = data.draw(st.sampled_from([SIGNED, SIGNED_TRAILER, UNSIGNED_TRAILER]))
    trailers = {"x-amz-checksum-crc32": "NhCmhg=="} if form != SIGNED else None
    wire = framed([b"hello"], signed=form != UNSIGNED_TRAILER, trailers=trailers)
    end = data.draw(st.integers(0, len(wire) - 1))
    headers = {"x-amz-trailer": "x-amz-checksum-crc32"} if trailers else {}
    error = await refused(form, wire[:end], headers)
    assert error.code in {"IncompleteBody", "MalformedTrailerError"}


@given(st.binary(max_size=200), st.sampled_from([SIGNED, SIGNED_TRAILER, UNSIGNED_TRAILER]))
async def test_junk_raises_nothing_but_awserror(junk: bytes, form: str) -> None:
    await refused(form, junk, {"x-amz-trailer": "x-amz-checksum-crc32"})


@pytest.mark.parametrize(
    "wire",
    [
        b"5\r\nhello\r\n0\r\n\r\nmore",
        b"5\r\nhelloX\r\n0\r\n\r\n",
        b"+5\r\nhello\r\n0\r\n\r\n",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"5;x=y\r\nhello\r\n0\r\n\r\n",
        b"5;chunk-signature=" + b"0" * 64 + b"\r\nhello\r\n0\r\n\r\n",
        b"\r\n",
        b"f" * 17 + b"\r\n",
        b"0" * 100_000,
    ],
)
async def test_framing_that_cannot_be_read(wire: bytes) -> None:
    assert (await refused(UNSIGNED_TRAILER, wire)).code == "IncompleteBody"


@pytest.mark.parametrize(
    "end",
    [
        b"\r\n",
        b"x-amz-checksum-sha1:AAAA\r\n\r\n",
        b"x-amz-checksum-crc32 NhCmhg==\r\n\r\n",
        b"x-amz-checksum-crc32:NhCmhg==\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n",
        b"x-amz-checksum-crc32:NhCmhg==\r\nx-amz-trailer-signature:" + b"0" * 64 + b"\r\n\r\n",
        b"x-amz-checksum-crc32:NhCmhg==\r\nx-other:1\r\n\r\n",
    ],
)
async def test_trailers_that_were_not_announced(end: bytes) -> None:
    error = await refused(UNSIGNED_TRAILER, b"5\r\nhello\r\n0\r\n" + end, {"x-amz-trailer": "x-amz-checksum-crc32"})
    assert (error.code, error.status) == ("MalformedTrailerError", 400)


async def test_a_line_without_end_is_not_collected() -> None:
    taken = 0

    async def wire() -> AsyncIterator[bytes]:
        nonlocal taken
        for _ in range(1000):
            taken += 100
            yield b"0" * 100

    request = RawRequest(method="PUT", raw_path=b"/b/k", raw_query=b"", headers=[], host="h")
    verified = Verified(
        access_key_id="a", principal_arn="b", service="s3", region="r", date="d", how=How.QUERY_V2, payload_hash=UNSIGNED_TRAILER
    )
    with pytest.raises(AwsError, match="IncompleteBody"):
        await read(open_body(request, verified, wire()))
    assert taken < 1000


async def test_trailers_are_bounded() -> None:
    wire = b"0\r\nx-amz-checksum-crc32:" + b"A" * 2000
    assert (await refused(UNSIGNED_TRAILER, wire, {"x-amz-trailer": "x-amz-checksum-crc32"})).code == "IncompleteBody"
    assert (await refused(UNSIGNED_TRAILER, b"", {"x-amz-trailer": "x-amz-meta-a"})).code == "InvalidRequest"


async def test_a_signed_trailer_needs_its_signature() -> None:
    name = "x-amz-checksum-crc32"
    wire = framed([b"hello"], signed=True, trailers={name: "NhCmhg=="})
    start = wire.index(b"x-amz-trailer-signature")
    error = await refused(SIGNED_TRAILER, wire[:start] + b"\r\n", {"x-amz-trailer": name})
    assert error.code == "MalformedTrailerError"
    other = framed([b"hello"], signed=True, trailers={name: "NhCmhh=="})
    error = await refused(SIGNED_TRAILER, wire[:start] + other[start:], {"x-amz-trailer": name})
    assert (error.code, error.status) == ("SignatureDoesNotMatch", 403)


async def test_signed_chunks_come_in_the_signed_order() -> None:
    one, two = framed([b"a" * 9000, b"b" * 9000], signed=True), framed([b"b" * 9000, b"a" * 9000], signed=True)
    header = one.index(b"\r\n") + 2
    assert (await refused(SIGNED, two[:header] + one[header:])).code == "SignatureDoesNotMatch"


async def test_only_the_last_signed_chunk_may_be_small() -> None:
    error = await refused(SIGNED, framed([b"a" * 100, b"b" * 100], signed=True))
    assert (error.code, error.status, error.extras) == ("InvalidChunkSizeError", 403, {"Chunk": "1"})
    await read(opened(UNSIGNED_TRAILER, framed([b"a" * 100, b"b" * 100], signed=False)))


async def test_a_huge_chunk_streams_through() -> None:
    total = 32 << 20

    async def wire() -> AsyncIterator[bytes]:
        yield f"{total:x}\r\n".encode()
        for _ in range(total >> 16):
            yield bytes(1 << 16)
        yield b"\r\n0\r\n\r\n"

    request = RawRequest(method="PUT", raw_path=b"/b/k", raw_query=b"", headers=[], host="h")
    verified = Verified(
        access_key_id="a", principal_arn="b", service="s3", region="r", date="d", how=How.QUERY_V2, payload_hash=UNSIGNED_TRAILER
    )
    tracemalloc.start()
    seen = 0
    async for piece in open_body(request, verified, wire()):
        seen += len(piece)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seen == total
    assert peak < 2 << 20


def test_signed_chunks_without_a_seed_are_a_bug() -> None:
    request = RawRequest(method="PUT", raw_path=b"/b/k", raw_query=b"", headers=[], host="h")
    verified = Verified(
        access_key_id="a", principal_arn="b", service="s3", region="r", date="d", how=How.QUERY_V4, payload_hash=SIGNED
    )
    with pytest.raises(Bug):
        open_body(request, verified, pieces(b"", 1))


class Watched:
    """A real digest that counts what the event loop's thread has given it."""

    in_loop = 0

    def __init__(self, *_: bytes) -> None:
        self._digest = REAL_SHA256()
        self._loop_thread = threading.get_ident()

    def update(self, data: bytes | bytearray, /) -> None:
        if threading.get_ident() == self._loop_thread:
            Watched.in_loop += len(data)
        self._digest.update(data)

    def digest(self) -> bytes:
        return self._digest.digest()

    def hexdigest(self) -> str:
        return self._digest.hexdigest()


REAL_SHA256 = hashlib.sha256


@pytest.mark.parametrize("form", ["hash", "signed chunks", "checksum"])
async def test_large_bodies_are_not_hashed_in_the_event_loop(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = b"x" * 3_000_000
    digest = REAL_SHA256(data)
    chunks, length = framed([data], signed=True), str(len(data))
    monkeypatch.setattr(Watched, "in_loop", 0)
    monkeypatch.setitem(ALGORITHMS, "sha256", Watched)
    monkeypatch.setattr(hashlib, "sha256", Watched)
    match form:
        case "hash":
            body = opened(digest.hexdigest(), data, {"content-length": length}, size=300_000)
        case "signed chunks":
            body = opened(SIGNED, chunks, {"x-amz-decoded-content-length": length}, size=300_000)
        case _:
            value = base64.b64encode(digest.digest()).decode()
            body = opened(UNSIGNED, data, {"x-amz-checksum-sha256": value, "content-length": length}, size=300_000)
    assert await read(body) == data
    assert Watched.in_loop <= IN_LOOP_BYTES_MAX
