"""A model server can die at any moment, and whoever waits for its port may listen there before anybody has seen the death.

So each connection is checked before a byte is sent on it: do the same sockets listen on the port as when the container came up?
If they do after the connection was made, they did when it was made, and it is theirs. Sockets are told apart by the kernel's
cookies, which never come again while the machine runs; ports and inodes do. That look takes less than a tenth of a
millisecond; to see whose process a socket belongs to takes a thousand times that, and is done only when they are others.

A server that opens its port for sharing (SO_REUSEPORT) shares it with whoever else does so as the same user, as long as it is
not seen at that.
"""

import asyncio
import functools
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

_SOCK_DIAG, _SOCK_DIAG_BY_FAMILY = 4, 20
_REQUEST_DUMP = 0x301
_ERROR, _DONE = 2, 3
_LISTEN = 10
_HEAD = struct.Struct("=IHHII")  # struct nlmsghdr
_ASKED = struct.Struct("=BBBBI")  # struct inet_diag_req_v2, up to its socket
_SOCKET = struct.Struct(">HH32x4x8x")  # struct inet_diag_sockid: in a request a port is all that counts
_PORT = struct.Struct(">4xH")  # in struct inet_diag_msg
_COOKIE = struct.Struct("=44xQ")
_ANSWER_BYTES = 64 * 1024

IsOurs = Callable[[], bool | None]
"""Whether the listener is of the container, by its process; None while nobody listens. Blocks."""


class Listeners:
    """The sockets with which running containers listen, by port."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[frozenset[int], IsOurs]] = {}
        _tells_cookies()  # found out now, and not in a moment when this process lacks descriptors

    def look(self, port: int, is_ours: IsOurs) -> bool | None:
        """Ask ``is_ours`` and, if so, remember the sockets; None also where they change just now. Blocks. Errors: OSError."""
        sockets = listeners(port)
        verdict = is_ours()
        if verdict:
            if listeners(port) != sockets:
                return None
            self._known[port] = (sockets, is_ours)
        return verdict

    async def recognise(self, port: int) -> bool:
        """Whether a connection that has just been made to a port is to the container that it belongs to.

        False, too, where that has begun to listen anew: then the next connection is. Errors: OSError.
        """
        known = self._known.get(port)
        if known is None:
            return False
        sockets, is_ours = known
        if listeners(port) == sockets:
            return True
        await asyncio.to_thread(self.look, port, is_ours)
        return False

    def forget(self, port: int) -> None:
        """Nobody's connections are wanted there any more. Repeats change nothing."""
        self._known.pop(port, None)


def listeners(port: int) -> frozenset[int]:
    """What is only once of each socket that listens on a TCP port, at whatever address. Errors: OSError."""
    return frozenset(_cookies(port) if _tells_cookies() else _inodes(port))


@functools.cache
def _tells_cookies() -> bool:
    """Some kernels, and some services' limits, do not let us ask: then there are the inodes, in hundred times the time."""
    try:
        list(_cookies(1))
    except OSError:
        return False
    return True


def _cookies(port: int) -> Iterator[int]:
    """By the kernel's socket diagnostics: sock_diag(7)."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _SOCK_DIAG) as kernel:
        for family in (socket.AF_INET, socket.AF_INET6):
            asked = _ASKED.pack(family, socket.IPPROTO_TCP, 0, 0, 1 << _LISTEN) + _SOCKET.pack(port, 0)
            kernel.send(_HEAD.pack(_HEAD.size + len(asked), _SOCK_DIAG_BY_FAMILY, _REQUEST_DUMP, 0, 0) + asked)
            for answer in _answers(kernel):
                if _PORT.unpack_from(answer)[0] == port:
                    yield _COOKIE.unpack_from(answer)[0]


def _answers(kernel: socket.socket) -> Iterator[memoryview]:
    """The messages of one answer."""
    while True:
        data = memoryview(kernel.recv(_ANSWER_BYTES))
        while data:
            size, kind, *_ = _HEAD.unpack_from(data)
            if kind == _DONE:
                return
            if kind == _ERROR:
                number = -struct.unpack_from("=i", data, _HEAD.size)[0]
                raise OSError(number, "the kernel does not tell who listens")
            yield data[_HEAD.size : size]
            data = data[(size + 3) & ~3 :]


def _inodes(port: int) -> Iterator[int]:
    for name in ("tcp", "tcp6"):
        table = Path("/proc/net", name)
        if table.exists():
            for line in table.read_text().splitlines()[1:]:
                words = line.split()
                if words[3] == f"{_LISTEN:02X}" and int(words[1].rpartition(":")[2], 16) == port:
                    yield int(words[9])
