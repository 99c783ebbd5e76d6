"""Model servers listen on TCP ports of a range outside the ephemeral one, so that no client connection takes them away.

A container gets as many neighbouring ports as its image asks for. Each is handed out once among the running instances of this
server, and only if nobody listens on it. Between that look and the child's bind somebody else may still be faster: the engine
then takes the next ones.
"""

import secrets
import socket

from tarry.core.errors import InstanceStartError, InvalidRequest

_OURS = "127.0.0.1"


class PortRange:
    """Hands out TCP ports from ``first`` to ``last``, both included."""

    def __init__(self, first: int, last: int) -> None:
        if not 1 <= first <= last <= 65535:
            raise InvalidRequest(f"Expected a range of TCP ports such as 20000 to 29999, got {first} to {last}.")
        self._first, self._count = first, last - first + 1
        self._taken: set[int] = set()
        # Servers that share the range begin at different places, and a port rests before it is used again.
        self._next = secrets.randbelow(self._count)

    def take(self, count: int = 1) -> range:
        """So many free ports in a row, ours until ``give_back``. Errors: InstanceStartError where there are none.

        Such as are free at all addresses of this machine, if there are any, else at ours: a model could listen on every port of
        another one, and nobody could start any more.
        """
        ports = self._find(count, "") or self._find(count, _OURS)
        if ports is None:
            last = self._first + self._count - 1
            what = "No free port" if count == 1 else f"No {count} free ports in a row"
            raise InstanceStartError(
                f"{what} from {self._first} to {last}: {len(self._taken)} are used by instances, the rest by others. "
                "Widen [engine] ports."
            )
        self._taken.update(ports)
        return ports

    def _find(self, count: int, address: str) -> range | None:
        tried = 0
        while tried < self._count:
            start, end = self._first + self._next, self._first + self._count
            ports = range(start, min(start + count, end))
            unfit = next((port for port in ports if port in self._taken or not _is_free(address, port)), None)
            step = len(ports) if unfit is None else unfit - start + 1
            self._next = (self._next + step) % self._count
            tried += step
            if unfit is None and len(ports) == count:
                return ports
        return None

    def occupy(self, port: int) -> None:
        """An instance that runs already has this port."""
        self._taken.add(port)

    def give_back(self, ports: range) -> None:
        """The ports may be handed out again. Repeats change nothing."""
        self._taken.difference_update(ports)


def _is_free(address: str, port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that linger from earlier do not count
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True
