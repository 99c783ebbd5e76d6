"""Model servers listen on TCP ports of a range outside the ephemeral one, so that no client connection takes them away.

A port is handed out once among the running instances of this server, and only if nobody listens on it. Between that look
and the child's bind somebody else may still be faster: the engine then takes the next port.
"""

import secrets
import socket

from tarry.core.errors import InstanceStartError, InvalidRequest


class PortRange:
    """Hands out TCP ports from ``first`` to ``last``, both included."""

    def __init__(self, first: int, last: int) -> None:
        if not 1 <= first <= last <= 65535:
            raise InvalidRequest(f"Expected a range of TCP ports such as 20000 to 29999, got {first} to {last}.")
        self._first, self._count = first, last - first + 1
        self._taken: set[int] = set()
        # Servers that share the range begin at different places, and a port rests before it is used again.
        self._next = secrets.randbelow(self._count)

    def take(self) -> int:
        """A free port, ours until ``give_back``. Errors: InstanceStartError when there is none."""
        for _ in range(self._count):
            port = self._first + self._next
            self._next = (self._next + 1) % self._count
            if port not in self._taken and _is_free(port):
                self._taken.add(port)
                return port
        last = self._first + self._count - 1
        raise InstanceStartError(
            f"No free port from {self._first} to {last}: {len(self._taken)} are used by instances, the rest by others. "
            "Widen [engine] ports."
        )

    def give_back(self, port: int) -> None:
        """The port may be handed out again. Repeats change nothing."""
        self._taken.discard(port)


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that linger from earlier do not count
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True
