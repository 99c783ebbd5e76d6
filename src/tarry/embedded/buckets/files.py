"""Blob files: how bytes get onto the disk so that they are there, whole, after a power cut.

A blob is written under a temporary name in its final directory, fsynced, renamed, and its directory fsynced; only then may
a row name it. Nothing here knows of rows. All calls block and belong into a thread; a lock per file keeps a cancelled
caller's clean-up from closing a descriptor that its thread still uses.
"""

import contextlib
import errno
import hashlib
import os
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tarry.core.errors import StorageFull, Throttled
from tarry.files import sync

CHUNK_BYTES = 256 * 1024
"""How much is read in one go."""
BUFFER_BYTES = 128 * 1024
"""How much of a stream is collected before it is written. What comes in larger pieces is not copied: memory for each of many
uploads at once is little more than what its connection has just brought."""
DIRTY_BYTES_MAX = 32 * 1024 * 1024
"""How much of a file may wait to be written out: the disk's queue is everybody's, and a small commit must not stand behind a
gigabyte."""
_TEMPORARY = ".tmp"
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_TOO_MANY_FILES = {errno.EMFILE, errno.ENFILE}


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundFile:
    """A file in the blob directory. ``blob_id`` is also that of a temporary file."""

    blob_id: str
    path: Path
    age_s: float


@contextlib.contextmanager
def shortages_told() -> Iterator[None]:
    """Turn the disk's "no room" into StorageFull and "too many open files" into Throttled; other OSErrors pass."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise StorageFull(
                "The disk that holds the objects is full; nothing was kept. Free some space and try again."
            ) from error
        if error.errno in _TOO_MANY_FILES:
            raise Throttled("The server has as many files open as it may; try again in a moment.") from error
        raise


class BlobReader:
    """A blob held open: it can be read to its end even when the file has been unlinked."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        with shortages_told():
            self._descriptor: int | None = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def read(self, offset: int, size: int) -> bytes:
        """Up to ``size`` bytes from ``offset``; ValueError once closed."""
        with self._lock:
            if self._descriptor is None:
                raise ValueError("The object has been closed.")
            return os.pread(self._descriptor, size, offset)

    def close(self) -> None:
        """Let go of the file. Repeats change nothing."""
        with self._lock:
            descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def __del__(self) -> None:
        if getattr(self, "_descriptor", None) is not None:
            self.close()


class BlobWriter:
    """A blob on its way to the disk, under a temporary name."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._temporary = path.with_name(path.name + _TEMPORARY)
        self._lock = threading.Lock()
        self._descriptor: int | None = None
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._dirty = 0
        self.size = 0
        with shortages_told():
            self._descriptor = os.open(self._temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    @property
    def md5(self) -> str:
        """MD5 of what has been written, hex."""
        return self._md5.hexdigest()

    def write(self, *pieces: bytes | bytearray) -> None:
        """Append. Errors: StorageFull, Throttled."""
        with self._lock, shortages_told():
            for piece in pieces:
                self._md5.update(piece)
                self._write_all(piece)

    def append_file(self, path: Path, start: int, size: int) -> None:
        """Append ``size`` bytes of a file, without hashing them. Errors: StorageFull, Throttled, FileNotFoundError."""
        with self._lock, shortages_told():
            source = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                offset, end = start, start + size
                while offset < end:
                    piece = os.pread(source, min(CHUNK_BYTES, end - offset), offset)
                    if not piece:
                        raise OSError(errno.EIO, "The file is shorter than it was when it was written", str(path))
                    self._write_all(piece)
                    offset += len(piece)
            finally:
                os.close(source)

    def finish(self) -> None:
        """Make it durable under its final name. Errors: StorageFull, Throttled."""
        with self._lock, shortages_told():
            descriptor, self._descriptor = self._open_descriptor(), None
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            self._temporary.replace(self._path)
            sync(self._path.parent)

    def abandon(self) -> None:
        """Remove what was written, finished or not. Repeats change nothing."""
        with self._lock:
            descriptor, self._descriptor = self._descriptor, None
            if descriptor is not None:
                os.close(descriptor)
            self._temporary.unlink(missing_ok=True)
            self._path.unlink(missing_ok=True)

    def _write_all(self, piece: bytes | bytearray) -> None:
        view = memoryview(piece)
        while view:
            written = os.write(self._open_descriptor(), view)
            self.size += written
            self._dirty += written
            view = view[written:]
        if self._dirty >= DIRTY_BYTES_MAX:
            os.fdatasync(self._open_descriptor())
            self._dirty = 0

    def _open_descriptor(self) -> int:
        if self._descriptor is None:
            raise ValueError("The blob has been finished or abandoned.")
        return self._descriptor

    def __del__(self) -> None:
        if getattr(self, "_descriptor", None) is not None:
            self.abandon()


class BlobFiles:
    """The directory of blobs: 256 subdirectories by the first two hex digits of the id."""

    def __init__(self, directory: Path) -> None:
        self._root = directory / "blobs"

    def prepare(self) -> None:
        """Make the directories, durably. Errors: StorageFull, Throttled."""
        with shortages_told():
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            for number in range(256):
                (self._root / f"{number:02x}").mkdir(mode=0o700, exist_ok=True)
            sync(self._root)
            sync(self._root.parent)

    def writer(self, blob_id: str) -> BlobWriter:
        """A new blob. Errors: StorageFull, Throttled."""
        return BlobWriter(self.path(blob_id))

    def reader(self, blob_id: str) -> BlobReader:
        """Open a blob. Errors: Throttled; FileNotFoundError once it is unlinked."""
        return BlobReader(self.path(blob_id))

    def path(self, blob_id: str) -> Path:
        """Where a finished blob lies."""
        return self._root / blob_id[:2] / blob_id

    def remove(self, blob_ids: Sequence[str]) -> None:
        """Unlink blobs; those that are gone already are no error."""
        for blob_id in blob_ids:
            self.path(blob_id).unlink(missing_ok=True)

    def files(self) -> Iterator[list[FoundFile]]:
        """All files, finished or not, one subdirectory at a time."""
        now = time.time()
        for number in range(256):
            found = []
            for entry in os.scandir(self._root / f"{number:02x}"):
                with contextlib.suppress(FileNotFoundError):  # unlinked since it was listed
                    age_s = now - entry.stat().st_mtime
                    found.append(FoundFile(blob_id=entry.name.removesuffix(_TEMPORARY), path=Path(entry.path), age_s=age_s))
            yield found
