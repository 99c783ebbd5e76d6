"""What is desired and what is current, entity by entity."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

from tarry.core.catalog import EndpointConfig, Model, TagSet
from tarry.core.deployment import Deployment, Routing
from tarry.core.endpoint import Endpoint
from tarry.core.history import InvocationRecord
from tarry.core.instance import Instance

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

        Fields: Endpoint ``status``, ``name_key`` (the name in lower case; finds tombstones too); Deployment ``endpoint_id``,
        ``state``; Instance ``endpoint_id``, ``deployment_id``, ``state``;
        InvocationRecord ``endpoint_id``, ``state``, ``instance_id``.
        """
        ...

    async def page(self, kind: type[E], query: PageQuery) -> Page[E]:
        """One page of live, named entities. Stable under inserts (keyset). InvalidRequest for a token that is not ours."""
        ...

    async def apply(self, *changes: Change) -> None:
        """Carry out all changes or none, in one durable transaction. Errors: AlreadyExists, Conflict, StorageFull, Throttled."""
        ...
