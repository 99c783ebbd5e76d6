"""What containers get wrong, byte by byte, on a raw socket."""

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import AsyncIterator

import pytest

from tarry.backends.modelserver import HttpModelServer
from tarry.core.errors import ModelResponseInvalid, ModelServerTimeout, ModelServerUnreachable, Throttled
from tarry.ports import ModelRequest


class Raw:
    """Answers every request with the same bytes; then closes, or holds the connection open."""

    def __init__(self) -> None:
        self.answer = b""
        self.close = True
        self.requests: list[bytes] = []
        self.connections = 0
        self.open: dict[asyncio.StreamWriter, asyncio.Task[None]] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self.open[writer] = task
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
                body = await reader.readexactly(int(length[0].split(b":")[1])) if length else b""
                self.requests.append(head + body)
                writer.write(self.answer)
                await writer.drain()
                if self.close:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def end(self) -> None:
        """Leave no connection and no task behind."""
        for writer, task in self.open.items():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            writer.transport.abort()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


@pytest.fixture
async def raw() -> AsyncIterator[tuple[Raw, str]]:
    raw = Raw()
    server = await asyncio.start_server(raw.serve, "127.0.0.1", 0)
    yield raw, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()
    await server.wait_closed()
    await raw.end()


@pytest.fixture
async def client() -> AsyncIterator[HttpModelServer]:
    client = HttpModelServer()
    yield client
    await client.close()


async def body_of(data: bytes) -> AsyncIterator[bytes]:
    if data:
        yield data


async def ask(
    client: HttpModelServer, address: str, data: bytes = b"x", timeout_s: float = 5, **headers: str
) -> tuple[int, bytes]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = ModelRequest(headers=named, size=len(data), chunks=body_of(data))
    async with client.invoke(address, request, timeout_s=timeout_s) as response:
        return response.status, b"".join([chunk async for chunk in response.chunks])


async def test_the_request_is_plain_and_has_its_length(client: HttpModelServer, raw: tuple[Raw, str]) -> None:
    server, address = raw
    server.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    assert await ask(client, address, b"abc", X_Amzn_SageMaker_Inference_Id="1", Content_Length="77") == (200, b"ok")
    host = address.removeprefix("http://")
    expected = {
        "post /invocations http/1.1",
        f"host: {host}",
        "user-agent: tarry",
        "x-amzn-sagemaker-inference-id: 1",
        "content-length: 3",
    }
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert set(head.decode().lower().split("\r\n")) == expected
    assert body == b"abc"


async def test_a_proxy_of_the_environment_is_not_used(
    client: HttpModelServer, raw: tuple[Raw, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    raw[0].answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    assert await ask(client, raw[1]) == (200, b"")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Encoding: gzip\r\n\r\nabc",
    ],
    ids=["chunked", "length", "http 1.0", "encoded bytes stay as they are"],
)
async def test_whole_answers_are_taken(client: HttpModelServer, raw: tuple[Raw, str], answer: bytes) -> None:
    raw[0].answer = answer
    assert await ask(client, raw[1]) == (200, b"abc")


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\nabc", ModelResponseInvalid, "did not specify the required Content-Length header"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc", ModelServerUnreachable, "before the whole answer"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", ModelServerUnreachable, "before the whole answer"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            (ModelResponseInvalid, ModelServerUnreachable),
            "model server",
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", ModelResponseInvalid, "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", ModelResponseInvalid, "not HTTP"),
        (b"hello\r\n\r\n", ModelResponseInvalid, "not HTTP"),
        (b"", ModelServerUnreachable, "before it answered"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: " + b"x" * 4090 + b"\r\n\r\n",
            ModelResponseInvalid,
            "greater than 4096 bytes",
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: " + b"x" * 99_000 + b"\r\n\r\n",
            ModelResponseInvalid,
            "greater than 4096 bytes",
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Type: a\x01b\r\n\r\nx",
            ModelResponseInvalid,
            "not HTTP|no plain text: 'a.x01b'",
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Type: a\xffb\r\n\r\nx",
            ModelResponseInvalid,
            "no plain text: 'a.udcffb'",
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Type: \xc3\xa9\r\n\r\nx",
            ModelResponseInvalid,
            "no plain text: '.xe9'",
        ),
    ],
    ids=[
        "no length",
        "short",
        "cut chunks",
        "bad chunk",
        "two lengths",
        "negative",
        "no http",
        "nothing",
        "long head",
        "huge head",
        "control character as type",
        "byte as type",
        "letter as type",
    ],
)
async def test_broken_answers_are_told_apart(
    client: HttpModelServer, raw: tuple[Raw, str], answer: bytes, error: type[Exception], message: str
) -> None:
    raw[0].answer = answer
    with pytest.raises(error, match=message):
        await ask(client, raw[1])


