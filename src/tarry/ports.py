"""What the inside of Tarry needs of the outside, as Protocols. Read this file second, after ARCHITECTURE.md.

Nobody above this line knows a concrete database, store, engine or topic; ``bootstrap`` picks them. Each method says what
is atomic, what may be repeated, in which order things come, which errors there are, and what holds after a crash. Each port
has one contract suite in ``tests/contracts``, run against every backend and against the shipped fake in ``tarry.testing``.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

from tarry.core.catalog import EndpointConfig, Model, TagSet
from tarry.core.deployment import Deployment, Routing
from tarry.core.endpoint import Endpoint
from tarry.core.instance import Instance
from tarry.core.invocation import Invocation, InvocationRecord, InvocationState, Outcome
from tarry.core.keys import AccessKey
from tarry.core.names import S3Location
from tarry.core.notifications import Notification

# --------------------------------------------------------------------------------------------------------------- Store

Entity = Model | EndpointConfig | Endpoint | Deployment | Routing | Instance | TagSet
"""What the Store keeps. InvocationRecord can be read through it and is written by the InvocationQueue alone."""

T = TypeVar("T")
E = TypeVar("E", Model, EndpointConfig, Endpoint, Deployment, Routing, Instance, TagSet, InvocationRecord)


@dataclass(frozen=True, slots=True)
class Add:
    """Insert an entity. AlreadyExists if its name (without case; tombstones aside) or id is taken."""

    entity: Entity


@dataclass(frozen=True, slots=True)
class Replace:
    """Write an entity over the stored one of the same id and ``revision``; the store counts the revision up. Else: Conflict."""

    entity: Entity


@dataclass(frozen=True, slots=True)
class Remove:
    """Delete an entity of this id and ``revision``. Else: Conflict."""

    entity: Entity


Change = Add | Replace | Remove


class SortBy(StrEnum):
    """What a page is ordered by; ties are broken by insertion order."""

    NAME = "Name"
    CREATION_TIME = "CreationTime"
    STATUS = "Status"


@dataclass(frozen=True, slots=True, kw_only=True)
class PageQuery:
    """One page of a List call. Time bounds are exclusive, in microseconds."""

    limit: int = 10
    token: str | None = None
    sort_by: SortBy = SortBy.CREATION_TIME
    ascending: bool = False
    name_contains: str | None = None
    created_before_us: int | None = None
    created_after_us: int | None = None
    modified_before_us: int | None = None
    modified_after_us: int | None = None
    status: str | None = None


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Entities in order, and the token of the next page if there is one."""

    items: tuple[T, ...]
    next_token: str | None


class Store(Protocol):
    """Desired and current state: one row per entity. Durable when ``apply`` returns."""

    async def get(self, kind: type[E], id: str) -> E | None:
        """The entity of this id, or None."""
        ...

    async def named(self, kind: type[E], name: str) -> E | None:
        """The live entity of this name, compared without case, or None. Model, EndpointConfig and Endpoint have names."""
        ...

    async def find(self, kind: type[E], *, limit: int | None = None, **where: str | Sequence[str]) -> list[E]:
        """All entities (the first ``limit``) whose indexed fields equal (or are among) the given values, in insertion order.

        Fields: Endpoint ``status``; Deployment ``endpoint_id``, ``state``; Instance ``endpoint_id``, ``deployment_id``,
        ``state``; InvocationRecord ``endpoint_id``, ``state``, ``instance_id``.
        """
        ...

    async def page(self, kind: type[E], query: PageQuery) -> Page[E]:
        """One page of live, named entities. Stable under inserts (keyset). InvalidRequest for a token that is not ours."""
        ...

    async def apply(self, *changes: Change) -> None:
        """Carry out all changes or none, in one durable transaction. Errors: AlreadyExists, Conflict, StorageFull, Throttled."""
        ...


# ----------------------------------------------------------------------------------------------------- InvocationQueue


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right to work on one invocation until it is decided, released or lost. ``token`` is new for every claim."""

    invocation_id: str
    token: str
    instance_id: str


class Overdue(StrEnum):
    """Why an invocation has to be ended without asking the model."""

    EXPIRED = "expired"  # still queued past its TTL
    LOST = "lost"  # its third attempt was lost
    ENDPOINT_DELETED = "endpoint deleted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """An invocation taken for work. ``body`` is its inline body, None where the input lies in S3."""

    lease: Lease
    invocation: Invocation
    body: bytes | None
    attempt: int
    lost_attempts: int
    overdue: Overdue | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Staged:
    """An object's bytes, kept where nobody can see them. Small ones are ``inline``, else the store's ``handle`` names them.

    Both None at once is impossible. ``location`` is where publish will show them.
    """

    location: S3Location
    content_type: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    inline: bytes | None = None
    handle: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The one outcome of an invocation, its bytes, and the notification that tells of it."""

    invocation_id: str
    outcome: Outcome
    staged: Staged | None
    notification: Notification | None


