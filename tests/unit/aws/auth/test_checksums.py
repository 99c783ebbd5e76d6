"""Checksums against published check values, the standard library, and the definition bit by bit."""

import os
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tarry.aws.auth.checksums import ALGORITHMS, DIGEST_BYTES, Crc32, FoldedCrc, crc32c, crc64nvme


def bit_by_bit(polynomial: int, width: int, data: bytes) -> bytes:
    ones = state = (1 << 8 * width) - 1
    for byte in data:
        state ^= byte
        for _ in range(8):
            state = state >> 1 ^ (polynomial if state & 1 else 0)
    return (state ^ ones).to_bytes(width, "big")


def test_published_check_values() -> None:
    for make, expected in ((crc32c, "e3069283"), (crc64nvme, "ae8b14860a799888")):
        hasher = make()
        hasher.update(b"123456789")
        assert hasher.digest().hex() == expected
    thirty_two_zeros = crc32c()
    thirty_two_zeros.update(bytes(32))
    assert thirty_two_zeros.digest().hex() == "8a9136aa"  # RFC 3720, B.4


@pytest.mark.parametrize("size", [0, 1, 7, 8, 135, 136, 137, 200, 1000, 65_535, 65_536, 65_544, 65_545, 200_001])
def test_folding_changes_nothing(size: int) -> None:
    data = os.urandom(size)
    folded = FoldedCrc(0xEDB88320, 4)
    folded.update(data)
    assert folded.digest() == zlib.crc32(data).to_bytes(4, "big")


@given(pieces=st.lists(st.integers(0, 700).map(os.urandom), max_size=4))
@settings(max_examples=25, deadline=None)
def test_pieces_are_one_whole(pieces: list[bytes]) -> None:
    whole = b"".join(pieces)
    for hasher, polynomial, width in (
        (Crc32(), 0xEDB88320, 4),
        (crc32c(), 0x82F63B78, 4),
        (crc64nvme(), 0x9A6C9329AC4BC9B5, 8),
    ):
        for piece in pieces:
            hasher.update(piece)
        assert hasher.digest() == bit_by_bit(polynomial, width, whole)


def test_digest_sizes() -> None:
    assert {name: len(make().digest()) for name, make in ALGORITHMS.items()} == DIGEST_BYTES
    assert DIGEST_BYTES["crc64nvme"] == 8
    assert DIGEST_BYTES["sha512"] == 64
