"""What has to be done so that an endpoint becomes what its caller desires: pure, from a view of the rows to actions.

The reconciler fetches a view, asks ``plan`` and carries the actions out in order. A plan never depends on what an earlier
pass did or meant to do, only on rows, so a crash between any two actions changes nothing: the next pass plans from there.
Every action may come again in the next pass, until the rows show that it is done.
"""

from collections.abc import Iterator
from dataclasses import replace

from tarry.core.deployment import MOVING, DeploymentState
from tarry.core.endpoint import EndpointStatus
from tarry.core.instance import ENDED, Instance, InstanceState
from tarry.core.planning.actions import (
    Action,
    Activate,
    AttendInstance,
    DrainInstance,
    FailDeployment,
    FinishDeletion,
    ForgetInstance,
    Route,
    Shift,
    StopInstance,
)
from tarry.core.planning.fleet import CRASH_WINDOW_S
from tarry.core.planning.traffic import shares_of, targets_of
from tarry.core.planning.updates import plan_deployment
from tarry.core.planning.view import EndpointView

DRAIN_MARGIN_S = 300
"""OURS: how long a drain may last beyond the longest time limit of what runs: time to carry the answer away."""

_SECOND_US = 1_000_000
_WINDING_DOWN = frozenset({DeploymentState.DRAINING, DeploymentState.FAILED})
_CHANGING = frozenset({EndpointStatus.UPDATING, EndpointStatus.ROLLING_BACK})
_MOVE_WORK = (Activate, Shift, FailDeployment)
"""Actions that write the routing themselves."""


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
    targets = targets_of(here)
    for deployment in here.deployments:
        if gone and deployment.state in _WINDING_DOWN:
            continue  # it is not Stopped before the rows of what is gone are
        actions += plan_deployment(here, deployment, targets)
    if not any(isinstance(action, _MOVE_WORK) for action in actions):
        actions += _route(here)
    actions += _stop_drained(here)
    actions += _forget(here)
    return tuple(actions)


def _is_gone(row: Instance, view: EndpointView) -> bool:
    """Whether a row says that something runs which does not: it was started by a process that has ended."""
    started = row.state not in ENDED and row.state is not InstanceState.PENDING
    return started and row.id not in view.attended and row.id not in view.running


def _route(view: EndpointView) -> Iterator[Action]:
    """Instances have come or gone, or weights have changed: the routing follows."""
    if any(deployment.state is DeploymentState.ACTIVE for deployment in view.deployments):
        shares = shares_of(view)
        if view.routing is None or view.routing.shares != shares:
            yield Route(shares)


def _delete(view: EndpointView, *, stopping: bool) -> Iterator[Action]:
    """Busy or not, instances are stopped: delivery ends what they were working on with 'endpoint deleted'."""
    live = [row for row in view.instances if row.state not in ENDED]
    for row in live:
        yield DrainInstance(row.id) if row.state is InstanceState.IN_SERVICE else StopInstance(row.id)
    if not live and not stopping and not view.unfinished:
        yield FinishDeletion()


# ------------------------------------------------------------------------------------------------------- what has ended


def _stop_drained(view: EndpointView) -> Iterator[Action]:
    for row in view.instances:
        if row.state is InstanceState.DRAINING:
            longest_s = view.busy.get(row.id)
            since_us = row.draining_at_us or view.now_us
            if longest_s is None or view.now_us - since_us > (longest_s + DRAIN_MARGIN_S) * _SECOND_US:
                yield StopInstance(row.id)


def _forget(view: EndpointView) -> Iterator[Action]:
    states = {deployment.id: deployment.state for deployment in view.deployments}
    horizon_us = view.now_us - CRASH_WINDOW_S * _SECOND_US
    if view.endpoint.status in _CHANGING:
        horizon_us = min(horizon_us, view.endpoint.modified_at_us)  # failures since the update began are counted
    for row in view.instances:
        if row.state not in ENDED or row.id in view.attended:
            continue
        state = states.get(row.deployment_id)
        needed = row.state is InstanceState.FAILED and (
            state in MOVING or (state is DeploymentState.ACTIVE and (row.ended_at_us or 0) >= horizon_us)
        )
        if not needed:
            yield ForgetInstance(row.id)
