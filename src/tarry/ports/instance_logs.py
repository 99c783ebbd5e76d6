"""What model servers have printed, for those who look for the reason of something."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class LogName:
    """Whose log it is: that of an instance, or of one container of its pipeline (``container`` is its hostname)."""

    endpoint_name: str
    variant_name: str
    instance_id: str
    container: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceLog:
    """A log that there is. Its bytes have positions that never change while they are kept: from ``first`` up to ``end``.

    ``first`` is 0 until the log has become too long; what was before it is gone.
    """

    name: LogName
    first: int
    end: int
    written_at_us: int
    """When its last byte came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPart:
    """Bytes of a log, just as they were printed. ``offset`` is the position of the first, ``end`` that of the next to come."""

    content: bytes
    offset: int
    end: int

    @property
    def next_offset(self) -> int:
        """Where the part after this one begins."""
        return self.offset + len(self.content)


class InstanceLogs(Protocol):
    """The logs of all instances that there have been, also of those that never came up, as long as they are kept."""

    async def find(self, endpoint_name: str) -> list[InstanceLog]:
        """All logs of the endpoints that have had this name (compared without case), what was written to last first."""
        ...

    async def read(self, name: LogName, offset: int, bytes_max: int) -> LogPart:
        """At most so many bytes from this position on; from the next one that is kept, where it is not kept any more.

        Nothing is read beyond the end: the part then is empty and begins there. A server's restart may give the bytes of a log
        that had become too long other positions. Errors: NotFound (there is no such log).
        """
        ...

    async def discard(self, written_before_us: int, but: Collection[str]) -> int:
        """Remove the logs that nothing was written to since then, except those of the instances ``but``; how many they were.

        An instance that still runs has to be among ``but``: what it writes later would be lost. Repeats change nothing; after a
        crash some are gone.
        """
        ...
