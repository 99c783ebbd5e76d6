"""The server's acceptors: started with it, dealt its connections in turn, told its hints, and started again where one has ended.

The server accepts every connection itself and hands it over; what none of them can take, and what they give back, it serves as
if there were none. So an acceptor that ends takes nothing with it but the requests that it has not answered.
"""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import structlog

from tarry.backends.engines.launching import Program, launch
from tarry.bootstrap.acceptor import Orders
from tarry.bootstrap.handover import LOST, Handover, Kind, Message
from tarry.core.errors import Bug
from tarry.ports import CHANNEL_ENDPOINTS, Wakeups

log = structlog.get_logger(__name__)

ASK_EVERY_S = 1.0
UNANSWERED_DEALT_MAX = 3
"""One that has not answered for so many seconds gets no more connections,"""
UNANSWERED_MAX = 10
"""and after so many it is ended. Not by the clock: a server that stood still itself has not asked."""
AGAIN_S = 1.0
"""Before one that has ended is started again."""
START_S_MAX = 60.0
_ACCEPTED_AT_ONCE = 64
_POLL_S = 60.0

Serve = Callable[[socket.socket, bytes], None]
"""Serve a connection here, of whose next request so much has been read."""


@dataclass(slots=True)
class _Acceptor:
    process: asyncio.subprocess.Process
    handover: Handover
    ready: asyncio.Event
    unanswered: int = 0
    """How often it has been asked since it has answered."""


