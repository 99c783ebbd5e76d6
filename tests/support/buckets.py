"""A bucket store in a temporary directory, and bytes to put into it."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Connection

from tarry.backends.database.schema import metadata
from tarry.backends.database.transactions import Database
from tarry.backends.system import SystemIds
from tarry.embedded.buckets.buckets import Buckets
from tarry.embedded.buckets.values import ObjectInfo

MIB = 1024 * 1024
INLINE_MAX = 128 * 1024


@dataclass(slots=True)
class SetClock:
    """A clock that stands still until it is set. Sleeping only lets others run."""

    us: int = 1_700_000_000_000_000
    slept: list[float] = field(default_factory=list)

    def now_us(self) -> int:
        return self.us

    def monotonic(self) -> float:
        return self.us / 1_000_000

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0)


@asynccontextmanager
async def open_buckets(
    directory: Path, clock: SetClock | None = None, decided: Callable[[Connection], Collection[str]] | None = None
) -> AsyncIterator[Buckets]:
    """The store of a directory, opened as a server does, and closed in the end."""
    database = await Database.open(directory / "tarry.db", create=metadata)
    buckets = Buckets(database, directory, clock or SetClock(), SystemIds(), region="us-east-1", decided=decided)
    try:
        await buckets.start()
        yield buckets
    finally:
        await buckets.close()
        await database.close()


def noise(size: int, seed: int = 0) -> bytes:
    """Bytes that nothing else is equal to."""
    return random.Random(seed).randbytes(size)


async def pieces(body: bytes, size: int = 64 * 1024) -> AsyncIterator[bytes]:
    """The body as a request brings it."""
    for start in range(0, len(body), size):
        yield body[start : start + size]


async def put(buckets: Buckets, key: str, body: bytes = b"x", bucket: str = "bucket") -> ObjectInfo:
    return await buckets.put_object(bucket, key, pieces(body))


async def get(buckets: Buckets, key: str, bucket: str = "bucket") -> bytes:
    opened = await buckets.open_object(bucket, key)
    try:
        return b"".join([chunk async for chunk in opened.chunks()])
    finally:
        await opened.aclose()


def files_in(directory: Path) -> list[Path]:
    """All blob files, finished or not."""
    return sorted(path for path in (directory / "blobs").rglob("*") if path.is_file())
