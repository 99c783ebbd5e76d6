"""A model archive comes from outside and is unpacked by the server: it must not write elsewhere, nor fill the memory or the disk.

Extraction that goes by paths can be misled: archives with crafted chains of links have passed ``tarfile``'s checks. We go by
directories that are held open: each part of a path is opened in the one before, never through a link, so a member lands in the
tree or nowhere, whatever came before it. What is there is asked of the disk and not of a record of names.
A symbolic link is relative, climbs only with leading ``..`` and never above the archive's root, and stays where that was checked:
only a regular file can have a hard link. By induction no path in the result leads outside.

Sizes, counts and depths are bounded while reading, so a small file that unpacks to a huge one stops at the bound.
"""

import errno
import gzip
import io
import os
import stat
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tarry.backends.system import free_bytes
from tarry.backends.tar_reader import DamagedArchive, Kind, Member, TarReader, shown

NAME_BYTES_MAX = 255
PATH_BYTES_MAX = 2048
PATH_PARTS_MAX = 100
"""OURS: far more than any model has, and so few that a path plus the data directory's stays below the system's 4096 bytes."""
_HEADER_BYTES = 2048
_ENTRY_BYTES = 4096  # what a directory or a link takes of the disk
_CONTRADICTIONS = (
    errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP, errno.ENOTEMPTY, errno.EMLINK, errno.EILSEQ,
)  # fmt: skip
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
TOO_LARGE = (
    "The model data archive is too large. Please reduce the size of the model data archive or move to an instance type with more "
    "memory."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveBounds:
    """How large an archive may be, packed and unpacked (bytes), and how many members and implied directories it may have.

    ``disk_reserve_bytes`` of the disk it never takes: others need them.
    """

    archive_bytes_max: int = 20 * 1024**3
    unpacked_bytes_max: int = 50 * 1024**3
    members_max: int = 200_000
    disk_reserve_bytes: int = 0


class ArchiveRefused(Exception):
    """The archive is broken, too large, or reaches outside; the text says which and where."""


def require_room(directory: Path, size: int, bounds: ArchiveBounds) -> None:
    """Raise ArchiveRefused unless so many bytes more fit on the disk of this directory beside what is reserved."""
    room = max(free_bytes(directory) - bounds.disk_reserve_bytes, 0)
    if size > room:
        raise ArchiveRefused(
            f"It needs {size} bytes more on the disk of the data directory, where {room} are free (queue.disk_reserve_bytes, "
            f"{bounds.disk_reserve_bytes}, are kept for results). Make room there, or take a smaller model."
        )


def unpack(archive: Path, destination: Path, bounds: ArchiveBounds, stop: threading.Event) -> None:
    """Unpack a tar.gz into a new directory, durably and read-only. Blocking: call it in a thread.

    ``stop`` ends it early (ArchiveRefused). Errors: ArchiveRefused; OSError of the disk. After an error the directory is partly
    filled and the caller removes it.
    """
    destination.mkdir()
    try:
        with _Packed(archive, stop) as file, gzip.GzipFile(fileobj=file) as packed:
            _Unpacking(TarReader(_Bounded(packed, bounds, stop)), destination, bounds).run()
    except DamagedArchive as error:
        raise ArchiveRefused(
            f"It is not a gzip-compressed tar archive, or it is damaged: {error}. "
            "Make it anew, look at it with tar tzf, and upload it again."
        ) from error
    except (ValueError, OverflowError) as error:
        raise ArchiveRefused(f"It is damaged: {error}.") from error
    except OSError as error:
        if error.errno in _CONTRADICTIONS:
            raise ArchiveRefused(f"Its members contradict each other: {error.strerror}.") from error
        raise
    seal(destination)


class _Packed(io.FileIO):
    """The file as it came, until it is stopped: much of it may unpack to nothing."""

    def __init__(self, archive: Path, stop: threading.Event) -> None:
        super().__init__(archive)
        self._stop = stop

    def read(self, size: int | None = -1, /) -> bytes:
        _check(self._stop)
        return super().read(size)


class _Bounded:
    """The tar up to a bound, and until it is stopped: little of the file may unpack to much. Headers come on top of contents."""

    def __init__(self, packed: gzip.GzipFile, bounds: ArchiveBounds, stop: threading.Event) -> None:
        self._packed = packed
        self._left = bounds.unpacked_bytes_max + bounds.members_max * _HEADER_BYTES
        self._stop = stop

    def read(self, size: int, /) -> bytes:
        _check(self._stop)
        piece = self._packed.read(size)
        self._left -= len(piece)
        if self._left < 0:
            raise ArchiveRefused(TOO_LARGE)
        return piece


def _check(stop: threading.Event) -> None:
    if stop.is_set():
        raise ArchiveRefused("Unpacking was stopped.")


class _Unpacking:
    """One archive on its way to the disk. ``made`` counts what it has put there, implied directories included."""

    def __init__(self, tar: TarReader, destination: Path, bounds: ArchiveBounds) -> None:
        self._tar = tar
        self._destination = destination
        self._bounds = bounds
        self._made = 0
        self._size = 0

    def run(self) -> None:
        root = os.open(self._destination, _DIRECTORY)
        try:
            for member in self._tar:
                self._count()
                self._check_size(member)
                parts = path_parts(member.name)
                if parts:  # else the root itself, as `tar -C model .` writes it
                    self._extract(root, parts, member)
        finally:
            os.close(root)

    def _count(self) -> None:
        self._made += 1
        if self._made > self._bounds.members_max:
            raise ArchiveRefused(TOO_LARGE)

    def _check_size(self, member: Member) -> None:
        self._size += member.size
        if self._size > self._bounds.unpacked_bytes_max:
            raise ArchiveRefused(TOO_LARGE)
        announced = sum(length for _, length in member.extents)
        require_room(self._destination, max(announced, _ENTRY_BYTES), self._bounds)

    def _extract(self, root: int, parts: Sequence[str], member: Member) -> None:
        if member.kind is Kind.DIRECTORY:
            with self._directory(root, parts, member.name):
                return
        with self._directory(root, parts[:-1], member.name) as parent:
            name = parts[-1]
            if member.kind is Kind.FILE:
                self._write(parent, name, member)
            elif member.kind is Kind.SYMBOLIC_LINK:
                _check_symlink(parts, member.target)
                os.symlink(member.target, name, dir_fd=parent)  # refuses a name that is there already
            elif member.kind is Kind.HARD_LINK:
                self._link(root, parent, name, member)
            else:
                raise ArchiveRefused(f'The member "{shown(member.name)}" is neither a file, nor a directory, nor a link.')

    @contextmanager
    def _directory(self, root: int, parts: Sequence[str], name: str) -> Iterator[int]:
        """The directory of this path, open; made where it is missing."""
        here = os.dup(root)
        try:
            for part in parts:
                here = self._into(here, part, name)
            yield here
        finally:
            os.close(here)

    def _into(self, parent: int, part: str, name: str) -> int:
        """One level down, in exchange for the parent, which is closed if this succeeds."""
        try:
            below = os.open(part, _DIRECTORY, dir_fd=parent)
        except FileNotFoundError:
            self._count()
            os.mkdir(part, 0o755, dir_fd=parent)
            below = os.open(part, _DIRECTORY, dir_fd=parent)
        except OSError as error:
            if error.errno in (errno.ENOTDIR, errno.ELOOP):
                raise ArchiveRefused(
                    f'The member "{shown(name)}" would be written through "{shown(part)}", which is a file or a link.'
                ) from error
            raise
        os.close(parent)
        return below

    def _write(self, parent: int, name: str, member: Member) -> None:
        if (there := _mode(parent, name)) is not None:
            if not stat.S_ISREG(there):
                raise ArchiveRefused(f'"{shown(member.name)}" comes twice in it, as different things.')
            os.unlink(name, dir_fd=parent)  # a later member replaces an earlier one, but not what has a hard link to it
        descriptor = os.open(name, _NEW_FILE, 0o700 if member.mode & 0o100 else 0o600, dir_fd=parent)
        with os.fdopen(descriptor, "wb") as file:
            for offset, piece in self._tar.content(member):
                require_room(self._destination, len(piece), self._bounds)  # others may have taken what was there
                file.seek(offset)
                file.write(piece)
            file.truncate(member.size)
            file.flush()
            os.utime(file.fileno(), (member.mtime, member.mtime))

    def _link(self, root: int, parent: int, name: str, member: Member) -> None:
        """A second name for a regular file that is there, found without following any link."""
        target = path_parts(member.target)
        made = self._made
        with self._directory(root, target[:-1], member.target) as where:
            there = _mode(where, target[-1]) if target and made == self._made else None
            if there is None or not stat.S_ISREG(there):
                raise ArchiveRefused(
                    f'The member "{shown(member.name)}" is a link to "{shown(member.target)}", which is no file before it.'
                )
            os.link(target[-1], name, src_dir_fd=where, dst_dir_fd=parent, follow_symlinks=False)


def _mode(parent: int, name: str) -> int | None:
    """What is there under this name, links not followed; None where nothing is."""
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return None


def _check_symlink(parts: Sequence[str], target: str) -> None:
    steps = [step for step in target.split("/") if step not in ("", ".")]
    climbs = steps.count("..")
    leads = all(step == ".." for step in steps[:climbs])
    fits = len(steps) <= PATH_PARTS_MAX and len(os.fsencode(target)) <= PATH_BYTES_MAX and "\0" not in target
    if target.startswith("/") or not leads or climbs >= len(parts) or not steps or not fits:
        raise ArchiveRefused(
            f'The link "{shown("/".join(parts))}" points to "{shown(target)}", which is not plainly inside the archive.'
        )


def path_parts(name: str) -> tuple[str, ...]:
    """A member's path in parts, without ``.`` and doubled slashes; refuses one that leaves the root or is too deep or long."""
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if name.startswith("/") or ".." in parts or "\0" in name:
        raise ArchiveRefused(f'The member "{shown(name)}" would be written outside of the model directory.')
    check_path(name, parts)
    return parts


def check_path(name: str, parts: Sequence[str]) -> None:
    """Refuse a path that is too long or too deep for what walks over the tree later."""
    if len(os.fsencode(name)) > PATH_BYTES_MAX or any(len(os.fsencode(part)) > NAME_BYTES_MAX for part in parts):
        raise ArchiveRefused(f'The path "{shown(name)}" is too long.')
    if len(parts) > PATH_PARTS_MAX:
        raise ArchiveRefused(f'The path "{shown(name)}" has {len(parts)} parts; there may be {PATH_PARTS_MAX}.')


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
