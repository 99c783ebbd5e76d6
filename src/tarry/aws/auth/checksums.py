"""The checksums that S3 clients send with a body, and how they are reckoned without holding up everybody else.

A gigabyte takes SHA-256 seconds. The event loop does a little at a time itself; what is more than a little goes to a thread,
where these functions let go of the interpreter.
"""

import asyncio
import hashlib
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from anycrc import Model

IN_LOOP_BYTES_MAX = 64 * 1024
"""So much is hashed where it comes: a thread would take longer to hear of it."""
_CRC32C = Model("CRC32-ISCSI")
_CRC64NVME = Model("CRC64-NVME")


class Hasher(Protocol):
    """A running checksum."""

    def update(self, data: bytes | bytearray, /) -> None:
        """Take more bytes."""
        ...

    def digest(self) -> bytes:
        """The checksum so far, big-endian as S3 shows it."""
        ...


class Crc:
    """A running CRC of ``width`` bytes; ``append`` makes the CRC of more bytes from that of the ones before."""

    def __init__(self, append: Callable[[bytes | bytearray, int], int], width: int) -> None:
        self._append = append
        self._width = width
        self._value = 0

    def update(self, data: bytes | bytearray, /) -> None:
        """Take more bytes."""
        self._value = self._append(data, self._value)

    def digest(self) -> bytes:
        """``width`` bytes."""
        return self._value.to_bytes(self._width, "big")


class Hashing:
    """Running checksums of one stream. What was added is in them after ``flush``."""

    def __init__(self, hashers: Sequence[Hasher]) -> None:
        self._hashers = hashers
        self._pending = bytearray()  # one buffer: pieces of two bytes each would take twenty times their size

    async def add(self, piece: bytes) -> None:
        """Take more bytes."""
        if not self._hashers:
            return
        if len(self._pending) + len(piece) <= IN_LOOP_BYTES_MAX:
            self._pending += piece
            return
        pending, self._pending = self._pending, bytearray()
        await asyncio.to_thread(self._update, pending, piece)

    async def flush(self) -> None:
        """Wait until everything added has been hashed."""
        pending, self._pending = self._pending, bytearray()
        self._update(pending)

    def _update(self, *pieces: bytes | bytearray) -> None:
        for hasher in self._hashers:
            for piece in pieces:
                hasher.update(piece)


async def sha256_of(data: bytes) -> str:
    """In hex."""
    digest = hashlib.sha256()
    hashing = Hashing([digest])
    await hashing.add(data)
    await hashing.flush()
    return digest.hexdigest()


def _crc32() -> Hasher:
    return Crc(zlib.crc32, 4)


def _crc32c() -> Hasher:
    return Crc(_CRC32C.calc, 4)


def _crc64nvme() -> Hasher:
    return Crc(_CRC64NVME.calc, 8)


def _md5() -> Hasher:
    return hashlib.md5(usedforsecurity=False)


def _sha1() -> Hasher:
    return hashlib.sha1(usedforsecurity=False)


ALGORITHMS: Mapping[str, Callable[[], Hasher]] = {
    "crc32": _crc32,
    "crc32c": _crc32c,
    "crc64nvme": _crc64nvme,
    "sha1": _sha1,
    "sha256": hashlib.sha256,
    "sha512": hashlib.sha512,
    "md5": _md5,
}
"""By the name in ``x-amz-checksum-<name>``."""
NOT_COMPUTED = frozenset({"xxhash64", "xxhash3", "xxhash128"})
"""Algorithms that S3 knows and we have no code for: refused, never stored unverified."""
DIGEST_BYTES: Mapping[str, int] = {name: len(make().digest()) for name, make in ALGORITHMS.items()}
