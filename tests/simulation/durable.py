"""What outlives every process: rows and objects. Processes get ports to it; the judge looks at it past all ports."""

import hashlib
import random
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from tests.simulation.loop import Part

from tarry.core.deployment import Routing
from tarry.core.endpoint import Endpoint
from tarry.core.instance import Instance
from tarry.core.invocation import Invocation, InvocationState, Outcome
from tarry.core.names import Scope
from tarry.ports import (
    Clock,
    Ids,
    InvocationQueue,
    InvocationRecords,
    ObjectStore,
    Outbox,
    QueueControl,
    Store,
    Wakeups,
)
from tarry.testing.objects import FakeObject, FakeObjectStore

E = TypeVar("E", Endpoint, Routing, Instance)
T = TypeVar("T")

BUCKET = "results"
SCOPE = Scope(account_id="123456789012", region="us-east-1")
COMPLETED_TOPIC = SCOPE.arn("sns", "completed")
FAILED_TOPIC = SCOPE.arn("sns", "failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What all processes of a run agree on. ``on_commit`` hears which part has just committed."""

    clock: Clock
    ids: Ids
    chance: random.Random
    lease_s: float
    queued_max: int
    finished_s: float
    """How long records are kept after their end; infinity: for ever."""
    on_commit: Callable[[Part], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """The ports of a delivery process, without a gate before them. ``put_input`` stores an object that requests may name."""

    store: Store
    queue: InvocationQueue
    outbox: Outbox
    records: InvocationRecords
    control: QueueControl
    objects: ObjectStore
    put_input: Callable[[str, bytes], Coroutine[Any, Any, None]]
    close: Callable[[], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One invocation as it is committed."""

    invocation: Invocation
    state: InvocationState
    attempts: int
    lost: int
    token: str | None
    owner: str | None
    lease_end_us: int
    due_at_us: int | None
    stop_requested: bool
    redriven_as: str | None
    order: tuple[int, int]
    """What is lower is claimed first."""
    outcome: Outcome | None


class Durable(Protocol):
    """Rows and objects that outlive every process."""

    one_commit: bool
    """Whether a decision is published and ended in its own commit."""

    async def open_store(self, part: Part, wakeups: Wakeups) -> Store:
        """The store of a control process."""
        ...

    async def open_delivery(self, part: Part, wakeups: Wakeups) -> Opened:
        """The ports of a delivery process; a new epoch, so all leases are void when this returns."""
        ...

    def rows(self) -> Mapping[str, Row]:
        """All invocations by id; the same mapping as long as nothing has changed."""
        ...

    def epoch(self) -> int:
        """The number of the newest epoch."""
        ...

    def waiting(self) -> Mapping[str, int]:
        """How many invocations wait, by endpoint id, as the bound on the queue counts them."""
        ...

    def entity(self, kind: type[E], id: str) -> E | None:
        """An entity as it is committed."""
        ...

    def named(self, endpoint_name: str) -> Endpoint | None:
        """The newest endpoint of this name, as it is committed."""
        ...

    def objects(self) -> Mapping[str, str]:
        """The fingerprint of each object by its URI."""
        ...

    def told(self, notification_id: str) -> Sequence[str] | None:
        """The messages under a notification's id that are on their way; None where topics do not lie in the same database."""
        ...

    def fill_disk(self, *, full: bool) -> bool:
        """Leave no room, or make some; false where only the gates can say so."""
        ...


def fingerprint(body: bytes) -> str:
    """What bytes are compared by: their MD5, which is an object's ETag."""
    return hashlib.md5(body, usedforsecurity=False).hexdigest()


class Shelf:
    """The shipped fake of the object store: a store of its own, apart from the database."""

    def __init__(self) -> None:
        self.store = FakeObjectStore()
        self.store.create_bucket(BUCKET)
        self._fingerprints: dict[str, tuple[FakeObject, str]] = {}

    async def put_input(self, key: str, body: bytes) -> None:
        """Store an object that requests may name."""
        self.store.put(f"s3://{BUCKET}/{key}", body, "application/json")

    def objects(self) -> Mapping[str, str]:
        """See Durable."""
        found = self.store.buckets[BUCKET]
        for key, there in found.items():
            known = self._fingerprints.get(key)
            if known is None or known[0] is not there:
                self._fingerprints[key] = (there, fingerprint(there.body))
        return {f"s3://{BUCKET}/{key}": self._fingerprints[key][1] for key in found}


def at_once(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that waits for nothing."""
    try:
        work.send(None)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
    raise RuntimeError("It did wait.")
