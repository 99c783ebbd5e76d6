"""What a model server writes is often the only explanation of a failure, so each instance has a file that outlives it.

A file and never a pipe: a server that nobody reads from must not block, and what it wrote last must survive it. Where it is:
``core/instance.py: log_name``.
"""

import os
from pathlib import Path
from urllib.parse import quote, unquote

from tarry.core.instance import log_name

_TAIL_BYTES = 64 * 1024
_LINE_CHARS_MAX = 2000


class InstanceLogs:
    """The log files of all instances of one data directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def open(self, endpoint_name: str, variant_name: str, instance_id: str, container: str | None = None) -> int:
        """A file descriptor that appends to the log of an instance, or of one container of its pipeline."""
        file = self._directory / log_name(endpoint_name, variant_name, instance_id, container)
        file.parent.mkdir(parents=True, exist_ok=True)
        return os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def tail(self, instance_id: str, lines: int) -> tuple[str, ...]:
        """The last lines, each cut to a readable length; empty for an unknown id.

        Of a pipeline: those of all containers, each with its name before it; what was written to last comes last.
        """
        if lines <= 0:
            return ()
        single, several = f"{quote(instance_id, safe='')}.log", quote(f"{instance_id}/", safe="")
        files = [path for path in self._directory.glob("logs/*/*/*.log") if path.name == single or path.name.startswith(several)]
        told: list[str] = []
        for file in sorted(files, key=lambda path: path.stat().st_mtime_ns):
            container = "" if file.name == single else unquote(file.name.removeprefix(several).removesuffix(".log"))
            told += (f"{container}: {line}" if container else line for line in self._last_lines(file, lines))
        return tuple(told[-lines:])

    @staticmethod
    def _last_lines(file: Path, lines: int) -> list[str]:
        with file.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(0, size - _TAIL_BYTES))
            text = log.read(_TAIL_BYTES).decode("utf-8", "replace")
        return [line[:_LINE_CHARS_MAX] for line in text.splitlines()[-lines:]]