class Acceptors:
    """Any number of them, none at first. ``generation``: the descriptor of what tells them that access keys have changed."""

    def __init__(self, orders: Orders, generation: int, wakeups: Wakeups, serve: Serve) -> None:
        self._orders = orders
        self._generation = generation
        self._wakeups = wakeups
        self._serve = serve
        self._running: list[_Acceptor] = []
        self._turn = 0
        self._keepers: list[asyncio.Task[None]] = []
        self._listener: socket.socket | None = None

    async def start(self, count: int) -> None:
        """Start so many, and wait until they are ready. Errors: Bug where one is not in time: its own log says why."""
        first = [await self._launch() for _ in range(count)]
        self._keepers = [asyncio.create_task(self._keep(one), name="acceptor") for one in first]
        self._keepers.append(asyncio.create_task(self._tell_hints(), name="acceptors' hints"))
        self._keepers.append(asyncio.create_task(self._watch(), name="acceptors' watch"))
        try:
            async with asyncio.timeout(START_S_MAX):
                for one in first:
                    await one.ready.wait()
        except TimeoutError:
            raise Bug(f"An acceptor was not ready within {START_S_MAX:g} seconds.") from None

    def deal(self, listener: socket.socket) -> None:
        """Accept connections from now on."""
        self._listener = listener
        asyncio.get_running_loop().add_reader(listener.fileno(), self._accept, listener)

    def accept_no_more(self) -> None:
        """New connections are refused; acceptors answer what is under way, and are not replaced. Repeats change nothing."""
        for task in self._keepers:
            task.cancel()
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener.fileno())
            self._listener.close()
            self._listener = None
        for one in self._running:
            one.handover.send(Message(Kind.STOP))

    async def close(self, patience_s: float) -> None:
        """Wait for them to end; kill those that take longer. Repeats change nothing."""
        self.accept_no_more()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        ends = [asyncio.create_task(one.process.wait()) for one in self._running]
        if ends:
            await asyncio.wait(ends, timeout=patience_s)
        for one in self._running:
            self._forget(one)
        await asyncio.gather(*ends)
        self._running = []

    # ------------------------------------------------------------------------------------------------------ one acceptor

    async def _launch(self) -> _Acceptor:
        handover, theirs = Handover.pair()
        with theirs:
            numbers = (theirs.fileno(), self._generation)
            words = (sys.executable, "-P", "-m", "tarry.bootstrap.acceptor", self._orders.dump(), *map(str, numbers))
            # The server tells them when to stop: a service manager may tell all processes at once.
            program = Program(command=words, environment=dict(os.environ), ignored=(signal.SIGTERM, signal.SIGINT))
            try:
                process = await launch(program, marks={}, keep=numbers, start_new_session=True)
            except BaseException:
                handover.close()
                raise
        acceptor = _Acceptor(process, handover, asyncio.Event())
        self._running.append(acceptor)
        asyncio.get_running_loop().add_reader(handover.fileno(), self._receive, acceptor)
        return acceptor

    async def _keep(self, acceptor: _Acceptor) -> None:
        while True:
            code = await acceptor.process.wait()
            self._forget(acceptor)
            self._running.remove(acceptor)
            log.warning("an acceptor has ended, another is started", pid=acceptor.process.pid, exit_code=code)
            acceptor = await self._launch_again()

    async def _launch_again(self) -> _Acceptor:
        while True:
            await asyncio.sleep(AGAIN_S)
            try:
                return await self._launch()
            except OSError as error:
                log.warning("an acceptor could not be started, it is tried again", error=str(error))

    def _forget(self, acceptor: _Acceptor) -> None:
        acceptor.ready.clear()
        asyncio.get_running_loop().remove_reader(acceptor.handover.fileno())
        acceptor.handover.close()
        with suppress(ProcessLookupError):
            acceptor.process.kill()

    # --------------------------------------------------------------------------------------------------------- messages

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                connection, _ = listener.accept()
            except (BlockingIOError, ConnectionError):
                return
            except OSError as error:  # too many files: those who wait in the backlog are served when some are closed
                log.warning("no connection can be accepted for a moment", error=str(error))
                loop = asyncio.get_running_loop()
                loop.remove_reader(listener.fileno())
                loop.call_later(AGAIN_S, self._accept_again)
                return
            connection.setblocking(False)
            if self._dealt(connection):
                connection.close()
            else:
                self._serve(connection, b"")

    def _accept_again(self) -> None:
        if self._listener is not None:
            self.deal(self._listener)

    def _dealt(self, connection: socket.socket) -> bool:
        ready: Sequence[_Acceptor] = [
            one for one in self._running if one.ready.is_set() and one.unanswered < UNANSWERED_DEALT_MAX
        ]
        for _ in ready:
            self._turn += 1
            if ready[self._turn % len(ready)].handover.send(Message(Kind.CONNECTION, connection=connection)):
                return True
        return False

    def _receive(self, acceptor: _Acceptor) -> None:
        try:
            for message in acceptor.handover.received():
                if message.connection is not None:
                    self._serve(message.connection, message.data)
                elif message.kind is Kind.CONNECTION:
                    log.warning(LOST)
                elif message.kind is Kind.HINTS:
                    for channel in message.data.decode().splitlines():
                        self._wakeups.notify(channel)
                elif message.kind is Kind.PING:
                    acceptor.unanswered = 0
                elif message.kind is Kind.READY:
                    acceptor.ready.set()
        except EOFError:  # its keeper sees its end
            asyncio.get_running_loop().remove_reader(acceptor.handover.fileno())

    async def _watch(self) -> None:
        """End those that do nothing any more: one that stands still in its turn to write keeps all others from writing."""
        while True:
            await asyncio.sleep(ASK_EVERY_S)
            for one in self._running:
                if one.unanswered >= UNANSWERED_MAX:
                    log.warning("an acceptor does not answer and is ended", pid=one.process.pid, unanswered=one.unanswered)
                    with suppress(ProcessLookupError):
                        one.process.kill()
                elif one.ready.is_set():
                    one.unanswered += 1
                    one.handover.send(Message(Kind.PING))

    async def _tell_hints(self) -> None:
        async with self._wakeups.listen(CHANNEL_ENDPOINTS) as hints:
            while True:
                if await hints.wait(_POLL_S):
                    for one in self._running:
                        one.handover.hint([CHANNEL_ENDPOINTS])
