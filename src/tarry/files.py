"""Files that survive a power cut: a rename is only durable once the directory has been synced too.

Everything here blocks for as long as the disk takes.
"""

import contextlib
import os
from pathlib import Path


def sync(path: Path) -> None:
    """Put a file's content, or the names in a directory, on the disk. Errors: OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(path: Path, mode: int = 0o700) -> None:
    """Make a directory and its missing parents; the names of all of them are durable when this returns. Errors: OSError."""
    first_there = next(above for above in path.parents if above.exists())
    path.mkdir(mode=mode, parents=True, exist_ok=True)
    for above in path.parents:
        with contextlib.suppress(PermissionError):  # one may make names in it and not read it: then it cannot be synced from here
            sync(above)
        if above == first_there:
            break


def write_file(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Write a small file that is there whole or not at all, also after a crash; durable when this returns. Errors: OSError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync(path.parent)
