"""Reading what a client sends: bounded in size, bounded in time, and never before somebody wants it.

Asking for the first piece is what lets uvicorn answer ``Expect: 100-continue``: a refusal that needs no body is given before the
client has sent one.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from tarry.aws.errors import AwsError
from tarry.aws.request import Request
from tarry.aws.specs import Family

Receive = Callable[[], Awaitable[Any]]

WHOLE_BODY_S_MAX = 60.0
"""A body that is read as a whole has to be there within this."""
PIECE_S_MAX = 60.0
"""A streaming body may take for ever, but not pause for longer than this."""


class ClientGoneError(Exception):
    """The client closed the connection before its request was complete; there is nobody to answer."""


class BodyTooLargeError(Exception):
    """The body has more bytes than are taken here."""

    def __init__(self, bytes_max: int) -> None:
        super().__init__(f"The body has more than {bytes_max} bytes.")
        self.bytes_max = bytes_max


class BodyTooSlowError(Exception):
    """The client stopped sending."""


class BodyReader:
    """The body of one request, read at most once."""

    def __init__(self, receive: Receive, request: Request) -> None:
        self._receive = receive
        self._announced = request.announced_size
        self.finished = not self._announced and "transfer-encoding" not in request.headers
        """Whether everything that the client sends has been read: only then can the connection be used again."""

    async def read(self, bytes_max: int) -> bytes:
        """The whole body. Errors: BodyTooLargeError (before reading, where the client says the size), BodyTooSlowError."""
        if self.finished:
            return b""
        if self._announced is not None and self._announced > bytes_max:
            raise BodyTooLargeError(bytes_max)
        pieces: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(WHOLE_BODY_S_MAX):
                more = True
                while more:
                    piece, more = await self._next()
                    size += len(piece)
                    if size > bytes_max:
                        raise BodyTooLargeError(bytes_max)
                    pieces.append(piece)
        except TimeoutError:
            raise BodyTooSlowError from None
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def stream(self) -> AsyncIterator[bytes]:
        """The body piece by piece, as it comes. Errors: BodyTooSlowError, ClientGoneError."""
        more = not self.finished
        while more:
            try:
                async with asyncio.timeout(PIECE_S_MAX):
                    piece, more = await self._next()
            except TimeoutError:
                raise BodyTooSlowError from None
            if piece:
                yield piece

    async def discard(self, *, bytes_max: int, seconds_max: float) -> None:
        """Read and forget, up to a bound: a client that is still sending may not see an answer if it is cut off."""
        size, more = 0, not self.finished
        try:
            async with asyncio.timeout(seconds_max):
                while more and size < bytes_max:
                    piece, more = await self._next()
                    size += len(piece)
        except (TimeoutError, ClientGoneError):
            return

    async def _next(self) -> tuple[bytes, bool]:
        """The next piece, and whether there are more."""
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        more = bool(message.get("more_body", False))
        self.finished = not more
        return message.get("body", b""), more


def too_large(family: Family, error: BodyTooLargeError) -> AwsError:
    """The answer to a body that is too large."""
    message = f"The request body has more than the {error.bytes_max} bytes that this operation takes."
    match family:
        case "rest-xml":
            # AWS: S3 API reference, Error responses, MaxMessageLengthExceeded.
            return AwsError(code="MaxMessageLengthExceeded", message=f"Your request was too big. {message}")
        case "rest-json":
            # AWS: a violation of the body's length is a ValidationError (InvokeEndpointAsync API reference).
            return AwsError(code="ValidationError", message=message)
    # OURS: AWS's front ends answer 413 with differing bodies.
    return AwsError(code="RequestEntityTooLarge", message=message, status=413)


def too_slow(family: Family) -> AwsError:
    """The answer to a client that stopped sending; SDKs retry by the code."""
    # AWS: S3 API reference, Error responses, RequestTimeout.
    message = "Your socket connection to the server was not read from or written to within the timeout period."
    code = "RequestTimeout" if family in ("rest-xml", "query") else "RequestTimeoutException"
    return AwsError(code=code, message=message, status=400 if family == "rest-xml" else 408)
