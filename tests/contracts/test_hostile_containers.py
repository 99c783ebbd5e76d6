"""What containers get wrong: each of it ends in time, as an answer or as one error that says why, and leaves no connection.

The cases speak to HttpModelServer on plain sockets, on both event loops: uvloop is the server's own.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import psutil
import pytest
import uvloop
from tests.support.raw_container import WAIT_S, Connection, RawContainer, Script, answering, stalling

from tarry.backends.http_exchange import Recognise
from tarry.backends.modelserver import HttpModelServer
from tarry.core.errors import ModelResponseInvalid, ModelServerNotConnected, ModelServerTimeout, ModelServerUnreachable
from tarry.ports import ModelRequest

Run = Callable[[Coroutine[Any, Any, Any]], Any]
MIB = 1024 * 1024
LARGE = 16 * MIB
"""More than all buffers of a connection hold."""
SHORT_S = 0.2

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
HEADERS_TOO_LONG = "headers with length greater than 4096 bytes"
WITHOUT_LENGTH = b"HTTP/1.0 200 OK\r\n\r\nok"


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    with asyncio.Runner(loop_factory=request.param) as runner:
        yield runner.run


async def pieces(size: int) -> AsyncIterator[bytes]:
    for start in range(0, size, 256 * 1024):
        yield b"x" * min(256 * 1024, size - start)


async def ask(
    container: RawContainer, size: int = 1, timeout_s: float = WAIT_S, recognise: Recognise | None = None
) -> tuple[int, bytes]:
    request = ModelRequest(headers={"Content-Type": "text/csv"}, size=size, chunks=pieces(size))
    async with HttpModelServer(recognise).invoke(container.address, request, timeout_s=timeout_s) as response:
        body = b"".join([chunk async for chunk in response.chunks])
        assert response.size in (None, len(body))
        return response.status, body


def refused(run: Run, script: Script, error: type[Exception], message: str, **asked: Any) -> None:
    """The script's answer is this error, and nobody is connected to it any more."""
    with RawContainer(script) as container:
        with pytest.raises(error, match=message) as raised:
            run(ask(container, **asked))
        assert type(raised.value) is error
        assert not _connected_to(container)


def _connected_to(container: RawContainer) -> list[object]:
    """Not what others in this process have left of a server that had the same port before."""
    ours = psutil.Process().net_connections("tcp")
    return [each for each in ours if each.raddr and each.raddr.port == container.port and each.laddr.port in container.peers]


# ------------------------------------------------------------------------------------------------------ answers that count

