"""The HTTP listener: uvicorn, with two bounds that it lacks.

uvicorn limits neither how long a client may take to send a request's head (a connection that sends a byte a minute is kept
for ever) nor how many bytes of head it collects. Bodies are bounded by the door, which knows what each operation takes.
"""

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tarry.core.errors import Bug, InvalidRequest
from tarry.settings import ServerSettings

HEAD_S_MAX = 20.0
HEAD_BYTES_MAX = 64 * 1024
CLOSE_CONNECTIONS_S = 5.0
"""What requests under way get at a stop, if the drain time is not longer."""
LAST_WORDS_S = 3.0
"""What those get that have been cancelled, to say so."""
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class Server(uvicorn.Server):
    """uvicorn without its signal handlers: our stop has an order of its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to whoever runs the server."""
        yield

    async def end_requests(self) -> None:
        """Cancel what is still under way, and let it say so: the application answers 503 to what it has not answered yet."""
        under_way = set(self.server_state.tasks)
        for task in under_way:
            if not task.cancelling():  # a second time would take the words away
                task.cancel()
        if under_way:
            await asyncio.wait(under_way, timeout=LAST_WORDS_S)


class BoundedHttp(HttpToolsProtocol):
    """One connection. From its start, and from the first byte of each further request, the head has a time and a size."""

    head_s_max = HEAD_S_MAX
    _head_timer: asyncio.TimerHandle | None = None
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The first head begins."""
        super().connection_made(transport)
        self._head_begins()

    def connection_lost(self, exc: Exception | None) -> None:
        """No head will come."""
        self._head_ends()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """A further head begins."""
        super().on_message_begin()
        self._head_begins()

    def on_headers_complete(self) -> None:
        """The head is here."""
        self._head_ends()
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """Count what comes before the head has ended."""
        super().data_received(data)
        if self._head_timer is not None:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES_MAX:
                self._refuse(_TOO_LARGE)

    def _head_begins(self) -> None:
        self._head_ends()
        self._head_bytes = 0
        self._head_timer = self.loop.call_later(self.head_s_max, self._too_slow)

    def _head_ends(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _too_slow(self) -> None:
        """Half a head is answered; a connection that never said anything is closed without a word it did not ask for."""
        self._refuse(_TOO_SLOW if self._head_bytes else b"")

    def _refuse(self, answer: bytes) -> None:
        self._head_ends()
        if not self.transport.is_closing():
            self.transport.write(answer)
            self.transport.close()


def http_server(settings: ServerSettings) -> Server:
    """The HTTP server, its certificate checked. The application is set once it has been built: ``config.loaded_app``.

    Errors: InvalidRequest for a certificate or key that cannot be used.
    """
    config = uvicorn.Config(
        _not_built_yet,
        http=BoundedHttp,
        interface="asgi3",
        proxy_headers=False,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=60,
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
    )
    try:
        config.load()
    except (OSError, ValueError) as error:
        raise InvalidRequest(
            f"The certificate {settings.tls_cert} or its key {settings.tls_key} cannot be used: {error}."
        ) from None
    return Server(config)


def patience_s(drain_s: float) -> float:
    """How long requests under way may take at a stop, from its first moment. Not uvicorn's own, which calls its end an error."""
    return max(CLOSE_CONNECTIONS_S, drain_s)


async def _not_built_yet(scope: Any, receive: Any, send: Any) -> None:
    raise Bug("The application was called before it was built.")
