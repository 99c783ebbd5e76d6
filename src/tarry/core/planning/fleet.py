"""The instances of one deployment: how many are missing or too many, and when to try again."""

from collections.abc import Iterator, Mapping, Sequence

from tarry.core.deployment import Deployment
from tarry.core.instance import Instance, InstanceState
from tarry.core.planning.actions import Action, DrainInstance, StartInstance, StopInstance
from tarry.core.planning.view import EndpointView

CRASH_WINDOW_S = 600
"""Failures older than this are forgotten; those within make replacements wait."""
BACKOFF_S_MAX = 60

NOT_YET = frozenset({InstanceState.PENDING, InstanceState.STARTING})
COUNTED = NOT_YET | {InstanceState.IN_SERVICE}

_SECOND_US = 1_000_000

Targets = Mapping[tuple[str, str], int]
"""How many instances each (deployment id, variant name) should have."""


def instances_of(view: EndpointView, deployment: Deployment, variant_name: str | None = None) -> list[Instance]:
    """The rows of a deployment, ended ones too; with a name, those of that variant."""
    return [row for row in view.instances if row.deployment_id == deployment.id and variant_name in (None, row.variant_name)]


def failed_of(rows: Sequence[Instance]) -> list[Instance]:
    """Those that have failed."""
    return [row for row in rows if row.state is InstanceState.FAILED]


def scale(view: EndpointView, deployment: Deployment, targets: Targets) -> Iterator[Action]:
    """Start what is missing of each variant, drain what is too much."""
    for variant in deployment.variants:
        rows = instances_of(view, deployment, variant.variant.name)
        counted = [row for row in rows if row.state in COUNTED]
        missing = targets[deployment.id, variant.variant.name] - len(counted)
        if missing > 0 and view.now_us >= next_start_us(failed_of(rows), view.now_us):
            for _ in range(missing):
                yield StartInstance(deployment.id, variant.variant.name)
        # First those that serve nobody yet, then the newest: caches of old ones are warm.
        surplus = sorted(counted, key=lambda row: (row.state in NOT_YET, row.created_at_us, row.id), reverse=True)
        for row in surplus[: max(-missing, 0)]:
            yield StopInstance(row.id) if row.state in NOT_YET else DrainInstance(row.id)


def next_start_us(failed: Sequence[Instance], now_us: int) -> int:
    """When a replacement may be started: at once after one failure, after 2, 4, 8 … at most 60 s where they repeat."""
    recent = [ended for row in failed if (ended := row.ended_at_us or 0) > now_us - CRASH_WINDOW_S * _SECOND_US]
    if len(recent) <= 1:
        return 0
    backoff_s = min(1 << min(len(recent) - 1, 16), BACKOFF_S_MAX)
    return max(recent) + backoff_s * _SECOND_US


def has_capacity(view: EndpointView, deployment: Deployment, targets: Targets) -> bool:
    """Whether each variant has exactly its target InService, and none more on the way."""
    for variant in deployment.variants:
        counted = [row.state for row in instances_of(view, deployment, variant.variant.name) if row.state in COUNTED]
        if counted != [InstanceState.IN_SERVICE] * targets[deployment.id, variant.variant.name]:
            return False
    return True
