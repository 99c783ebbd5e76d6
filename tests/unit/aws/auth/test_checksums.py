"""Checksums against published check values, the standard library, and the definition bit by bit."""

import hashlib
import os
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tarry.aws.auth.checksums import ALGORITHMS, DIGEST_BYTES, IN_LOOP_BYTES_MAX, Hashing, sha256_of


def bit_by_bit(polynomial: int, width: int, data: bytes) -> bytes:
    ones = state = (1 << 8 * width) - 1
    for byte in data:
        state ^= byte
        for _ in range(8):
            state = state >> 1 ^ (polynomial if state & 1 else 0)
    return (state ^ ones).to_bytes(width, "big")


def test_published_check_values() -> None:
    for name, expected in (("crc32", "cbf43926"), ("crc32c", "e3069283"), ("crc64nvme", "ae8b14860a799888")):
        hasher = ALGORITHMS[name]()
        hasher.update(b"123456789")
        assert hasher.digest().hex() == expected
    thirty_two_zeros = ALGORITHMS["crc32c"]()
    thirty_two_zeros.update(bytes(32))
    assert thirty_two_zeros.digest().hex() == "8a9136aa"  # RFC 3720, B.4


@given(pieces=st.lists(st.integers(0, 700).map(os.urandom), max_size=4))
@settings(max_examples=25, deadline=None)
def test_pieces_are_one_whole(pieces: list[bytes]) -> None:
    whole = b"".join(pieces)
    for name, polynomial, width in (
        ("crc32", 0xEDB88320, 4),
        ("crc32c", 0x82F63B78, 4),
        ("crc64nvme", 0x9A6C9329AC4BC9B5, 8),
    ):
        hasher = ALGORITHMS[name]()
        for piece in pieces:
            hasher.update(piece)
        assert hasher.digest() == bit_by_bit(polynomial, width, whole)


def test_digest_sizes() -> None:
    assert {name: len(make().digest()) for name, make in ALGORITHMS.items()} == DIGEST_BYTES
    assert DIGEST_BYTES["crc64nvme"] == 8
    assert DIGEST_BYTES["sha512"] == 64


class Watched:
    """Knows in which thread it was given how many bytes."""

    def __init__(self) -> None:
        self.given: dict[int, int] = {}
        self.seen = b""

    def update(self, data: bytes | bytearray, /) -> None:
        self.given[threading.get_ident()] = self.given.get(threading.get_ident(), 0) + len(data)
        self.seen += data

    def digest(self) -> bytes:
        return b""


@pytest.mark.parametrize("piece_bytes", [1000, IN_LOOP_BYTES_MAX, IN_LOOP_BYTES_MAX + 1, 1_000_000])
async def test_the_loop_hashes_a_little_and_threads_the_rest(piece_bytes: int) -> None:
    watched = Watched()
    hashing = Hashing([watched])
    data = os.urandom(3_000_010)
    for start in range(0, len(data), piece_bytes):
        await hashing.add(data[start : start + piece_bytes])
    await hashing.flush()
    assert watched.seen == data
    assert watched.given.get(threading.get_ident(), 0) <= IN_LOOP_BYTES_MAX


async def test_a_little_is_hashed_at_once() -> None:
    watched = Watched()
    hashing = Hashing([watched])
    await hashing.add(b"a little")
    assert not watched.seen
    await hashing.flush()
    assert watched.given == {threading.get_ident(): 8}


@pytest.mark.parametrize("size", [0, 10, IN_LOOP_BYTES_MAX + 1])
async def test_sha256_is_that_of_the_standard_library(size: int) -> None:
    data = os.urandom(size)
    assert await sha256_of(data) == hashlib.sha256(data).hexdigest()
