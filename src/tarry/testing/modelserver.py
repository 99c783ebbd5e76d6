"""A model server without a network: answers by functions, on addresses that tests open and close."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from tarry.core.errors import ModelServerNotConnected, ModelServerTimeout
from tarry.ports import ModelRequest, ModelResponse, PingAnswer


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeAnswer:
    """What the fake answers; ``error`` is raised in place of the bytes' end, ``stalls`` stops them in the middle."""

    status: int = 200
    content_type: str = "application/octet-stream"
    body: bytes = b""
    chunked: bool = False
    error: Exception | None = None
    stalls: bool = False


T = TypeVar("T")

Answering = Callable[[ModelRequest, bytes], Awaitable[FakeAnswer]]


async def echo(request: ModelRequest, body: bytes) -> FakeAnswer:
    """The request's own bytes and content type."""
    types = [value for name, value in request.headers.items() if name.lower() == "content-type"]
    return FakeAnswer(content_type=types[0] if types else "application/octet-stream", body=body)


@dataclass(slots=True)
class FakeModelServer:
    """ports.ModelServer in memory. Every address answers unless it is in ``closed``; ``unhealthy`` ones fail their ping."""

    answering: Answering = echo
    closed: set[str] = field(default_factory=set)
    unhealthy: set[str] = field(default_factory=set)
    unhealthy_answer: str = "503"
    requests: list[ModelRequest] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    """The addresses of the requests, in order."""
    in_flight: int = 0
    in_flight_max: int = 0

    async def ping(self, address: str, *, timeout_s: float = 2.0) -> PingAnswer:
        """See ports.ModelServer."""
        if address in self.closed:
            return PingAnswer(False, "The model server takes no connections.")
        return PingAnswer(False, self.unhealthy_answer) if address in self.unhealthy else PingAnswer(True)

    @asynccontextmanager
    async def invoke(self, address: str, request: ModelRequest, *, timeout_s: float) -> AsyncIterator[ModelResponse]:
        """See ports.ModelServer."""
        if address in self.closed:
            raise ModelServerNotConnected("The model server takes no connections.")
        self.requests.append(request)
        self.asked.append(address)
        self.in_flight += 1
        self.in_flight_max = max(self.in_flight_max, self.in_flight)
        until = _Until(timeout_s)
        try:
            answer = await self._answer(request, until)
            size = None if answer.chunked else len(answer.body)
            yield ModelResponse(status=answer.status, content_type=answer.content_type, size=size, chunks=_chunks(answer, until))
        finally:
            self.in_flight -= 1

    async def _answer(self, request: ModelRequest, until: "_Until") -> FakeAnswer:
        body = b"".join([chunk async for chunk in request.chunks])
        if len(body) != request.size:
            raise ValueError(f"the request body has {len(body)} bytes, announced were {request.size}")
        return await until.ends(self.answering(request, body))


class _Until:
    """The time limit of one request."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._at = asyncio.get_running_loop().time() + timeout_s

    async def ends(self, work: Awaitable[T]) -> T:
        """What comes of the work, if it comes in time. Errors: ModelServerTimeout."""
        try:
            async with asyncio.timeout_at(self._at):
                return await work
        except TimeoutError as error:
            raise ModelServerTimeout(f"The model server did not answer within {self._timeout_s:g} seconds.") from error


async def _chunks(answer: FakeAnswer, until: _Until) -> AsyncIterator[bytes]:
    middle = len(answer.body) // 2
    if middle:
        yield answer.body[:middle]
    if answer.stalls:
        await until.ends(asyncio.Event().wait())
    if answer.body:
        yield answer.body[middle:]
    if answer.error is not None:
        raise answer.error
