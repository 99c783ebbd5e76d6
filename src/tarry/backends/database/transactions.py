"""Durable writes at the price of a shared commit.

A commit that survives a power cut costs an fsync, and SQLite has one writer at a time. So one thread owns the one writing
connection: callers hand it plain functions of a connection, it runs all that have arrived as one transaction, and every
caller hears of its result after the COMMIT. Sixteen rows share a commit as easily as one, and the event loop pays one
thread hop per batch. Reads run on other connections, in other threads, and never wait for writes (WAL).
"""

import asyncio
import contextlib
import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Self, TypeVar

from sqlalchemy import Connection, MetaData, Table, insert

from tarry.backends.database.engine import connect_writing, raw, translated
from tarry.backends.database.migrate import migrate
from tarry.backends.database.reading import Reading
from tarry.core.errors import Throttled

T = TypeVar("T")
P = TypeVar("P")
GroupFunction = Callable[[Connection, Sequence[P]], Sequence[T | Exception]]
"""A write of many callers at once: one result, or exception, per item."""

_log = logging.getLogger(__name__)

WRITES_WAITING_MAX = 8192
"""Writes that may be on their way to the disk; one more is refused with Throttled."""
BATCH_MAX = 512
"""Writes in one transaction: bounds how long a reader of fresh data waits."""


@dataclass(slots=True)
class _Write:
    """One caller's write. ``group`` writes (functions of many items) of one function run as one call."""

    run: Callable[..., Any]
    group: bool
    item: Any
    future: "asyncio.Future[Any]"
    after: Callable[[Any], None] | None


_Call = Callable[[Connection, Callable[[Connection], Any]], Any]
"""How one part of a transaction is run."""


class _TransactionLost(Exception):
    """SQLite has rolled the whole transaction back, not only one statement."""


