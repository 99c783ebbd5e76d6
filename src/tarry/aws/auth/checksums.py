"""The checksums that S3 clients send with a body.

CRC32C and CRC64NVME are not in the standard library, and a table walked byte by byte in Python does 10 MB/s. A CRC is linear,
so a block's first half can be folded onto its second: what each byte does to the bytes that lie a fixed distance behind it is
a table look-up, which ``bytes.translate`` does for the whole half at once, and the XOR of two halves is one XOR of two big
integers. That is seven times as fast and more, and still a page of code.
"""

import hashlib
import zlib
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Protocol

_BLOCK = 65_536 + 8
_FOLD_MIN = 64


class Hasher(Protocol):
    """A running checksum."""

    def update(self, data: bytes, /) -> None:
        """Take more bytes."""
        ...

    def digest(self) -> bytes:
        """The checksum so far, big-endian as S3 shows it."""
        ...


class Crc32:
    """The CRC of zip and PNG."""

    def __init__(self) -> None:
        self._value = 0

    def update(self, data: bytes, /) -> None:
        """Take more bytes."""
        self._value = zlib.crc32(data, self._value)

    def digest(self) -> bytes:
        """Four bytes."""
        return self._value.to_bytes(4, "big")


class FoldedCrc:
    """A reflected CRC of ``width`` bytes that starts from and ends with all ones inverted; ``polynomial`` is bit-reversed."""

    def __init__(self, polynomial: int, width: int) -> None:
        self._polynomial = polynomial
        self._width = width
        self._ones = (1 << 8 * width) - 1
        self._state = self._ones

    def update(self, data: bytes, /) -> None:
        """Take more bytes."""
        for start in range(0, len(data), _BLOCK):
            self._state = self._block(data[start : start + _BLOCK])

    def digest(self) -> bytes:
        """``width`` bytes."""
        return (self._state ^ self._ones).to_bytes(self._width, "big")

    def _block(self, data: bytes) -> int:
        width, state = self._width, self._state
        if len(data) > 2 * _FOLD_MIN + width:
            # A CRC that starts from a state is that of the data with the state XORed onto its first bytes, from zero.
            head = int.from_bytes(data[:width], "little") ^ state
            data, state = self._folded(head.to_bytes(width, "little") + data[width:]), 0
        table = _table(self._polynomial)
        for byte in data:
            state = (state >> 8) ^ table[(state ^ byte) & 0xFF]
        return state

    def _folded(self, data: bytes) -> bytes:
        """Shorter data with the same CRC."""
        for distance, tables in _fold_tables(self._polynomial, self._width):
            while (length := len(data) - distance) >= distance + self._width:
                front, rest = data[:distance], int.from_bytes(data[distance:], "little")
                for index, table in enumerate(tables):
                    rest ^= int.from_bytes(front.translate(table), "little") << 8 * index
                data = rest.to_bytes(length, "little")
        return data


@lru_cache(maxsize=2)
def _table(polynomial: int) -> tuple[int, ...]:
    table = []
    for byte in range(256):
        state = byte
        for _ in range(8):
            state = (state >> 1) ^ (polynomial if state & 1 else 0)
        table.append(state)
    return tuple(table)


@lru_cache(maxsize=2)
def _fold_tables(polynomial: int, width: int) -> tuple[tuple[int, tuple[bytes, ...]], ...]:
    """For each distance, longest first: what a byte turns into at the ``width`` bytes that begin at that distance behind it."""
    table = _table(polynomial)
    states = [table[1 << bit] for bit in range(8)]
    found, at, distance = [], 1, _FOLD_MIN
    while distance < _BLOCK:
        for _ in range(distance - at):
            states = [(state >> 8) ^ table[state & 0xFF] for state in states]
        at = distance
        effects = [0] * 256
        for byte in range(1, 256):
            low = byte & -byte
            effects[byte] = effects[byte ^ low] ^ states[low.bit_length() - 1]
        columns = tuple(bytes(effect >> 8 * index & 0xFF for effect in effects) for index in range(width))
        found.append((distance, columns))
        distance *= 2
    return tuple(reversed(found))


def crc32c() -> FoldedCrc:
    """Castagnoli's CRC."""
    return FoldedCrc(0x82F63B78, 4)


def crc64nvme() -> FoldedCrc:
    """The CRC of the NVM Express command set specification."""
    return FoldedCrc(0x9A6C9329AC4BC9B5, 8)


def _md5() -> Hasher:
    return hashlib.md5(usedforsecurity=False)


def _sha1() -> Hasher:
    return hashlib.sha1(usedforsecurity=False)


ALGORITHMS: Mapping[str, Callable[[], Hasher]] = {
    "crc32": Crc32,
    "crc32c": crc32c,
    "crc64nvme": crc64nvme,
    "sha1": _sha1,
    "sha256": hashlib.sha256,
    "sha512": hashlib.sha512,
    "md5": _md5,
}
"""By the name in ``x-amz-checksum-<name>``."""
NOT_COMPUTED = frozenset({"xxhash64", "xxhash3", "xxhash128"})
"""Algorithms that S3 knows and we have no code for: refused, never stored unverified."""
DIGEST_BYTES: Mapping[str, int] = {name: len(make().digest()) for name, make in ALGORITHMS.items()}
