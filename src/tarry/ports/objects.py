"""S3, as delivery and engines need it."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

from tarry.core.names import S3Location


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenObject:
    """An object opened for reading: it stays whole even if it is overwritten or deleted meanwhile."""

    content_type: str
    size: int
    etag: str
    chunks: AsyncIterator[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Staged:
    """An object's bytes, kept where nobody can see them. Small ones are ``inline``, else the store's ``handle`` names them.

    Both None at once is impossible. ``location`` is where publish will show them.
    """

    location: S3Location
    content_type: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    inline: bytes | None = None
    handle: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedObject:
    """An object in a listing. ``size`` in bytes."""

    key: str
    size: int
    etag: str


class ObjectStore(Protocol):
    """S3 as delivery and engines need it: read inputs, and write results that appear whole or not at all."""

    def open(self, location: S3Location) -> AbstractAsyncContextManager[OpenObject]:
        """Open for streaming. Memory does not grow with the object.

        Errors: ObjectNotFound (also for a key that no object can have), BucketNotFound, Throttled; ObjectDamaged, from
        ``chunks`` too.
        """
        ...

    def list(self, prefix: S3Location) -> AsyncIterator[ListedObject]:
        """All objects whose keys begin with the prefix's, in the order of their keys' UTF-8 bytes; read in pages.

        Each object that is there all the time comes once, whatever is written meanwhile. Errors: BucketNotFound, Throttled.
        """
        ...

    async def stage(
        self, location: S3Location, *, content_type: str, metadata: Mapping[str, str], chunks: AsyncIterator[bytes]
    ) -> Staged:
        """Take an object's bytes and keep them where nobody can see them; durable when this returns.

        Up to INLINE_BYTES_MAX ride inline; that their bucket is missing may be told by ``publish`` alone. Errors: BucketNotFound,
        ObjectRefused (no object can have this key), StorageFull, Throttled. After a crash: what nobody publishes is swept.
        """
        ...

    async def publish(self, staged: Staged) -> None:
        """Make a staged object visible at its location, replacing what was there. Any process may repeat it.

        Errors: BucketNotFound, ObjectRefused, StorageFull, Throttled.
        """
        ...

    async def discard(self, staged: Staged) -> None:
        """Forget a staged object that was not chosen. Repeats change nothing."""
        ...