class Database:
    """One database file: a writer thread, and a few readers.

    Functions given to ``write``, ``write_grouped`` and ``read`` run in another thread, must not keep the connection, and may
    be run a second time if the transaction that they shared had to be taken back: all they do must be done through it.
    """

    def __init__(self, path: Path, *, writes_waiting_max: int = WRITES_WAITING_MAX, batch_max: int = BATCH_MAX) -> None:
        self.path = path
        self._loop = asyncio.get_running_loop()
        self._writes_waiting_max = writes_waiting_max
        self._batch_max = batch_max
        self._arrived: list[_Write] = []
        """Handed in since the event loop last came round: they go to the writer together."""
        self._waiting: SimpleQueue[Sequence[_Write] | None] = SimpleQueue()
        """Ends with None."""
        self._left: list[_Write] = []
        """The writer's alone: what it has taken and had no room for in its last batch."""
        self._unanswered = 0
        self._closing = False
        self._writer_engine = connect_writing(path)
        self._reading = Reading(path)
        self._thread = threading.Thread(target=self._write_loop, name="tarry-write", daemon=True)
        self.commits = 0
        """Transactions committed since the start: what the writer's batching is judged by."""

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        create: MetaData | None = None,
        writes_waiting_max: int = WRITES_WAITING_MAX,
        batch_max: int = BATCH_MAX,
    ) -> Self:
        """Open (or make, with mode 0600) the database file, bring its schema up to date, start the writer.

        With ``create`` the tables of that metadata are made as they are and no migration runs; for tests.
        Errors: SchemaTooNew, StorageFull.
        """
        path = path.absolute()
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        path.chmod(0o600)
        database = cls(path, writes_waiting_max=writes_waiting_max, batch_max=batch_max)
        try:
            await asyncio.to_thread(migrate, path, database._writer_engine, create)
        except Exception as error:
            await database.close()
            raise translated(error) from error
        database._thread.start()
        return database

    async def write(self, fn: Callable[[Connection], T], *, after: Callable[[T], None] | None = None) -> T:
        """Run ``fn`` in a transaction, together with whatever else has arrived; returns after the COMMIT is on disk.

        If ``fn`` raises, its own changes are taken back, those of others stay, and the error is raised here. Cancelling the
        caller does not take the write back. ``after`` is called in the event loop with the result once it is committed,
        whether the caller still waits or not. Errors: Throttled (the writer is full or closing), StorageFull, what ``fn`` raises.
        """
        return await self._submit(_Write(fn, False, None, self._loop.create_future(), after))  # type: ignore[no-any-return]

    async def write_grouped(self, fn: GroupFunction[P, T], item: P, *, after: Callable[[T], None] | None = None) -> T:
        """Like ``write`` for work that is cheaper many at a time: ``fn`` gets the items of all callers that named it.

        It returns one result per item, in order; an exception among them is raised to that item's caller alone. If ``fn``
        raises, it is called again with one item at a time.
        """
        return await self._submit(_Write(fn, True, item, self._loop.create_future(), after))  # type: ignore[no-any-return]

    async def insert(self, table: Table, row: Mapping[str, object]) -> None:
        """Insert a row; rows that arrive for one table together are one ``executemany``, so they must name the same columns."""
        await self.write_grouped(_inserter(table), row)

    async def read(self, fn: Callable[[Connection], T]) -> T:
        """Run ``fn`` on a reading connection: one consistent snapshot, all committed writes included.

        Errors: Throttled (the database is closing), what ``fn`` raises.
        """
        return await self._reading.read(fn)

    async def read_small(self, fn: Callable[[Connection], T]) -> T:
        """Like ``read``, for a few rows that are found by index: it may share its snapshot with others that come with it."""
        return await self._reading.read_small(fn)

    async def close(self) -> None:
        """Finish what has been handed in, then close. Later writes are refused. Repeats change nothing."""
        if not self._closing:
            self._closing = True
            self._hand_over()
            self._waiting.put(None)
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join)
        await self._reading.close()
        self._writer_engine.dispose()

    def _submit(self, write: _Write) -> "asyncio.Future[Any]":
        if self._closing:
            raise Throttled("The server is stopping; try again in a moment.")
        if self._unanswered >= self._writes_waiting_max:
            raise Throttled(f"{self._writes_waiting_max} writes are waiting for the disk; try again in a moment.")
        if not self._arrived:
            self._loop.call_soon(self._hand_over)
        self._arrived.append(write)
        self._unanswered += 1
        return write.future

    def _hand_over(self) -> None:
        """Give the writer what this round of the event loop has brought: one by one, the first would be committed alone."""
        if self._arrived:
            self._waiting.put(self._arrived)
            self._arrived = []

    def _resolve(self, batch: list[_Write], results: list[Any]) -> None:
        """Tell the callers; in the event loop."""
        self._unanswered -= len(batch)
        for write, result in zip(batch, results, strict=True):
            if isinstance(result, Exception):
                if not write.future.done():
                    write.future.set_exception(result)
                continue
            if write.after is not None:
                _hint(write.after, result)
            if not write.future.done():
                write.future.set_result(result)

    # ------------------------------------------------------------------------------------------- in the writer's thread

    def _write_loop(self) -> None:
        _name_this_thread()
        with self._writer_engine.connect() as connection:
            ended = False
            while not ended:
                batch, ended = self._next_batch()
                if batch:
                    self._answer(batch, self._results(connection, batch))

    def _next_batch(self) -> tuple[list[_Write], bool]:
        """All that has arrived, up to the bound, and whether it is the last; waits for the first."""
        batch = self._left
        while not batch or (len(batch) < self._batch_max and not self._waiting.empty()):
            together = self._waiting.get()
            if together is None:
                return batch, True  # all of it: None is taken only where there is room
            batch += together
        self._left = batch[self._batch_max :]
        return batch[: self._batch_max], False

    def _results(self, connection: Connection, batch: list[_Write]) -> list[Any]:
        try:
            return self._run(connection, batch)
        except Exception as error:  # noqa: BLE001 - logged, and every caller gets it; the writer must live on
            _log.exception("The writer could not take a failed transaction back.")
            return [translated(error) for _ in batch]

    def _answer(self, batch: list[_Write], results: list[Any]) -> None:
        try:
            self._loop.call_soon_threadsafe(self._resolve, batch, results)
        except RuntimeError:  # the loop has been closed without us: nobody is left who could hear of it
            _log.warning("The event loop ended before the database was closed.")

    def _run(self, connection: Connection, batch: list[_Write]) -> list[Any]:
        """Run the writes as one transaction: as if none would fail; else again, each in a savepoint of its own.

        One by one where a full disk or the COMMIT itself took all of them back. Savepoints are not free: SQLite keeps a copy
        of every page that changes inside one.
        """
        for call in (_unguarded, _guarded):
            try:
                transaction = connection.begin()
            except Exception as error:  # noqa: BLE001 - whatever it is, it is the callers' answer
                return [translated(error) for _ in batch]
            try:
                results = _run_parts(connection, batch, call)
                transaction.commit()
                self.commits += 1
                return results
            except Exception as error:  # noqa: BLE001
                transaction.rollback()
                if len(batch) == 1:
                    return [translated(error)]
        return [result for write in batch for result in self._run(connection, [write])]