async def test_an_empty_content_type_is_none(client: HttpModelServer, raw: tuple[Raw, str]) -> None:
    raw[0].answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Type:\r\n\r\n"
    async with client.invoke(raw[1], ModelRequest(headers={}, size=0, chunks=body_of(b"")), timeout_s=5) as response:
        assert response.content_type == "application/octet-stream"


async def test_headers_of_exactly_the_limit_pass(client: HttpModelServer, raw: tuple[Raw, str]) -> None:
    filler = b"x" * (4096 - len(b"Content-Length: 0\r\n") - len(b"X: \r\n"))
    raw[0].answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: " + filler + b"\r\n\r\n"
    assert await ask(client, raw[1]) == (200, b"")


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"])
async def test_a_stall_at_any_place_is_a_timeout(client: HttpModelServer, raw: tuple[Raw, str], answer: bytes) -> None:
    raw[0].answer, raw[0].close = answer, False
    with pytest.raises(ModelServerTimeout):
        await ask(client, raw[1], timeout_s=0.2)


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", b"junk\r\n\r\n"]
)
async def test_a_ping_without_200_in_time_is_unhealthy(client: HttpModelServer, raw: tuple[Raw, str], answer: bytes) -> None:
    raw[0].answer, raw[0].close = answer, False
    assert not await client.ping(raw[1], timeout_s=0.1)


async def test_too_many_bytes_never_reach_the_next_request(client: HttpModelServer, raw: tuple[Raw, str]) -> None:
    raw[0].answer, raw[0].close = (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
        False,
    )
    for _ in range(3):
        assert await ask(client, raw[1]) == (200, b"ok")
    assert raw[0].connections == 3


async def test_connections_are_kept(client: HttpModelServer, raw: tuple[Raw, str]) -> None:
    raw[0].answer, raw[0].close = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", False
    for _ in range(3):
        await ask(client, raw[1])
    assert raw[0].connections == 1


async def test_a_request_is_never_sent_twice(client: HttpModelServer, raw: tuple[Raw, str]) -> None:
    raw[0].answer, raw[0].close = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", False
    await ask(client, raw[1])
    raw[0].answer, raw[0].close = b"", True
    with pytest.raises(ModelServerUnreachable):
        await ask(client, raw[1])
    assert len(raw[0].requests) == 2


async def test_an_error_of_the_source_comes_out_as_it_is(client: HttpModelServer, raw: tuple[Raw, str]) -> None:
    class SourceBroke(Exception):
        pass

    async def chunks() -> AsyncIterator[bytes]:
        yield b"a"
        raise SourceBroke

    raw[0].close = False
    request = ModelRequest(headers={}, size=10, chunks=chunks())
    with pytest.raises(SourceBroke):
        async with client.invoke(raw[1], request, timeout_s=5):
            pass


@pytest.mark.parametrize("address", ["http://127.0.0.1:1", "nonsense", "http://", "http://256.1.1.1:80"])
async def test_ping_never_raises(client: HttpModelServer, address: str) -> None:
    assert not await client.ping(address, timeout_s=0.5)


async def test_an_endless_ping_body_is_not_read(client: HttpModelServer, raw: tuple[Raw, str]) -> None:
    raw[0].answer = b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n" + b"x" * 200_000
    assert await client.ping(raw[1], timeout_s=2)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
async def test_too_many_open_files_here_are_no_fault_of_the_instance(
    raw: tuple[Raw, str], client: HttpModelServer, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    server, address = raw
    server.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

    class Exhausted(socket.socket):
        def __init__(self, *_: object, **__: object) -> None:
            raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(socket, "socket", Exhausted)
        with pytest.raises(Throttled):
            await ask(client, address)
    assert server.connections == 0
    assert (await ask(client, address))[0] == 200
