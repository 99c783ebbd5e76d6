"""Removes blob files that nobody needs, and never one that somebody does.

Three kinds: garbage (written down by the commit that stopped using it), strays (a file without a row: its writer crashed
before the commit), and staged results that nobody has published for a week and no unfinished decision names.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from sqlalchemy import Connection, delete, select

from tarry.core.errors import TarryError
from tarry.embedded.buckets.bodies import Bodies
from tarry.embedded.buckets.files import FoundFile
from tarry.embedded.buckets.rows import add_garbage
from tarry.embedded.buckets.schema import garbage_blob, staged_blob, stored_object, upload_part
from tarry.embedded.buckets.upload_rows import forget_completed
from tarry.ports import Clock

POLL_S = 5.0
"""Garbage that came without a hint waits this long."""
SWEEP_S = 600.0
"""How often all files are looked through."""
STRAY_GRACE_S = 3600.0
"""A file without a row may be this young. What is being written here is known anyway; this is a second pair of braces."""
STAGED_DAYS = 7
COMPLETED_DAYS = 1
_DAY_US = 86_400_000_000
_BLOBS_AT_ONCE = 1000

_log = logging.getLogger(__name__)


class Sweeper:
    """Sweeps at the start, on hints, and from time to time."""

    def __init__(self, bodies: Bodies, clock: Clock, *, decided: Callable[[Connection], Collection[str]] | None = None) -> None:
        self._bodies = bodies
        self._clock = clock
        self._decided = decided or _nothing
        self._hinted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Make the directories, sweep once without a grace (older writers are dead), go on in the background."""
        await asyncio.to_thread(self._bodies.files.prepare)
        await self.collect()
        await self.sweep(grace_s=0.0)
        self._task = asyncio.create_task(self._run(), name="tarry-bucket-sweeper")

    async def close(self) -> None:
        """Stop. Repeats change nothing."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def hint(self, _result: object = None) -> None:
        """There may be garbage."""
        self._hinted.set()

    async def collect(self) -> None:
        """Unlink all garbage. A crash in between leaves rows for files that are gone, which is no error the next time."""
        while garbage := await self._bodies.database.read(_garbage):
            await asyncio.to_thread(self._bodies.files.remove, garbage)
            await self._bodies.database.write(lambda connection, done=garbage: _forget(connection, done))  # type: ignore[misc]

    async def sweep(self, *, grace_s: float = STRAY_GRACE_S) -> int:
        """Give up old staged results and completed uploads, then unlink strays older than ``grace_s``; returns how many."""
        now_us = self._clock.now_us()
        await self._bodies.database.write(lambda connection: self._expire(connection, now_us))
        await self.collect()
        removed = 0
        subdirectories = self._bodies.files.files()
        while True:
            # What was in flight before or is after the listing is left alone; rows are looked up after both.
            before = set(self._bodies.in_flight)
            found = await asyncio.to_thread(next, subdirectories, None)
            if found is None:
                return removed
            live = before | self._bodies.in_flight
            suspects = [file for file in found if file.blob_id not in live and file.age_s >= grace_s]
            if suspects:
                removed += await self._remove_strays(suspects)

    async def _remove_strays(self, suspects: Sequence[FoundFile]) -> int:
        ids = {file.blob_id for file in suspects}
        named = await self._bodies.database.read(lambda connection: _named(connection, ids))
        strays = [file.path for file in suspects if file.blob_id not in named or file.path.name != file.blob_id]
        await asyncio.to_thread(_unlink, strays)
        return len(strays)

    async def _run(self) -> None:
        next_sweep = self._clock.monotonic() + SWEEP_S
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_S):  # not wait_for: in 3.11 it loses a cancellation that meets a hint
                    await self._hinted.wait()
            self._hinted.clear()
            try:
                await self.collect()
                if self._clock.monotonic() >= next_sweep:
                    next_sweep = self._clock.monotonic() + SWEEP_S
                    await self.sweep()
            except (OSError, TarryError):
                _log.exception("The sweep of the object store failed; it is tried again.")
                await asyncio.sleep(POLL_S)

    def _expire(self, connection: Connection, now_us: int) -> None:
        forget_completed(connection, now_us - COMPLETED_DAYS * _DAY_US)
        old = select(staged_blob.c.blob_id).where(staged_blob.c.staged_at_us < now_us - STAGED_DAYS * _DAY_US)
        unwanted = set(connection.execute(old).scalars()) - set(self._decided(connection))
        add_garbage(connection, sorted(unwanted))
        for blob_id in unwanted:
            connection.execute(delete(staged_blob).where(staged_blob.c.blob_id == blob_id))


def _nothing(_connection: Connection) -> Collection[str]:
    return ()


def _garbage(connection: Connection) -> list[str]:
    return list(connection.execute(select(garbage_blob.c.blob_id).limit(_BLOBS_AT_ONCE)).scalars())


def _forget(connection: Connection, blob_ids: Sequence[str]) -> None:
    connection.execute(delete(garbage_blob).where(garbage_blob.c.blob_id.in_(blob_ids)))


def _named(connection: Connection, blob_ids: Collection[str]) -> set[str]:
    """Those of the blobs that a row names."""
    found: set[str] = set()
    asked = list(blob_ids)
    for start in range(0, len(asked), _BLOBS_AT_ONCE):
        some = asked[start : start + _BLOBS_AT_ONCE]
        for table in (stored_object, upload_part, staged_blob):
            found.update(connection.execute(select(table.c.blob_id).where(table.c.blob_id.in_(some))).scalars())
    return found


def _unlink(paths: Sequence[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
