"""Bodies: bytes that arrive and have to be on disk, or in the commit itself, before a row may speak of them.

Up to 128 KiB stay in memory and ride in the row. The moment that matters is between a finished file and its row: the id
counts as in flight until the commit is known to have happened or not, also when the caller has gone away meanwhile, and
the sweeper leaves what is in flight alone.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection

from tarry.backends.database.transactions import Database
from tarry.core.errors import TarryError
from tarry.core.invocation import INLINE_BYTES_MAX
from tarry.embedded.buckets.files import BUFFER_BYTES, BlobFiles, BlobWriter
from tarry.ports import Ids

T = TypeVar("T")

BeforeFile = Callable[[], Awaitable[object]]

COPY_BYTES = 32 * 1024 * 1024
"""How much a thread copies before the next in line has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """Received bytes: ``inline``, or durable in the file of ``blob_id``. ``md5`` is hex."""

    size: int
    md5: str
    inline: bytes | None = None
    blob_id: str | None = None


class Bodies:
    """Receives bodies and commits them together with their rows."""

    def __init__(self, database: Database, directory: Path, ids: Ids) -> None:
        self.database = database
        self.files = BlobFiles(directory)
        self.in_flight: set[str] = set()
        self._ids = ids
        self._tasks: set[asyncio.Task[Any]] = set()

    async def receive(
        self, chunks: AsyncIterator[bytes], *, inline_bytes_max: int = INLINE_BYTES_MAX, before_file: BeforeFile | None = None
    ) -> Body:
        """Take all bytes; those over ``inline_bytes_max`` are durable in a file when this returns.

        ``before_file`` is awaited before a file is begun: what would be refused in the end need not be written down first.
        Any exception, of ``chunks`` too, removes what was written. Errors: StorageFull, and those of ``before_file``.
        """
        pending = bytearray()  # one buffer: a list of tiny chunks would take many times their size
        async for chunk in chunks:
            pending += chunk
            if len(pending) > inline_bytes_max:
                if before_file is not None:
                    await before_file()
                return await self._receive_into_file(pending, chunks)
        if inline_bytes_max < 0:
            return await self._receive_into_file(pending, chunks)
        inline = bytes(pending)
        return Body(size=len(inline), md5=hashlib.md5(inline, usedforsecurity=False).hexdigest(), inline=inline)

    async def concatenate(self, blobs: Sequence[tuple[str, int]]) -> Body:
        """One new blob of the bytes of others, given as (id, size); its ``md5`` is empty.

        Errors: StorageFull, FileNotFoundError.
        """

        async def fill(writer: BlobWriter) -> str:
            for blob_id, size in blobs:
                for start in range(0, size, COPY_BYTES):  # one by one: a thread is not kept from others for a gigabyte
                    step = min(COPY_BYTES, size - start)
                    await asyncio.to_thread(writer.append_file, self.files.path(blob_id), start, step)
            await asyncio.to_thread(writer.finish)
            return ""

        return await self._write_file(fill)

    async def commit(self, body: Body, write: Callable[[Connection], T]) -> T:
        """Run ``write`` in a durable transaction; if it fails for certain, the body's file is removed.

        The transaction goes its way even if the caller is cancelled.
        """
        return await self.finish_anyway(self._commit(body, write))

    async def finish_anyway(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for ``work``, which runs to its end even if the caller is cancelled."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)
        return await asyncio.shield(task)

    async def drop(self, body: Body) -> None:
        """Remove a received body that no row will name."""
        if body.blob_id is not None:
            await asyncio.to_thread(self.files.remove, [body.blob_id])
            self.in_flight.discard(body.blob_id)

    async def close(self) -> None:
        """Wait for the commits of callers that have gone."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _commit(self, body: Body, write: Callable[[Connection], T]) -> T:
        try:
            return await self.database.write(write)
        except TarryError:
            await self.drop(body)
            raise
        finally:  # after any other error nobody knows whether the row is there: the sweeper looks
            if body.blob_id is not None:
                self.in_flight.discard(body.blob_id)

    def _task_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # the caller, if there is still one, has it from the shield

    async def _receive_into_file(self, pending: bytearray, chunks: AsyncIterator[bytes]) -> Body:
        async def fill(writer: BlobWriter) -> str:
            nonlocal pending
            async for chunk in chunks:
                if len(pending) + len(chunk) < BUFFER_BYTES:
                    pending += chunk
                    continue
                full, pending = pending, bytearray()
                await asyncio.to_thread(writer.write, full, chunk)
            await asyncio.to_thread(_write_and_finish, writer, pending)
            return writer.md5

        return await self._write_file(fill)

    async def _write_file(self, fill: Callable[[BlobWriter], Coroutine[Any, Any, str]]) -> Body:
        """Make a blob that ``fill`` fills and finishes; it returns the MD5. Whatever goes wrong leaves no file behind."""
        blob_id = self._ids.uuid()
        self.in_flight.add(blob_id)
        writer: BlobWriter | None = None
        try:
            writer = self.files.writer(blob_id)
            md5 = await fill(writer)
        except BaseException:
            await self.finish_anyway(self._abandon(blob_id, writer))
            raise
        return Body(size=writer.size, md5=md5, blob_id=blob_id)

    async def _abandon(self, blob_id: str, writer: BlobWriter | None) -> None:
        if writer is not None:
            await asyncio.to_thread(writer.abandon)
        self.in_flight.discard(blob_id)


def _write_and_finish(writer: BlobWriter, data: bytearray) -> None:
    writer.write(data)
    writer.finish()
