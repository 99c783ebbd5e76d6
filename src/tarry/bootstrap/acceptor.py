"""A process that accepts invocations beside the server's own: one core's worth of signatures, checks and rows.

It answers InvokeEndpointAsync alone, from the same database; a connection whose next request is another goes back to the server,
with what has been read of it. It keeps nothing that the server does not have: killed, it takes the requests with it that it has
not answered, and the server starts another.
"""

import asyncio
import json
import os
import re
import socket
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

import structlog
import uvloop

from tarry.aws.app import App
from tarry.aws.services.sagemaker_runtime import sagemaker_runtime_service
from tarry.backends.database.keyring import SqlKeyring
from tarry.backends.database.queue import SqlInvocationQueue
from tarry.backends.database.queue_accept import Bounds
from tarry.backends.database.queue_rows import LeaseTerms
from tarry.backends.database.store import SqlStore
from tarry.backends.database.transactions import Database
from tarry.backends.database.turns import Turns
from tarry.backends.generation import open_shared
from tarry.backends.system import SystemClock, SystemIds, free_bytes
from tarry.backends.wakeups import LocalWakeups
from tarry.bootstrap.directory import DataDirectory
from tarry.bootstrap.handover import LOST, Handover, Kind, Message
from tarry.bootstrap.http import HEAD_BYTES_MAX, BoundedHttp, Server, http_server
from tarry.bootstrap.log import configure_log
from tarry.bootstrap.process import raise_file_limit, settle_memory
from tarry.core.errors import Bug
from tarry.core.names import Scope
from tarry.delivery.directory import EndpointDirectory
from tarry.delivery.intake import Intake
from tarry.settings import ServerSettings

log = structlog.get_logger(__name__)

_BODY_BYTES_MAX = 1024 * 1024
"""More than any Body may have."""
_HELD_BYTES_MAX = 64 * 1024
_HEAD = re.compile(
    rb"POST /endpoints/[^/? ]+/async-invocations HTTP/1\.1\r\n"
    rb"(?:(?!transfer-encoding|upgrade)[!#$%&'*+.^_`|~0-9a-z-]+:[^\r\n]*\r\n)*\r\n",
    re.IGNORECASE,
)
_END_OF_HEAD = re.compile(rb"\n\r?\n")
_SIGNED = re.compile(rb"^authorization:[^\r\n]*/sagemaker/aws4_request", re.IGNORECASE | re.MULTILINE)
_LENGTH = re.compile(rb"^content-length:[ \t]*(.*?)[ \t]*\r$", re.IGNORECASE | re.MULTILINE)
TELL_EVERY_S = 0.002
"""The server is woken by each: hundreds of times a second are enough for whoever waits for work."""
_NO_LEASES = 0
"""The epoch of a process that claims nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """What an acceptor has to know of the server's settings."""

    data_dir: str
    account_id: str
    region: str
    public_url: str
    log_level: str
    patience_s: float
    queued_max: int
    disk_reserve_bytes: int

    def dump(self) -> str:
        """As text, for a command line."""
        return json.dumps(asdict(self))

    @classmethod
    def load(cls, text: str) -> Self:
        """What ``dump`` gave."""
        return cls(**json.loads(text))


def request_bytes(head: bytes) -> int | None:
    """How long a request is whose head is this: of an InvokeEndpointAsync of the plainest form; None for all others.

    The bucket ``endpoints`` has addresses like it, and what is spelled in an odd way is read by one reader alone, the server.
    """
    lengths = _LENGTH.findall(head)
    if not _HEAD.fullmatch(head) or not _SIGNED.search(head) or len(lengths) > 1:
        return None
    length = lengths[0] if lengths else b"0"
    if not length.isdigit() or int(length[:20]) > _BODY_BYTES_MAX:
        return None
    return len(head) + int(length)


class AcceptorHttp(BoundedHttp):
    """One connection, one request at a time: what comes after it waits until it is answered.

    The first that is not ours gives the connection back, with all that has been read of it.
    """

    _missing = 0
    """Bytes of the request under way that have not come yet."""
    _under_way = False

    def __init__(self, give_back: Callable[[socket.socket, bytes], None], *uvicorns: Any) -> None:
        super().__init__(*uvicorns)
        self._give_back = give_back
        self._waiting = bytearray()

    def data_received(self, data: bytes) -> None:
        """Pass on what is the rest of the request under way; the rest of that begins another."""
        if self._missing:
            rest, data = data[: self._missing], data[self._missing :]
            self._missing -= len(rest)
            super().data_received(rest)
        self._waiting += data
        self._next()

    def on_response_complete(self) -> None:
        """The next request has its turn, unless this one was answered before it was here."""
        super().on_response_complete()
        if not self._missing and not self.transport.is_closing():
            self._under_way = False
            self._next()

    def _next(self) -> None:
        if self._under_way:
            if len(self._waiting) > _HELD_BYTES_MAX:
                self.flow.pause_reading()  # uvicorn reads on after its answer
            return
        if not self._waiting:
            return
        if self._head_timer is None:
            self._head_begins()
        self._head_bytes = len(self._waiting)
        end = _END_OF_HEAD.search(self._waiting)
        if end is None and len(self._waiting) < HEAD_BYTES_MAX:
            return
        size = None if end is None else request_bytes(bytes(self._waiting[: end.end()]))
        if size is None:
            self._return()
            return
        self._begin(size)

    def _begin(self, size: int) -> None:
        request = bytes(self._waiting[:size])
        del self._waiting[:size]
        self._under_way, self._missing, self._head_bytes = True, size - len(request), 0
        super().data_received(request)

    def _return(self) -> None:
        self._head_ends()
        sock = self.transport.get_extra_info("socket")
        with socket.socket(fileno=os.dup(sock.fileno())) as copy:
            self.transport.pause_reading()
            self._give_back(copy, bytes(self._waiting))
        self._waiting.clear()
        self.transport.abort()


