"""A number that one process raises and others see at once, without asking it: is what I keep in memory still what holds?

Eight bytes of shared memory. A reader that sees the old number just before it is raised has only been earlier; what it reads
afterwards, it compares anew.
"""

import mmap
import os

_BYTES = 8


class Generation:
    """``advance`` is for one process alone, the one that changes what others keep; ``value`` for all."""

    def __init__(self, memory: "bytearray | mmap.mmap | None" = None) -> None:
        """``memory``: shared with others; without it the number is this process's own."""
        self._memory = bytearray(_BYTES) if memory is None else memory

    @property
    def value(self) -> bytes:
        """Equal to an earlier value only if nothing has changed since."""
        return bytes(self._memory[:_BYTES])

    def advance(self) -> None:
        """What others keep does not hold any more. To be called when the change can be read, and before anybody is told of it."""
        self._memory[:_BYTES] = (int.from_bytes(self.value, "little") + 1).to_bytes(_BYTES, "little")


def make_shared() -> tuple[Generation, int]:
    """A new one in shared memory, and its file descriptor for those who are to see it."""
    descriptor = os.memfd_create("tarry-generation")
    os.ftruncate(descriptor, _BYTES)
    return open_shared(descriptor), descriptor


def open_shared(descriptor: int) -> Generation:
    """That of the process that handed the descriptor over."""
    return Generation(mmap.mmap(descriptor, _BYTES))
