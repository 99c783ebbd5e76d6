"""Asking a container: bytes stream both ways, one time limit covers all, a broken answer is never taken for a whole one.

Nothing is sent twice: a POST may have been worked on. What a container may answer is bounded here in its head and in time; how
long its body may be is the business of delivery.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from tarry.backends.http_exchange import HEADERS_TOO_LONG, Answer, HttpRequest, Recognise, exchange
from tarry.core.errors import DependencyError, ModelResponseInvalid, Throttled
from tarry.ports import ModelRequest, ModelResponse, PingAnswer

HEADER_BYTES_MAX = 4096
_PING_BODY_BYTES_MAX = 64 * 1024
_PING_SAID_BYTES_MAX = 300
_WITHOUT_BODY = (204, 304)
_OUR_HEADERS = ("content-length", "transfer-encoding", "host", "connection", "expect")

# AWS: as data logs show it (djl-serving#2567, vllm#2912).
_NO_LENGTH = "The response from container primary did not specify the required Content-Length header."


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
                answer, body = await asked.head(), b""
                with suppress(DependencyError):  # 200 is all that counts; the end is waited for, so that no server sees a reset
                    _size(answer, _named(answer))
                    async for chunk in asked.chunks():
                        body = (body + chunk)[:_PING_SAID_BYTES_MAX]
                        if answer.body_bytes > _PING_BODY_BYTES_MAX:
                            break
                said = f"{answer.status} {body.decode(errors='replace')}"
                return PingAnswer(True) if answer.status == 200 else PingAnswer(False, " ".join(said.split()))
        except (DependencyError, Throttled) as error:
            return PingAnswer(False, str(error))

    @asynccontextmanager
    async def invoke(self, address: str, request: ModelRequest, *, timeout_s: float) -> AsyncIterator[ModelResponse]:
        """See ports.ModelServer. An error of ``request.chunks`` comes out as it is.

        # OURS: a chunked answer is taken, since its end can be told from a broken connection; AWS refuses it. An answer with
        neither length nor chunks is refused as AWS does: a container that died in the middle would look complete.
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
                chunks=asked.chunks(),
            )


def _named(answer: Answer) -> dict[bytes, bytes]:
    return dict(reversed(answer.headers))  # the first of a name counts


def _status(answer: Answer) -> int:
    if answer.status < 200:
        raise ModelResponseInvalid(f"The model server answered with status {answer.status}, which ends no request.")
    return answer.status


def _size(answer: Answer, headers: dict[bytes, bytes]) -> int | None:
    """The length of the body in bytes, None for a chunked one."""
    if sum(len(name) + len(value) + 4 for name, value in answer.headers) > HEADER_BYTES_MAX:
        raise ModelResponseInvalid(HEADERS_TOO_LONG)
    if answer.status in _WITHOUT_BODY:
        return 0
    if encoding := headers.get(b"transfer-encoding", b"").decode("latin-1"):
        if encoding.strip().lower() == "chunked":
            return None
        raise ModelResponseInvalid(f"The model server's answer has the transfer encoding {encoding!a}; only chunked is possible.")
    length = headers.get(b"content-length", b"").strip()
    if not length:
        raise ModelResponseInvalid(_NO_LENGTH)
    return int(length)


def _content_type(value: bytes) -> str:
    content_type = value.decode("utf-8", "surrogateescape")
    if not (content_type.isascii() and content_type.isprintable()):
        # OURS: it becomes the output object's own, and an object with such a type can be neither written down nor read again.
        raise ModelResponseInvalid(f"The model server's answer has a Content-Type that is no plain text: {content_type[:100]!a}.")
    return content_type or "application/octet-stream"