COUNT: dict[str, tuple[tuple[bytes, ...], tuple[int, bytes]]] = {
    "a length": ((OK,), (200, b"ok")),
    "HTTP/1.0": ((OK.replace(b"1.1", b"1.0"),), (200, b"ok")),
    "byte by byte": (tuple(bytes([byte]) for byte in OK), (200, b"ok")),
    "lines that end in LF": ((OK.replace(b"\r", b""),), (200, b"ok")),
    "chunks": ((CHUNKED + b"1\r\no\r\n1\r\nk\r\n0\r\n\r\n",), (200, b"ok")),
    "chunk extensions": ((CHUNKED + b'2;a="b"\r\nok\r\n0;c\r\n\r\n',), (200, b"ok")),
    "trailers": ((CHUNKED + b"2\r\nok\r\n0\r\nX: y\r\nZ: \r\n\r\n",), (200, b"ok")),
    "100 first": ((b"HTTP/1.1 100 Continue\r\n\r\n", OK), (200, b"ok")),
    "103 first": ((b"HTTP/1.1 103 Early Hints\r\nLink: a\r\nContent-Length: 9\r\n\r\n" + OK,), (200, b"ok")),
    "encoded bytes stay as they are": ((OK.replace(b"OK\r\n", b"OK\r\nContent-Encoding: gzip\r\n"),), (200, b"ok")),
    "more bytes than announced": ((OK + b"!",), (200, b"ok")),
    "more bytes than announced, later": ((OK, b"!" * 100), (200, b"ok")),
    "another answer behind it": ((OK + b"HTTP/1.1 500 No\r\nContent-Length: 4\r\n\r\nevil",), (200, b"ok")),
    "nothing": ((b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",), (200, b"")),
    "204": ((b"HTTP/1.1 204 No Content\r\n\r\n",), (204, b"")),
    "204 with a body": ((b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok",), (204, b"")),
    "304": ((b"HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n",), (304, b"")),
    "999": ((OK.replace(b"200", b"999"),), (999, b"ok")),
    "many headers": ((OK.replace(b"OK\r\n", b"OK\r\n" + b"X: y\r\n" * 300),), (200, b"ok")),
    "a header that is folded": ((OK.replace(b"OK\r\n", b"OK\r\nX: y\r\n z\r\n"),), (200, b"ok")),
    "an upgrade that nobody asked for": (
        (OK.replace(b"OK\r\n", b"OK\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n"),),
        (200, b"ok"),
    ),
}


@pytest.mark.parametrize("case", COUNT)
@pytest.mark.parametrize("after", [answering, stalling], ids=["closed", "kept open"])
def test_an_answer_counts(run: Run, case: str, after: Callable[..., Script]) -> None:
    data, expected = COUNT[case]
    with RawContainer(after(*data)) as container:
        assert run(ask(container)) == expected
        assert not _connected_to(container)


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
@pytest.mark.parametrize("body", [b"ok", b"", b"x" * MIB], ids=["ok", "nothing", "1 MiB"])
def test_an_answer_that_ends_with_its_connection_counts(run: Run, version: bytes, body: bytes) -> None:
    head = b"HTTP/" + version + b" 200 OK\r\nConnection: close\r\n\r\n"
    with RawContainer(answering(head, body)) as container:
        assert run(ask(container)) == (200, body)
        assert [each.head.split()[1] for each in container.connections] == [b"/invocations", b"/ping"], (
            "and it is asked whether it lives"
        )
        assert not _connected_to(container)


@pytest.mark.parametrize("said", [b"HTTP/1.1 500 No\r\n\r\n", b"no HTTP\r\n\r\n", b""], ids=["500", "no HTTP", "nothing for now"])
def test_whoever_is_there_after_such_an_answer_was_not_ended_by_it(
    run: Run, said: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tarry.backends.modelserver._LIFE_S", SHORT_S)

    def script(connection: Connection) -> None:
        connection.read_request()
        if b"/ping" not in connection.head:
            connection.send(WITHOUT_LENGTH)
        elif said:
            connection.send(said)
        else:
            connection.wait_gone()

    with RawContainer(script) as container:
        assert run(ask(container)) == (200, b"ok")


@pytest.mark.parametrize("proxied", [False, True])
def test_whoever_is_gone_after_such_an_answer_may_have_been_cut_off(run: Run, proxied: bool) -> None:
    """A proxy (Docker's) takes the connection, and closes it when it finds nobody."""

    def script(connection: Connection) -> None:
        connection.read_request()
        if b"/ping" in connection.head:
            return
        if not proxied:
            container.end()
        connection.send(WITHOUT_LENGTH)

    with RawContainer(script) as container, pytest.raises(ModelServerUnreachable, match="ended with its answer"):
        run(ask(container))


def test_a_stranger_on_its_port_is_no_sign_that_it_lives(run: Run) -> None:
    known = iter([True])

    async def recognise(_: int) -> bool:
        return next(known, False)

    with RawContainer(answering(WITHOUT_LENGTH)) as container, pytest.raises(ModelServerUnreachable, match="ended with its"):
        run(ask(container, recognise=recognise))


def test_such_an_answer_ends_with_its_connection_alone(run: Run) -> None:
    with RawContainer(stalling(WITHOUT_LENGTH)) as container:
        with pytest.raises(ModelServerTimeout):
            run(ask(container, timeout_s=SHORT_S))
        assert container.gone.wait(WAIT_S)


def test_a_reset_is_no_end_of_such_an_answer(run: Run) -> None:
    def script(connection: Connection) -> None:
        connection.read_request()
        connection.send(WITHOUT_LENGTH)
        connection.reset()

    with RawContainer(script) as container, pytest.raises(ModelServerUnreachable, match="before the whole answer was there"):
        run(ask(container))


# ---------------------------------------------------------------------------------------------------- answers that do not

CLOSED: dict[str, tuple[bytes, type[Exception], str]] = {
    "nothing": (b"", ModelServerUnreachable, "broke before it answered"),
    "a status line": (b"HTTP/1.1 200 OK\r\n", ModelServerUnreachable, "broke before it answered"),
    "half a header": (b"HTTP/1.1 200 OK\r\nContent-Le", ModelServerUnreachable, "broke before it answered"),
    "only 100": (b"HTTP/1.1 100 Continue\r\n\r\n", ModelServerUnreachable, "broke before it answered"),
    "a head": (OK[:-2], ModelServerUnreachable, "before the whole answer was there: it ended after 0 bytes"),
    "less than announced": (OK[:-1], ModelServerUnreachable, "before the whole answer was there: it ended after 1 bytes"),
    "2**63 bytes announced": (
        OK.replace(b": 2", b": 9223372036854775808"),
        ModelServerUnreachable,
        "before the whole answer was there: it ended after 2 bytes",
    ),
    "half a chunk": (CHUNKED + b"3\r\nok", ModelServerUnreachable, "it ended after 2 bytes"),
    "no last chunk": (CHUNKED + b"2\r\nok\r\n", ModelServerUnreachable, "it ended after 2 bytes"),
    "no end of trailers": (CHUNKED + b"2\r\nok\r\n0\r\nX: y\r\n", ModelServerUnreachable, "it ended after 2 bytes"),
    "an empty length": (OK.replace(b": 2", b":"), ModelResponseInvalid, "empty Content-Length|not HTTP"),
}
"""Said, and then closed."""

OPEN: dict[str, tuple[bytes, str]] = {
    "a chunk that is none": (CHUNKED + b"zz\r\n", "not HTTP: Invalid character in chunk size"),
    "a chunk longer than announced": (CHUNKED + b"2\r\nokay\r\n", "not HTTP: Expected LF after chunk data"),
    "a chunk of endless length": (CHUNKED + b"f" * 17 + b"\r\n", "not HTTP: Chunk size overflow"),
    "two lengths": (OK.replace(b"OK\r\n", b"OK\r\nContent-Length: 1\r\n"), "not HTTP .*begins with b'HTTP/1.1 200 OK"),
    "length and chunks": (CHUNKED.replace(b"OK\r\n", b"OK\r\nContent-Length: 2\r\n"), "not HTTP"),
    "a negative length": (OK.replace(b": 2", b": -2"), "not HTTP"),
    "a length in words": (OK.replace(b": 2", b": two"), "not HTTP"),
    "an endless length": (OK.replace(b": 2", b": 2" + b"0" * 30), "not HTTP"),
    "another transfer encoding": (
        CHUNKED.replace(b"chunked", b"gzip, chunked"),
        "transfer encoding 'gzip, chunked'; only chunked",
    ),
    "words": (b"hello\r\n\r\n", "not HTTP .*begins with b'hello"),
    "HTTP/0.9": (b"<html>hello</html>", "not HTTP"),
    "HTTP/2": (b"\x00\x00\x12\x04\x00\x00\x00\x00\x00", "not HTTP"),
    "TLS": (b"\x15\x03\x01\x00\x02\x02\x16", "not HTTP"),
    "status 99": (OK.replace(b"200", b"099"), "status 99, which ends no request"),
    "status 1000": (OK.replace(b"200", b"1000"), "not HTTP"),
    "status in words": (OK.replace(b"200", b"good"), "not HTTP"),
    "101": (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\nx",
        "status 101, which ends no request",
    ),
    "4097 bytes of headers": (OK.replace(b"OK\r\n", b"OK\r\nX: " + b"y" * 4073 + b"\r\n"), HEADERS_TOO_LONG),
    "a control character as type": (OK.replace(b"OK\r\n", b"OK\r\nContent-Type: a\x01b\r\n"), "no plain text: 'a.x01b'"),
    "a byte as type": (OK.replace(b"OK\r\n", b"OK\r\nContent-Type: a\xffb\r\n"), "no plain text: 'a.udcffb'"),
    "a letter as type": (OK.replace(b"OK\r\n", b"OK\r\nContent-Type: \xc3\xa9\r\n"), "no plain text: '.xe9'"),
}
"""Said, with the connection kept open: nothing more is waited for."""


@pytest.mark.parametrize("case", CLOSED)
def test_an_answer_that_breaks_off_is_none(run: Run, case: str) -> None:
    data, error, message = CLOSED[case]
    refused(run, answering(data), error, message)


@pytest.mark.parametrize("case", OPEN)
def test_what_is_no_answer_is_refused_at_once(run: Run, case: str) -> None:
    data, message = OPEN[case]
    refused(run, stalling(data), ModelResponseInvalid, message)


def test_headers_of_exactly_the_limit_pass(run: Run) -> None:
    with RawContainer(answering(OK.replace(b"OK\r\n", b"OK\r\nX: " + b"y" * 4072 + b"\r\n"))) as container:
        assert run(ask(container)) == (200, b"ok")


ENDLESS: dict[str, tuple[bytes, bytes, str]] = {
    "headers": (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 1000, HEADERS_TOO_LONG),
    "a header": (b"HTTP/1.1 200 OK\r\nX: ", b"y" * 10_000, HEADERS_TOO_LONG),
    "a header's name": (b"HTTP/1.1 200 OK\r\n", b"y" * 10_000, HEADERS_TOO_LONG),
    "a status line": (b"HTTP/1.1 200 ", b"y" * 10_000, HEADERS_TOO_LONG),
    "interim answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, HEADERS_TOO_LONG),
    "empty lines": (b"", b"\r\n" * 1000, HEADERS_TOO_LONG),
    "trailers": (CHUNKED + b"2\r\nok\r\n0\r\n", b"X: y\r\n" * 1000, "65536 bytes in a row without one of its answer's body"),
    "a chunk extension": (CHUNKED + b"2;", b"x" * 10_000, "65536 bytes in a row without one of its answer's body"),
    "noise": (b"", bytes(range(255, -1, -1)) * 100, "not HTTP"),
}


@pytest.mark.parametrize("case", ENDLESS)
def test_what_has_no_end_is_refused_in_the_middle(run: Run, case: str) -> None:
    start, again, message = ENDLESS[case]

    def script(connection: Connection) -> None:
        connection.read_request()
        connection.send(start)
        connection.send_for_ever(again)

    refused(run, script, ModelResponseInvalid, message)


def test_a_body_without_end_ends_at_the_timeout(run: Run) -> None:
    """Data that is there whenever it is asked for would never meet a timer."""

    async def read(container: RawContainer) -> None:
        request = ModelRequest(headers={}, size=0, chunks=pieces(0))
        async with HttpModelServer().invoke(container.address, request, timeout_s=SHORT_S) as response:
            async for _ in response.chunks:
                pass

    def script(connection: Connection) -> None:
        connection.read_request()
        connection.send(CHUNKED)
        connection.send_for_ever(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")

    with RawContainer(script) as container, pytest.raises(ModelServerTimeout):
        run(read(container))


# --------------------------------------------------------------------------------------------------------------- time limit


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        OK[:-2],
        OK[:-1],
        CHUNKED + b"2\r\nok\r\n",
        CHUNKED + b"2\r\nok\r\n0\r\n",
    ],
    ids=["no answer", "in the head", "after 100", "after the head", "in the body", "after a chunk", "in the trailers"],
)
def test_a_stall_anywhere_ends_at_the_timeout_and_the_container_sees_it(run: Run, data: bytes) -> None:
    with RawContainer(stalling(data)) as container:
        with pytest.raises(ModelServerTimeout, match=r"within 0\.2 seconds"):
            run(ask(container, timeout_s=SHORT_S))
        assert container.gone.wait(WAIT_S)


def test_dripping_bytes_buy_no_time(run: Run) -> None:
    dripped = threading.Semaphore(0)

    def script(connection: Connection) -> None:
        connection.read_request()
        connection.send(OK.replace(b": 2", b": 99999"))
        while True:
            connection.send(b"x")
            dripped.release()
            if container.gone.wait(0.01):
                return

    with RawContainer(script) as container:
        with pytest.raises(ModelServerTimeout):
            run(ask(container, timeout_s=SHORT_S))
        assert dripped.acquire(timeout=WAIT_S)


@pytest.mark.parametrize("reads_head", [True, False])
def test_a_request_that_nobody_reads_ends_at_the_timeout(run: Run, reads_head: bool) -> None:
    def script(connection: Connection) -> None:
        if reads_head:
            connection.read_head()
        connection.wait_gone()

    with RawContainer(script) as container:
        with pytest.raises(ModelServerTimeout):
            run(ask(container, size=LARGE, timeout_s=SHORT_S))
        assert not _connected_to(container), "what is left to be sent keeps the connection open"
        assert container.gone.wait(WAIT_S)


def test_who_reads_when_the_time_is_over_gets_nothing_more(run: Run) -> None:
    """What is there at once would never meet a timer."""
    has_head, sent = threading.Event(), threading.Event()

    def script(connection: Connection) -> None:
        connection.read_request()
        connection.send(OK.replace(b": 2", b": 99999"))
        has_head.wait(WAIT_S)
        connection.send(b"x" * 1000)
        sent.set()
        connection.wait_gone()

    async def read_late(container: RawContainer) -> None:
        over = asyncio.Event()
        request = ModelRequest(headers={}, size=0, chunks=pieces(0))
        async with HttpModelServer().invoke(container.address, request, timeout_s=SHORT_S) as response:
            asyncio.get_running_loop().call_later(SHORT_S, over.set)
            has_head.set()
            await asyncio.to_thread(sent.wait, WAIT_S)
            await over.wait()
            async for chunk in response.chunks:
                assert chunk == b"ok"  # that came with the head

    with RawContainer(script) as container, pytest.raises(ModelServerTimeout):
        run(read_late(container))


@pytest.mark.parametrize("data", [b"", OK[:-1]], ids=["before the answer", "in the answer"])
def test_a_request_that_is_given_up_lets_go_of_its_container(run: Run, data: bytes) -> None:
    """As for a stop, a lost lease, or the end of a drain."""
    reached = threading.Event()

    def script(connection: Connection) -> None:
        connection.read_head()
        connection.send(data)
        reached.set()
        connection.wait_gone()

    async def give_up(container: RawContainer) -> None:
        task = asyncio.create_task(ask(container, size=LARGE))
        await asyncio.to_thread(reached.wait, WAIT_S)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with RawContainer(script) as container:
        run(give_up(container))
        assert not _connected_to(container)
        assert container.gone.wait(WAIT_S)


# --------------------------------------------------------------------------------------- before the whole request is there


@pytest.mark.parametrize("keeps", [False, True], ids=["closes", "keeps the connection"])
def test_an_answer_before_the_request_was_read_counts(run: Run, keeps: bool) -> None:
    """A body limit answers 413 and closes, with most of the request unread: a reset follows the answer."""

    def script(connection: Connection) -> None:
        connection.read_head()
        connection.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 9\r\n\r\ntoo large")
        if keeps:
            connection.wait_gone()

    with RawContainer(script) as container:
        for _ in range(20):
            assert run(ask(container, size=LARGE)) == (413, b"too large")
        assert not _connected_to(container)


def test_an_answer_while_the_request_is_read_streams_beside_it(run: Run) -> None:
    """Neither side waits for the other to end."""

    def script(connection: Connection) -> None:
        connection.read_head()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LARGE)
        connection.send(connection.body)
        left = LARGE - len(connection.body)
        while left:
            data = connection.sock.recv(MIB)
            connection.send(data)
            left -= len(data)

    with RawContainer(script) as container:
        status, body = run(ask(container, size=LARGE))
    assert (status, len(body)) == (200, LARGE)


EARLY_ENDS: dict[str, tuple[Callable[[Connection], None], ...]] = {
    "at once": (),
    "in the request": (Connection.read_head,),
    "in the request, with a reset": (Connection.read_head, Connection.reset),
    "after the request, with a reset": (Connection.read_request, Connection.reset),
    "in the head, with a reset": (Connection.read_request, lambda connection: connection.send(OK[:9]), Connection.reset),
}


@pytest.mark.parametrize("case", EARLY_ENDS)
def test_a_connection_that_ends_early_is_broken(run: Run, case: str) -> None:
    def script(connection: Connection) -> None:
        for step in EARLY_ENDS[case]:
            step(connection)

    refused(run, script, ModelServerUnreachable, "broke before it answered", size=LARGE)


def test_a_reset_at_once_is_broken_or_no_connection_at_all(run: Run) -> None:
    with RawContainer(Connection.reset) as container, pytest.raises(ModelServerUnreachable):
        run(ask(container, size=LARGE))


def test_a_reset_in_the_body_is_broken(run: Run) -> None:
    def script(connection: Connection) -> None:
        connection.read_request()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok")
        connection.reset()

    refused(run, script, ModelServerUnreachable, "broke before")


def test_who_listens_no_more_has_seen_nothing(run: Run) -> None:
    with RawContainer(answering(OK)) as container:
        pass
    with pytest.raises(ModelServerNotConnected):
        run(ask(container))


# --------------------------------------------------------------------------------------------------------- between requests


def test_no_connection_is_used_twice(run: Run) -> None:
    """So none that its container closes as idle can take a request with it, and nothing has to be sent twice."""
    with RawContainer(stalling(OK)) as container:
        for _ in range(3):
            assert run(ask(container)) == (200, b"ok")
        assert len(container.connections) == 3


def test_nothing_is_sent_twice(run: Run) -> None:
    with RawContainer(answering(b"")) as container:
        with pytest.raises(ModelServerUnreachable):
            run(ask(container))
        assert len(container.connections) == 1


# ------------------------------------------------------------------------------------------------------------------- /ping


@pytest.mark.parametrize(
    ("data", "healthy"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\n\r\n", True),
        (b"HTTP/1.0 200 OK\r\n\r\npong", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n" + b"x" * 200_000, True),
        (b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", False),
        (b"HTTP/1.1 302 Found\r\nLocation: /ping\r\nContent-Length: 0\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\n", False),
        (b"junk\r\n\r\n", False),
        (b"", False),
    ],
)
@pytest.mark.parametrize("after", [answering, stalling], ids=["closed", "kept open"])
def test_a_ping_is_healthy_by_its_status_alone(run: Run, data: bytes, healthy: bool, after: Callable[..., Script]) -> None:
    with RawContainer(after(data)) as container:
        assert run(HttpModelServer().ping(container.address, timeout_s=WAIT_S if healthy else SHORT_S)).healthy is healthy
        assert not _connected_to(container)


def test_an_endless_ping_is_bounded_by_its_time(run: Run) -> None:
    def script(connection: Connection) -> None:
        connection.read_request()
        connection.send_for_ever(b"HTTP/1.1 100 Continue\r\n\r\n")

    with RawContainer(script) as container:
        assert not run(HttpModelServer().ping(container.address, timeout_s=SHORT_S)).healthy