@dataclass(frozen=True, slots=True)
class Reaped:
    """What a sweep found: ``overdue`` claims to end, and decisions to publish and finish that nobody is working on."""

    overdue: tuple[Claim, ...]
    unpublished: tuple[Decision, ...]


class InvocationQueue(Protocol):
    """The durable queue of all endpoints, and the fence that lets exactly one outcome through.

    A lease lasts ``lease_s`` unless renewed and names the epoch of its owner's process; an older epoch's leases are void
    as soon as a newer process has opened the database.
    """

    async def put(self, invocation: Invocation, body: bytes | None) -> None:
        """Accept: durable when this returns. Many concurrent puts share one commit.

        Errors: EndpointNotFound (it is being deleted), Throttled (the queue or the writer is full), StorageFull.
        Cancelling the caller does not undo the row.
        """
        ...

    async def claim(self, instance: Instance, limit: int) -> list[Claim]:
        """Lease up to ``limit`` queued invocations from the buckets routed to this instance's variant, oldest first.

        Atomic: no two claims take the same invocation. Takes nothing for an instance that is not InService. Expired ones
        are left to ``reap``.
        """
        ...

    async def renew(self, leases: Sequence[Lease]) -> set[str]:
        """Extend leases; returns the invocation ids whose lease is lost."""
        ...

    async def decide(self, lease: Lease, decision: Decision) -> InvocationState:
        """Choose the outcome for ever: Running → Publishing, guarded by state and lease token, in one transaction.

        Returns Publishing, or the terminal state where the object store lives in the same database and publishing and
        finishing were part of the commit. Errors: LeaseLost (nothing changed), BucketNotFound (same-database store: the
        object has nowhere to go; nothing changed), StorageFull.
        After a crash: a decision in Publishing comes back from ``reap`` until it is finished.
        """
        ...

    async def finish(self, invocation_id: str) -> None:
        """Publishing → the decided end, and the notification into the outbox, in one transaction. Repeats change nothing."""
        ...

    async def release(self, lease: Lease, *, lost: bool) -> None:
        """Back to Queued. ``lost`` counts the attempt (its instance or delivery process died); a drain or a stop does not.

        A lease that is lost already changes nothing and is no error.
        """
        ...

    async def reap(self, limit: int) -> Reaped:
        """Put invocations with ended or void leases back (counted as lost), then lease to the sweeper what is overdue.

        Overdue: queued past the TTL without ever having been claimed; lost LOST_ATTEMPTS_MAX times; queued on an endpoint
        that is Deleting or Deleted. Also returns decisions in Publishing whose owner's lease has ended.
        """
        ...


