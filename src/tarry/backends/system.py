"""The machine's clock and its source of random numbers, behind the ports Clock and Ids."""

import asyncio
import os
import secrets
import time
import uuid
from pathlib import Path


class SystemClock:
    """Time as the machine has it."""

    def now_us(self) -> int:
        """See ports.Clock."""
        return time.time_ns() // 1000

    def monotonic(self) -> float:
        """See ports.Clock."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """See ports.Clock."""
        await asyncio.sleep(seconds)


def free_bytes(directory: Path) -> int:
    """How much a program without privileges may still write to the disk of this directory."""
    disk = os.statvfs(directory)
    return disk.f_bavail * disk.f_frsize


class SystemIds:
    """Identifiers from the operating system's random numbers, which are fetched a page at a time: a system call costs more."""

    def __init__(self) -> None:
        self._random = b""

    def uuid(self) -> str:
        """See ports.Ids."""
        if not self._random:
            self._random = secrets.token_bytes(16 * 256)
        bits, self._random = self._random[:16], self._random[16:]
        return str(uuid.UUID(bytes=bits, version=4))

    def token(self) -> str:
        """See ports.Ids: 256 bits."""
        return secrets.token_urlsafe(32)
