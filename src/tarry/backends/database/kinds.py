"""Which entity lies in which table, under which columns.

The document holds the whole entity; the columns repeat what is searched for, sorted by or unique.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Table, TextClause, bindparam, delete, insert, text

from tarry.backends.database import schema
from tarry.backends.database.documents import dump
from tarry.core.catalog import EndpointConfig, Model, TagSet
from tarry.core.deployment import BUCKETS, Deployment, Routing
from tarry.core.endpoint import Endpoint
from tarry.core.errors import Bug
from tarry.core.instance import Instance
from tarry.ports import Entity

ALL = text("1 = 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """How entities of one type are kept. ``noun`` is what error messages call them."""

    table: Table
    noun: str
    columns: Callable[[Any], Mapping[str, Any]] = lambda _: {}
    found_by: frozenset[str] = frozenset()
    live: TextClause = ALL
    """Which rows are not tombstones."""
    endpoint_of: Callable[[Any], str] | None = None
    """The endpoint whose queue the entity has to do with."""

    @property
    def named(self) -> bool:
        """Whether entities of this kind have names and can be listed."""
        return "name_key" in self.table.c


def name_key(name: str) -> str:
    """What a name is compared by: names differ by more than case."""
    return name.lower()


KINDS: dict[type, Kind] = {
    Model: Kind(
        table=schema.model,
        noun="model",
        columns=lambda e: {"name_key": name_key(e.name), "created_at_us": e.created_at_us},
    ),
    EndpointConfig: Kind(
        table=schema.endpoint_config,
        noun="endpoint configuration",
        columns=lambda e: {"name_key": name_key(e.name), "created_at_us": e.created_at_us},
    ),
    Endpoint: Kind(
        table=schema.endpoint,
        noun="endpoint",
        columns=lambda e: {
            "name_key": name_key(e.name),
            "status": str(e.status),
            "created_at_us": e.created_at_us,
            "modified_at_us": e.modified_at_us,
        },
        found_by=frozenset({"status", "name_key"}),
        live=text(schema.LIVE),
    ),
    Deployment: Kind(
        table=schema.deployment,
        noun="deployment",
        columns=lambda e: {"endpoint_id": e.endpoint_id, "state": str(e.state)},
        found_by=frozenset({"endpoint_id", "state"}),
    ),
    Routing: Kind(table=schema.routing, noun="routing", endpoint_of=lambda e: str(e.id)),
    Instance: Kind(
        table=schema.instance,
        noun="instance",
        columns=lambda e: {"endpoint_id": e.endpoint_id, "deployment_id": e.deployment_id, "state": str(e.state)},
        found_by=frozenset({"endpoint_id", "deployment_id", "state"}),
        endpoint_of=lambda e: str(e.endpoint_id),
    ),
    TagSet: Kind(table=schema.tag_set, noun="tags"),
}


def row_of(entity: Entity, revision: int) -> dict[str, Any]:
    """The whole row of an entity that is to be stored under this revision."""
    columns = KINDS[type(entity)].columns(entity)
    return {"id": entity.id, "revision": revision, "document": dump(replace(entity, revision=revision)), **columns}


_FORGET_ROUTES = delete(schema.route).where(schema.route.c.endpoint_id == bindparam("endpoint_id"))
_ADD_ROUTES = insert(schema.route)


def write_routes(connection: Connection, routing: Routing | None, endpoint_id: str) -> None:
    """Let the ``route`` rows of an endpoint say what its Routing says; None: there is none any more."""
    connection.execute(_FORGET_ROUTES, {"endpoint_id": endpoint_id})
    rows = [
        {"endpoint_id": endpoint_id, "bucket": bucket, "deployment_id": share.deployment_id, "variant_name": share.variant_name}
        for share in (routing.shares if routing else ())
        for bucket in share.buckets
    ]
    buckets = [row["bucket"] for row in rows]
    if len(set(buckets)) != len(buckets) or not set(buckets) <= set(range(BUCKETS)):
        raise Bug(f"A routing gives each of the buckets 0..{BUCKETS - 1} to one owner at most; got {buckets}.")
    if rows:
        connection.execute(_ADD_ROUTES, rows)
