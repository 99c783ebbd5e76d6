"""What has to be done so that an endpoint becomes what its caller desires: pure, from a view of the rows to actions.

The reconciler fetches a view, asks ``plan`` and carries the actions out in order. A plan never depends on what an earlier
pass did or meant to do, only on rows, so a crash between any two actions changes nothing: the next pass plans from there.
Every action may come again in the next pass, until the rows show that it is done.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from tarry.core.deployment import Deployment, DeploymentState, Routing, Share, split_buckets
from tarry.core.endpoint import Endpoint, EndpointStatus
from tarry.core.instance import ENDED, Instance, InstanceState

START_FAILURES_MAX = 3
"""So many failures end the start of a deployment whose instances answered /ping at first, and a change of capacities."""
CRASH_WINDOW_S = 600
"""Failures older than this are forgotten; those within make replacements wait."""
BACKOFF_S_MAX = 60
DRAIN_S_MAX = 3600 + 300
"""AWS: an invocation takes at most 3600 s (InvokeEndpointAsync, InvocationTimeoutSeconds). OURS: and 300 s for its way out."""

_SECOND_US = 1_000_000
_WINDING_DOWN = frozenset({DeploymentState.DRAINING, DeploymentState.FAILED})
_NOT_YET = frozenset({InstanceState.PENDING, InstanceState.STARTING})
_COUNTED = _NOT_YET | {InstanceState.IN_SERVICE}


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointView:
    """An endpoint and all that belongs to it, as observed.

    ``instances`` were read before ``busy``: an instance that is Draining in the one and not busy in the other stays so.
    """

    endpoint: Endpoint
    deployments: tuple[Deployment, ...]
    """Those that are not Stopped."""
    instances: tuple[Instance, ...]
    """All rows, ended ones too."""
    routing: Routing | None
    now_us: int
    attended: frozenset[str] = frozenset()
    """Ids of instances that this process is looking after."""
    running: frozenset[str] = frozenset()
    """Ids of instances that the engine knows."""
    busy: frozenset[str] = frozenset()
    """Ids of Draining instances that have Running invocations."""
    unfinished: bool = False
    """Whether an endpoint that is being deleted has invocations that have not ended."""


@dataclass(frozen=True, slots=True)
class StartInstance:
    """Write a Pending row for this variant and look after it."""

    deployment_id: str
    variant_name: str


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
    """End it in the engine; its row becomes Stopped."""

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
class FailDeployment:
    """Give a start up: a new endpoint becomes Failed, an updated one goes on with what it had."""

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
    | FailDeployment
    | EndUpdate
    | StopDeployment
    | FinishDeletion
)


def plan(view: EndpointView) -> tuple[Action, ...]:
    """The next actions, in order. An empty plan: nothing to do until something changes or time passes."""
    if view.endpoint.status is EndpointStatus.DELETED:
        return ()
    gone = frozenset(row.id for row in view.instances if _is_gone(row, view))
    here = replace(view, instances=tuple(row for row in view.instances if row.id not in gone))
    actions: list[Action] = [StopInstance(instance_id) for instance_id in sorted(gone)]
    if view.endpoint.status is EndpointStatus.DELETING:
        return (*actions, *_delete(here, stopping=bool(gone)))
    actions += (AttendInstance(row.id) for row in here.instances if row.state not in ENDED and row.id not in view.attended)
    for deployment in here.deployments:
        if gone and deployment.state in _WINDING_DOWN:
            continue  # it is not Stopped before the rows of what is gone are
        actions += _PLANS[deployment.state](here, deployment)
    actions += _stop_drained(here)
    actions += _forget(here)
    return tuple(actions)


def _is_gone(row: Instance, view: EndpointView) -> bool:
    """Whether a row says that something runs which does not: it was started by a process that has ended."""
    started = row.state not in ENDED and row.state is not InstanceState.PENDING
    return started and row.id not in view.attended and row.id not in view.running


def _of(view: EndpointView, deployment: Deployment, variant_name: str | None = None) -> list[Instance]:
    return [row for row in view.instances if row.deployment_id == deployment.id and variant_name in (None, row.variant_name)]


# ------------------------------------------------------------------------------------------- by state of the deployment


def _start(view: EndpointView, deployment: Deployment) -> Iterator[Action]:
    reason = _start_failure(view, deployment)
    if reason is not None:
        yield FailDeployment(deployment.id, reason)
        return
    yield from _scale(view, deployment)
    if not _topics_tested(deployment):
        yield TestTopics(deployment.id)
    elif _has_capacity(view, deployment):
        yield Activate(deployment.id, _shares(view, deployment))


def _serve(view: EndpointView, deployment: Deployment) -> Iterator[Action]:
    yield from _scale(view, deployment)
    if not _topics_tested(deployment):
        yield TestTopics(deployment.id)
    shares = _shares(view, deployment)
    if view.routing is None or view.routing.shares != shares:
        yield Route(shares)
    replacing = any(other.state is DeploymentState.STARTING for other in view.deployments)
    if view.endpoint.status is EndpointStatus.UPDATING and not replacing:
        yield from _end_update(view, deployment)


def _end_update(view: EndpointView, deployment: Deployment) -> Iterator[Action]:
    if not _topics_tested(deployment):
        return
    if _has_capacity(view, deployment):
        yield EndUpdate(deployment.failure_reason)
        return
    failed = [
        row
        for row in _failed(_of(view, deployment))
        if row.ready_at_us is None and (row.ended_at_us or 0) >= view.endpoint.modified_at_us
    ]
    if len(failed) >= START_FAILURES_MAX:
        # OURS: AWS goes back to the capacities before. Here they stay as desired, and starting goes on, with pauses.
        yield EndUpdate(failed[-1].failure_reason)


def _wind_down(view: EndpointView, deployment: Deployment) -> Iterator[Action]:
    live = [row for row in _of(view, deployment) if row.state not in ENDED]
    for row in live:
        if row.state in _NOT_YET:
            yield StopInstance(row.id)
        elif row.state is InstanceState.IN_SERVICE:
            yield DrainInstance(row.id)
    if not live:
        yield StopDeployment(deployment.id)


def _nothing(view: EndpointView, deployment: Deployment) -> Iterator[Action]:
    yield from ()


_PLANS = {
    DeploymentState.STARTING: _start,
    DeploymentState.ACTIVE: _serve,
    DeploymentState.DRAINING: _wind_down,
    DeploymentState.FAILED: _wind_down,
    DeploymentState.STOPPED: _nothing,
}


def _delete(view: EndpointView, *, stopping: bool) -> Iterator[Action]:
    """Busy or not, instances are stopped: delivery ends what they were working on with 'endpoint deleted'."""
    live = [row for row in view.instances if row.state not in ENDED]
    for row in live:
        yield DrainInstance(row.id) if row.state is InstanceState.IN_SERVICE else StopInstance(row.id)
    if not live and not stopping and not view.unfinished:
        yield FinishDeletion()


# --------------------------------------------------------------------------------------------------- counts and shares


def _scale(view: EndpointView, deployment: Deployment) -> Iterator[Action]:
    for variant in deployment.variants:
        rows = _of(view, deployment, variant.variant.name)
        counted = [row for row in rows if row.state in _COUNTED]
        missing = variant.desired_count - len(counted)
        if missing > 0 and view.now_us >= next_start_us(_failed(rows), view.now_us):
            for _ in range(missing):
                yield StartInstance(deployment.id, variant.variant.name)
        # First those that serve nobody yet, then the newest: caches of old ones are warm.
        surplus = sorted(counted, key=lambda row: (row.state in _NOT_YET, row.created_at_us, row.id), reverse=True)
        for row in surplus[: max(-missing, 0)]:
            yield StopInstance(row.id) if row.state in _NOT_YET else DrainInstance(row.id)


def next_start_us(failed: Sequence[Instance], now_us: int) -> int:
    """When a replacement may be started: at once after one failure, after 2, 4, 8 … at most 60 s where they repeat."""
    recent = [ended for row in failed if (ended := row.ended_at_us or 0) > now_us - CRASH_WINDOW_S * _SECOND_US]
    if len(recent) <= 1:
        return 0
    backoff_s = min(1 << min(len(recent) - 1, 16), BACKOFF_S_MAX)
    return max(recent) + backoff_s * _SECOND_US


def _failed(rows: Sequence[Instance]) -> list[Instance]:
    return [row for row in rows if row.state is InstanceState.FAILED]


def _start_failure(view: EndpointView, deployment: Deployment) -> str | None:
    if deployment.failure_reason is not None:
        return deployment.failure_reason
    failed = _failed(_of(view, deployment))
    # OURS: one failed start is enough; AWS goes on for about half an hour, in which the endpoint can not even be deleted.
    never_ready = [row for row in failed if row.ready_at_us is None]
    decisive = never_ready or (failed if len(failed) >= START_FAILURES_MAX else [])
    return (decisive[0].failure_reason or "An instance failed.") if decisive else None


def _topics_tested(deployment: Deployment) -> bool:
    config = deployment.config.async_inference
    configured = config.success_topic is not None or config.error_topic is not None
    return not configured or deployment.topics_tested >= deployment.topics_tests_wanted


def _has_capacity(view: EndpointView, deployment: Deployment) -> bool:
    """Whether each variant has exactly the desired number InService, and none more on the way."""
    for variant in deployment.variants:
        counted = [row.state for row in _of(view, deployment, variant.variant.name) if row.state in _COUNTED]
        if counted != [InstanceState.IN_SERVICE] * variant.desired_count:
            return False
    return True


def _shares(view: EndpointView, deployment: Deployment) -> tuple[Share, ...]:
    """The routing as of now: a variant without running instances lends its buckets to the others."""
    running = {row.variant_name for row in _of(view, deployment) if row.state is InstanceState.IN_SERVICE}
    weights = {
        (deployment.id, variant.variant.name): variant.desired_weight
        for variant in deployment.variants
        if variant.variant.name in running
    }
    largest = max(weights.values(), default=0.0)
    # Divided by the largest, so that no sum of large weights is infinite.
    return split_buckets({key: weight / largest for key, weight in weights.items()} if largest > 0 else weights)


# ------------------------------------------------------------------------------------------------------- what has ended


def _stop_drained(view: EndpointView) -> Iterator[Action]:
    for row in view.instances:
        if row.state is InstanceState.DRAINING:
            overdue = row.draining_at_us is not None and view.now_us - row.draining_at_us > DRAIN_S_MAX * _SECOND_US
            if row.id not in view.busy or overdue:
                yield StopInstance(row.id)


def _forget(view: EndpointView) -> Iterator[Action]:
    states = {deployment.id: deployment.state for deployment in view.deployments}
    horizon_us = view.now_us - CRASH_WINDOW_S * _SECOND_US
    if view.endpoint.status is EndpointStatus.UPDATING:
        horizon_us = min(horizon_us, view.endpoint.modified_at_us)  # _end_update counts those since the update began
    for row in view.instances:
        if row.state not in ENDED or row.id in view.attended:
            continue
        state = states.get(row.deployment_id)
        needed = row.state is InstanceState.FAILED and (
            state is DeploymentState.STARTING or (state is DeploymentState.ACTIVE and (row.ended_at_us or 0) >= horizon_us)
        )
        if not needed:
            yield ForgetInstance(row.id)
