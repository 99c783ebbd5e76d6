"""One HTTP/1.1 request and its answer, on a connection that serves nothing else, whatever the other side does.

A container may answer before it has read the request, or never; it may close, reset, stall, drip, or send bytes that are no
answer. So sending and receiving know nothing of each other: an answer counts even where nobody took the whole request (a body
limit answers 413 and closes). Plain sockets, since asyncio's transports drop what has come in as soon as a write fails, and
keep a connection for as long as its peer does not read. No connection is used twice, so none can be closed under a request
by a peer that only meant an idle one.
"""

import asyncio
import errno
import re
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import urlsplit

import httptools

from tarry.core.errors import (
    ModelResponseInvalid,
    ModelServerNotConnected,
    ModelServerTimeout,
    ModelServerUnreachable,
    Throttled,
)

FRUITLESS_BYTES_MAX = 64 * 1024
"""Bytes that may come in a row without one of the answer's body: heads, interim answers (1xx), trailers, chunk extensions."""
RECEIVE_BYTES = 256 * 1024
WITHOUT_BODY = (204, 304)
_CONNECT_S = 5.0
_OUR_SHORTAGE = (errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL)
_CONTROL_CHARACTER = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_NUMERIC = re.compile(r"[0-9.]+|.*:.*")
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close by a reset, at once, with nothing left to send

Recognise = Callable[[int], Awaitable[bool]]
"""Whether a connection that has just been made to a TCP port of this machine is to the server that it is meant for."""

# AWS: as error messages show it (deep-learning-containers#4668).
HEADERS_TOO_LONG = (
    "Response received from the primary container has headers with length greater than 4096 bytes. Reduce the length of your "
    "container's response headers and update your endpoint."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """``size`` is the length of the body in bytes, None for a request without one."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    size: int | None = None
    chunks: AsyncIterator[bytes] | None = None

    def head(self, host: str) -> bytes:
        """The bytes before the body. Errors: ValueError for a header that would not stay one."""
        headers = {"Host": host, "User-Agent": "tarry", **self.headers}
        if self.size is not None:
            headers["Content-Length"] = str(self.size)
        lines = [f"{self.method} {self.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        if broken := [line for line in lines if _CONTROL_CHARACTER.search(line)]:
            raise ValueError(f"a header for the model server has a control character: {broken[0]!a}")
        return "\r\n".join((*lines, "", "")).encode("utf-8", "surrogateescape")

    async def body(self) -> AsyncIterator[bytes]:
        """The chunks, held to the announced length. Errors: ValueError, and those of the chunks."""
        left = self.size or 0
        if self.chunks is not None:
            async for chunk in self.chunks:
                left -= len(chunk)
                if left < 0:
                    raise ValueError(f"the request body is longer than the announced {self.size} bytes")
                yield chunk
        if left:
            raise ValueError(f"the request body ends {left} bytes before the announced {self.size}")


class Answer:
    """What has come in so far. Interim answers leave no trace, and what follows the answer's end is not looked at."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.has_head = False
        self.complete = False
        self.body_bytes = 0
        self._body: list[bytes] = []
        self._fruitless = 0
        self._start = b""
        self._parser = httptools.HttpResponseParser(self)
        # RFC 9112, 2.2: a single LF may be taken for the end of a line. What is odd in a header harms nobody but its reader.
        self._parser.set_dangerous_leniencies(
            lenient_headers=True, lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
        )

    def feed(self, data: bytes) -> None:
        """Errors: ModelResponseInvalid."""
        self._start = self._start or data[:60]
        self._fruitless += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self.complete:
                raise ModelResponseInvalid(self._no_http(error)) from error
        if self._fruitless > FRUITLESS_BYTES_MAX and not self.complete:
            raise ModelResponseInvalid(
                f"The model server sent {FRUITLESS_BYTES_MAX} bytes in a row without one of its answer's body."
                if self.has_head
                else HEADERS_TOO_LONG
            )

    def ends_by_closing(self) -> bool:
        """Whether nothing but the connection's end tells that of the body (RFC 9112, 6.3). To be asked when the head is here."""
        told = {b"content-length", b"transfer-encoding"}
        return self.status not in WITHOUT_BODY and not any(name in told for name, _ in self.headers)

    def closed(self) -> None:
        """The other side has closed the connection, in peace."""
        if self.has_head and not self.complete:
            self.complete = self.ends_by_closing()

    def take(self) -> bytes:
        """What has come of the body since the last call."""
        taken, self._body = b"".join(self._body), []
        return taken

    def _no_http(self, error: Exception) -> str:
        if self.has_head:
            return f"The model server's answer breaks off with what is not HTTP: {error}."
        return f"The model server's answer is not HTTP ({error}); it begins with {self._start!r}."

    # ------------------------------------------------------------------------------------------------ called by the parser

    def on_header(self, name: bytes, value: bytes) -> None:
        """One of the head's, or a trailer."""
        if not self.has_head:
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """The end of a head."""
        status = self._parser.get_status_code()
        if self.has_head:
            return
        if 100 <= status < 200 and status != 101:
            self.headers.clear()
        else:
            self.status, self.has_head = status, True

    def on_body(self, data: bytes) -> None:
        """Some of the body."""
        if not self.complete:
            self._fruitless = 0
            self.body_bytes += len(data)
            self._body.append(data)

    def on_message_complete(self) -> None:
        """The end of an answer, or of an interim one."""
        self.complete = self.has_head


class Exchange:
    """A request on its way, and its answer."""

    def __init__(self, sock: socket.socket, request: HttpRequest, timeout_s: float) -> None:
        self.answer = Answer()
        self._loop = asyncio.get_running_loop()
        self._sock = sock
        self._request = request
        self._timeout_s = timeout_s
        self._deadline = self._loop.time() + timeout_s
        self._source_error: Exception | None = None
        self._sent = False

    async def head(self) -> Answer:
        """Wait for the answer's head.

        Errors: ModelServerUnreachable, ModelServerTimeout, ModelResponseInvalid; those of the request's body, as they are.
        """
        while not self.answer.has_head:
            await self._receive()
        return self.answer

    async def chunks(self) -> AsyncIterator[bytes]:
        """The answer's body. Errors: as ``head``."""
        while True:
            if chunk := self.answer.take():
                yield chunk
            if self.answer.complete:
                return
            await self._receive()

    async def send(self, head: bytes) -> None:
        """Send the request, as much of it as is taken. Who does not take it may have answered: that is seen by the receiver."""
        begin = head
        try:
            async for chunk in self._request.body():
                if not await self._send(begin + chunk if begin else chunk):
                    return
                begin = b""
        except Exception as error:  # noqa: BLE001 - the source's, whatever it is: the receiver is woken and raises it
            self._source_error = error
            with suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)
        else:
            self._sent = not begin or await self._send(begin)

    def close(self) -> None:
        """A connection on which all went well ends in peace; another one at once, whatever is left to be sent or read."""
        if not (self._sent and self.answer.complete):
            with suppress(OSError):
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._sock.close()

    async def _send(self, data: bytes) -> bool:
        try:
            await self._loop.sock_sendall(self._sock, data)
        except OSError:
            return False
        return True

    async def _receive(self) -> None:
        data, reset = b"", False
        if self._loop.time() >= self._deadline:  # what is there at once never meets the timeout below
            raise self._timed_out()
        try:
            async with asyncio.timeout_at(self._deadline):
                data = await self._loop.sock_recv(self._sock, RECEIVE_BYTES)
                if len(data) == RECEIVE_BYTES:
                    await asyncio.sleep(0)  # there may be no end to it: the others have their turn
        except TimeoutError as error:
            raise self._timed_out() from error
        except OSError:
            reset = True
        if self._source_error is not None:
            raise self._source_error
        if data:
            self.answer.feed(data)
            return
        if not reset:
            self.answer.closed()
        if not self.answer.complete:
            raise ModelServerUnreachable(self._broken())

    def _timed_out(self) -> ModelServerTimeout:
        return ModelServerTimeout(f"The model server did not answer within {self._timeout_s:g} seconds.")

    def _broken(self) -> str:
        if not self.answer.has_head:
            return "The connection to the model server broke before it answered."
        count = self.answer.body_bytes
        return f"The connection to the model server broke before the whole answer was there: it ended after {count} bytes."


