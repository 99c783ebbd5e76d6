"""What a plan is made of: one value per thing that can be done next."""

from dataclasses import dataclass

from tarry.core.deployment import Share
from tarry.core.rollout import Rollout


@dataclass(frozen=True, slots=True)
class StartInstance:
    """Write a Pending row for this variant and look after it."""

    deployment_id: str
    variant_name: str
    instance_type: str


@dataclass(frozen=True, slots=True)
class AttendInstance:
    """Look after an instance that nobody in this process looks after: after a restart."""

    instance_id: str


@dataclass(frozen=True, slots=True)
class DrainInstance:
    """InService → Draining: it gets no new work."""

    instance_id: str


@dataclass(frozen=True, slots=True)
class StopInstance:
    """End it in the engine; its row becomes Stopped. One that the plan saw before its service is not stopped in it."""

    instance_id: str


@dataclass(frozen=True, slots=True)
class ForgetInstance:
    """Remove the row of an ended instance."""

    instance_id: str


@dataclass(frozen=True, slots=True)
class TestTopics:
    """Send the test notification to each configured member, once for each time that it was asked for."""

    __test__ = False  # not a test class, whatever pytest makes of the name
    deployment_id: str


@dataclass(frozen=True, slots=True)
class Route:
    """Write the routing."""

    shares: tuple[Share, ...]


@dataclass(frozen=True, slots=True)
class Activate:
    """Move the endpoint to this deployment, in one transaction: it serves, the one before drains, the endpoint is InService."""

    deployment_id: str
    shares: tuple[Share, ...]


@dataclass(frozen=True, slots=True)
class Shift:
    """One step of a rollout, forward or back: this deployment and the ones before it have these shares from now on."""

    deployment_id: str
    rollout: Rollout
    shares: tuple[Share, ...]


@dataclass(frozen=True, slots=True)
class FailDeployment:
    """Give a deployment up: a new endpoint becomes Failed, an updated one goes on with what it had.

    ``shares`` are None where it never had work.
    """

    deployment_id: str
    reason: str
    shares: tuple[Share, ...] | None = None


@dataclass(frozen=True, slots=True)
class RollBack:
    """Begin to hand the work back in batches: the endpoint is RollingBack."""

    deployment_id: str
    rollout: Rollout
    reason: str


@dataclass(frozen=True, slots=True)
class HaltRollback:
    """The work cannot be handed back: everything stays as it is, the endpoint is UpdateRollbackFailed."""

    deployment_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class RevertCapacities:
    """A change of weights and counts failed: what was before is desired again, the endpoint is RollingBack."""

    deployment_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class EndUpdate:
    """A change of weights and capacities has ended: InService."""

    failure_reason: str | None


@dataclass(frozen=True, slots=True)
class StopDeployment:
    """Nothing of this deployment runs any more: Stopped."""

    deployment_id: str


@dataclass(frozen=True, slots=True)
class FinishDeletion:
    """Nothing runs and nothing waits: the endpoint becomes a tombstone, all else of it is removed."""


Action = (
    StartInstance
    | AttendInstance
    | DrainInstance
    | StopInstance
    | ForgetInstance
    | TestTopics
    | Route
    | Activate
    | Shift
    | FailDeployment
    | RollBack
    | HaltRollback
    | RevertCapacities
    | EndUpdate
    | StopDeployment
    | FinishDeletion
)