def _name_this_thread() -> None:
    """Let ``top -H`` and the bench tell the writer from the loop; from Python 3.14 on a thread's name does it."""
    own = Path("/proc/self/task", str(threading.get_native_id()), "comm")
    with contextlib.suppress(OSError):
        own.write_text(threading.current_thread().name)


def _run_parts(connection: Connection, batch: list[_Write], call: _Call) -> list[Any]:
    results: list[Any] = [None] * len(batch)
    grouped: dict[Any, list[int]] = {}
    for index, write in enumerate(batch):
        if write.group:
            grouped.setdefault(write.run, []).append(index)
        else:
            results[index] = call(connection, write.run)
    for run, indexes in grouped.items():
        items = [batch[index].item for index in indexes]
        for index, result in zip(indexes, _run_group(connection, run, items, call), strict=True):
            results[index] = result
    return results


def _run_group(connection: Connection, run: Callable[..., Any], items: list[Any], call: _Call) -> Sequence[Any]:
    together = call(connection, lambda c: run(c, items))
    if not isinstance(together, Exception):
        return together  # type: ignore[no-any-return]
    if len(items) == 1:
        return [together]
    alone = [call(connection, partial(_run_one, run, item)) for item in items]
    return [result if isinstance(result, Exception) else result[0] for result in alone]


def _run_one(run: Callable[..., Any], item: Any, connection: Connection) -> Any:
    return run(connection, [item])


def _unguarded(connection: Connection, run: Callable[[Connection], Any]) -> Any:
    return run(connection)


def _guarded(connection: Connection, run: Callable[[Connection], Any]) -> Any:
    """Run one part inside a savepoint; an error becomes the result, and leaves nothing behind."""
    driver = raw(connection)
    driver.execute("SAVEPOINT part")
    try:
        result = run(connection)
    except Exception as error:
        if not driver.in_transaction:
            raise _TransactionLost from error
        driver.execute("ROLLBACK TO part")
        driver.execute("RELEASE part")
        return translated(error)
    driver.execute("RELEASE part")
    return result


def _hint(after: Callable[[Any], None], result: Any) -> None:
    """Tell of a result; a hint that fails keeps nobody waiting."""
    try:
        after(result)
    except Exception as error:  # noqa: BLE001 - goes where the errors of the loop's own callbacks go
        asyncio.get_running_loop().call_exception_handler({"message": "A hint failed.", "exception": error})


@lru_cache(maxsize=256)
def _inserter(table: Table) -> Callable[[Connection, Sequence[Mapping[str, object]]], Sequence[None]]:
    statement = insert(table)

    def run(connection: Connection, rows: Sequence[Mapping[str, object]]) -> Sequence[None]:
        connection.execute(statement, [dict(row) for row in rows])
        return [None] * len(rows)

    return run
