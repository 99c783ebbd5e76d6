"""What a model server writes is often the only explanation of a failure, so each instance has a file that outlives it.

``logs/<endpoint>/<variant>/<instance>.log``, as CloudWatch names its group and stream (``<instance>%2F<container>.log`` in a
pipeline). A file and never a pipe: a server that
nobody reads from must not block, and what it wrote last must survive it.
"""

import os
from pathlib import Path
from urllib.parse import quote, unquote

_TAIL_BYTES = 64 * 1024
_LINE_CHARS_MAX = 2000


class InstanceLogs:
    """The log files of all instances below one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def open(self, endpoint_name: str, variant_name: str, instance_id: str, container: str | None = None) -> int:
        """A file descriptor that appends to the log of an instance, or of one container of its pipeline."""
        name = instance_id if container is None else f"{instance_id}/{container}"
        folder = self._directory / _part(endpoint_name) / _part(variant_name)
        folder.mkdir(parents=True, exist_ok=True)
        return os.open(folder / f"{_part(name)}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def tail(self, instance_id: str, lines: int) -> tuple[str, ...]:
        """The last lines, each cut to a readable length; empty for an unknown id.

        Of a pipeline: those of all containers, each with its name before it; what was written to last comes last.
        """
        if lines <= 0:
            return ()
        single, several = f"{_part(instance_id)}.log", _part(f"{instance_id}/")
        files = [path for path in self._directory.glob("*/*/*.log") if path.name == single or path.name.startswith(several)]
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


def _part(name: str) -> str:
    """One path component, whatever the name: names have been validated long before, a path is no place to rely on it."""
    quoted = quote(name, safe="")
    return quoted if quoted.strip(".") else quoted.replace(".", "%2E") or "%00"
