"""The instances of one deployment: how many are missing or too many, and when to try again."""

from collections.abc import Iterator, Mapping, Sequence

from tarry.core.catalog import InstancePool, Variant
from tarry.core.deployment import DeployedVariant, Deployment
from tarry.core.instance import ENDED, FAILURE_REASON_CHARS_MAX, NOT_YET, Instance, InstanceState, cause_of
from tarry.core.planning.actions import Action, DrainInstance, StartInstance, StopInstance
from tarry.core.planning.view import EndpointView

CRASH_WINDOW_S = 600
"""Failures older than this are forgotten; those within make replacements wait."""
BACKOFF_S_MAX = 60
CAPACITY_RETRY_S = 30
"""A pool that had no capacity is asked again after this time, or when an instance has ended."""

COUNTED = NOT_YET | {InstanceState.IN_SERVICE}

_SECOND_US = 1_000_000
_CRASH_WINDOW_US = CRASH_WINDOW_S * _SECOND_US

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
            pool = pool_for(variant.variant, rows, max(view.now_us - CAPACITY_RETRY_S * _SECOND_US, view.freed_at_us))
            starts = [StartInstance(deployment.id, variant.variant.name, pool.instance_type)] if pool is not None else []
            yield from starts * missing
        # First those that serve nobody yet, then the newest: caches of old ones are warm.
        surplus = sorted(counted, key=lambda row: (row.state in NOT_YET, row.created_at_us, row.id), reverse=True)
        for row in surplus[: max(-missing, 0)]:
            yield StopInstance(row.id) if row.state in NOT_YET else DrainInstance(row.id)


def next_start_us(failed: Sequence[Instance], now_us: int) -> int:
    """When a replacement may be started: at once after one failure, after 2, 4, 8 … at most 60 s where they repeat."""
    crashed = [row for row in failed if not row.out_of_capacity]
    recent = [ended for row in crashed if (ended := row.ended_at_us or 0) > now_us - CRASH_WINDOW_S * _SECOND_US]
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


def pool_for(variant: Variant, rows: Sequence[Instance], since_us: int) -> InstancePool | None:
    """What the next instance is started on: the first pool that has not lacked capacity since then; None: all have, wait."""
    without = {row.instance_type for row in rows if row.out_of_capacity and (row.ended_at_us or 0) > since_us}
    return next((pool for pool in variant.types if pool.instance_type not in without), None)


def lacks_capacity(view: EndpointView, deployment: Deployment, variant: Variant, targets: Targets, since_us: int) -> str | None:
    """The reason, once no pool had room for what is missing and the time for finding some, which began then, is over."""
    rows = instances_of(view, deployment, variant.name)
    if sum(row.state in COUNTED for row in rows) >= targets.get((deployment.id, variant.name), 0):
        return None  # there was no room once, and then there was
    refused = [row for row in rows if row.out_of_capacity and (row.ended_at_us or 0) >= since_us]
    tried = {row.instance_type for row in refused}
    timeout_s = view.provision_timeout_s if variant.provision_timeout_s is None else variant.provision_timeout_s
    waiting = view.now_us - since_us < timeout_s * _SECOND_US
    if not refused or waiting or any(pool.instance_type not in tried for pool in variant.types):
        return None
    reason = refused[-1].failure_reason or "There is no capacity."
    if len(tried) == 1:
        return reason
    types = ", ".join(pool.instance_type for pool in variant.types)
    return f"{reason} None of the instance pools of variant {variant.name} has room: {types}."


def waiting_for(
    endpoint_name: str, deployment: Deployment, variant: DeployedVariant, instances: Sequence[Instance], now_us: int
) -> str | None:
    """What a variant lacks at this moment, and why an instance failed lately, for people who wait for it or for its answers.

    None where all that is desired is InService, and none has failed within CRASH_WINDOW_S. At most so many characters as
    DescribeEndpoint allows.
    """
    rows = [row for row in instances if row.deployment_id == deployment.id and row.variant_name == variant.variant.name]
    ready = [row for row in rows if row.state is InstanceState.IN_SERVICE]
    silent = sum(row.unanswered_since_us is not None for row in ready)
    crash = _last_crash(rows, now_us)
    if len(ready) >= variant.desired_count and not silent and crash is None:
        return None
    said = [_lacks(variant, rows, len(ready), silent)]
    answers = [row.ping_answer for row in rows if row.ping_answer and row.state in COUNTED]
    if answers:
        said.append(f"GET /ping last answered: {answers[-1].rstrip('.')} (tarry logs {endpoint_name} has more).")
    if crash is not None:
        said.append(crash)
    return " ".join(said)[:FAILURE_REASON_CHARS_MAX]


def _lacks(variant: DeployedVariant, rows: Sequence[Instance], ready: int, silent: int) -> str:
    said = f"{ready} of {variant.desired_count} instances are in service"
    if silent:
        said = f"{said}, {silent} of them without an answer to GET /ping and therefore without new work"
    if starting := [row for row in rows if row.state in NOT_YET]:
        return f"{said}, {len(starting)} are starting (image and model data, then GET /ping)."
    if (last := _refused_last(rows)) is not None:
        tried = {row.instance_type for row in rows if row.out_of_capacity}
        types = ", ".join(pool.instance_type for pool in variant.variant.types if pool.instance_type in tried)
        return (
            f"{said}. There is no capacity for more on {types}; it is asked for again every {CAPACITY_RETRY_S} s, and when an "
            f"instance has ended. {last.failure_reason or ''}".rstrip()
        )
    return f"{said}."


def _refused_last(rows: Sequence[Instance]) -> Instance | None:
    """The row that there was no room for, where nothing of the variant has been started or has ended since."""
    last = max((row for row in rows if row.state in ENDED), key=lambda row: row.ended_at_us or 0, default=None)
    if last is None or not last.out_of_capacity:
        return None
    return None if any(row.created_at_us > (last.ended_at_us or 0) for row in rows) else last


def _last_crash(rows: Sequence[Instance], now_us: int) -> str | None:
    recent = [row for row in failed_of(rows) if not row.out_of_capacity and now_us - (row.ended_at_us or 0) < _CRASH_WINDOW_US]
    if not recent:
        return None
    last = max(recent, key=lambda row: row.ended_at_us or 0)
    ago_s = (now_us - (last.ended_at_us or 0)) // _SECOND_US
    return f"An instance failed {ago_s} s ago: {cause_of(last.failure_reason or 'nobody knows why.')}"
