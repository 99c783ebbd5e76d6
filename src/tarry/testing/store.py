"""Desired and current state in memory."""

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

from tarry.core.catalog import EndpointConfig, Model, TagSet
from tarry.core.deployment import BUCKETS, Deployment, Routing
from tarry.core.endpoint import Endpoint, EndpointStatus
from tarry.core.errors import AlreadyExists, Bug, Conflict, InvalidRequest
from tarry.core.history import InvocationRecord
from tarry.core.instance import Instance
from tarry.ports import CHANNEL_ENDPOINTS, Add, Change, E, Page, PageQuery, Remove, Replace, SortBy, Wakeups, channel_queue
from tarry.testing.wakeups import FakeWakeups

_NOUNS: dict[type, str] = {
    Model: "model",
    EndpointConfig: "endpoint configuration",
    Endpoint: "endpoint",
    Deployment: "deployment",
    Routing: "routing",
    Instance: "instance",
    TagSet: "tags",
}
_NAMED = (Model, EndpointConfig, Endpoint)
_FOUND_BY: dict[type, frozenset[str]] = {
    Endpoint: frozenset({"status", "name_key"}),
    Deployment: frozenset({"endpoint_id", "state"}),
    Instance: frozenset({"endpoint_id", "deployment_id", "state"}),
    InvocationRecord: frozenset({"endpoint_id", "state", "instance_id"}),
}


class FakeStore:
    """ports.Store. ``entities`` are in insertion order; ``records`` are written by the FakeInvocationQueue."""

    def __init__(self, wakeups: Wakeups | None = None) -> None:
        self.entities: dict[tuple[type, str], Any] = {}
        self.records: dict[str, InvocationRecord] = {}
        self._wakeups = wakeups or FakeWakeups()

    async def get(self, kind: type[E], id: str) -> E | None:
        """See ports.Store."""
        return cast("E | None", self.records.get(id) if kind is InvocationRecord else self.entities.get((kind, id)))

    async def named(self, kind: type[E], name: str) -> E | None:
        """See ports.Store."""
        if kind not in _NAMED:
            raise Bug(f"A {kind.__name__} has no name.")
        return next((entity for entity in self._live(kind) if entity.name.lower() == name.lower()), None)

    async def find(self, kind: type[E], *, limit: int | None = None, **where: str | Sequence[str]) -> list[E]:
        """See ports.Store."""
        if unknown := where.keys() - _FOUND_BY.get(kind, frozenset()):
            raise Bug(f"A {kind.__name__} cannot be found by {sorted(unknown)}.")
        rows: list[Any] = list(self.records.values()) if kind is InvocationRecord else self._all(kind)
        wanted = {field: {value} if isinstance(value, str) else set(value) for field, value in where.items()}
        return [row for row in rows if all(_field(row, field) in values for field, values in wanted.items())][:limit]

    async def page(self, kind: type[E], query: PageQuery) -> Page[E]:
        """See ports.Store."""
        if kind not in _NAMED:
            raise Bug(f"There are no pages of {kind.__name__}.")
        if query.limit < 1:
            raise InvalidRequest(f"Expected a page size of at least 1, got {query.limit}.")
        order = list(self.entities)
        keyed = [
            ((_sort_value(row, query.sort_by), order.index((kind, row.id))), row)
            for row in self._live(kind)
            if _passes(row, query)
        ]
        keyed.sort(key=lambda pair: pair[0], reverse=not query.ascending)
        if query.token is not None:
            last = _read_token(query)
            keyed = [pair for pair in keyed if (pair[0] > last if query.ascending else pair[0] < last)]
        shown = keyed[: query.limit]
        token = _token(query, shown[-1][0]) if len(keyed) > query.limit else None
        return Page(tuple(row for _, row in shown), token)

    async def apply(self, *changes: Change) -> None:
        """See ports.Store."""
        before = dict(self.entities)
        try:
            for change in changes:
                self._apply(change)
        except Exception:
            self.entities = before
            raise
        self._hint([change.entity for change in changes])

    def _apply(self, change: Change) -> None:
        entity = change.entity
        key = (type(entity), entity.id)
        noun, stored = _NOUNS[type(entity)], self.entities.get(key)
        if isinstance(change, Add):
            if stored is not None:
                raise AlreadyExists(noun, getattr(entity, "name", entity.id))
            self._require_free_name(entity, noun)
            self.entities[key] = entity
        elif stored is None or stored.revision != entity.revision:
            raise Conflict(f"The {noun} {entity.id!r} has changed since its revision {entity.revision} was read, or is gone.")
        elif isinstance(change, Replace):
            self._require_free_name(entity, noun)
            self.entities[key] = replace(entity, revision=entity.revision + 1)
        else:
            del self.entities[key]
        if isinstance(entity, Routing) and not isinstance(change, Remove):
            buckets = [bucket for share in entity.shares for bucket in share.buckets]
            if len(set(buckets)) != len(buckets) or not set(buckets) <= set(range(BUCKETS)):
                raise Bug(f"A routing gives each of the buckets 0..{BUCKETS - 1} to one owner at most; got {buckets}.")

    def _require_free_name(self, entity: Any, noun: str) -> None:
        if not isinstance(entity, _NAMED) or (isinstance(entity, Endpoint) and entity.status is EndpointStatus.DELETED):
            return
        if any(other.name.lower() == entity.name.lower() and other.id != entity.id for other in self._live(type(entity))):
            raise AlreadyExists(noun, entity.name)

    def _all(self, kind: type) -> list[Any]:
        return [entity for (of, _), entity in self.entities.items() if of is kind]

    def _live(self, kind: type) -> list[Any]:
        return [entity for entity in self._all(kind) if getattr(entity, "status", None) is not EndpointStatus.DELETED]

    def _hint(self, entities: Sequence[Any]) -> None:
        if any(isinstance(entity, (Endpoint, Deployment, Routing, Instance)) for entity in entities):
            self._wakeups.notify(CHANNEL_ENDPOINTS)
        for entity in entities:
            if isinstance(entity, Routing):
                self._wakeups.notify(channel_queue(entity.id))
            elif isinstance(entity, Instance):
                self._wakeups.notify(channel_queue(entity.endpoint_id))


