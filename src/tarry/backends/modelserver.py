"""Asking a container: bytes stream both ways, one time limit covers all, a broken answer is not taken for a whole one.

Nothing is sent twice: a POST may have been worked on. What a container may answer is bounded here in its head and in time; how
long its body may be is the business of delivery.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from tarry.backends.http_exchange import HEADERS_TOO_LONG, WITHOUT_BODY, Answer, Exchange, HttpRequest, Recognise, exchange
from tarry.core.errors import (
    DependencyError,
    ModelResponseInvalid,
    ModelServerNotConnected,
    ModelServerUnreachable,
    Throttled,
)
from tarry.ports import ModelRequest, ModelResponse, PingAnswer

HEADER_BYTES_MAX = 4096
_PING_BODY_BYTES_MAX = 64 * 1024
_PING_SAID_BYTES_MAX = 300
_LIFE_S = 2.0
_OUR_HEADERS = ("content-length", "transfer-encoding", "host", "connection", "expect")


class HttpModelServer:
    """ports.ModelServer over HTTP/1.1, one connection a request."""

    def __init__(self, recognise: Recognise | None = None) -> None:
        """``recognise`` tells of each connection whether it is to the container; left out: whoever answers is."""
        self._recognise = recognise

    async def ping(self, address: str, *, timeout_s: float = 2.0) -> PingAnswer:
        """See ports.ModelServer."""
        try:
            ping = HttpRequest(method="GET", path="/ping")
            async with exchange(address, ping, timeout_s=timeout_s, recognise=self._recognise) as asked:
                answer = await asked.head()
                said = f"{answer.status} {(await _start_of_body(asked)).decode(errors='replace')}"
                return PingAnswer(True) if answer.status == 200 else PingAnswer(False, " ".join(said.split()))
        except (DependencyError, Throttled) as error:
            return PingAnswer(False, str(error))

    @asynccontextmanager
    async def invoke(self, address: str, request: ModelRequest, *, timeout_s: float) -> AsyncIterator[ModelResponse]:
        """See ports.ModelServer. An error of ``request.chunks`` comes out as it is.

        # OURS: a chunked answer is taken, and one that ends with its connection; AWS refuses both ("did not specify the required
        # Content-Length header": djl-serving#2567, vllm#2912). The end of a container ends its connections too, so after the
        # second kind it is asked whether it lives.
        """
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _OUR_HEADERS}
        posted = HttpRequest(method="POST", path="/invocations", headers=headers, size=request.size, chunks=request.chunks)
        async with exchange(address, posted, timeout_s=timeout_s, recognise=self._recognise) as asked:
            answer = await asked.head()
            named = _named(answer)
            yield ModelResponse(
                status=_status(answer),
                content_type=_content_type(named.get(b"content-type", b"")),
                size=_size(answer, named),
                chunks=self._to_the_end(address, asked) if answer.ends_by_closing() else asked.chunks(),
            )

    async def _to_the_end(self, address: str, asked: Exchange) -> AsyncIterator[bytes]:
        """An answer that ends with its connection is whole only if that was not the end of the container."""
        async for chunk in asked.chunks():
            yield chunk
        try:
            async with exchange(
                address, HttpRequest(method="GET", path="/ping"), timeout_s=_LIFE_S, recognise=self._recognise
            ) as life:
                await life.head()
        except (ModelServerNotConnected, ModelServerUnreachable) as error:
            raise ModelServerUnreachable(
                "The model server ended with its answer, which had no length: whether it was whole cannot be told."
            ) from error
        except (DependencyError, Throttled):
            return  # it lives: it is busy, or says what is not HTTP


async def _start_of_body(asked: Exchange) -> bytes:
    """Of the answer to a ping, whose status is all that counts. Its end is waited for, so that no server sees a reset."""
    answer, body = asked.answer, b""
    with suppress(DependencyError):
        if _size(answer, _named(answer)) is None and answer.ends_by_closing():
            return body  # that may be never
        async for chunk in asked.chunks():
            body = (body + chunk)[:_PING_SAID_BYTES_MAX]
            if answer.body_bytes > _PING_BODY_BYTES_MAX:
                break
    return body


def _named(answer: Answer) -> dict[bytes, bytes]:
    return dict(reversed(answer.headers))  # the first of a name counts


def _status(answer: Answer) -> int:
    if answer.status < 200:
        raise ModelResponseInvalid(f"The model server answered with status {answer.status}, which ends no request.")
    return answer.status


def _size(answer: Answer, headers: dict[bytes, bytes]) -> int | None:
    """The length of the body in bytes; None: its end tells."""
    if sum(len(name) + len(value) + 4 for name, value in answer.headers) > HEADER_BYTES_MAX:
        raise ModelResponseInvalid(HEADERS_TOO_LONG)
    if answer.status in WITHOUT_BODY:
        return 0
    if encoding := headers.get(b"transfer-encoding", b"").decode("latin-1"):
        if encoding.strip().lower() == "chunked":
            return None
        raise ModelResponseInvalid(f"The model server's answer has the transfer encoding {encoding!a}; only chunked is possible.")
    length = headers.get(b"content-length")
    if length is None:
        return None
    if not length.strip():
        raise ModelResponseInvalid("The model server's answer has an empty Content-Length.")
    return int(length)


def _content_type(value: bytes) -> str:
    content_type = value.decode("utf-8", "surrogateescape")
    if not (content_type.isascii() and content_type.isprintable()):
        # OURS: it becomes the output object's own, and an object with such a type can be neither written down nor read again.
        raise ModelResponseInvalid(f"The model server's answer has a Content-Type that is no plain text: {content_type[:100]!a}.")
    return content_type or "application/octet-stream"
