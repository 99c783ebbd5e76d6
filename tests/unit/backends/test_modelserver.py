"""What a container is asked, and what this process lacks; what containers answer is in tests/contracts."""

import errno
import os
import socket
from collections.abc import AsyncIterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.raw_container import Connection, RawContainer, answering, stalling

from tarry.backends.http_exchange import Answer
from tarry.backends.modelserver import HttpModelServer
from tarry.core.errors import ModelResponseInvalid, Throttled
from tarry.ports import ModelRequest

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def body_of(data: bytes) -> AsyncIterator[bytes]:
    if data:
        yield data


async def ask(container: RawContainer, data: bytes = b"x", **headers: str) -> tuple[int, bytes]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = ModelRequest(headers=named, size=len(data), chunks=body_of(data))
    async with HttpModelServer().invoke(container.address, request, timeout_s=30) as response:
        return response.status, b"".join([chunk async for chunk in response.chunks])


async def test_the_request_is_plain_and_has_its_length() -> None:
    with RawContainer(answering(OK)) as container:
        assert await ask(container, b"abc", X_Amzn_SageMaker_Inference_Id="1", Content_Length="77", Expect="100-continue") == (
            200,
            b"ok",
        )
    (connection,) = container.connections
    assert set(connection.head.decode().lower().split("\r\n")) == {
        "post /invocations http/1.1",
        f"host: 127.0.0.1:{container.port}",
        "user-agent: tarry",
        "x-amzn-sagemaker-inference-id: 1",
        "content-length: 3",
    }
    assert connection.body == b"abc"


async def test_a_ping_is_plain() -> None:
    with RawContainer(answering(OK)) as container:
        assert (await HttpModelServer().ping(container.address)).healthy
    (connection,) = container.connections
    assert connection.head.decode().lower().split("\r\n") == [
        "get /ping http/1.1",
        f"host: 127.0.0.1:{container.port}",
        "user-agent: tarry",
    ]


@pytest.mark.parametrize("value", ["a\r\nX: y", "a\nb", "a\x00", "\x7f"])
async def test_a_header_that_would_not_stay_one_is_never_sent(value: str) -> None:
    with RawContainer(answering(OK)) as container, pytest.raises(ValueError, match="control character"):
        await ask(container, X=value)
    assert not container.connections


async def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with RawContainer(answering(OK)) as container:
        assert await ask(container) == (200, b"ok")


async def test_a_name_is_looked_up() -> None:
    with RawContainer(answering(OK)) as container:
        container.address = container.address.replace("127.0.0.1", "localhost")
        assert await ask(container) == (200, b"ok")


async def test_an_empty_content_type_is_none() -> None:
    with RawContainer(answering(OK.replace(b"OK\r\n", b"OK\r\nContent-Type:\r\n"))) as container:
        request = ModelRequest(headers={}, size=0, chunks=body_of(b""))
        async with HttpModelServer().invoke(container.address, request, timeout_s=30) as response:
            assert response.content_type == "application/octet-stream"


class SourceBroke(Exception):
    """What no port declares."""


@pytest.mark.parametrize("answer", [b"", OK[:-1]], ids=["before the answer", "in the answer"])
async def test_an_error_of_the_source_comes_out_as_it_is(answer: bytes) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"a"
        raise SourceBroke

    def script(connection: Connection) -> None:
        connection.read_head()
        connection.send(answer)
        connection.wait_gone()

    async def ask_and_read(container: RawContainer) -> None:
        request = ModelRequest(headers={}, size=10, chunks=chunks())
        async with HttpModelServer().invoke(container.address, request, timeout_s=30) as response:
            async for _ in response.chunks:
                pass

    with RawContainer(script) as container:
        with pytest.raises(SourceBroke):
            await ask_and_read(container)
        assert container.gone.wait(30)


@pytest.mark.parametrize("address", ["http://127.0.0.1:1", "http://[::1]:1", "nonsense", "http://", "http://256.1.1.1:80"])
async def test_ping_never_raises(address: str) -> None:
    assert not (await HttpModelServer().ping(address, timeout_s=0.5)).healthy


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
async def test_too_many_open_files_here_are_no_fault_of_the_instance(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    class Exhausted(socket.socket):
        def __init__(self, *_: object, **__: object) -> None:
            raise OSError(number, os.strerror(number))

    with RawContainer(stalling(OK)) as container:
        with monkeypatch.context() as patch:
            patch.setattr(socket, "socket", Exhausted)
            with pytest.raises(Throttled):
                await ask(container)
        assert not container.connections
        assert (await ask(container))[0] == 200


def _read(pieces: list[bytes]) -> object:
    """What an answer comes to, or where it has come to."""
    answer, body = Answer(), b""
    try:
        for piece in pieces:
            answer.feed(piece)
            body += answer.take()
            if answer.complete:
                return answer.status, body
    except ModelResponseInvalid:
        return "invalid"
    return "incomplete"


ANSWERS = st.sampled_from(
    [
        OK,
        b"HTTP/1.1 100 Continue\r\n\r\n" + OK,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n1;a=b\r\n!\r\n0\r\nX: y\r\n\r\n",
        b"HTTP/1.0 204 No\r\n\r\n",
        b"HTTP/1.1 500 No\r\nContent-Length: 5\r\nConnection: close\r\n\r\nwrong",
    ]
)


@given(
    answer=ANSWERS,
    behind=st.binary(max_size=40),
    changes=st.lists(st.tuples(st.integers(0, 99), st.binary(max_size=3)), max_size=3),
    cuts=st.lists(st.integers(0, 140)),
)
def test_what_an_answer_comes_to_does_not_depend_on_how_it_is_cut(
    answer: bytes, behind: bytes, changes: list[tuple[int, bytes]], cuts: list[int]
) -> None:
    """Also a broken one: what a segment holds is chance, and an outcome must not be."""
    data = answer + behind
    for place, new in changes:
        data = data[:place] + new + data[place + 1 :]
    ends = [0, *sorted(cuts), len(data)]
    assert _read([data[start:end] for start, end in pairwise(ends)]) == _read([data])