# -------------------------------------------------------------------------------------------------- Outbox and Notifier


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A notification in the outbox, and how often it has been tried."""

    notification: Notification
    tries: int


class Outbox(Protocol):
    """Notifications that are committed and not yet handed to their topic. At least once, oldest first."""

    async def due(self, limit: int) -> list[Outgoing]:
        """Those whose next try is due, oldest first."""
        ...

    async def done(self, notification_id: str) -> None:
        """Handed over. Repeats change nothing."""
        ...

    async def retry(self, notification_id: str, *, after_s: float, error: str) -> None:
        """Try again later. ``error`` is kept for people."""
        ...

    async def give_up(self, notification_id: str, *, error: str) -> None:
        """Trying again cannot help (no such topic): out of the queue, the error kept for people."""
        ...


class Notifier(Protocol):
    """Hands a message to a topic."""

    async def publish(self, notification: Notification) -> None:
        """Durably accepted by the topic when this returns; a repeat of the same id does nothing (embedded) or repeats (SNS).

        Errors: PublishError.
        """
        ...


# ---------------------------------------------------------------------------------------------------------- ObjectStore


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenObject:
    """An object opened for reading: it stays whole even if it is overwritten or deleted meanwhile."""

    content_type: str
    size: int
    etag: str
    chunks: AsyncIterator[bytes]


class ObjectStore(Protocol):
    """S3 as delivery and engines need it: read inputs, and write results that appear whole or not at all."""

    def open(self, location: S3Location) -> AbstractAsyncContextManager[OpenObject]:
        """Open for streaming. Errors: ObjectNotFound, BucketNotFound. Memory does not grow with the object."""
        ...

    async def stage(
        self, location: S3Location, *, content_type: str, metadata: Mapping[str, str], chunks: AsyncIterator[bytes]
    ) -> Staged:
        """Take an object's bytes and keep them where nobody can see them; durable when this returns.

        Up to INLINE_BYTES_MAX ride inline. Errors: BucketNotFound, StorageFull. After a crash: what nobody publishes is swept.
        """
        ...

    async def publish(self, staged: Staged) -> None:
        """Make a staged object visible at its location, replacing what was there. Any process may repeat it.

        Errors: BucketNotFound, StorageFull.
        """
        ...

    async def discard(self, staged: Staged) -> None:
        """Forget a staged object that was not chosen. Repeats change nothing."""
        ...


# ------------------------------------------------------------------------------------- Engine, Images and ModelServer


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceSpec:
    """What an engine needs to start one instance."""

    instance_id: str
    endpoint_name: str
    variant_name: str
    image: str
    model_data_url: str | None
    environment: Mapping[str, str]
    model_data_timeout_s: int
    startup_timeout_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStatus:
    """One instance as the engine sees it. ``exit_code`` is None while it runs (negative: ended by that signal)."""

    instance_id: str
    address: str
    exit_code: int | None


class Engine(Protocol):
    """Starts and stops instances. Process instances die with this server; others are found again by label or name."""

    async def start(self, spec: InstanceSpec) -> str:
        """Prepare the image's environment and the model data, start the container, return the base URL of its server.

        Returns as soon as the instance itself listens on that address, or has ended (``observe`` tells): health is the caller's
        business. Repeating it for a running instance returns the same address. Cancelling it leaves nothing behind.
        Errors: ImageNotFound, ImageBroken, ModelDataError, InstanceStartError.
        """
        ...

    async def stop(self, instance_id: str, *, grace_s: float = 30.0) -> None:
        """SIGTERM, then SIGKILL after the grace, to the whole process tree; waits for the end. Unknown ids are no error."""
        ...

    async def observe(self) -> list[EngineStatus]:
        """All instances that this engine has started and not yet been told to stop."""
        ...

    async def log_tail(self, instance_id: str, lines: int) -> tuple[str, ...]:
        """The last lines of the model server's output; empty for an unknown id. Kept after the instance has ended."""
        ...


class Images(Protocol):
    """Image reference → can we start it?"""

    async def check(self, reference: str) -> None:
        """Raise ImageNotFound, with what to do, unless some known image matches the reference's repository and tag."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRequest:
    """One POST /invocations. ``size`` is the length of the body in bytes."""

    headers: Mapping[str, str]
    size: int
    chunks: AsyncIterator[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelResponse:
    """The container's answer; its bytes stream through ``chunks``."""

    status: int
    content_type: str
    chunks: AsyncIterator[bytes]


class ModelServer(Protocol):
    """The container contract over HTTP: /ping and /invocations."""

    async def ping(self, address: str, *, timeout_s: float = 2.0) -> bool:
        """Whether GET /ping answers 200 in time; never raises."""
        ...

    def invoke(self, address: str, request: ModelRequest, *, timeout_s: float) -> AbstractAsyncContextManager[ModelResponse]:
        """POST /invocations. The time limit covers everything until the last byte of the answer has been read.

        Errors, also while reading ``chunks``: ModelServerUnreachable, ModelServerTimeout, ModelResponseInvalid. Leaving the
        context early closes the connection.
        """
        ...


# ---------------------------------------------------------------------------- Keyring, Metrics, Wakeups, Clock and Ids


class Keyring(Protocol):
    """Access keys. Durable when a write returns."""

    async def get(self, access_key_id: str) -> AccessKey | None:
        """The key of this id, or None."""
        ...

    async def add(self, key: AccessKey) -> None:
        """Keep a key. AlreadyExists if the id is taken."""
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
        """All counts since the start, by (name, endpoint name)."""
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
    """Random identifiers."""

    def uuid(self) -> str:
        """A new UUIDv4 as text."""
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


def channel_queue(endpoint_id: str) -> str:
    """Hinted when work has been queued for this endpoint, or its routing changed."""
    return f"queue:{endpoint_id}"
