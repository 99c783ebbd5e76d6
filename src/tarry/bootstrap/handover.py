"""What the server and its acceptors say to each other: connections change hands, hints go both ways.

One socket pair for each acceptor, whose messages arrive whole and in order (SOCK_SEQPACKET). The server never waits for an
acceptor: what cannot be sent at once it does itself. An acceptor waits for the server only to give a connection back.
"""

import contextlib
import os
import select
import socket
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Self

_BYTES_MAX = 128 * 1024
"""Of a message; what has been read of a connection is beside it."""
_AT_ONCE = 64
"""Messages that are taken before others have their turn."""


LOST = "a connection that changed hands is lost: this process has as many files open as it may"


class Kind(Enum):
    """What a message is: its first byte."""

    READY = b"r"
    """From an acceptor: it has opened all that it needs."""
    CONNECTION = b"c"
    """A connection changes hands; with what has been read of its next request, by an acceptor that does not answer it."""
    PING = b"p"
    """To an acceptor that is to send it back."""
    HINTS = b"h"
    """Channels of ports.Wakeups that were hinted, one a line."""
    STOP = b"s"
    """To an acceptor: answer what is under way, and end."""


@dataclass(frozen=True, slots=True)
class Message:
    """``connection``: that of Kind.CONNECTION, None where it was lost on its way; whoever receives it closes it."""

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
        if message.connection is None:
            return self._send([message.kind.value, message.data], [], wait=wait)
        with _in_memory(message.data) as read_before:
            return self._send([message.kind.value], [message.connection.fileno(), read_before], wait=wait)

    def _send(self, content: Sequence[bytes], descriptors: Sequence[int], *, wait: bool) -> bool:
        while True:
            try:
                socket.send_fds(self._sock, content, list(descriptors), socket.MSG_NOSIGNAL)
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
                data, descriptors, _, _ = socket.recv_fds(self._sock, _BYTES_MAX, 2)
            except BlockingIOError:
                return
            except OSError as error:
                raise EOFError from error
            if not data:
                raise EOFError
            if len(descriptors) < 2:  # of a connection: there was no room for both
                for descriptor in descriptors:
                    os.close(descriptor)
                yield Message(Kind(data[:1]), data[1:])
                continue
            connection, read_before = socket.socket(fileno=descriptors[0]), descriptors[1]
            connection.set_inheritable(False)
            yield Message(Kind(data[:1]), _content(read_before), connection)

    def close(self) -> None:
        """Repeats change nothing."""
        with contextlib.suppress(OSError):
            self._sock.close()


@contextlib.contextmanager
def _in_memory(data: bytes) -> Iterator[int]:
    """A file in memory with this content: no message is too long for it."""
    descriptor = os.memfd_create("tarry-read-before")
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(data)
        yield descriptor
    finally:
        os.close(descriptor)


def _content(descriptor: int) -> bytes:
    """What is in such a file, which is closed."""
    with open(descriptor, "rb") as file:
        file.seek(0)
        return file.read()
