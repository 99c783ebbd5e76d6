"""What has to be done for one deployment, by its state: start it, give it work step by step, take it back, wind it down."""

from collections.abc import Iterator
from dataclasses import replace

from tarry.core.deployment import MOVING, Deployment, DeploymentState, Share
from tarry.core.endpoint import EndpointStatus
from tarry.core.instance import ENDED, NOT_YET, InstanceState
from tarry.core.planning.actions import (
    Action,
    Activate,
    DrainInstance,
    EndUpdate,
    FailDeployment,
    HaltRollback,
    RevertCapacities,
    RollBack,
    Shift,
    StopDeployment,
    StopInstance,
    TestTopics,
)
from tarry.core.planning.fleet import Targets, failed_of, has_capacity, instances_of, lacks_capacity, scale
from tarry.core.planning.traffic import serving, shares_of
from tarry.core.planning.view import EndpointView
from tarry.core.rollout import ALL, NOTHING, Rollout

START_FAILURES_MAX = 3
"""So many failures end the start of a deployment whose instances answered /ping at first, and a change of capacities."""

_SECOND_US = 1_000_000


def plan_deployment(view: EndpointView, deployment: Deployment, targets: Targets) -> Iterator[Action]:
    """The next actions for one deployment of an endpoint that is not being deleted."""
    match deployment.state:
        case DeploymentState.STARTING:
            yield from _start(view, deployment, targets)
        case DeploymentState.SHIFTING:
            yield from _shift(view, deployment, targets)
        case DeploymentState.ROLLING_BACK:
            yield from _go_back(view, deployment, targets)
        case DeploymentState.ACTIVE:
            yield from _serve(view, deployment, targets)
        case DeploymentState.ROLLBACK_FAILED:
            yield from scale(view, deployment, targets)
        case DeploymentState.DRAINING | DeploymentState.FAILED:
            yield from _wind_down(view, deployment)


# ---------------------------------------------------------------------------------------------------------- going forward


def _start(view: EndpointView, deployment: Deployment, targets: Targets) -> Iterator[Action]:
    reason = _start_failure(view, deployment, targets) or _overdue(view, deployment)
    if reason is not None:
        yield FailDeployment(deployment.id, reason)
        return
    yield from scale(view, deployment, targets)
    if not _topics_tested(deployment):
        yield TestTopics(deployment.id)
    elif has_capacity(view, deployment, targets):
        yield _step_forward(view, deployment)


def _shift(view: EndpointView, deployment: Deployment, targets: Targets) -> Iterator[Action]:
    reason = _start_failure(view, deployment, targets) or _alarm(view, deployment) or _overdue(view, deployment)
    if reason is not None:
        yield _take_back(view, deployment, reason)
        return
    yield from scale(view, deployment, targets)
    rollout = deployment.rollout
    # OURS: AWS does not say. An update that is to be watched goes no further while nobody can watch it; its maximum execution
    # timeout, where it has one, ends that.
    if not rollout.watched(view.now_us) or not view.unread_alarms.isdisjoint(rollout.config.alarms):
        return
    if rollout.taken == ALL:
        yield _activate(view, deployment)
    elif has_capacity(view, deployment, targets):
        yield _step_forward(view, deployment)


def _step_forward(view: EndpointView, deployment: Deployment) -> Action:
    """The next step; the last one ends the update at once where there is nothing to watch, or nothing to go back to."""
    rollout = deployment.rollout
    alone = all(other.id == deployment.id for other in serving(view))
    last = rollout.steps_taken + 1 >= len(rollout.steps)
    if alone or (last and rollout.config.wait_s == 0):
        return _activate(view, deployment)
    taken = replace(rollout, steps_taken=rollout.steps_taken + 1, stepped_at_us=view.now_us)
    shifted = replace(deployment, state=DeploymentState.SHIFTING, rollout=taken)
    return Shift(deployment.id, taken, shares_of(_with(view, shifted)))


def _activate(view: EndpointView, deployment: Deployment) -> Action:
    others = [one for one in view.deployments if one.id == deployment.id or one not in serving(view)]
    active = replace(deployment, state=DeploymentState.ACTIVE)
    return Activate(deployment.id, shares_of(_with(replace(view, deployments=tuple(others)), active)))


def _alarm(view: EndpointView, deployment: Deployment) -> str | None:
    ringing = [name for name in deployment.rollout.config.alarms if name in view.ringing]
    if not ringing:
        return None
    names = ", ".join(f'"{name}"' for name in ringing)
    # OURS: AWS's own sentence was not found.
    return f"The update was rolled back, since the alarm(s) {names} went to ALARM while the new deployment was being watched."


def _overdue(view: EndpointView, deployment: Deployment) -> str | None:
    limit_s = deployment.rollout.config.execution_s_max
    if limit_s is None or view.now_us - deployment.created_at_us <= limit_s * _SECOND_US:
        return None
    # OURS: AWS's own sentence was not found.
    return f"The update did not end within its maximum execution timeout ({limit_s} seconds)."


