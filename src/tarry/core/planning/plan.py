"""What has to be done so that an endpoint becomes what its caller desires: pure, from a view of the rows to actions.

The reconciler fetches a view, asks ``plan`` and carries the actions out in order. A plan never depends on what an earlier
pass did or meant to do, only on rows, so a crash between any two actions changes nothing: the next pass plans from there.
Every action may come again in the next pass, until the rows show that it is done.
"""

from collections.abc import Iterator
from dataclasses import replace

from tarry.core.deployment import Deployment, DeploymentState
from tarry.core.endpoint import EndpointStatus
from tarry.core.instance import ENDED, Instance, InstanceState
from tarry.core.planning.actions import (
    Action,
    Activate,
    AttendInstance,
    DrainInstance,
    EndUpdate,
    FailDeployment,
    FinishDeletion,
    ForgetInstance,
    Route,
    StopDeployment,
    StopInstance,
    TestTopics,
)
from tarry.core.planning.fleet import CRASH_WINDOW_S, NOT_YET, failed_of, has_capacity, instances_of, scale, shares_of
from tarry.core.planning.view import EndpointView

START_FAILURES_MAX = 3
"""So many failures end the start of a deployment whose instances answered /ping at first, and a change of capacities."""
DRAIN_S_MAX = 3600 + 300
"""AWS: an invocation takes at most 3600 s (InvokeEndpointAsync, InvocationTimeoutSeconds). OURS: and 300 s for its way out."""

_SECOND_US = 1_000_000
_WINDING_DOWN = frozenset({DeploymentState.DRAINING, DeploymentState.FAILED})


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


# ------------------------------------------------------------------------------------------- by state of the deployment


def _start(view: EndpointView, deployment: Deployment) -> Iterator[Action]:
    reason = _start_failure(view, deployment)
    if reason is not None:
        yield FailDeployment(deployment.id, reason)
        return
    yield from scale(view, deployment)
    if not _topics_tested(deployment):
        yield TestTopics(deployment.id)
    elif has_capacity(view, deployment):
        yield Activate(deployment.id, shares_of(view, deployment))


def _serve(view: EndpointView, deployment: Deployment) -> Iterator[Action]:
    yield from scale(view, deployment)
    if not _topics_tested(deployment):
        yield TestTopics(deployment.id)
    shares = shares_of(view, deployment)
    if view.routing is None or view.routing.shares != shares:
        yield Route(shares)
    replacing = any(other.state is DeploymentState.STARTING for other in view.deployments)
    if view.endpoint.status is EndpointStatus.UPDATING and not replacing:
        yield from _end_update(view, deployment)


def _end_update(view: EndpointView, deployment: Deployment) -> Iterator[Action]:
    if not _topics_tested(deployment):
        return
    if has_capacity(view, deployment):
        yield EndUpdate(deployment.failure_reason)
        return
    failed = [
        row
        for row in failed_of(instances_of(view, deployment))
        if row.ready_at_us is None and (row.ended_at_us or 0) >= view.endpoint.modified_at_us
    ]
    if len(failed) >= START_FAILURES_MAX:
        # OURS: AWS goes back to the capacities before. Here they stay as desired, and starting goes on, with pauses.
        yield EndUpdate(failed[-1].failure_reason)


def _wind_down(view: EndpointView, deployment: Deployment) -> Iterator[Action]:
    live = [row for row in instances_of(view, deployment) if row.state not in ENDED]
    for row in live:
        if row.state in NOT_YET:
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


def _start_failure(view: EndpointView, deployment: Deployment) -> str | None:
    if deployment.failure_reason is not None:
        return deployment.failure_reason
    failed = failed_of(instances_of(view, deployment))
    # OURS: one failed start is enough; AWS goes on for about half an hour, in which the endpoint can not even be deleted.
    never_ready = [row for row in failed if row.ready_at_us is None]
    decisive = never_ready or (failed if len(failed) >= START_FAILURES_MAX else [])
    return (decisive[0].failure_reason or "An instance failed.") if decisive else None


def _topics_tested(deployment: Deployment) -> bool:
    config = deployment.config.async_inference
    configured = config.success_topic is not None or config.error_topic is not None
    return not configured or deployment.topics_tested >= deployment.topics_tests_wanted


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
