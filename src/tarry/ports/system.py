"""Keys, counts, hints, time and identifiers."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from tarry.core.keys import AccessKey


class Keyring(Protocol):
    """Access keys. Durable when a write returns."""

    async def get(self, access_key_id: str) -> AccessKey | None:
        """The key of this id, or None."""
        ...

    async def add(self, key: AccessKey) -> None:
        """Keep a key. AlreadyExists if the id is taken."""
        ...

    async def list(self) -> Sequence[AccessKey]:
        """All keys but those of instances, oldest first."""
        ...

    async def list_of_instances(self) -> Sequence[AccessKey]:
        """All keys that were made for an instance, oldest first."""
        ...

    async def update(self, key: AccessKey) -> None:
        """Write ``active`` and ``policy`` of the key of this id; what else it holds never changes. NotFound if there is none."""
        ...

    async def revoke(self, access_key_id: str) -> None:
        """Forget a key. Repeats change nothing."""
        ...


class Metrics(Protocol):
    """Counts of what happened, named as CloudWatch names them for asynchronous endpoints; may be lost in a crash."""

    def count(self, name: str, endpoint_name: str, value: float = 1.0) -> None:
        """Add to a count. Never blocks, never raises."""
        ...

    def snapshot(self) -> Mapping[tuple[str, str], float]:
        """All counts since the start, by (name, endpoint name). Read by what will publish them (CloudWatch, autoscaling)."""
        ...


class Listener(Protocol):
    """A place to wait for hints on one channel. Hints that come between two waits are not lost: the next wait returns at once."""

    async def wait(self, timeout_s: float) -> bool:
        """True as soon as there was a hint, False after the time."""
        ...


class Wakeups(Protocol):
    """Hints that something changed. They may be lost; every wait also polls."""

    def notify(self, channel: str) -> None:
        """Wake whoever waits on the channel. Never blocks."""
        ...

    def listen(self, channel: str) -> AbstractAsyncContextManager[Listener]:
        """Listen on a channel for as long as the context lasts."""
        ...


class Clock(Protocol):
    """Time. Wall time for what people see, monotonic time for durations."""

    def now_us(self) -> int:
        """Microseconds since the epoch, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Sleep."""
        ...


class Ids(Protocol):
    """Identifiers that never come twice."""

    def uuid(self) -> str:
        """A new UUIDv4 as text."""
        ...

    def time_ordered_uuid(self) -> str:
        """A new UUIDv7 as text, for what is kept in large numbers: an index has the ids of one time side by side.

        It tells when it was made, to the millisecond, and holds 62 random bits.
        """
        ...

    def token(self) -> str:
        """At least 128 unguessable bits as URL-safe text."""
        ...


CHANNEL_ENDPOINTS = "endpoints"
"""Hinted after any change of an Endpoint, Deployment, Routing or Instance."""
CHANNEL_OUTBOX = "outbox"
"""Hinted when a notification has been committed."""
CHANNEL_PUSHES = "pushes"
"""Hinted when a message has been committed to a topic with subscribers."""

CHANNEL_STOPS = "stops"
"""Hinted when somebody wants invocations to be stopped."""


def channel_invocation(invocation_id: str) -> str:
    """Hinted when this invocation has ended."""
    return f"invocation:{invocation_id}"


def channel_queue(endpoint_id: str) -> str:
    """Hinted when work has been queued for this endpoint, or its routing changed."""
    return f"queue:{endpoint_id}"
