"""The life of an endpoint as callers see it: statuses and what may follow what.

Statuses and their meaning: DescribeEndpoint in AWS's API reference. ``Deleted`` is ours: the row stays as a tombstone so
that the end of an old endpoint's invocations can still be told, while its name is free again at once.
"""

from dataclasses import dataclass
from enum import StrEnum

from tarry.core.errors import Bug


class EndpointStatus(StrEnum):
    """What DescribeEndpoint says of an endpoint."""

    CREATING = "Creating"
    IN_SERVICE = "InService"
    UPDATING = "Updating"
    FAILED = "Failed"
    DELETING = "Deleting"
    DELETED = "Deleted"  # OURS: never shown; the tombstone of a deleted endpoint


TRANSITIONS: dict[EndpointStatus, frozenset[EndpointStatus]] = {
    EndpointStatus.CREATING: frozenset({EndpointStatus.IN_SERVICE, EndpointStatus.FAILED}),
    EndpointStatus.IN_SERVICE: frozenset({EndpointStatus.UPDATING, EndpointStatus.DELETING}),
    EndpointStatus.UPDATING: frozenset({EndpointStatus.IN_SERVICE}),
    EndpointStatus.FAILED: frozenset({EndpointStatus.DELETING}),
    EndpointStatus.DELETING: frozenset({EndpointStatus.DELETED}),
    EndpointStatus.DELETED: frozenset(),
}

ACCEPTING = frozenset({EndpointStatus.IN_SERVICE, EndpointStatus.UPDATING})
"""Statuses in which InvokeEndpointAsync is answered with 202."""

IN_PROGRESS = frozenset({EndpointStatus.CREATING, EndpointStatus.UPDATING, EndpointStatus.DELETING})
"""Statuses in which an update or a deletion is refused as 'in-progress'."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """An endpoint: a name, a status, and the deployment that serves it.

    ``config_name`` is the configuration that the caller sees as current; ``active_deployment_id`` is None until the
    first deployment has become healthy.
    """

    id: str
    name: str
    arn: str
    config_name: str
    status: EndpointStatus
    created_at_us: int
    modified_at_us: int
    failure_reason: str | None = None
    active_deployment_id: str | None = None
    revision: int = 0


def require_transition(before: EndpointStatus, after: EndpointStatus) -> None:
    """Raise Bug unless the table allows the step."""
    if after not in TRANSITIONS[before]:
        raise Bug(f"An endpoint cannot go from {before} to {after}.")
