"""Asking a container: bytes stream both ways, one time limit covers all, a broken answer is never taken for a whole one.

Connections are kept alive per address. An idle one is dropped after a second, sooner than model servers drop theirs (gunicorn:
two), so that a request hardly ever meets one that is being closed. Nothing is sent twice: a POST may have been worked on.
"""

import asyncio
import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from tarry.core.errors import (
    ModelResponseInvalid,
    ModelServerNotConnected,
    ModelServerTimeout,
    ModelServerUnreachable,
    Throttled,
)
from tarry.ports import ModelRequest, ModelResponse

HEADER_BYTES_MAX = 4096
_CHUNK_BYTES = 256 * 1024
_IDLE_CONNECTION_S = 1.0
_CONNECT_S = 5.0
_PING_BODY_BYTES_MAX = 64 * 1024
_WITHOUT_BODY = (204, 304)
_OUR_HEADERS = ("content-length", "transfer-encoding", "host", "connection", "expect")

# AWS: both texts as data logs and error messages show them (djl-serving#2567, vllm#2912, deep-learning-containers#4668).
_NO_LENGTH = "The response from container primary did not specify the required Content-Length header"
_HEADERS_TOO_LONG = (
    "Response received from the primary container has headers with length greater than 4096 bytes. Reduce the length of your "
    "container's response headers and update your endpoint."
)


class HttpModelServer:
    """ports.ModelServer over HTTP/1.1. ``close`` at the end; made and used on one event loop."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def ping(self, address: str, *, timeout_s: float = 2.0) -> bool:
        """See ports.ModelServer."""
        limit = aiohttp.ClientTimeout(total=timeout_s)
        try:
            async with self._connected().get(f"{address}/ping", timeout=limit, allow_redirects=False) as response:
                await response.content.read(_PING_BODY_BYTES_MAX)
                if not response.content.at_eof():
                    response.close()
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            return False

    @asynccontextmanager
    async def invoke(self, address: str, request: ModelRequest, *, timeout_s: float) -> AsyncIterator[ModelResponse]:
        """See ports.ModelServer. An error of ``request.chunks`` comes out as it is.

        # OURS: a chunked answer is taken, since its end can be told from a broken connection; AWS refuses it. An answer with
        neither length nor chunks is refused as AWS does: a container that died in the middle would look complete.
        """
        body = _Body(request)
        limit = aiohttp.ClientTimeout(total=max(timeout_s, 0.001), sock_connect=_CONNECT_S)
        try:
            response = await self._connected().post(
                f"{address}/invocations",
                data=body.chunks(),
                headers=_headers(request),
                timeout=limit,
                allow_redirects=False,
                skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type"),
            )
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            if body.error is not None:
                raise body.error from error
            raise _translated(error, timeout_s) from error
        try:
            _check(response)
            yield ModelResponse(
                status=response.status,
                content_type=response.headers.get("Content-Type") or "application/octet-stream",
                size=_size(response),
                chunks=_chunks(response, timeout_s),
            )
        finally:
            if response.content.at_eof():
                response.release()
            else:
                response.close()

    def _connected(self) -> aiohttp.ClientSession:
        if self._session is None:
            # No limit here: the caller holds each instance to its concurrency, and a ping must not queue behind invocations.
            connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_IDLE_CONNECTION_S)
            self._session = aiohttp.ClientSession(
                connector=connector,
                trust_env=False,
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": "tarry"},
            )
        return self._session


class _Body:
    """A request's bytes on their way out, held to the announced length; remembers the error of their source."""

    def __init__(self, request: ModelRequest) -> None:
        self._request = request
        self.error: Exception | None = None

    async def chunks(self) -> AsyncIterator[bytes]:
        left = self._request.size
        try:
            async for chunk in self._request.chunks:
                left -= len(chunk)
                if left < 0:
                    raise ValueError(f"the request body is longer than the announced {self._request.size} bytes")  # noqa: TRY301
                yield chunk
            if left:
                raise ValueError(f"the request body ends {left} bytes before the announced {self._request.size}")  # noqa: TRY301
        except Exception as error:
            self.error = error
            raise


def _headers(request: ModelRequest) -> dict[str, str]:
    headers = {name: value for name, value in request.headers.items() if name.lower() not in _OUR_HEADERS}
    return {**headers, "Content-Length": str(request.size)}


def _check(response: aiohttp.ClientResponse) -> None:
    if sum(len(name) + len(value) + 4 for name, value in response.raw_headers) > HEADER_BYTES_MAX:
        raise ModelResponseInvalid(_HEADERS_TOO_LONG)
    chunked = "chunked" in response.headers.get("Transfer-Encoding", "").lower()
    if not chunked and "Content-Length" not in response.headers and response.status not in _WITHOUT_BODY:
        raise ModelResponseInvalid(_NO_LENGTH)
    content_type = response.headers.get("Content-Type", "")
    if not (content_type.isascii() and content_type.isprintable()):
        # OURS: it becomes the output object's own, and an object with such a type can be neither written down nor read again.
        raise ModelResponseInvalid(f"The model server's answer has a Content-Type that is no plain text: {content_type[:100]!a}.")


def _size(response: aiohttp.ClientResponse) -> int | None:
    if "chunked" in response.headers.get("Transfer-Encoding", "").lower():
        return None
    return response.content_length


async def _chunks(response: aiohttp.ClientResponse, timeout_s: float) -> AsyncIterator[bytes]:
    try:
        async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
            yield chunk
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise _translated(error, timeout_s) from error


def _translated(error: Exception, timeout_s: float) -> Exception:
    """The error of the port that stands for one of the HTTP client's."""
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        # our own shortage: the instance has done nothing, and must not be held dead for it
        return Throttled("The server has as many files and connections open as it may; try again in a moment.")
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return ModelServerNotConnected("The model server took no connection in time.")
    if isinstance(error, asyncio.TimeoutError):
        return ModelServerTimeout(f"The model server did not answer within {timeout_s:g} seconds.")
    if isinstance(error, aiohttp.ClientResponseError):
        too_long = "more than" in error.message and "when reading" in error.message
        return ModelResponseInvalid(_HEADERS_TOO_LONG if too_long else f"The model server's answer is not HTTP: {error.message}.")
    if isinstance(error, aiohttp.ClientPayloadError):
        return ModelServerUnreachable("The connection to the model server broke before the whole answer was there.")
    if isinstance(error, aiohttp.ClientConnectorError):
        return ModelServerNotConnected("The model server takes no connections.")
    return ModelServerUnreachable("The connection to the model server broke before it answered.")
