"""Accepting invocations, as many in one transaction as have arrived; those that were accepted before are told so."""

import sqlite3
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, insert, select, update

from tarry.backends.database.documents import dump, load
from tarry.backends.database.prepared import Prepared
from tarry.backends.database.queue_rows import count_queued
from tarry.backends.database.schema import backlog, endpoint, invocation, invocation_body
from tarry.core.endpoint import GONE
from tarry.core.errors import AlreadyExists, Conflict, EndpointNotFound, Throttled
from tarry.core.invocation import Invocation, InvocationState, rank_us, same_key

_ENDPOINT = Prepared(
    select(endpoint.c.status, backlog.c.queued)
    .select_from(endpoint.outerjoin(backlog, backlog.c.endpoint_id == endpoint.c.id))
    .where(endpoint.c.id == bindparam("of"))
)
_SAME = Prepared(
    select(invocation.c.request)
    .where(invocation.c.same_key == bindparam("same_key"), invocation.c.received_at_us >= bindparam("since_us"))
    .order_by(invocation.c.received_at_us.desc(), invocation.c.seq.desc())
    .limit(1)
)
_REDRIVE = (
    update(invocation)
    .where(invocation.c.id == bindparam("of"), invocation.c.redriven_as.is_(None))
    .values(redriven_as=bindparam("as"))
)
_ADD = Prepared(
    insert(invocation),
    "id",
    "endpoint_id",
    "bucket",
    "priority",
    "rank_us",
    "received_at_us",
    "inference_id",
    "same_key",
    "state",
    "attempts",
    "lost_attempts",
    "expires_at_us",
    "request",
)
_ADD_BODIES = Prepared(insert(invocation_body), "invocation_id", "body")
_ADD_BACKLOG = insert(backlog)


@dataclass(frozen=True, slots=True)
class Offer:
    """An invocation that wants to be accepted, its document made already (outside the writer's thread)."""

    invocation: Invocation
    request: str
    same_key: str | None
    body: bytes | None
    same_since_us: int | None = None


def offer(invocation: Invocation, body: bytes | None, same_since_us: int | None = None) -> Offer:
    """Make an offer."""
    return Offer(invocation, dump(invocation), same_key(invocation), body, same_since_us)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What there may be at most: invocations that wait for one endpoint, and use of the disk."""

    queued_max: int
    disk_reserve_bytes: int = 0
    """Less free bytes than this: nothing more is accepted, what is left is for results."""
    free_bytes: Callable[[], int] = lambda: 0


@dataclass(frozen=True, slots=True)
class Accepting:
    """The rule of acceptance: the endpoint takes invocations, and there is room for one more."""

    bounds: Bounds

    def accept(self, connection: Connection, offers: Sequence[Offer]) -> list[Invocation | Exception]:
        """Insert what may come in; the others get the invocation that they repeat, or their refusal."""
        if (free := self.bounds.free_bytes()) < self.bounds.disk_reserve_bytes:
            full = f"The disk has {free} bytes left, {self.bounds.disk_reserve_bytes} are kept for results; free some space."
            return [Throttled(full)] * len(offers)
        room = self._room(connection, {item.invocation.endpoint_id for item in offers})
        accepted: list[Offer] = []
        answers: list[Invocation | Exception] = []
        for item in offers:
            answer = _same(connection, item, accepted) or self._refusal(room, item.invocation) or _redriven(connection, item)
            if answer is None:
                accepted.append(item)
                room[item.invocation.endpoint_id] -= 1
                answer = item.invocation
            answers.append(answer)
        if accepted:
            _insert(connection, accepted)
        return answers

    def _room(self, connection: Connection, endpoint_ids: set[str]) -> Counter[str]:
        room: Counter[str] = Counter()
        for of in endpoint_ids:
            found = _ENDPOINT.first(connection, {"of": of})
            if found is None or found.status in GONE:
                continue
            room[of] = self.bounds.queued_max - (found.queued or 0)
            if found.queued is None:
                connection.execute(_ADD_BACKLOG, {"endpoint_id": of, "queued": 0})
        return room

    def _refusal(self, room: Counter[str], item: Invocation) -> Exception | None:
        if item.endpoint_id not in room:
            return EndpointNotFound(item.endpoint_name)
        if room[item.endpoint_id] <= 0:
            return Throttled(
                f"{self.bounds.queued_max} invocations of endpoint {item.endpoint_name!r} are waiting; try again in a moment."
            )
        return None


def _same(connection: Connection, item: Offer, accepted: Sequence[Offer]) -> Invocation | None:
    """The newest invocation that the offer repeats, of this batch or of an earlier one."""
    if item.same_since_us is None or item.same_key is None:
        return None
    for other in reversed(accepted):
        if other.same_key == item.same_key:
            return other.invocation
    found = _SAME.first(connection, {"same_key": item.same_key, "since_us": item.same_since_us})
    return None if found is None else load(Invocation, found.request)


def _redriven(connection: Connection, item: Offer) -> Exception | None:
    """Let the ended invocation point to the one that repeats it; the refusal where another does already."""
    of = item.invocation.redrive_of
    if of is None or connection.execute(_REDRIVE, {"of": of, "as": item.invocation.id}).rowcount == 1:
        return None
    return Conflict(f"The invocation {of!r} has been redriven already, or its record is gone.")


def _insert(connection: Connection, accepted: Sequence[Offer]) -> None:
    rows = [
        {
            "id": item.invocation.id,
            "endpoint_id": item.invocation.endpoint_id,
            "bucket": item.invocation.bucket,
            "priority": item.invocation.priority,
            "rank_us": rank_us(item.invocation.received_at_us, item.invocation.priority),
            "received_at_us": item.invocation.received_at_us,
            "inference_id": item.invocation.inference_id if item.invocation.named_by_caller else None,
            "same_key": item.same_key,
            "state": InvocationState.QUEUED.value,
            "attempts": 0,
            "lost_attempts": 0,
            "expires_at_us": item.invocation.expires_at_us,
            "request": item.request,
        }
        for item in accepted
    ]
    try:
        _ADD.run_many(connection, rows)
    except sqlite3.IntegrityError as error:
        raise AlreadyExists("invocation", accepted[0].invocation.id) from error
    bodies = [{"invocation_id": item.invocation.id, "body": item.body} for item in accepted if item.body is not None]
    if bodies:
        _ADD_BODIES.run_many(connection, bodies)
    count_queued(connection, (item.invocation.endpoint_id for item in accepted), 1)
