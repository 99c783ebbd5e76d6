"""Which requests an acceptor answers: those of the plainest form, whose end it knows; all others are the server's."""

import pytest

from tarry.bootstrap.acceptor import request_bytes

HEAD = (
    b"POST /endpoints/e/async-invocations HTTP/1.1\r\nHost: x\r\n"
    b"Authorization: AWS4-HMAC-SHA256 Credential=K/20261126/us-east-1/sagemaker/aws4_request, Signature=s\r\n"
)


def head(*lines: bytes) -> bytes:
    return HEAD + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


@pytest.mark.parametrize(
    ("lines", "body"),
    [((), 0), ((b"Content-Length: 0",), 0), ((b"content-length:12",), 12), ((b"CONTENT-LENGTH:\t128000 ", b"X: y"), 128_000)],
)
def test_its_length_is_that_of_its_head_and_body(lines: tuple[bytes, ...], body: int) -> None:
    whole = head(*lines)
    assert request_bytes(whole) == len(whole) + body


OTHERS = {
    "another method": head().replace(b"POST", b"PUT"),
    "another path": head().replace(b"async-invocations", b"invocations"),
    "a query": head().replace(b"async-invocations", b"async-invocations?x"),
    "a deeper path": head().replace(b"/e/", b"/e/f/"),
    "an absolute target": head().replace(b"POST /", b"POST http://x/"),
    "HTTP/1.0": head().replace(b"HTTP/1.1", b"HTTP/1.0"),
    "another service": head().replace(b"/sagemaker/", b"/s3/"),
    "no signature": head().replace(b"Authorization", b"X-Authorization"),
    "a signature that is another header's": head().replace(b"Authorization: ", b"X: authorization: "),
    "chunks": head(b"Transfer-Encoding: chunked"),
    "chunks and a length": head(b"Content-Length: 1", b"transfer-encoding: chunked"),
    "an upgrade": head(b"Upgrade: h2c"),
    "two lengths": head(b"Content-Length: 1", b"Content-Length: 1"),
    "a list of lengths": head(b"Content-Length: 1, 1"),
    "a negative length": head(b"Content-Length: -1"),
    "an empty length": head(b"Content-Length:"),
    "a length with a sign": head(b"Content-Length: +1"),
    "a huge length": head(b"Content-Length: 1048577"),
    "an endless length": head(b"Content-Length: " + b"9" * 5000),
    "a blank before the colon": head(b"Content-Length : 5"),
    "a folded header": head(b"X: y", b" Content-Length: 5"),
    "a bare LF": head().replace(b"Host: x\r\n", b"Host: x\n"),
    "a bare CR": head(b"X: a\rContent-Length: 5"),
    "a line without a colon": head(b"Content-Length"),
    "words": b"hello\r\n\r\n",
}


@pytest.mark.parametrize("other", OTHERS)
def test_others_are_the_servers(other: str) -> None:
    assert request_bytes(OTHERS[other]) is None