def _start_failure(view: EndpointView, deployment: Deployment, targets: Targets) -> str | None:
    if deployment.failure_reason is not None:
        return deployment.failure_reason
    if (lacking := _lacks_capacity(view, deployment, targets, deployment.created_at_us)) is not None:
        return lacking
    failed = [row for row in failed_of(instances_of(view, deployment)) if not row.out_of_capacity]
    # OURS: one failed start is enough; AWS goes on for about half an hour, in which the endpoint can not even be deleted.
    never_ready = [row for row in failed if row.ready_at_us is None]
    decisive = never_ready or (failed if len(failed) >= START_FAILURES_MAX else [])
    return (decisive[0].failure_reason or "An instance failed.") if decisive else None


# ------------------------------------------------------------------------------------------------------------- going back


def _take_back(view: EndpointView, deployment: Deployment, reason: str) -> Action:
    """Blue/green: at once, the old fleet is there. Rolling: in batches, the old instances have to be started first.

    OURS: in a linear update a part of the old fleet is gone too. What is left of it takes all of the queue at once, and the rest
    is started again behind it: nothing is lost by waiting in a queue.
    """
    if deployment.rollout.config.rolling is not None:
        return RollBack(deployment.id, replace(deployment.rollout, back_since_us=view.now_us), reason)
    return FailDeployment(deployment.id, reason, _shares_without(view, deployment))


def _go_back(view: EndpointView, deployment: Deployment, targets: Targets) -> Iterator[Action]:
    before = [other for other in serving(view) if other.id != deployment.id]
    causes = [cause for other in before if (cause := _cannot_start(view, other, targets, deployment.rollout.back_since_us or 0))]
    if causes:
        yield HaltRollback(deployment.id, f"{deployment.failure_reason} The rollback failed too: {causes[0]}")
        return
    yield from scale(view, deployment, targets)
    if all(has_capacity(view, other, targets) for other in before):
        yield _step_back(view, deployment)


def _step_back(view: EndpointView, deployment: Deployment) -> Action:
    rollout: Rollout = replace(deployment.rollout, back_steps_taken=deployment.rollout.back_steps_taken + 1)
    if rollout.left == NOTHING:
        reason = deployment.failure_reason or "The update failed."
        return FailDeployment(deployment.id, reason, _shares_without(view, deployment))
    return Shift(deployment.id, rollout, shares_of(_with(view, replace(deployment, rollout=rollout))))


# ---------------------------------------------------------------------------------------------------------------- serving


def _serve(view: EndpointView, deployment: Deployment, targets: Targets) -> Iterator[Action]:
    yield from scale(view, deployment, targets)
    if not _topics_tested(deployment):
        yield TestTopics(deployment.id)
    replacing = any(other.state in MOVING for other in view.deployments)
    if view.endpoint.status in {EndpointStatus.UPDATING, EndpointStatus.ROLLING_BACK} and not replacing:
        yield from _end_rescaling(view, deployment, targets)


def _end_rescaling(view: EndpointView, deployment: Deployment, targets: Targets) -> Iterator[Action]:
    if not _topics_tested(deployment):
        return
    reverting = view.endpoint.status is EndpointStatus.ROLLING_BACK
    if has_capacity(view, deployment, targets):
        yield EndUpdate(view.endpoint.failure_reason if reverting else deployment.failure_reason)
        return
    cause = _cannot_start(view, deployment, targets, view.endpoint.modified_at_us)
    if cause is None:
        return
    if reverting:
        # OURS: it was like this before, and starting goes on, with pauses.
        yield EndUpdate(view.endpoint.failure_reason)
    else:
        yield RevertCapacities(deployment.id, cause)


def _wind_down(view: EndpointView, deployment: Deployment) -> Iterator[Action]:
    kept = view.now_us < deployment.winds_down_at_us
    live = [row for row in instances_of(view, deployment) if row.state not in ENDED]
    for row in live:
        if row.state in NOT_YET:
            yield StopInstance(row.id)
        elif row.state is InstanceState.IN_SERVICE and not kept:
            yield DrainInstance(row.id)
    if not live:
        yield StopDeployment(deployment.id)


# ----------------------------------------------------------------------------------------------------------------- common


def _topics_tested(deployment: Deployment) -> bool:
    config = deployment.config.async_inference
    configured = config.success_topic is not None or config.error_topic is not None
    return not configured or deployment.topics_tested >= deployment.topics_tests_wanted


def _cannot_start(view: EndpointView, deployment: Deployment, targets: Targets, since_us: int) -> str | None:
    """Why more instances of a deployment that serves do not come up; None as long as they may."""
    if (lacking := _lacks_capacity(view, deployment, targets, since_us)) is not None:
        return lacking
    rows = [row for row in failed_of(instances_of(view, deployment)) if not row.out_of_capacity]
    failed = [row for row in rows if row.ready_at_us is None and (row.ended_at_us or 0) >= since_us]
    return (failed[-1].failure_reason or "An instance failed.") if len(failed) >= START_FAILURES_MAX else None


def _lacks_capacity(view: EndpointView, deployment: Deployment, targets: Targets, since_us: int) -> str | None:
    reasons = (lacks_capacity(view, deployment, one.variant, targets, since_us) for one in deployment.variants)
    return next((reason for reason in reasons if reason is not None), None)


def _with(view: EndpointView, changed: Deployment) -> EndpointView:
    others = (one for one in view.deployments if one.id != changed.id)
    return replace(view, deployments=(*others, changed))


def _shares_without(view: EndpointView, deployment: Deployment) -> tuple[Share, ...]:
    return shares_of(replace(view, deployments=tuple(one for one in view.deployments if one.id != deployment.id)))
