"""Accepting invocations, as many in one transaction as have arrived."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, insert, select
from sqlalchemy.exc import IntegrityError

from tarry.backends.database.documents import dump
from tarry.backends.database.queue_rows import count_queued
from tarry.backends.database.schema import backlog, endpoint, invocation, invocation_body
from tarry.core.endpoint import EndpointStatus
from tarry.core.errors import AlreadyExists, EndpointNotFound, Throttled
from tarry.core.invocation import Invocation, InvocationState

_GONE = {EndpointStatus.DELETING, EndpointStatus.DELETED}
_ENDPOINTS = (
    select(endpoint.c.id, endpoint.c.status, backlog.c.queued)
    .select_from(endpoint.outerjoin(backlog, backlog.c.endpoint_id == endpoint.c.id))
    .where(endpoint.c.id.in_(bindparam("ids", expanding=True)))
)
_ADD = insert(invocation)
_ADD_BODIES = insert(invocation_body)
_ADD_BACKLOG = insert(backlog)


@dataclass(frozen=True, slots=True)
class Offer:
    """An invocation that wants to be accepted, its document made already (outside the writer's thread)."""

    invocation: Invocation
    request: str
    body: bytes | None


def offer(invocation: Invocation, body: bytes | None) -> Offer:
    """Make an offer."""
    return Offer(invocation, dump(invocation), body)


@dataclass(frozen=True, slots=True)
class Accepting:
    """The rule of acceptance: the endpoint takes invocations, and has room for ``queued_max`` that wait."""

    queued_max: int

    def accept(self, connection: Connection, offers: Sequence[Offer]) -> list[Exception | None]:
        """Insert what may come in; the others get their refusal."""
        room = self._room(connection, {item.invocation.endpoint_id for item in offers})
        accepted: list[Offer] = []
        answers: list[Exception | None] = []
        for item in offers:
            refusal = self._refusal(room, item.invocation)
            if refusal is None:
                accepted.append(item)
                room[item.invocation.endpoint_id] -= 1
            answers.append(refusal)
        if accepted:
            _insert(connection, accepted)
        return answers

    def _room(self, connection: Connection, endpoint_ids: set[str]) -> Counter[str]:
        room: Counter[str] = Counter()
        first = []
        for row in connection.execute(_ENDPOINTS, {"ids": sorted(endpoint_ids)}):
            if row.status in _GONE:
                continue
            room[row.id] = self.queued_max - (row.queued or 0)
            if row.queued is None:
                first.append({"endpoint_id": row.id, "queued": 0})
        if first:
            connection.execute(_ADD_BACKLOG, first)
        return room

    def _refusal(self, room: Counter[str], item: Invocation) -> Exception | None:
        if item.endpoint_id not in room:
            return EndpointNotFound(item.endpoint_name)
        if room[item.endpoint_id] <= 0:
            return Throttled(
                f"{self.queued_max} invocations of endpoint {item.endpoint_name!r} are waiting; try again in a moment."
            )
        return None


def _insert(connection: Connection, accepted: Sequence[Offer]) -> None:
    rows = [
        {
            "id": item.invocation.id,
            "endpoint_id": item.invocation.endpoint_id,
            "bucket": item.invocation.bucket,
            "priority": item.invocation.priority,
            "state": InvocationState.QUEUED.value,
            "attempts": 0,
            "lost_attempts": 0,
            "expires_at_us": item.invocation.expires_at_us,
            "request": item.request,
        }
        for item in accepted
    ]
    try:
        connection.execute(_ADD, rows)
    except IntegrityError as error:
        raise AlreadyExists("invocation", accepted[0].invocation.id) from error
    bodies = [{"invocation_id": item.invocation.id, "body": item.body} for item in accepted if item.body is not None]
    if bodies:
        connection.execute(_ADD_BODIES, bodies)
    count_queued(connection, (item.invocation.endpoint_id for item in accepted), 1)
