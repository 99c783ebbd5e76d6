"""What the machine tells: its time, its random numbers (the ports Clock and Ids), the room on its disks."""

import asyncio
import os
import secrets
import time
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
    """Identifiers from the operating system's random numbers, which are fetched a page at a time: a system call costs more.

    UUIDs are written by hand: every request takes two, and the standard library's class is five times as slow.
    """

    def __init__(self) -> None:
        self._random: list[str] = []

    def uuid(self) -> str:
        """See ports.Ids."""
        bits = self._random_bits()
        return f"{bits[:8]}-{bits[8:12]}-4{bits[13:16]}-{_variant(bits)}{bits[17:20]}-{bits[20:]}"

    def time_ordered_uuid(self) -> str:
        """See ports.Ids. Within a millisecond, too, the later one sorts later (RFC 9562, 6.2, method 3)."""
        bits = self._random_bits()
        ms, rest_ns = divmod(time.time_ns(), 1_000_000)
        moment = f"{ms:012x}"
        fraction = rest_ns * 4096 // 1_000_000
        return f"{moment[:8]}-{moment[8:]}-7{fraction:03x}-{_variant(bits)}{bits[17:20]}-{bits[20:]}"

    def token(self) -> str:
        """See ports.Ids: 256 bits."""
        return secrets.token_urlsafe(32)

    def _random_bits(self) -> str:
        """128 bits in hex."""
        if not self._random:
            page = secrets.token_hex(16 * 256)
            self._random = [page[start : start + 32] for start in range(0, len(page), 32)]
        return self._random.pop()


def _variant(bits: str) -> str:
    """RFC 9562: the variant's two bits are 10."""
    return "89ab"[int(bits[16], 16) % 4]
