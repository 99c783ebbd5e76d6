"""ports.Store in SQL: desired and current state, one row per entity.

Reads see every change that has been committed, in the order of the commits. Nothing is kept in memory here: two readers in
two threads would have to agree on which of them saw the later state.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar, cast

from sqlalchemy import Connection, Select, bindparam, delete, select, update
from sqlalchemy.exc import IntegrityError

from tarry.backends.database.documents import load
from tarry.backends.database.kinds import KINDS, Kind, name_key, row_of, write_routes
from tarry.backends.database.pages import read_page
from tarry.backends.database.records import find_records, get_record
from tarry.backends.database.transactions import Database
from tarry.core.deployment import Deployment, Routing
from tarry.core.endpoint import Endpoint
from tarry.core.errors import AlreadyExists, Bug, Conflict, InvalidRequest
from tarry.core.history import InvocationRecord
from tarry.core.instance import Instance
from tarry.ports import CHANNEL_ENDPOINTS, Add, Change, E, Entity, Page, PageQuery, Remove, Replace, Wakeups, channel_queue

T = TypeVar("T")

_HINTED = (Endpoint, Deployment, Routing, Instance)


class SqlStore:
    """The Store on a Database."""

    def __init__(self, database: Database, wakeups: Wakeups) -> None:
        self._database = database
        self._wakeups = wakeups

    async def get(self, kind: type[E], id: str) -> E | None:
        """See ports.Store."""
        if kind is InvocationRecord:
            return cast("E | None", await self._database.read(lambda connection: get_record(connection, id)))
        return await self._one(kind, "id", id)

    async def named(self, kind: type[E], name: str) -> E | None:
        """See ports.Store."""
        if kind is InvocationRecord or not KINDS[kind].named:
            raise Bug(f"A {kind.__name__} has no name.")
        return await self._one(kind, "name_key", name_key(name))

    async def find(self, kind: type[E], *, limit: int | None = None, **where: str | Sequence[str]) -> list[E]:
        """See ports.Store. Raises Bug for a field that has no index."""
        if kind is InvocationRecord:
            return cast("list[E]", await self._database.read(lambda connection: find_records(connection, where, limit)))
        statement = _find(KINDS[kind], where).limit(limit)
        return [load(kind, document) for document in await self._database.read(_column_of(statement))]

    async def page(self, kind: type[E], query: PageQuery) -> Page[E]:
        """See ports.Store."""
        if kind is InvocationRecord:
            raise Bug("Invocations have no names, so there are no pages of them.")
        documents, token = await self._database.read(lambda connection: read_page(connection, KINDS[kind], query))
        return Page(tuple(load(kind, document) for document in documents), token)

    async def apply(self, *changes: Change) -> None:
        """See ports.Store."""
        await self._database.write(lambda connection: _apply(connection, changes), after=lambda _: self._applied(changes))

    async def _one(self, kind: type[E], column: str, value: str) -> E | None:
        documents = await self._database.read(_column_of(_one(KINDS[kind], column, value)))
        return load(kind, documents[0]) if documents else None

    def _applied(self, changes: Sequence[Change]) -> None:
        entities = [change.entity for change in changes]
        if any(isinstance(entity, _HINTED) for entity in entities):
            self._wakeups.notify(CHANNEL_ENDPOINTS)
        for entity in entities:
            endpoint_of = KINDS[type(entity)].endpoint_of
            if endpoint_of is not None:
                self._wakeups.notify(channel_queue(endpoint_of(entity)))


def _column_of(statement: Select[str]) -> Callable[[Connection], list[str]]:
    return lambda connection: list(connection.execute(statement).scalars())


def _one(kind: Kind, column: str, value: str) -> Select[str]:
    statement = select(kind.table.c.document).where(kind.table.c[column] == value)
    return statement.where(kind.live) if column == "name_key" else statement


def _find(kind: Kind, where: dict[str, str | Sequence[str]]) -> Select[str]:
    statement = select(kind.table.c.document).order_by(kind.table.c.seq)
    for field, wanted in where.items():
        if field not in kind.found_by:
            raise Bug(f"A {kind.noun} cannot be found by {field}; only by {sorted(kind.found_by)}.")
        column = kind.table.c[field]
        statement = statement.where(column == str(wanted) if isinstance(wanted, str) else column.in_([str(w) for w in wanted]))
    return statement


def _apply(connection: Connection, changes: Sequence[Change]) -> None:
    for change in changes:
        kind = KINDS[type(change.entity)]
        try:
            _apply_one(connection, kind, change)
        except IntegrityError as error:
            raise AlreadyExists(kind.noun, getattr(change.entity, "name", change.entity.id)) from error
        except OverflowError as error:
            raise InvalidRequest(f"A number of {kind.noun} {change.entity.id!r} does not fit into 64 bits.") from error


def _apply_one(connection: Connection, kind: Kind, change: Change) -> None:
    entity: Entity = change.entity
    here = (kind.table.c.id == bindparam("old_id"), kind.table.c.revision == bindparam("old_revision"))
    old = {"old_id": entity.id, "old_revision": entity.revision}
    match change:
        case Add():
            connection.execute(kind.table.insert(), row_of(entity, entity.revision))
        case Replace():
            changed = connection.execute(update(kind.table).where(*here), old | row_of(entity, entity.revision + 1)).rowcount
            _require(changed, kind, entity)
        case Remove():
            _require(connection.execute(delete(kind.table).where(*here), old).rowcount, kind, entity)
    if isinstance(entity, Routing):
        write_routes(connection, None if isinstance(change, Remove) else entity, entity.id)


def _require(changed: int, kind: Kind, entity: Entity) -> None:
    if changed != 1:
        raise Conflict(f"The {kind.noun} {entity.id!r} has changed since its revision {entity.revision} was read, or is gone.")