class _Hints(LocalWakeups):
    """Hints of this process, told to the server together: at once after a pause, then every TELL_EVERY_S."""

    def __init__(self, handover: Handover) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._handover = handover
        self._untold: set[str] = set()
        self._told_at = 0.0

    def notify(self, channel: str) -> None:
        """See ports.Wakeups."""
        super().notify(channel)
        if not self._untold:
            self._loop.call_at(self._told_at + TELL_EVERY_S, self._tell)
        self._untold.add(channel)

    def told(self, channel: str) -> None:
        """A hint of the server's."""
        super().notify(channel)

    def _tell(self) -> None:
        self._handover.hint(self._untold)
        self._untold.clear()
        self._told_at = self._loop.time()


class Acceptor:
    """All of it, connected."""

    def __init__(self, http: Server, handover: Handover, hints: _Hints) -> None:
        self._http = http
        self._handover = handover
        self._hints = hints
        self.stopping = asyncio.Event()

    def listen(self) -> None:
        """Take what the server sends from now on."""
        asyncio.get_running_loop().add_reader(self._handover.fileno(), self._receive)
        self._handover.send(Message(Kind.READY))

    def _receive(self) -> None:
        try:
            for message in self._handover.received():
                if message.connection is not None:
                    self._http.adopt(message.connection, make=partial(AcceptorHttp, self._give_back))
                elif message.kind is Kind.CONNECTION:
                    log.warning(LOST)
                elif message.kind is Kind.HINTS:
                    for channel in message.data.decode().splitlines():
                        self._hints.told(channel)
                elif message.kind is Kind.PING:
                    self._handover.send(Message(Kind.PING))
                elif message.kind is Kind.STOP:
                    self._stop()
        except EOFError:
            self._stop()

    def _give_back(self, connection: socket.socket, data: bytes) -> None:
        self._handover.send(Message(Kind.CONNECTION, data, connection), wait=True)

    def _stop(self) -> None:
        asyncio.get_running_loop().remove_reader(self._handover.fileno())
        self.stopping.set()


async def _run(orders: Orders, handover: Handover, generation: int) -> None:
    scope = Scope(account_id=orders.account_id, region=orders.region)
    hints, clock, ids = _Hints(handover), SystemClock(), SystemIds()
    root = Path(orders.data_dir)
    async with AsyncExitStack() as resources:
        directory = DataDirectory(root)
        database = await Database.open(directory.database, turns=Turns(directory.turns))
        resources.push_async_callback(database.close)
        endpoints = EndpointDirectory(SqlStore(database, hints), clock, hints, scope.region)
        queue = SqlInvocationQueue(
            database,
            LeaseTerms(clock=clock, ids=ids, lease_s=0.0, epoch=_NO_LEASES),
            hints,
            bounds=Bounds(orders.queued_max, orders.disk_reserve_bytes, partial(free_bytes, root)),
        )
        app = App(
            services={"sagemaker-runtime": sagemaker_runtime_service(Intake(endpoints, queue, clock, ids), endpoints)},
            keyring=SqlKeyring(database, open_shared(generation)),
            scope=scope,
            clock=clock,
            ids=ids,
            public_url=lambda: orders.public_url,
            endpoint_of=_nobody,
        )
        forgetting = asyncio.create_task(endpoints.run())
        http = http_server(ServerSettings())
        http.config.loaded_app = app
        serving = asyncio.create_task(http.serve(sockets=[]))
        acceptor = Acceptor(http, handover, hints)
        settle_memory()
        acceptor.listen()
        await acceptor.stopping.wait()
        await _stop(http, serving, orders.patience_s)
        forgetting.cancel()


async def _stop(http: Server, serving: "asyncio.Task[None]", patience_s: float) -> None:
    http.should_exit = True
    await asyncio.wait({serving}, timeout=patience_s)
    http.force_exit = True
    await serving
    await http.end_requests()


async def _nobody(*_: Any) -> None:
    raise Bug("An acceptor knows no operations of the extension API.")


def main() -> None:
    """``python -m tarry.bootstrap.acceptor ORDERS HANDOVER GENERATION``; the last two are file descriptors."""
    orders = Orders.load(sys.argv[1])
    configure_log(orders.log_level)
    raise_file_limit()
    handover = Handover(socket.socket(fileno=int(sys.argv[2])))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(orders, handover, int(sys.argv[3])))


if __name__ == "__main__":
    main()
