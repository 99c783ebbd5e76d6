"""The life of an endpoint as callers see it: statuses and what may follow what.

Statuses and their meaning: DescribeEndpoint in AWS's API reference. ``Deleted`` is ours: the row stays as a tombstone so
that the end of an old endpoint's invocations can still be told, while its name is free again at once. AWS's SystemUpdating and
OutOfService are never entered here: nobody maintains the machine under an endpoint, and an endpoint without instances keeps
its queue and stays InService.
"""

from dataclasses import dataclass
from enum import StrEnum

from tarry.core.errors import Bug
from tarry.core.retry_policy import RetryPolicy
from tarry.core.rollout import DeploymentConfig


class EndpointStatus(StrEnum):
    """What DescribeEndpoint says of an endpoint."""

    CREATING = "Creating"
    IN_SERVICE = "InService"
    UPDATING = "Updating"
    ROLLING_BACK = "RollingBack"
    UPDATE_ROLLBACK_FAILED = "UpdateRollbackFailed"
    FAILED = "Failed"
    DELETING = "Deleting"
    DELETED = "Deleted"  # OURS: never shown; the tombstone of a deleted endpoint


TRANSITIONS: dict[EndpointStatus, frozenset[EndpointStatus]] = {
    EndpointStatus.CREATING: frozenset({EndpointStatus.IN_SERVICE, EndpointStatus.FAILED}),
    EndpointStatus.IN_SERVICE: frozenset({EndpointStatus.UPDATING, EndpointStatus.DELETING}),
    EndpointStatus.UPDATING: frozenset(
        {EndpointStatus.IN_SERVICE, EndpointStatus.ROLLING_BACK, EndpointStatus.UPDATE_ROLLBACK_FAILED}
    ),
    EndpointStatus.ROLLING_BACK: frozenset({EndpointStatus.IN_SERVICE, EndpointStatus.UPDATE_ROLLBACK_FAILED}),
    EndpointStatus.UPDATE_ROLLBACK_FAILED: frozenset({EndpointStatus.UPDATING, EndpointStatus.DELETING}),
    EndpointStatus.FAILED: frozenset({EndpointStatus.DELETING}),
    EndpointStatus.DELETING: frozenset({EndpointStatus.DELETED}),
    EndpointStatus.DELETED: frozenset(),
}

ACCEPTING = frozenset(
    {
        EndpointStatus.IN_SERVICE,
        EndpointStatus.UPDATING,
        EndpointStatus.ROLLING_BACK,
        EndpointStatus.UPDATE_ROLLBACK_FAILED,
    }
)
"""Statuses in which InvokeEndpointAsync is answered with 202."""

GONE = frozenset({EndpointStatus.DELETING, EndpointStatus.DELETED})
"""Statuses in which nothing is accepted any more, nothing claimed, and what waits fails."""

IN_PROGRESS = frozenset({EndpointStatus.CREATING, EndpointStatus.UPDATING, EndpointStatus.ROLLING_BACK, EndpointStatus.DELETING})
"""Statuses in which an update or a deletion is refused as 'in-progress'."""

MAY_UPDATE = frozenset({EndpointStatus.IN_SERVICE, EndpointStatus.UPDATE_ROLLBACK_FAILED})
"""Statuses in which UpdateEndpoint is taken. AWS: DescribeEndpoint API reference; a Failed endpoint can only be deleted."""

MAY_RESCALE = frozenset({EndpointStatus.IN_SERVICE})
"""Statuses in which UpdateEndpointWeightsAndCapacities is taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """An endpoint: a name, a status, and the deployment that serves it.

    ``config_name`` is the configuration that the caller sees as current; ``active_deployment_id`` is None until the
    first deployment has become healthy. ``deployment_config`` is the last one that a caller gave.
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
    deployment_config: DeploymentConfig | None = None
    retry: RetryPolicy | None = None
    """For invocations that are accepted from now on."""
    revision: int = 0


def require_transition(before: EndpointStatus, after: EndpointStatus) -> None:
    """Raise Bug unless the table allows the step."""
    if after not in TRANSITIONS[before]:
        raise Bug(f"An endpoint cannot go from {before} to {after}.")
