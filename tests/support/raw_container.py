"""A container on a plain socket: whatever a test wants it to say or not to say, byte by byte, in a thread for each connection."""

import select
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Self

WAIT_S = 30
_RESET = struct.pack("ii", 1, 0)


class Connection:
    """The container's end of one connection. All methods raise ConnectionError once the other end is gone."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.head, self.body = b"", bytearray()
        """What has been read of the request."""

    def read_head(self) -> None:
        """The request's head, and what comes with it."""
        while b"\r\n\r\n" not in self.body:
            self._read()
        head, _, self.body = self.body.partition(b"\r\n\r\n")
        self.head = bytes(head)

    def read_request(self) -> None:
        """All of the request."""
        self.read_head()
        lengths = [line for line in self.head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        size = int(lengths[0].partition(b":")[2]) if lengths else 0
        while len(self.body) < size:
            self._read()

    def send(self, *data: bytes | bytearray) -> None:
        """One segment for each."""
        for each in data:
            self.sock.sendall(each)

    def send_for_ever(self, data: bytes) -> None:
        """Again and again, until nobody takes it any more."""
        while True:
            self.sock.sendall(data)

    def wait_gone(self) -> None:
        """Read nothing, say nothing, wait until the other end is gone."""
        poll = select.poll()
        poll.register(self.sock, select.POLLRDHUP)
        if not poll.poll(WAIT_S * 1000):
            raise AssertionError("the other end never went away")
        raise ConnectionError

    def reset(self) -> None:
        """Close with a reset, as a host that has crashed and come back would."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.sock.close()

    def close(self) -> None:
        """Close; with a reset if there is something that nobody has read."""
        self.sock.close()

    def _read(self) -> None:
        data = self.sock.recv(1024 * 1024)
        if not data:
            raise ConnectionError
        self.body += data


Script = Callable[[Connection], None]


class RawContainer:
    """Listens on ``address``, a base URL, while it is a context; runs ``script`` for each connection and closes it afterwards."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.connections: list[Connection] = []
        self.peers: set[int] = set()
        """The other ends' ports."""
        self.gone = threading.Event()
        """Set when some script has seen that the other end was gone."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept)]
        self.port: int = self._listener.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def end(self) -> None:
        """Take no more connections."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)

    def __exit__(self, *_: object) -> None:
        self.end()
        for connection in self.connections:
            with suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(WAIT_S)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                sock, peer = self._listener.accept()
                self.peers.add(peer[1])
                self.connections.append(Connection(sock))
                self._threads.append(threading.Thread(target=self._serve, args=(self.connections[-1],)))
                self._threads[-1].start()

    def _serve(self, connection: Connection) -> None:
        try:
            self.script(connection)
        except OSError:
            self.gone.set()
        finally:
            connection.close()


def answering(*data: bytes) -> Script:
    """Read the request, send this, close."""

    def script(connection: Connection) -> None:
        connection.read_request()
        connection.send(*data)

    return script


def stalling(*data: bytes) -> Script:
    """Read the request, send this, then nothing."""

    def script(connection: Connection) -> None:
        connection.read_request()
        connection.send(*data)
        connection.wait_gone()

    return script