@asynccontextmanager
async def exchange(
    address: str, request: HttpRequest, *, timeout_s: float, recognise: Recognise | None = None
) -> AsyncIterator[Exchange]:
    """Connect to a base URL and send the request, while the caller reads the answer. The time limit covers all of it.

    Who is not recognised is sent nothing. Leaving the context ends the connection.
    Errors: ModelServerNotConnected, Throttled where this process lacks the means.
    """
    netloc, host, port = _parts(address)
    head = request.head(netloc)
    sock = await _reach(host, port, min(timeout_s, _CONNECT_S), recognise)
    made = Exchange(sock, request, timeout_s)
    sending = asyncio.create_task(made.send(head))
    try:
        yield made
    finally:
        try:
            if not sending.done():
                sending.cancel()
                await asyncio.wait({sending})
        finally:
            made.close()


@lru_cache
def _parts(address: str) -> tuple[str, str, int]:
    parts = urlsplit(address)
    if parts.hostname is None:
        raise ModelServerNotConnected(f"{address!r} is no address of a model server.")
    return parts.netloc, parts.hostname, parts.port or 80


async def _reach(host: str, port: int, within_s: float, recognise: Recognise | None) -> socket.socket:
    """A second time where the server has just begun to listen anew: it is recognised then."""
    for _ in range(2):
        sock = await _connect(host, port, within_s)
        try:
            if recognise is None or await recognise(port):
                return sock
        except BaseException as error:
            sock.close()
            if isinstance(error, OSError):
                raise _not_connected(error) from error
            raise
        sock.close()
    raise ModelServerNotConnected("The model server takes no connections: somebody else listens on its port.")


async def _connect(host: str, port: int, within_s: float) -> socket.socket:
    sock = None
    try:
        sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not (_NUMERIC.fullmatch(host) and _connects_at_once(sock, host, port)):
            async with asyncio.timeout(within_s):
                await asyncio.get_running_loop().sock_connect(sock, (host, port))
    except BaseException as error:
        if sock is not None:
            sock.close()
        if isinstance(error, OSError):
            raise _not_connected(error) from error
        raise
    return sock


def _connects_at_once(sock: socket.socket, host: str, port: int) -> bool:
    """As every connection over loopback does; waiting for it through the event loop costs more than the rest of an exchange."""
    try:
        sock.connect((host, port))
    except BlockingIOError:
        with suppress(OSError):
            sock.getpeername()
            return True
        return False
    return True


def _not_connected(error: OSError) -> Exception:
    if error.errno in _OUR_SHORTAGE:  # the instance has done nothing, and must not be held dead for it
        return Throttled("The server has as many files and connections open as it may; try again in a moment.")
    if isinstance(error, TimeoutError):
        return ModelServerNotConnected("The model server took no connection in time.")
    return ModelServerNotConnected("The model server takes no connections.")
