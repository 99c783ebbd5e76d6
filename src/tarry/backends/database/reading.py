"""Reads beside the writer, which they never wait for (WAL), in a few threads with a connection each.

To hand a read to a thread and to hear of it costs several times what SQLite takes for a row. So the small reads of one round
of the event loop can share the way.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection

from tarry.backends.database.engine import connect_reading, translated
from tarry.core.errors import Throttled

T = TypeVar("T")
_Read = tuple[Callable[[Connection], Any], "asyncio.Future[Any]"]

READERS = 2
TOGETHER_MAX = 16
"""Small reads that share a snapshot: what one of them may have to wait for."""


class Reading:
    """The reading threads. Made in the event loop."""

    def __init__(self, path: Path) -> None:
        self._loop = asyncio.get_running_loop()
        self._engine = connect_reading(path, READERS)
        self._threads = ThreadPoolExecutor(READERS, thread_name_prefix="tarry-read")
        self._of_thread = threading.local()
        self._connections: list[Connection] = []
        self._arrived: list[_Read] = []
        """Small reads that have come since the event loop last came round."""
        self._closing = False

    async def read(self, fn: Callable[[Connection], T]) -> T:
        """See Database.read."""
        self._refuse_if_closing()
        return await self._loop.run_in_executor(self._threads, self._read, fn)

    async def read_small(self, fn: Callable[[Connection], T]) -> T:
        """See Database.read_small."""
        self._refuse_if_closing()
        future: asyncio.Future[T] = self._loop.create_future()
        if not self._arrived:
            self._loop.call_soon(self._hand_over)
        self._arrived.append((fn, future))
        return await future

    async def close(self) -> None:
        """Finish what is under way, then close. Repeats change nothing."""
        self._closing = True
        self._hand_over()
        await asyncio.to_thread(self._threads.shutdown)
        for connection in self._connections:
            connection.close()
        self._engine.dispose()

    def _hand_over(self) -> None:
        arrived, self._arrived = self._arrived, []
        for start in range(0, len(arrived), TOGETHER_MAX):
            self._threads.submit(self._read_together, arrived[start : start + TOGETHER_MAX])

    def _refuse_if_closing(self) -> None:
        if self._closing:
            raise Throttled("The server is stopping; try again in a moment.")

    def _answer(self, reads: Sequence[_Read], results: Sequence[Any]) -> None:
        for (_, future), result in zip(reads, results, strict=True):
            if future.done():  # its caller has been cancelled
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)

    # ------------------------------------------------------------------------------------------ in a reading thread

    def _read(self, fn: Callable[[Connection], T]) -> T:
        try:
            connection = self._mine()
            with connection.begin():
                return fn(connection)
        except Exception as error:
            raise translated(error) from error

    def _read_together(self, reads: Sequence[_Read]) -> None:
        def run(connection: Connection) -> list[Any]:
            return [_result(connection, fn) for fn, _ in reads]

        try:
            results = self._read(run)
        except Exception as error:  # noqa: BLE001 - it is the callers' answer
            results = [error] * len(reads)
        self._loop.call_soon_threadsafe(self._answer, reads, results)

    def _mine(self) -> Connection:
        """The calling thread's own connection: to take one from the pool costs more than a small read."""
        connection: Connection | None = getattr(self._of_thread, "connection", None)
        if connection is None:
            connection = self._of_thread.connection = self._engine.connect()
            self._connections.append(connection)
        return connection


def _result(connection: Connection, fn: Callable[[Connection], Any]) -> Any:
    try:
        return fn(connection)
    except Exception as error:  # noqa: BLE001 - the one caller's answer; those beside it get theirs
        return translated(error)
