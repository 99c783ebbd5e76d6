"""An object held open for reading: whatever happens to its key meanwhile, its bytes stay what they were."""

import asyncio
from collections.abc import AsyncIterator

from tarry.core.errors import InvalidPartNumber, ObjectDamaged
from tarry.embedded.buckets.files import CHUNK_BYTES, BlobReader
from tarry.embedded.buckets.values import ObjectInfo, PartOfObject


class OpenedObject:
    """See ``api.OpenedObject``. The bytes are in memory (a small object) or behind an open file."""

    def __init__(self, info: ObjectInfo, parts: tuple[PartOfObject, ...], source: bytes | BlobReader) -> None:
        self.info = info
        self._parts = parts
        self._source = source

    async def chunks(self, start: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """The bytes of a range, in pieces of at most 1 MiB. Does not close the object. Errors: ObjectDamaged."""
        end = self.info.size if length is None else min(start + length, self.info.size)
        if isinstance(self._source, bytes):
            if start < end:
                yield self._source[start:end]
            return
        while start < end:
            try:
                piece = await asyncio.to_thread(self._source.read, start, min(CHUNK_BYTES, end - start))
            except OSError as error:
                raise ObjectDamaged(f"The object {self.info.key!r} cannot be read at byte {start}: {error.strerror}.") from error
            if not piece:
                raise ObjectDamaged(f"The object {self.info.key!r} ends at byte {start}; {self.info.size} were written.")
            start += len(piece)
            yield piece

    def part(self, number: int) -> PartOfObject:
        """Where part ``number`` lies, counted from 1 in the order of the object. Errors: InvalidPartNumber."""
        if not self._parts and number == 1:
            return PartOfObject(number=1, start=0, size=self.info.size, checksums=self.info.checksums)
        if not 1 <= number <= len(self._parts):
            raise InvalidPartNumber(number, max(1, len(self._parts)))
        return self._parts[number - 1]

    async def aclose(self) -> None:
        """Let go of the bytes. Repeats change nothing."""
        if isinstance(self._source, BlobReader):
            await asyncio.to_thread(self._source.close)
