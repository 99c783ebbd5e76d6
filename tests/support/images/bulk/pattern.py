"""Bytes without end that anybody can make again from a seed, at any place: what is sent need not be kept to be compared.

The image's server and the tests both use it, so it needs nothing but the standard library.
"""

import hashlib
import io
from collections.abc import Iterator

BLOCK_BYTES = 1024 * 1024


class Pattern(io.RawIOBase):
    """``size`` bytes as a file. Each block has its number in front, so that a lost or doubled one shows."""

    def __init__(self, seed: str, size: int) -> None:
        super().__init__()
        self._rest = hashlib.shake_256(seed.encode()).digest(BLOCK_BYTES - 8)
        self._size = size
        self._at = 0

    def blocks(self) -> Iterator[bytes]:
        """All bytes, from the first."""
        for number in range(-(-self._size // BLOCK_BYTES)):
            yield self._block(number)

    def sha256(self) -> str:
        """Of all bytes, in hex."""
        digest = hashlib.sha256()
        for block in self.blocks():
            digest.update(block)
        return digest.hexdigest()

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes: a client that signs the bytes reads them twice."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """As any file."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = start + offset
        return self._at

    def tell(self) -> int:
        """As any file."""
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        """As any file; at most one block at a time, unless more is asked for."""
        end = self._size if size is None or size < 0 else min(self._at + size, self._size)
        pieces = []
        while self._at < end:
            number, skip = divmod(self._at, BLOCK_BYTES)
            piece = self._block(number)[skip : skip + end - self._at]
            pieces.append(piece)
            self._at += len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _block(self, number: int) -> bytes:
        block = number.to_bytes(8, "big") + self._rest
        return block[: self._size - number * BLOCK_BYTES]
