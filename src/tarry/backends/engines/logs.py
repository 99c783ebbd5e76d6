"""What a model server writes is often the only explanation of a failure, so each instance has a file that outlives it.

A file and never a pipe: a server that nobody reads from must not block, and what it wrote last must survive it. Where it is:
``core/instance.py: log_name``. Nor may a server that prints without end fill the disk: a file that has become too long is
emptied, and its newest part stays beside it, in ``<name>.log.1``, until the next time.

The program holds the file open, in append mode, and goes on at its new beginning. So whoever empties it copies until nothing
more comes, and what is written within that moment is lost: bytes of a flood.
"""

import asyncio
import os
import stat
import threading
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote, unquote

import structlog

from tarry.core.errors import NotFound
from tarry.core.instance import log_name
from tarry.ports import InstanceLog, LogName, LogPart

log = structlog.get_logger(__name__)

LOG_MAX_BYTES = 32 * 1024 * 1024
_TAIL_BYTES = 64 * 1024
_LINE_CHARS_MAX = 2000
_CHUNK_BYTES = 1024 * 1024
_NEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC


class LogFiles:
    """ports.InstanceLogs: the log files of all instances of one data directory. There is one object for all who write and read.

    A log is its older part, if it has one, and its file. Of each container at most twice ``bytes_max`` are kept, and what it
    writes between two looks at it (``shorten``).
    """

    def __init__(self, directory: Path, bytes_max: int = LOG_MAX_BYTES) -> None:
        self._directory = directory
        self._bytes_max = bytes_max
        self._lock = threading.Lock()
        self._begins: dict[Path, int] = {}
        """The position at which a file begins that has been emptied by this process."""

    def open(self, name: LogName) -> int:
        """A file descriptor that appends to a log. Errors: OSError."""
        file = self._file(name)
        with self._lock:  # nobody discards the directory in between
            file.parent.mkdir(parents=True, exist_ok=True)
            return os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def is_long(self, name: LogName) -> bool:
        """Whether it is time to ``shorten`` a log."""
        try:
            return self._file(name).stat().st_size > self._bytes_max
        except OSError:
            return False

    def shorten(self, name: LogName) -> None:
        """Empty the file of a log that has become too long, its newest part put beside it. Blocks; what fails, fails silently.

        Where the disk has no room for that part, it is lost: the file must not grow on.
        """
        file = self._file(name)
        with self._lock, suppress(OSError), file.open("r+b", buffering=0) as log:
            state = os.fstat(log.fileno())
            if state.st_size <= self._bytes_max:
                return
            begins = self._begin(file)
            log.seek(state.st_size - self._bytes_max)
            with suppress(OSError):
                self._put_aside(log.fileno(), _older(file))
            end = max(log.tell(), state.st_size)
            log.truncate(0)
            os.utime(log.fileno(), ns=(state.st_atime_ns, state.st_mtime_ns))  # the time of its last byte, as before
            self._begins[file] = begins + end

    async def find(self, endpoint_name: str) -> list[InstanceLog]:
        """See ports.InstanceLogs."""
        return await asyncio.to_thread(self._find, endpoint_name)

    async def read(self, name: LogName, offset: int, bytes_max: int) -> LogPart:
        """See ports.InstanceLogs."""
        return await asyncio.to_thread(self._read, self._file(name), offset, bytes_max)

    async def discard(self, written_before_us: int, but: Collection[str]) -> int:
        """See ports.InstanceLogs."""
        return await asyncio.to_thread(self._discard, written_before_us, but)

    def tail(self, instance_id: str, lines: int) -> tuple[str, ...]:
        """The last lines, each cut to a readable length; empty for an unknown id.

        Of a pipeline: those of all containers, each with its name before it; what was written to last comes last.
        """
        if lines <= 0:
            return ()
        single, several = f"{quote(instance_id, safe='')}.log", quote(f"{instance_id}/", safe="")
        files = [path for path in self._directory.glob("logs/*/*/*.log") if path.name == single or path.name.startswith(several)]
        told: list[str] = []
        for file in sorted(files, key=_written_at_ns):
            container = "" if file.name == single else unquote(file.name.removeprefix(several).removesuffix(".log"))
            told += (f"{container}: {line}" if container else line for line in self._last_lines(file, lines))
        return tuple(told[-lines:])

    # ------------------------------------------------------------------------------------------------------------- inside

    def _file(self, name: LogName) -> Path:
        return self._directory / log_name(name.endpoint_name, name.variant_name, name.instance_id, name.container)

    def _begin(self, file: Path) -> int:
        """The position of the file's first byte. Of one that an earlier process emptied: as if nothing had been lost before."""
        begins = self._begins.get(file)
        return _size(_older(file)) if begins is None else begins

    def _put_aside(self, descriptor: int, older: Path) -> None:
        """Copy from the file's position on, until nothing more comes; but not for ever, whoever writes faster than this."""
        try:
            with open(os.open(older, _NEW, 0o600), "wb") as copy:  # noqa: PTH123 - nobody else may read it
                left = 2 * self._bytes_max
                while left and (chunk := os.read(descriptor, min(_CHUNK_BYTES, left))):
                    copy.write(chunk)
                    left -= len(chunk)
        except OSError:
            older.unlink(missing_ok=True)
            raise

    def _find(self, endpoint_name: str) -> list[InstanceLog]:
        logs = [log for file in self._files(endpoint_name) if (log := self._log(file)) is not None]
        return sorted(logs, key=lambda log: (log.written_at_us, log.name.instance_id, log.name.container or ""), reverse=True)

    def _files(self, endpoint_name: str) -> Iterator[Path]:
        for directory in (self._directory / "logs").glob("*"):
            if unquote(directory.name).lower() == endpoint_name.lower():
                yield from directory.glob("*/*.log")

    def _discard(self, written_before_us: int, but: Collection[str]) -> int:
        count = 0
        for file in self._directory.glob("logs/*/*/*.log"):
            found = self._log(file) if _is_in_its_place(file) else None
            if found is None or found.written_at_us >= written_before_us or found.name.instance_id in but:
                continue
            try:
                self._remove(file)
                count += 1
            except OSError as error:
                log.warning("an old log could not be removed", path=str(file), error=str(error))
        return count

    def _remove(self, file: Path) -> None:
        """Remove a log with its older part, and the directories that it leaves empty. Errors: OSError."""
        with self._lock:
            for path in (_older(file), file):  # the older part alone would be found by nobody
                path.unlink(missing_ok=True)
            self._begins.pop(file, None)
            for directory in (file.parent, file.parent.parent):
                with suppress(OSError):  # others are in it
                    directory.rmdir()

    def _log(self, file: Path) -> InstanceLog | None:
        """What is known of a log; None where the file has gone since it was found."""
        instance_id, _, container = unquote(file.name.removesuffix(".log")).partition("/")
        variant, endpoint = file.parent, file.parent.parent
        with self._lock:
            try:
                state = file.stat()
            except OSError:
                return None
            begins = self._begin(file)
            return InstanceLog(
                name=LogName(
                    endpoint_name=unquote(endpoint.name),
                    variant_name=unquote(variant.name),
                    instance_id=instance_id,
                    container=container or None,
                ),
                first=begins - _size(_older(file)),
                end=begins + state.st_size,
                written_at_us=state.st_mtime_ns // 1000,
            )

    def _read(self, file: Path, offset: int, bytes_max: int) -> LogPart:
        with self._lock:
            begins, older = self._begin(file), _older(file)
            try:
                end = begins + file.stat().st_size
            except OSError:
                raise NotFound("log of the instance", unquote(file.name.removesuffix(".log"))) from None
            offset = min(max(offset, begins - _size(older)), end)
            content = b""
            if offset < begins:
                content = _bytes_of(older, offset - (begins - _size(older)), bytes_max)
            if len(content) < bytes_max:
                content += _bytes_of(file, max(offset - begins, 0), min(bytes_max - len(content), end - begins))
            return LogPart(content=content, offset=offset, end=max(end, offset + len(content)))

    def _last_lines(self, file: Path, lines: int) -> list[str]:
        try:
            part = self._read(file, max(self._begin(file) + _size(file) - _TAIL_BYTES, 0), _TAIL_BYTES)
        except NotFound:
            return []
        text = part.content.replace(b"\0", b"").decode("utf-8", "replace")  # a program may leave holes in its log
        return [line[:_LINE_CHARS_MAX] for line in text.splitlines()[-lines:]]


def _is_in_its_place(file: Path) -> bool:
    """Whether it is a file, and neither it nor the directories of its endpoint and variant are links: those lead elsewhere."""
    try:
        linked = file.parent.is_symlink() or file.parent.parent.is_symlink()
        return not linked and stat.S_ISREG(file.lstat().st_mode)
    except OSError:
        return False


def _written_at_ns(file: Path) -> int:
    """0 where it has just been removed."""
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return 0


def _older(file: Path) -> Path:
    return file.with_name(f"{file.name}.1")


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0


def _bytes_of(file: Path, start: int, size: int) -> bytes:
    with file.open("rb") as log:
        log.seek(start)
        return log.read(size)
