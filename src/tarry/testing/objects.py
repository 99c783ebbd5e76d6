"""An object store in memory, with what a test needs to put inputs in and to look at results."""

import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tarry.core.errors import BucketNotFound, Bug, ObjectDamaged, ObjectNotFound, ObjectRefused, TarryError
from tarry.core.invocation import INLINE_BYTES_MAX
from tarry.core.names import S3Location
from tarry.ports import ListedObject, OpenObject, Staged

_KEY_BYTES_MAX = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeObject:
    """What the fake keeps of an object."""

    body: bytes
    content_type: str = "application/octet-stream"
    metadata: Mapping[str, str] = field(default_factory=dict)
    handle: str | None = None


@dataclass(slots=True)
class FakeObjectStore:
    """ports.ObjectStore in memory. ``failures`` are raised by the next stages and publishes, in order."""

    buckets: dict[str, dict[str, FakeObject]] = field(default_factory=dict)
    failures: list[TarryError] = field(default_factory=list)
    damaged: set[S3Location] = field(default_factory=set)
    """Where objects lie that cannot be read."""
    staged: dict[str, bytes] = field(default_factory=dict)
    """Bytes that are staged and neither published nor discarded, by handle."""
    _published: set[str] = field(default_factory=set)
    _count: int = 0

    def create_bucket(self, name: str) -> None:
        """Make a bucket; one that exists keeps its objects."""
        self.buckets.setdefault(name, {})

    def put(self, uri: str, body: bytes, content_type: str = "application/octet-stream") -> None:
        """Store an object at an ``s3://`` URI, making its bucket."""
        location = S3Location.parse(uri)
        self.create_bucket(location.bucket)
        self.buckets[location.bucket][location.key] = FakeObject(body=body, content_type=content_type)

    def get(self, uri: str) -> FakeObject | None:
        """The object at an ``s3://`` URI, or None."""
        location = S3Location.parse(uri)
        return self.buckets.get(location.bucket, {}).get(location.key)

    async def list(self, prefix: S3Location) -> AsyncIterator[ListedObject]:
        """See ports.ObjectStore."""
        keys = sorted((key for key in self._bucket(prefix) if key.startswith(prefix.key)), key=lambda key: key.encode())
        for key in keys:
            found = self._bucket(prefix).get(key)
            if found is not None:
                yield ListedObject(key=key, size=len(found.body), etag=_etag(found.body))

    @asynccontextmanager
    async def open(self, location: S3Location) -> AsyncIterator[OpenObject]:
        """See ports.ObjectStore."""
        found = self._bucket(location).get(location.key)
        if found is None:
            raise ObjectNotFound(f"There is no object at {location}.")
        if location in self.damaged:
            raise ObjectDamaged(f"The file of {location} is missing.")
        yield OpenObject(
            content_type=found.content_type,
            size=len(found.body),
            etag=_etag(found.body),
            chunks=_chunks(found.body),
        )

    async def stage(
        self, location: S3Location, *, content_type: str, metadata: Mapping[str, str], chunks: AsyncIterator[bytes]
    ) -> Staged:
        """See ports.ObjectStore."""
        _check_key(location)
        self._bucket(location)
        self._fail()
        body = b"".join([chunk async for chunk in chunks])
        inline, handle = (body, None) if len(body) <= INLINE_BYTES_MAX else (None, self._new_handle())
        if handle is not None:
            self.staged[handle] = body
        return Staged(location=location, content_type=content_type, metadata=dict(metadata), inline=inline, handle=handle)

    async def publish(self, staged: Staged) -> None:
        """See ports.ObjectStore."""
        _check_key(staged.location)
        bucket = self._bucket(staged.location)
        self._fail()
        if staged.handle in self._published:
            return
        if staged.handle is None:
            body = staged.inline or b""
        elif staged.handle in self.staged:
            body = self.staged.pop(staged.handle)
            self._published.add(staged.handle)
        else:
            raise Bug(f"The staged object {staged.handle} for {staged.location} was discarded before it was published.")
        bucket[staged.location.key] = FakeObject(
            body=body, content_type=staged.content_type, metadata=dict(staged.metadata), handle=staged.handle
        )

    async def discard(self, staged: Staged) -> None:
        """See ports.ObjectStore."""
        if staged.handle is not None:
            self.staged.pop(staged.handle, None)

    def _bucket(self, location: S3Location) -> dict[str, FakeObject]:
        if location.bucket not in self.buckets:
            raise BucketNotFound(f"There is no bucket {location.bucket!r}.")
        return self.buckets[location.bucket]

    def _fail(self) -> None:
        if self.failures:
            raise self.failures.pop(0)

    def _new_handle(self) -> str:
        self._count += 1
        return f"staged-{self._count}"


def _etag(body: bytes) -> str:
    return hashlib.md5(body, usedforsecurity=False).hexdigest()


def _check_key(location: S3Location) -> None:
    size = len(location.key.encode("utf-8", "replace"))
    if not 1 <= size <= _KEY_BYTES_MAX or location.key.encode("utf-8", "ignore").decode() != location.key:
        raise ObjectRefused(f"The object store takes keys of 1 to {_KEY_BYTES_MAX} bytes in UTF-8, got {size}.")


async def _chunks(body: bytes) -> AsyncIterator[bytes]:
    if body:
        yield body