def _field(row: Any, field: str) -> str | None:
    if field == "name_key":
        return str(row.name.lower())
    holder = row.invocation if field == "endpoint_id" and isinstance(row, InvocationRecord) else row
    value = getattr(holder, field)
    return None if value is None else str(value)


def _sort_value(row: Any, sort_by: SortBy) -> str | int:
    if sort_by is SortBy.STATUS and not isinstance(row, Endpoint):
        raise InvalidRequest(f"A {type(row).__name__} cannot be sorted by status.")
    values: dict[SortBy, Callable[[], str | int]] = {
        SortBy.NAME: lambda: str(row.name.lower()),
        SortBy.CREATION_TIME: lambda: int(row.created_at_us),
        SortBy.STATUS: lambda: str(row.status),
    }
    return values[sort_by]()


def _passes(row: Any, query: PageQuery) -> bool:
    needs_endpoint = (query.status, query.modified_before_us, query.modified_after_us)
    if not isinstance(row, Endpoint) and any(value is not None for value in needs_endpoint):
        raise InvalidRequest(f"A {type(row).__name__} cannot be filtered by status or modification time.")
    return all(
        (
            query.name_contains is None or query.name_contains.lower() in row.name.lower(),
            query.status is None or row.status == query.status,
            query.created_before_us is None or row.created_at_us < query.created_before_us,
            query.created_after_us is None or row.created_at_us > query.created_after_us,
            query.modified_before_us is None or row.modified_at_us < query.modified_before_us,
            query.modified_after_us is None or row.modified_at_us > query.modified_after_us,
        )
    )


def _token(query: PageQuery, last: tuple[str | int, int]) -> str:
    return base64.urlsafe_b64encode(json.dumps([query.sort_by, query.ascending, *last]).encode()).decode()


def _read_token(query: PageQuery) -> Any:
    try:
        sort_by, ascending, value, seq = json.loads(base64.b64decode(query.token or "", b"-_", validate=True))
        str(value).encode()  # half of a surrogate pair is no text
    except (binascii.Error, ValueError, TypeError, RecursionError) as error:
        raise InvalidRequest("The token of the next page was not given out by this server; begin the list again.") from error
    right = type(value) is (int if query.sort_by is SortBy.CREATION_TIME else str) and type(seq) is int
    if not right or [sort_by, ascending] != [query.sort_by, query.ascending]:
        raise InvalidRequest("The token belongs to a list in another order; begin the list again.")
    return value, seq
