import base64
import hashlib
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tarry.embedded.buckets.checksums import of_parts
from tarry.embedded.buckets.values import ChecksumType

FULL, COMPOSITE = ChecksumType.FULL_OBJECT, ChecksumType.COMPOSITE


def base64_of(hexadecimal: str) -> str:
    return base64.b64encode(bytes.fromhex(hexadecimal)).decode()


@given(parts=st.lists(st.binary(max_size=300), min_size=1, max_size=5))
def test_crc32_of_the_whole_is_combined_from_the_parts(parts: list[bytes]) -> None:
    crcs = [(base64.b64encode(zlib.crc32(part).to_bytes(4)).decode(), len(part)) for part in parts]
    assert of_parts("crc32", FULL, crcs) == base64.b64encode(zlib.crc32(b"".join(parts)).to_bytes(4)).decode()


# The CRC of b"1234" and b"56789" by a bitwise implementation, and the published check values of b"123456789".
@pytest.mark.parametrize(
    ("algorithm", "whole"), [("crc32", "cbf43926"), ("crc32c", "e3069283"), ("crc64nvme", "ae8b14860a799888")]
)
def test_published_check_values(algorithm: str, whole: str) -> None:
    polynomial, width = {"crc32": (0xEDB88320, 32), "crc32c": (0x82F63B78, 32), "crc64nvme": (0x9A6C9329AC4BC9B5, 64)}[algorithm]

    def crc(data: bytes) -> str:
        value = (1 << width) - 1
        for byte in data:
            value ^= byte
            for _ in range(8):
                value = (value >> 1) ^ (polynomial if value & 1 else 0)
        return (value ^ ((1 << width) - 1)).to_bytes(width // 8).hex()

    assert crc(b"123456789") == whole
    parts = [(base64_of(crc(b"1234")), 4), (base64_of(crc(b"")), 0), (base64_of(crc(b"56789")), 5)]
    assert of_parts(algorithm, FULL, parts) == base64_of(whole)
    raw = b"".join(base64.b64decode(value) for value, _ in parts)
    if algorithm != "crc64nvme":
        assert of_parts(algorithm, COMPOSITE, parts) == base64_of(crc(raw)) + "-3"


@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
def test_composite_hashes(algorithm: str) -> None:
    digests = [hashlib.new(algorithm, part).digest() for part in (b"a", b"b")]
    parts = [(base64.b64encode(digest).decode(), 1) for digest in digests]
    expected = base64.b64encode(hashlib.new(algorithm, b"".join(digests)).digest()).decode()
    assert of_parts(algorithm, COMPOSITE, parts) == f"{expected}-2"
