"""What the server and its acceptors say to each other: connections change hands, hints go both ways.

One socket pair for each acceptor, whose messages arrive whole and in order (SOCK_SEQPACKET). The server never waits for an
acceptor: what cannot be sent at once it does itself. An acceptor waits for the server only to give a connection back.
"""

import contextlib
import select
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Self

_BYTES_MAX = 128 * 1024
"""Of a message: the head of a request is the longest of them."""
_AT_ONCE = 64
"""Messages that are taken before others have their turn."""


class Kind(Enum):
    """What a message is: its first byte."""

    READY = b"r"
    """From an acceptor: it has opened all that it needs."""
    CONNECTION = b"c"
    """A connection changes hands; with what has been read of its next request, by an acceptor that does not answer it."""
    HINTS = b"h"
    """Channels of ports.Wakeups that were hinted, one a line."""
    STOP = b"s"
    """To an acceptor: answer what is under way, and end."""


@dataclass(frozen=True, slots=True)
class Message:
    """``connection``: that of Kind.CONNECTION; whoever receives it closes it."""

    kind: Kind
    data: bytes = b""
    connection: socket.socket | None = None


class Handover:
    """One end of the pair."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock

    @classmethod
    def pair(cls) -> tuple[Self, socket.socket]:
        """The server's end, and what an acceptor makes its own of."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return cls(ours), theirs

    def fileno(self) -> int:
        """For whoever waits for messages."""
        return self._sock.fileno()

    def send(self, message: Message, *, wait: bool = False) -> bool:
        """Whether it could be sent: at once, or ever with ``wait``. The sender's copy of a connection stays open."""
        descriptors = [] if message.connection is None else [message.connection.fileno()]
        while True:
            try:
                socket.send_fds(self._sock, [message.kind.value, message.data], descriptors, socket.MSG_NOSIGNAL)
            except BlockingIOError:
                if not wait:
                    return False
                poll = select.poll()
                poll.register(self._sock, select.POLLOUT)
                poll.poll()
            except OSError:
                return False
            else:
                return True

    def hint(self, channels: Iterable[str]) -> None:
        """Tell of hints; lost where there is no room, as hints may be."""
        self.send(Message(Kind.HINTS, "\n".join(channels).encode()[:_BYTES_MAX]))

    def received(self) -> Iterator[Message]:
        """What has come. Errors: EOFError where the other end is gone."""
        for _ in range(_AT_ONCE):
            try:
                data, descriptors, _, _ = socket.recv_fds(self._sock, _BYTES_MAX, 1)
            except BlockingIOError:
                return
            except OSError as error:
                raise EOFError from error
            if not data:
                raise EOFError
            connection = socket.socket(fileno=descriptors[0]) if descriptors else None
            if connection is not None:
                connection.set_inheritable(False)
            yield Message(Kind(data[:1]), data[1:], connection)

    def close(self) -> None:
        """Repeats change nothing."""
        with contextlib.suppress(OSError):
            self._sock.close()
