"""The bounds on a request's head, on a real listener."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from tests.support.server import abort_connections

from tarry.bootstrap.http import HEAD_BYTES_MAX, BoundedHttp, Server, patience_s


async def _app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@asynccontextmanager
async def _listening(head_s_max: float) -> AsyncIterator[int]:
    protocol = type("Quick", (BoundedHttp,), {"head_s_max": head_s_max})
    config = uvicorn.Config(_app, http=protocol, ws="none", lifespan="off", log_config=None, interface="asgi3")
    server = Server(config)
    config.load()
    listener = socket.create_server(("127.0.0.1", 0))
    serving = asyncio.create_task(server.serve([listener]))
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        await serving
        await abort_connections(server)
        listener.close()


async def _say(port: int, *pieces: bytes) -> bytes:
    """Send the pieces, leave the sending side open, read until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
    said = await asyncio.wait_for(reader.read(), 30)
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    return said


@pytest.mark.parametrize(("drain_s", "patience"), [(0.0, 5), (30.0, 30), (7.2, 7.2), (float("inf"), float("inf"))])
def test_requests_under_way_get_the_drain_time_at_a_stop(drain_s: float, patience: float) -> None:
    assert patience_s(drain_s) == patience


async def test_what_is_under_way_at_the_end_is_cancelled_once_and_has_its_last_words() -> None:
    server, began, said = Server(uvicorn.Config(_app)), asyncio.Event(), []

    async def request() -> None:
        try:
            began.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            for _ in range(3):
                await asyncio.sleep(0)
            said.append("stopping")

    task = asyncio.create_task(request())
    server.server_state.tasks.add(task)
    await began.wait()
    task.cancel()  # as a client does that goes away
    await asyncio.sleep(0)  # its last words have begun
    await server.end_requests()
    assert said == ["stopping"]


GOOD = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\n" + b"x" * 100_000


async def test_a_head_that_never_ends_is_closed() -> None:
    async with _listening(0.1) as port:
        assert (await _say(port, b"GET / HTTP/1.1\r\nhost: ")).startswith(b"HTTP/1.1 408 ")


async def test_a_connection_that_says_nothing_is_closed() -> None:
    async with _listening(0.1) as port:
        assert await _say(port) == b""


async def test_the_head_of_a_second_request_is_bounded_too() -> None:
    async with _listening(0.2) as port:
        said = await _say(port, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", b"GET / HTTP/1.1\r\n")
    assert said.startswith(b"HTTP/1.1 200 ")
    assert b"HTTP/1.1 408 " in said


async def test_a_huge_head_is_refused() -> None:
    async with _listening(30) as port:
        said = await _say(port, b"GET / HTTP/1.1\r\n", b"x-filler: " + b"y" * (HEAD_BYTES_MAX + 1))
    assert said.startswith(b"HTTP/1.1 431 ")


async def test_a_body_does_not_count_as_head() -> None:
    async with _listening(30) as port:
        said = await _say(port, GOOD, b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n")
    assert said.count(b"HTTP/1.1 200 ") == 2
