"""A disk of a few megabytes that a test may fill: a mount, where mounting is allowed."""

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_BLOCK = bytes(64 * 1024)


class SmallDisk:
    """A mounted file system with a file that takes all the room that is left."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / "ballast"

    @property
    def free_bytes(self) -> int:
        """What may still be written."""
        disk = os.statvfs(self.path)
        return disk.f_bavail * disk.f_frsize

    def fill(self, leave_bytes: int = 0) -> None:
        """Take what is left but so many bytes; to the last block where none are to be left."""
        with self._ballast.open("ab", buffering=0) as ballast:
            size = len(_BLOCK)
            while size:
                if leave_bytes and self.free_bytes - size < leave_bytes:
                    size //= 2
                    continue
                try:
                    ballast.write(_BLOCK[:size])
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    size //= 2
            os.fsync(ballast.fileno())

    def free(self) -> None:
        """Give it back."""
        self._ballast.unlink()


@contextmanager
def small_disk(directory: Path, kind: str, megabytes: int) -> Iterator[SmallDisk]:
    """A new disk at ``directory``: a tmpfs, or an ext4 in a file. Skips the test where it cannot be mounted."""
    directory.mkdir()
    if kind == "tmpfs":
        _run("mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0700", "tmpfs", str(directory))
    else:
        image = directory.with_suffix(".img")
        with image.open("wb") as file:
            file.truncate(megabytes * 1024 * 1024)
        _run("mkfs.ext4", "-q", "-m", "0", str(image))
        _run("mount", "-o", "loop", str(image), str(directory))
    try:
        yield SmallDisk(directory)
    finally:
        subprocess.run(["umount", str(directory)], check=True)


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        pytest.skip(f"no small disk can be made here: {error}")
    if done.returncode:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
