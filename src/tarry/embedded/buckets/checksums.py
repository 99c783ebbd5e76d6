"""Checksums of multipart objects, made from those of their parts without reading a byte again.

COMPOSITE is the checksum of the parts' checksums; FULL_OBJECT combines the CRCs of the parts into that of the whole
(appending n bytes multiplies a CRC by x^8n, a linear map over GF(2) that is found by squaring).
"""

import base64
import hashlib
from collections.abc import Sequence
from functools import cache

from tarry.core.errors import InvalidRequest
from tarry.embedded.buckets.values import ChecksumType

CRC_POLYNOMIALS = {
    "crc32": (32, 0xEDB88320),
    "crc32c": (32, 0x82F63B78),
    "crc64nvme": (64, 0x9A6C9329AC4BC9B5),
}
"""Width and reflected polynomial."""
HASHES = ("sha1", "sha256")


def checksum_type_of(algorithm: str | None, wanted: ChecksumType | None) -> ChecksumType | None:
    """The checksum type of an upload. InvalidRequest for an algorithm or a pair that S3 does not have."""
    if algorithm is None:
        return None
    if algorithm not in CRC_POLYNOMIALS and algorithm not in HASHES:
        raise InvalidRequest(f"Expected one of {', '.join([*CRC_POLYNOMIALS, *HASHES])}, got {algorithm!r}.")
    # AWS: S3 user guide, "Checking object integrity": CRC64NVME is full-object only, SHA is composite only.
    impossible = ChecksumType.COMPOSITE if algorithm == "crc64nvme" else ChecksumType.FULL_OBJECT if algorithm in HASHES else None
    if wanted is not None and wanted is impossible:
        raise InvalidRequest(f"The {wanted} checksum type cannot be used with the {algorithm.upper()} checksum algorithm.")
    return wanted or (ChecksumType.FULL_OBJECT if algorithm == "crc64nvme" else ChecksumType.COMPOSITE)


def of_parts(algorithm: str, type: ChecksumType, parts: Sequence[tuple[str, int]]) -> str:
    """The object's checksum from (base64 checksum, size in bytes) of each part."""
    if type is ChecksumType.COMPOSITE:
        digest = _digest(algorithm, b"".join(base64.b64decode(value) for value, _ in parts))
        return f"{base64.b64encode(digest).decode()}-{len(parts)}"
    width, polynomial = CRC_POLYNOMIALS[algorithm]
    whole = 0
    for value, size in parts:
        whole = _appended(whole, size, width, polynomial) ^ int.from_bytes(base64.b64decode(value))
    return base64.b64encode(whole.to_bytes(width // 8)).decode()


def _digest(algorithm: str, data: bytes) -> bytes:
    if algorithm in HASHES:
        return hashlib.new(algorithm, data, usedforsecurity=False).digest()
    width, polynomial = CRC_POLYNOMIALS[algorithm]
    table, ones = _table(polynomial), (1 << width) - 1
    crc = ones
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return (crc ^ ones).to_bytes(width // 8)


@cache
def _table(polynomial: int) -> tuple[int, ...]:
    def entry(value: int) -> int:
        for _ in range(8):
            value = (value >> 1) ^ polynomial if value & 1 else value >> 1
        return value

    return tuple(entry(byte) for byte in range(256))


def _appended(crc: int, size: int, width: int, polynomial: int) -> int:
    """The CRC's share in the whole once ``size`` more bytes have followed."""
    operator = [polynomial, *(1 << bit for bit in range(width - 1))]  # one zero bit
    for _ in range(3):
        operator = _squared(operator)  # one zero byte
    while size:
        if size & 1:
            crc = _times(operator, crc)
        operator = _squared(operator)
        size >>= 1
    return crc


def _times(operator: Sequence[int], vector: int) -> int:
    result = 0
    for column in operator:
        if not vector:
            break
        if vector & 1:
            result ^= column
        vector >>= 1
    return result


def _squared(operator: Sequence[int]) -> list[int]:
    return [_times(operator, column) for column in operator]
