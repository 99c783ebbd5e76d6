"""Objects in a dictionary: as much of an ObjectStore as the engines need, with knobs for slowness."""

import asyncio
import hashlib
import io
import tarfile
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager

from tarry.core.errors import ObjectNotFound, TarryError
from tarry.core.names import S3Location
from tarry.ports import ListedObject, OpenObject, Staged


class ModelObjects:
    """Read-only ObjectStore over ``{"s3://bucket/key": bytes}``."""

    def __init__(self, objects: Mapping[str, bytes] | None = None) -> None:
        self.objects = dict(objects or {})
        self.downloads = 0
        self.listed = 0
        self.stuck = False
        self.open_error: TarryError | None = None
        self.chunk_error: TarryError | None = None
        self.said_size: int | None = None
        """What ``open`` says of a size in place of the truth."""
        self.on_open: Callable[[S3Location], None] = lambda location: None

    @asynccontextmanager
    async def open(self, location: S3Location) -> AsyncIterator[OpenObject]:
        self.on_open(location)
        if self.open_error is not None:
            raise self.open_error
        if str(location) not in self.objects:
            raise ObjectNotFound(f"There is no object at {location}.")
        body = self.objects[str(location)]
        etag = hashlib.md5(body, usedforsecurity=False).hexdigest()
        size = len(body) if self.said_size is None else self.said_size
        yield OpenObject(content_type="application/x-tar", size=size, etag=etag, chunks=self._chunks(body))

    async def list(self, prefix: S3Location) -> AsyncIterator[ListedObject]:
        for uri in sorted(self.objects):
            self.listed += 1
            if uri.startswith(str(prefix)):
                body = self.objects[uri]
                etag = hashlib.md5(body, usedforsecurity=False).hexdigest()
                yield ListedObject(key=S3Location.parse(uri).key, size=len(body), etag=etag)

    async def _chunks(self, body: bytes) -> AsyncIterator[bytes]:
        self.downloads += 1
        for start in range(0, len(body), 1000):
            yield body[start : start + 1000]
        if self.chunk_error is not None:
            raise self.chunk_error
        if self.stuck:
            await asyncio.Event().wait()

    async def stage(
        self, location: S3Location, *, content_type: str, metadata: Mapping[str, str], chunks: AsyncIterator[bytes]
    ) -> Staged:
        raise NotImplementedError

    async def publish(self, staged: Staged) -> None:
        raise NotImplementedError

    async def discard(self, staged: Staged) -> None:
        raise NotImplementedError


def archive_of(files: Mapping[str, bytes], extra: Iterable[tarfile.TarInfo] = ()) -> bytes:
    """A tar.gz with these files, then these bare members."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, body in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(body)
            tar.addfile(member, io.BytesIO(body))
        for member in extra:
            tar.addfile(member)
    return buffer.getvalue()
