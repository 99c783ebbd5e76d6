"""A model archive comes from outside and is unpacked by the server: it must not write elsewhere, nor fill the memory or the disk.

``tarfile``'s data filter is the first gate; its checks have been passed by archives with crafted chains of links, so links obey a
stricter rule of our own: a link is relative, climbs only with leading ``..`` and never above the archive's root, and nothing is
ever written through a link. Then no sequence of members can lead outside, however it is resolved. Sizes are bounded while
reading, so a small file that unpacks to a huge one stops at the bound.
"""

import errno
import gzip
import io
import os
import tarfile
import threading
import zlib
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, cast

_READ_BYTES_MAX = 4 * 1024 * 1024
_NAME_CHARS_MAX = 4096
TOO_LARGE = (
    "The model data archive is too large. Please reduce the size of the model data archive or move to an instance type with more "
    "memory."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveBounds:
    """How large an archive may be, packed and unpacked (bytes), and how many members it may have."""

    archive_bytes_max: int = 20 * 1024**3
    unpacked_bytes_max: int = 50 * 1024**3
    members_max: int = 200_000


class ArchiveRefused(Exception):
    """The archive is broken, too large, or reaches outside; the text says which and where."""


def unpack(archive: Path, destination: Path, bounds: ArchiveBounds, stop: threading.Event) -> None:
    """Unpack a tar.gz into a new directory, durably and read-only. Blocking: call it in a thread.

    ``stop`` ends it early (ArchiveRefused). Errors: ArchiveRefused; OSError of the disk. After an error the directory is partly
    filled and the caller removes it.
    """
    destination.mkdir()
    try:
        with gzip.open(archive) as packed, _open_tar(packed, bounds) as tar:
            _Unpacking(tar, destination, bounds, stop).run()
    except tarfile.FilterError as error:
        raise ArchiveRefused(f"{error}.") from error
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise ArchiveRefused(
            f"It is not a gzip-compressed tar archive, or it is damaged: {error or type(error).__name__}."
        ) from error
    except (ValueError, OverflowError, RecursionError) as error:
        raise ArchiveRefused(f"It is damaged: {error}.") from error
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP, errno.ENOTEMPTY):
            raise ArchiveRefused(f"Its members contradict each other: {error.strerror}.") from error
        raise
    seal(destination)


def _open_tar(packed: gzip.GzipFile, bounds: ArchiveBounds) -> tarfile.TarFile:
    # Headers and padding come on top of the contents.
    bounded = _Bounded(packed, bounds.unpacked_bytes_max + bounds.members_max * 2048)
    return tarfile.open(fileobj=cast("IO[bytes]", bounded), mode="r:", errorlevel=2)


class _Bounded(io.RawIOBase):
    """Reads a stream up to a bound, and never much at once: tarfile takes an extended header into memory whole."""

    def __init__(self, stream: gzip.GzipFile, bytes_max: int) -> None:
        self._stream, self._bytes_max = stream, bytes_max

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _READ_BYTES_MAX:
            raise ArchiveRefused("A header in it is larger than any real one.")
        self._check(self._stream.tell() + size)
        return self._stream.read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_SET:
            self._check(offset)
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def _check(self, position: int) -> None:
        if position > self._bytes_max + _READ_BYTES_MAX:
            raise ArchiveRefused(TOO_LARGE)


@dataclass(slots=True)
class _Unpacking:
    """One archive on its way to the disk."""

    tar: tarfile.TarFile
    destination: Path
    bounds: ArchiveBounds
    stop: threading.Event
    links: set[str] = field(default_factory=set)
    files: set[str] = field(default_factory=set)
    members: int = 0
    size: int = 0

    def run(self) -> None:
        while (member := self.tar.next()) is not None:
            if self.stop.is_set():
                raise ArchiveRefused("Unpacking was stopped.")
            self.members += 1
            self.size += member.size
            if self.members > self.bounds.members_max or self.size > self.bounds.unpacked_bytes_max:
                raise ArchiveRefused(TOO_LARGE)
            self._extract(member)
            self.tar.members = []  # type: ignore[attr-defined]  # tarfile keeps every header otherwise

    def _extract(self, member: tarfile.TarInfo) -> None:
        name = _clean(member.name)
        if name == ".":
            return  # the root itself, as `tar -C model .` writes it
        parents = {str(parent) for parent in PurePosixPath(name).parents}
        if parents & self.links or name in self.links:
            raise ArchiveRefused(f'The member "{name}" would be written through a link.')
        if member.issym():
            self._check_symlink(name, member.linkname)
            self.links.add(name)
        elif member.islnk():
            if _clean(member.linkname) not in self.files:
                raise ArchiveRefused(f'The member "{name}" is a link to "{member.linkname}", which is no file before it.')
        elif not (member.isreg() or member.isdir()):
            raise ArchiveRefused(f'The member "{name}" is neither a file, nor a directory, nor a link.')
        if member.isreg() or member.islnk():
            self.files.add(name)
        self.tar.extract(member, self.destination, set_attrs=not member.isdir(), filter="data")

    def _check_symlink(self, name: str, target: str) -> None:
        parts = [part for part in target.split("/") if part not in ("", ".")]
        climbs = len([part for part in parts if part == ".."])
        depth = len(PurePosixPath(name).parts) - 1
        leads = all(part == ".." for part in parts[:climbs])
        if target.startswith("/") or not leads or climbs > depth or not parts:
            raise ArchiveRefused(f'The link "{name}" points to "{target}", which is not plainly inside the archive.')


def _clean(name: str) -> str:
    """A member's path without ``./`` and doubled slashes; refuses one that leaves the root."""
    if name.startswith("/") or ".." in name.split("/") or "\0" in name or len(name) > _NAME_CHARS_MAX:
        raise ArchiveRefused(f'The member "{name[:200]}" would be written outside of the model directory.')
    return str(PurePosixPath(name))


def seal(directory: Path) -> None:
    """Make everything durable and read-only, from the inside out."""
    for folder, _, names in os.walk(directory, topdown=False):
        for name in names:
            path = Path(folder, name)
            if not path.is_symlink():
                _sync(path, 0o555 if path.stat().st_mode & 0o100 else 0o444)
        _sync(Path(folder), 0o755)


def _sync(path: Path, mode: int) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        os.fchmod(descriptor, mode)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
