"""Which deployment of an endpoint should have how many instances, and which part of the queue, at this moment.

While an update moves work from one deployment to the next, both have a part. The newest comes first: what it leaves goes to the
one before it.
"""

from collections.abc import Mapping
from fractions import Fraction
from math import ceil

from tarry.core.deployment import SERVING, Deployment, DeploymentState, Share, split_buckets
from tarry.core.instance import InstanceState
from tarry.core.planning.fleet import Targets, instances_of
from tarry.core.planning.view import EndpointView
from tarry.core.rollout import ALL, Position, backward, forward, halted


def serving(view: EndpointView) -> list[Deployment]:
    """The deployments that have or will have work, the newest first."""
    here = [deployment for deployment in view.deployments if deployment.state in SERVING]
    return sorted(here, key=lambda deployment: deployment.generation, reverse=True)


def targets_of(view: EndpointView) -> Targets:
    """How many instances each (deployment, variant) should have now. Deployments that wind down are not in it."""
    targets: dict[tuple[str, str], int] = {}
    kept = ALL
    for deployment in serving(view):
        position = _position(deployment, view.now_us)
        for variant in deployment.variants:
            part = kept * position.instances
            targets[deployment.id, variant.variant.name] = ceil(variant.desired_count * part)
        kept *= position.before
    return targets


def shares_of(view: EndpointView) -> tuple[Share, ...]:
    """The routing as of now: a variant without running instances lends its buckets to the others."""
    weights: dict[tuple[str, str], float] = {}
    left = ALL
    for deployment in serving(view):
        part = left * _position(deployment, view.now_us).traffic
        left -= part
        if part:
            weights |= _weights(view, deployment, part)
    return split_buckets(weights)


def _position(deployment: Deployment, now_us: int) -> Position:
    match deployment.state:
        case DeploymentState.STARTING | DeploymentState.SHIFTING:
            return forward(deployment.rollout, now_us)
        case DeploymentState.ROLLING_BACK:
            return backward(deployment.rollout)
        case DeploymentState.ROLLBACK_FAILED:
            return halted(deployment.rollout)
    return Position(traffic=ALL, instances=ALL, before=ALL)


def _weights(view: EndpointView, deployment: Deployment, part: Fraction) -> Mapping[tuple[str, str], float]:
    """The deployment's part, split among its variants that have running instances; weights that are all zero split evenly."""
    running = {row.variant_name for row in instances_of(view, deployment) if row.state is InstanceState.IN_SERVICE}
    weights = {variant.variant.name: variant.desired_weight for variant in deployment.variants if variant.variant.name in running}
    # Divided by the largest, so that no sum of large weights is infinite.
    largest = max(weights.values(), default=0.0)
    parts = {name: weight / largest if largest > 0 else 1.0 for name, weight in weights.items()}
    total = sum(parts.values())
    return {(deployment.id, name): float(part) * value / total for name, value in parts.items()}
