"""One generation of an endpoint: a configuration, the models in it, and how its work is split.

All deployments of an endpoint share one queue. Each queued invocation carries a bucket 0..99 (a hash of its id); a
Routing maps buckets to (deployment, variant). Moving traffic rewrites the routing, at most 100 entries, never the queue.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from tarry.core.catalog import EndpointConfig, Model, Variant
from tarry.core.rollout import Rollout

BUCKETS = 100


class DeploymentState(StrEnum):
    """Where a deployment is in its life."""

    STARTING = "Starting"  # its first instances are on the way; it has no work yet
    SHIFTING = "Shifting"  # it has a part of the work, the deployment before it the rest
    ACTIVE = "Active"  # the endpoint's own
    ROLLING_BACK = "RollingBack"  # its part is handed back in batches
    ROLLBACK_FAILED = "RollbackFailed"  # it keeps its part, since it could not be handed back
    DRAINING = "Draining"  # it gets no new work
    STOPPED = "Stopped"
    FAILED = "Failed"  # given up; what is left of it is stopped


TRANSITIONS: dict[DeploymentState, frozenset[DeploymentState]] = {
    DeploymentState.STARTING: frozenset(
        {DeploymentState.SHIFTING, DeploymentState.ACTIVE, DeploymentState.FAILED, DeploymentState.DRAINING}
    ),
    DeploymentState.SHIFTING: frozenset({DeploymentState.ACTIVE, DeploymentState.ROLLING_BACK, DeploymentState.FAILED}),
    DeploymentState.ACTIVE: frozenset({DeploymentState.DRAINING}),
    DeploymentState.ROLLING_BACK: frozenset({DeploymentState.FAILED, DeploymentState.ROLLBACK_FAILED}),
    DeploymentState.ROLLBACK_FAILED: frozenset({DeploymentState.DRAINING}),
    DeploymentState.DRAINING: frozenset({DeploymentState.STOPPED}),
    DeploymentState.FAILED: frozenset({DeploymentState.STOPPED}),
    DeploymentState.STOPPED: frozenset(),
}

MOVING = frozenset({DeploymentState.STARTING, DeploymentState.SHIFTING, DeploymentState.ROLLING_BACK})
"""States of a deployment that an update is about: there is at most one in any of them."""
SERVING = MOVING | {DeploymentState.ACTIVE, DeploymentState.ROLLBACK_FAILED}
"""States in which a deployment has, or is about to have, a part of the work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeployedVariant:
    """A variant as deployed: its configuration, a copy of its model, and what is desired of it now."""

    variant: Variant
    model: Model
    desired_weight: float
    desired_count: int
    overrides: Mapping[str, Model] = field(default_factory=dict)
    """Copies of the models that pools bring of their own, by instance type."""

    def model_for(self, instance_type: str) -> Model:
        """The model that instances of this type run."""
        return self.overrides.get(instance_type, self.model)


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredCapacity:
    """What UpdateEndpointWeightsAndCapacities asks of one variant; None leaves a value as it is."""

    variant_name: str
    weight: float | None = None
    instance_count: int | None = None

    @classmethod
    def of(cls, variant: DeployedVariant) -> "DesiredCapacity":
        """What is desired of a variant now."""
        return cls(variant_name=variant.variant.name, weight=variant.desired_weight, instance_count=variant.desired_count)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """One generation of an endpoint. Models are copied in, so deleting one changes nothing that runs."""

    id: str
    endpoint_id: str
    generation: int
    config: EndpointConfig
    variants: tuple[DeployedVariant, ...]
    state: DeploymentState
    created_at_us: int
    topics_tested: int = 0
    """How many times test notifications were asked for and sent (creation, update, each weights-and-capacities call)."""
    topics_tests_wanted: int = 1
    rollout: Rollout = field(default_factory=Rollout)
    winds_down_at_us: int = 0
    """Draining: its instances are kept until then, without new work."""
    capacities_before: tuple[DesiredCapacity, ...] = ()
    """While weights and counts are being changed: what they were, to go back to."""
    failure_reason: str | None = None
    revision: int = 0


@dataclass(frozen=True, slots=True)
class Share:
    """The buckets of one (deployment, variant)."""

    deployment_id: str
    variant_name: str
    buckets: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """Which (deployment, variant) works on which buckets of an endpoint's queue; ``id`` is the endpoint's id."""

    id: str
    shares: tuple[Share, ...] = ()
    revision: int = 0


def split_buckets(weights: Mapping[tuple[str, str], float]) -> tuple[Share, ...]:
    """Split the 100 buckets by weight, largest remainder first; weights that are all zero split evenly.

    Keys are (deployment id, variant name). An empty mapping gives no shares: the queue waits.
    """
    if not weights:
        return ()
    total = sum(weights.values())
    parts = {key: (weight / total if total else 1 / len(weights)) * BUCKETS for key, weight in weights.items()}
    counts = {key: int(part) for key, part in parts.items()}
    by_remainder = sorted(parts, key=lambda key: (counts[key] - parts[key], key))
    for key in by_remainder[: BUCKETS - sum(counts.values())]:
        counts[key] += 1
    shares, start = [], 0
    for (deployment_id, variant_name), count in counts.items():
        if count:
            shares.append(Share(deployment_id, variant_name, tuple(range(start, start + count))))
        start += count
    return tuple(shares)


def with_capacities(deployment: Deployment, capacities: Sequence[DesiredCapacity]) -> Deployment:
    """The deployment with other weights and counts for the variants that are named."""
    wanted = {capacity.variant_name: capacity for capacity in capacities}
    return replace(deployment, variants=tuple(_resized(one, wanted.get(one.variant.name)) for one in deployment.variants))


def _resized(variant: DeployedVariant, wanted: DesiredCapacity | None) -> DeployedVariant:
    if wanted is None:
        return variant
    return replace(
        variant,
        desired_weight=variant.desired_weight if wanted.weight is None else wanted.weight,
        desired_count=variant.desired_count if wanted.instance_count is None else wanted.instance_count,
    )
