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
from tarry.bootstrap.handover import Handover, Kind, Message
from tarry.bootstrap.http import BoundedHttp, Server, http_server
from tarry.bootstrap.log import configure_log
from tarry.bootstrap.process import raise_file_limit, settle_memory
from tarry.core.errors import Bug
from tarry.core.names import Scope
from tarry.delivery.directory import EndpointDirectory
from tarry.delivery.intake import Intake
from tarry.settings import ServerSettings

log = structlog.get_logger(__name__)

OURS = re.compile(rb"POST (?:https?://[^/ ]*)?/endpoints/[^/? ]+/async-invocations[? ]")
_HEAD_END = b"\r\n\r\n"
_HEAD_BYTES_MAX = 64 * 1024
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


class AcceptorHttp(BoundedHttp):
    """One connection: each request that is not ours gives it back, before anything of it is answered."""

    _unread = b""
    """The beginning of a head."""
    _is_ours = False
    """What comes now belongs to a request that is answered here."""
    _in_message = False

    def __init__(self, give_back: Callable[[socket.socket, bytes], None], *uvicorns: Any) -> None:
        super().__init__(*uvicorns)
        self._give_back = give_back

    def data_received(self, data: bytes) -> None:
        """Look at each head first."""
        if self._is_ours:
            super().data_received(data)
            return
        self._unread += data
        self._head_bytes = len(self._unread)
        if _HEAD_END not in self._unread and b"\n\n" not in self._unread and len(self._unread) < _HEAD_BYTES_MAX:
            return
        head, self._unread, self._head_bytes = self._unread, b"", 0
        if OURS.match(head):
            self._is_ours = True
            super().data_received(head)
        else:
            self._return(head)

    def on_message_begin(self) -> None:
        """See HttpToolsProtocol."""
        self._in_message = True
        super().on_message_begin()

    def on_message_complete(self) -> None:
        """See HttpToolsProtocol."""
        self._in_message = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """The next request may be another's, unless the client has sent some of it before it had this answer."""
        super().on_response_complete()
        self._is_ours = self._in_message

    def _return(self, head: bytes) -> None:
        self._head_ends()
        sock = self.transport.get_extra_info("socket")
        with socket.socket(fileno=os.dup(sock.fileno())) as copy:
            self.transport.pause_reading()
            self._give_back(copy, head)
        self.transport.abort()


class _Hints(LocalWakeups):
    """Hints of this process, told to the server together, once for each round of the event loop."""

    def __init__(self, handover: Handover) -> None:
        super().__init__()
        self._handover = handover
        self._untold: set[str] = set()

    def notify(self, channel: str) -> None:
        """See ports.Wakeups."""
        super().notify(channel)
        if not self._untold:
            asyncio.get_running_loop().call_soon(self._tell)
        self._untold.add(channel)

    def told(self, channel: str) -> None:
        """A hint of the server's."""
        super().notify(channel)

    def _tell(self) -> None:
        self._handover.hint(self._untold)
        self._untold.clear()


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
                elif message.kind is Kind.HINTS:
                    for channel in message.data.decode().splitlines():
                        self._hints.told(channel)
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
