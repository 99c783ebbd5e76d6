"""The ASGI application: HTTP in, HTTP out, around the gateway.

Raw ASGI and nothing between: on the way of an invocation every microsecond of a framework would be paid thousands of times a
second. Here are the rules of the connection (bounds, streaming, a client that goes away), the gateway knows those of AWS.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from email.utils import formatdate
from functools import lru_cache
from itertools import chain
from typing import Any
from urllib.parse import urlsplit

import structlog

from tarry.aws.auth import RawRequest
from tarry.aws.authorization import EndpointOf
from tarry.aws.body import BodyReader, ClientGoneError
from tarry.aws.call import Service
from tarry.aws.codecs.answer import Answer
from tarry.aws.gateway import Door, Gateway
from tarry.aws.patterns import unicode_classes
from tarry.aws.request import Request, join_headers
from tarry.aws.routing import Kind, route
from tarry.core.names import Scope
from tarry.ports import Clock, Ids, Keyring

log = structlog.get_logger(__name__)

ASGIScope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
InternalPage = Callable[[], Awaitable[bytes]]
"""A page below ``/_tarry/`` that everybody may read."""

HEADERS_MAX = 200
HEADER_BYTES_MAX = 64 * 1024
TARGET_BYTES_MAX = 16 * 1024
SEND_S_MAX = 60.0
"""A client that takes no bytes for so long is cut off."""
UNREAD_BYTES_MAX = 8 * 1024 * 1024
UNREAD_S_MAX = 2.0
_MEDIA_TYPES = {"pem": "application/x-pem-file", "json": "application/json", "html": "text/html; charset=utf-8"}
_BODILESS = frozenset({204, 304})


class App:
    """The door. ``ready`` is what ``GET /health`` tells: set it after the start, clear it before the drain."""

    def __init__(  # noqa: PLR0913 - a constructor connects what the layers below offer
        self,
        *,
        services: Mapping[str, Service],
        keyring: Keyring,
        scope: Scope,
        clock: Clock,
        ids: Ids,
        public_url: Callable[[], str],
        endpoint_of: EndpointOf,
        internal: Mapping[str, InternalPage] | None = None,
    ) -> None:
        door = Door(
            services=services,
            keyring=keyring,
            scope=scope,
            clock=clock,
            ids=ids,
            public_url=public_url,
            endpoint_of=endpoint_of,
        )
        self.ready = False
        self._services = services
        self._gateway = Gateway(door)
        self._public_url = public_url
        self._internal = {path.encode("ascii"): page for path, page in (internal or {}).items()}
        unicode_classes()  # a few tenths of a second, better spent at the start than in the first request with tags

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        """One connection's event, as ASGI says."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)

    async def _http(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        request = self._request(scope)
        reader = BodyReader(receive, request)
        try:
            answer = _out_of_bounds(scope) or await self._answer(request, reader)
        except ClientGoneError:
            return
        try:
            await _respond(request, reader, answer, receive, send)
        except asyncio.CancelledError:  # the server stops: what has begun can only be cut off
            log.info("an answer is cut off by the stop of the server", path=request.raw_path.decode("latin-1"))

    async def _answer(self, request: Request, reader: BodyReader) -> Answer:
        way = route(request, self._services)
        match way.kind:
            case Kind.HEALTH:
                return _text(200, "ok") if self.ready else _text(503, "not ready")
            case Kind.INTERNAL:
                return await self._internal_page(request)
            case Kind.PREFLIGHT:
                return _preflight(request)
        return await self._gateway.answer(request, way, reader)

    async def _internal_page(self, request: Request) -> Answer:
        page = self._internal.get(request.raw_path)
        if page is None:
            return _text(404, "There is no such page.")
        if request.method not in ("GET", "HEAD"):
            return _text(405, "Only GET and HEAD.")
        suffix = request.raw_path.rpartition(b".")[2].decode("latin-1")
        media_type = _MEDIA_TYPES.get(suffix, "text/plain; charset=utf-8")
        try:
            return Answer(status=200, headers={"Content-Type": media_type}, body=await page())
        except Exception:
            log.exception("page failed", path=request.raw_path.decode("latin-1"))
            return _text(500, "This page failed.")

    def _request(self, scope: ASGIScope) -> Request:
        headers = join_headers(scope["headers"])
        host = headers.get("host", "")
        raw = RawRequest(
            method=scope["method"],
            raw_path=scope["raw_path"] or b"/",
            raw_query=scope["query_string"],
            headers=scope["headers"],
            host=host,
            virtual_bucket=self._virtual_bucket(host),
        )
        return Request(raw=raw, headers=headers, scheme=scope["scheme"])

    def _virtual_bucket(self, host: str) -> str | None:
        """The bucket in ``bucket.<our host>``, where a client writes it there."""
        suffix = _below(self._public_url())
        name = host.partition(":")[0].lower()
        return name.removesuffix(suffix) or None if suffix and name.endswith(suffix) else None


@lru_cache(maxsize=4)
def _below(url: str) -> str:
    """How the names of hosts below a URL's host end; empty where it has none."""
    host = urlsplit(url).hostname
    return f".{host}" if host else ""


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


def _out_of_bounds(scope: ASGIScope) -> Answer | None:
    headers = scope["headers"]
    size = sum(map(len, chain.from_iterable(headers)))
    if len(headers) > HEADERS_MAX or size > HEADER_BYTES_MAX:
        return _text(431, f"Expected at most {HEADERS_MAX} headers of together {HEADER_BYTES_MAX} bytes.")
    if len(scope["raw_path"]) + len(scope["query_string"]) > TARGET_BYTES_MAX:
        return _text(414, f"Expected a request target of at most {TARGET_BYTES_MAX} bytes.")
    return None


def _text(status: int, text: str) -> Answer:
    return Answer(status=status, headers={"Content-Type": "text/plain; charset=utf-8"}, body=f"{text}\n".encode())


def _preflight(request: Request) -> Answer:
    """Every origin may ask: without a signature, which no cookie can give, an answer holds nothing."""
    return Answer(
        status=200,
        headers={
            "Access-Control-Allow-Methods": "GET, HEAD, PUT, POST, DELETE",
            "Access-Control-Allow-Headers": request.headers.get("access-control-request-headers", "*"),
            "Access-Control-Max-Age": "3000",
            "Vary": "Origin, Access-Control-Request-Headers, Access-Control-Request-Method",
        },
    )


async def _respond(request: Request, reader: BodyReader, answer: Answer, receive: Receive, send: Send) -> None:
    head = request.method == "HEAD"
    headers = dict(answer.headers)
    if answer.stream is None and answer.status not in _BODILESS and not (head and "Content-Length" in headers):
        headers["Content-Length"] = str(len(answer.body))
    headers["Date"] = _date(int(time.time()))
    if "origin" in request.headers:
        headers["Access-Control-Allow-Origin"] = "*"
        headers["Access-Control-Expose-Headers"] = ", ".join(answer.headers)
    if not reader.finished:
        headers["Connection"] = "close"
    raw = [(name.encode("latin-1"), _header_bytes(value)) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": raw})
    if answer.stream is not None:
        await _send_stream(answer.stream, head, reader, receive, send)
    elif reader.finished or "expect" in request.headers:
        await send({"type": "http.response.body", "body": b"" if head else answer.body})
    else:
        # The client may still be sending: closing under it would take the answer away before it is read.
        await send({"type": "http.response.body", "body": b"" if head else answer.body, "more_body": True})
        await reader.discard(bytes_max=UNREAD_BYTES_MAX, seconds_max=UNREAD_S_MAX)
        await send({"type": "http.response.body", "body": b""})


async def _send_stream(stream: Any, head: bool, reader: BodyReader, receive: Receive, send: Send) -> None:
    """Send piece by piece. A client that goes away ends the stream; a stream that fails cuts the connection, which tells."""
    gone = asyncio.create_task(_disconnected(receive)) if reader.finished else None
    try:
        if not head:
            async for piece in stream:
                if gone is not None and gone.done():
                    return
                async with asyncio.timeout(SEND_S_MAX):
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
                await asyncio.sleep(0)  # a stream that never waits lets others in, and hears of its client's end
        await send({"type": "http.response.body", "body": b""})
    except TimeoutError:
        log.info("client takes no bytes", seconds=SEND_S_MAX)
    except Exception:  # the status is sent already: only cutting the connection can tell, and the log
        log.exception("answer broke off")
    finally:
        if gone is not None:
            gone.cancel()
        close = getattr(stream, "aclose", None)
        if close is not None:
            await close()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _header_bytes(value: str) -> bytes:
    if "\r" in value or "\n" in value or "\0" in value:
        value = " ".join(value.replace("\0", " ").split())
    try:
        return value.encode("latin-1")
    except UnicodeEncodeError:
        return value.encode()


_date_cache: tuple[int, str] = (0, "")


def _date(second: int) -> str:
    global _date_cache  # noqa: PLW0603 - one formatted date a second, not one a request
    if _date_cache[0] != second:
        _date_cache = (second, formatdate(second, usegmt=True))
    return _date_cache[1]
