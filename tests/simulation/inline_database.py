"""The database of the simulation: the product's own batches, savepoints and SQL, with the writer's thread taken out.

The one difference to ``Database`` is where a batch runs: here, in the event loop, a moment after the write was handed in; how
many writes have arrived by then is the seed's choice. The file lies in memory and outlives the process that wrote it, as a disk
does; a process that dies takes the writes with it that were still waiting.
"""

import asyncio
import random
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine
from tests.simulation.loop import Part

from tarry.backends.database.engine import connect_writing, raw
from tarry.backends.database.reading import Reading
from tarry.backends.database.schema import metadata
from tarry.backends.database.transactions import BATCH_MAX, WRITES_WAITING_MAX, Database, _Write

T = TypeVar("T")

_IN_MEMORY = Path(":memory:")
_PAGES_MAX = 1_000_000
_MOMENTS_S = (0.0, 0.0, 0.001, 0.01)


class Disk:
    """A database file in memory. One is enough for many runs: ``format`` empties it, and what SQLAlchemy has compiled stays."""

    def __init__(self) -> None:
        self.engine = connect_writing(_IN_MEMORY)
        metadata.create_all(self.engine)
        with self.engine.connect() as connection:
            self._file = raw(connection)
        self._empty = sqlite3.connect(":memory:")
        self._file.backup(self._empty)

    def format(self) -> None:
        """As it was in the beginning."""
        self.fill(full=False)
        self._empty.backup(self._file)

    def fill(self, *, full: bool) -> None:
        """Let the file not grow any more, or let it."""
        pages = self._file.execute("PRAGMA page_count").fetchone()[0] if full else _PAGES_MAX
        self._file.execute(f"PRAGMA max_page_count={pages}")

    def changes(self) -> int:
        """A number that grows with every row that is written."""
        return self._file.total_changes

    def select(self, statement: str) -> Sequence[sqlite3.Row]:
        """What is committed, read past everything."""
        cursor = self._file.cursor()
        cursor.row_factory = sqlite3.Row
        return cursor.execute(statement).fetchall()

    def run(self, statement: str) -> None:
        """Write something, past everything."""
        self._file.execute(statement)

    def close(self) -> None:
        """Forget it."""
        self._empty.close()
        self.engine.dispose()


class _InlineReading(Reading):
    """On the writing connection, and each read for itself: the simulated loop has no threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def read(self, fn: Callable[[Connection], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(None, self._read, fn)

    async def read_small(self, fn: Callable[[Connection], T]) -> T:
        return await self.read(fn)

    def _read(self, fn: Callable[[Connection], T]) -> T:
        with self._engine.begin() as connection:
            return fn(connection)


class InlineDatabase(Database):
    """A Database of one process. ``on_commit`` is called when a batch has been committed, before any caller hears of it."""

    def __init__(self, disk: Disk, part: Part, chance: random.Random, on_commit: Callable[[Part], None]) -> None:
        # Not super().__init__: no thread, no reader pool, and connections that outlive this process.
        self.path = _IN_MEMORY
        self.commits = 0
        self._loop = asyncio.get_running_loop()
        self._writes_waiting_max = WRITES_WAITING_MAX
        self._batch_max = BATCH_MAX
        self._arrived = []
        self._waiting = SimpleQueue()
        self._left = []
        self._unanswered = 0
        self._closing = False
        self._writer_engine = disk.engine
        self._reading = _InlineReading(disk.engine)
        self._part = part
        self._chance = chance
        self._on_commit = on_commit

    def _submit(self, write: _Write) -> "asyncio.Future[Any]":
        future = super()._submit(write)
        self._loop.call_later(self._chance.choice(_MOMENTS_S), self._write_waiting)
        return future

    def _write_waiting(self) -> None:
        if not self._has_waiting() or self._part.dead:
            return
        batch, _ = self._next_batch()
        with self._writer_engine.connect() as connection:
            results = self._results(connection, batch)
        self._on_commit(self._part)
        self._loop.call_later(self._chance.choice(_MOMENTS_S), self._resolve, batch, results)

    def _has_waiting(self) -> bool:
        return bool(self._left) or not self._waiting.empty()

    async def close(self) -> None:
        """Later writes are refused. Whoever closes it has waited for its own."""
        self._hand_over()
        while self._has_waiting():
            self._write_waiting()
        self._closing = True
