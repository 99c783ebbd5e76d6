"""Whoever takes the port of a model server that has just died must get nothing of what was meant for it."""

import errno
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import psutil
import pytest
from tests.support.engines import SANDBOXES, process_engine, sandbox_of, spec
from tests.support.raw_container import Connection, RawContainer, answering

from tarry.backends.engines import listeners
from tarry.backends.engines.listeners import Listeners
from tarry.backends.modelserver import HttpModelServer
from tarry.core.errors import ModelServerNotConnected, Throttled
from tarry.ports import ModelRequest

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
LOOKS = (listeners._cookies, listeners._inodes)


def shared(port: int = 0) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind(("127.0.0.1", port))
    sock.listen()
    return sock


def port_of(sock: socket.socket) -> int:
    return int(sock.getsockname()[1])


async def ask(server: HttpModelServer, address: str) -> bytes:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"secret"

    async with server.invoke(address, ModelRequest(headers={}, size=6, chunks=chunks()), timeout_s=10) as response:
        return b"".join([chunk async for chunk in response.chunks])


@pytest.mark.parametrize("look", LOOKS)
def test_each_listening_socket_is_another(look: Callable[[int], Iterator[int]]) -> None:
    with shared() as one:
        port = port_of(one)
        first = set(look(port))
        with socket.create_connection(("127.0.0.1", port)), shared(port):
            both = set(look(port))
    with shared(port):
        again = set(look(port))
    assert len(first) == len(again) == 1
    assert first < both
    assert len(both) == 2
    assert again.isdisjoint(both)
    assert not set(look(port))


@pytest.mark.parametrize("look", LOOKS)
def test_listeners_of_both_families_are_seen(look: Callable[[int], Iterator[int]]) -> None:
    """Java's servers listen at all addresses of both with one socket of IPv6."""
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as sock:
        assert len(set(look(port_of(sock)))) == 1


def test_a_kernel_that_does_not_tell_is_asked_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(port: int) -> Iterator[int]:
        raise OSError(errno.ENOENT, "no such handler")

    listeners._tells_cookies.cache_clear()
    monkeypatch.setattr(listeners, "_cookies", refuse)
    with shared() as sock:
        assert listeners.listeners(port_of(sock)) == set(listeners._inodes(port_of(sock)))
    listeners._tells_cookies.cache_clear()


async def test_who_begins_to_listen_anew_is_recognised_from_the_next_connection_on() -> None:
    known, ours = Listeners(), True
    with shared() as sock:
        port = port_of(sock)
        assert not await known.recognise(port)
        assert known.look(port, lambda: ours)
        assert await known.recognise(port)
    with shared(port):
        assert not await known.recognise(port)
        assert await known.recognise(port)
    ours = False
    with shared(port):
        assert not await known.recognise(port)
        assert not await known.recognise(port)
    known.forget(port)
    assert not await known.recognise(port)


def test_sockets_that_change_while_their_owner_is_looked_up_are_not_remembered() -> None:
    known = Listeners()
    with shared() as sock:
        port = port_of(sock)
        others: list[socket.socket] = []

        def is_ours() -> bool:
            others.append(shared(port))
            return True

        assert known.look(port, is_ours) is None
        others[0].close()


async def test_who_is_not_recognised_at_first_is_asked_on_a_second_connection() -> None:
    verdicts = [False, True]

    async def recognise(port: int) -> bool:
        return verdicts.pop(0)

    def script(connection: Connection) -> None:
        answering(OK)(connection)

    with RawContainer(script) as container:
        assert await ask(HttpModelServer(recognise), container.address) == b"ok"
    assert sorted(bool(connection.head) for connection in container.connections) == [False, True]


async def test_a_lack_of_our_own_is_not_held_against_the_instance() -> None:
    async def recognise(port: int) -> bool:
        raise OSError(errno.EMFILE, "too many open files")

    with shared() as sock, pytest.raises(Throttled):
        await ask(HttpModelServer(recognise), f"http://127.0.0.1:{port_of(sock)}")


@pytest.mark.parametrize("kind", SANDBOXES)
async def test_the_thief_of_a_dead_servers_port_gets_nothing(kind: str, tmp_path: Path) -> None:
    """Also before anybody has noticed the death: the event loop does not run between it and the theft."""
    engine = process_engine(tmp_path, sandbox=await sandbox_of(kind, tmp_path))
    await engine.open()
    server = HttpModelServer(engine.recognise)
    try:
        [address] = await engine.start(spec())
        assert (await server.ping(address)).healthy
        assert await ask(server, address) == b"secret"
        port = int(address.rpartition(":")[2])
        kill_listener(port)
        with socket.create_server(("127.0.0.1", port)) as thief:
            assert not (await server.ping(address)).healthy
            with pytest.raises(ModelServerNotConnected, match="somebody else listens on its port"):
                await ask(server, address)
            assert list(received(thief)) == [b""] * 4
    finally:
        await engine.close(grace_s=1)


def kill_listener(port: int) -> None:
    for connection in psutil.net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port:
            process = psutil.Process(connection.pid)
            process.kill()
            while listeners.listeners(port):
                pass
            return
    raise AssertionError(f"nobody listens on {port}")


def received(listener: socket.socket) -> Iterator[bytes]:
    """What came on each of the connections that wait."""
    listener.setblocking(False)
    while True:
        try:
            connection, _ = listener.accept()
        except BlockingIOError:
            return
        with connection:
            yield connection.recv(1000)
