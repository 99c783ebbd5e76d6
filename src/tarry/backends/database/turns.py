"""Whose turn it is to write, where several processes of one server write to one database file.

SQLite has one writer at a time, and lets others wait by asking again after longer and longer sleeps. A lock of the kernel's wakes
the next one as soon as it is free, and is given back by whatever ends the process that holds it.
"""

import fcntl
import os
from pathlib import Path
from typing import Self


class Turns:
    """A context manager for the writer's thread: inside, it is this process's turn. Errors: OSError where the file cannot be."""

    def __init__(self, path: Path) -> None:
        """``path``: an empty file that all of them name."""
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def __enter__(self) -> Self:
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        return self

    def __exit__(self, *_: object) -> None:
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._descriptor)
