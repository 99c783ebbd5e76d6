"""Carrying out a plan: each action is one transaction, or a word to a task that looks after an instance or a topic.

Rows are written over with the revision that the plan saw: where one has changed meanwhile, Conflict ends the pass and the
next one plans anew.
"""

from dataclasses import replace
from typing import assert_never

import structlog

from tarry.control.concurrency import Concurrency
from tarry.control.instances import InstanceKeeper, instance_spec
from tarry.control.topic_tests import TopicTests
from tarry.core.catalog import TagSet
from tarry.core.deployment import TRANSITIONS, Deployment, DeploymentState, Routing, Share, with_capacities
from tarry.core.endpoint import GONE, Endpoint, EndpointStatus, require_transition
from tarry.core.errors import Bug
from tarry.core.instance import FAILURE_REASON_CHARS_MAX, NOT_YET, Instance, InstanceState
from tarry.core.planning import (
    Action,
    Activate,
    AttendInstance,
    DrainInstance,
    EndpointView,
    EndUpdate,
    FailDeployment,
    FinishDeletion,
    ForgetInstance,
    HaltRollback,
    RevertCapacities,
    RollBack,
    Route,
    Shift,
    StartInstance,
    StopDeployment,
    StopInstance,
    TestTopics,
)
from tarry.ports import Add, Change, Clock, Ids, Remove, Replace, Store

_REPLACED = frozenset({DeploymentState.ACTIVE, DeploymentState.ROLLBACK_FAILED})

log = structlog.get_logger(__name__)


def say_moved(before: EndpointStatus | None, endpoint: Endpoint, **more: str) -> None:
    """One line in the log for each step of an endpoint's life; a warning where something has gone wrong."""
    trouble = endpoint.failure_reason is not None and endpoint.status not in GONE
    say = log.warning if trouble else log.info
    say("endpoint", name=endpoint.name, before=before, after=endpoint.status, reason=endpoint.failure_reason, **more)


class Actions:
    """Knows how to do what a plan asks for."""

    def __init__(
        self, store: Store, keeper: InstanceKeeper, topics: TopicTests, concurrency: Concurrency, clock: Clock, ids: Ids
    ) -> None:
        self._store = store
        self._keeper = keeper
        self._topics = topics
        self._concurrency = concurrency
        self._clock = clock
        self._ids = ids

    async def carry_out(self, view: EndpointView, action: Action) -> None:  # noqa: C901, PLR0912 - one case an action
        """Do one action of a plan for this view. Errors: Conflict, StorageFull, Throttled."""
        match action:
            case StartInstance():
                await self._start(view, action)
            case AttendInstance():
                row = _instance(view, action.instance_id)
                self._keeper.attend(row, instance_spec(view.endpoint, _deployment(view, row.deployment_id), row))
            case DrainInstance():
                row = _instance(view, action.instance_id)
                draining = replace(row, state=InstanceState.DRAINING, draining_at_us=self._clock.now_us())
                await self._apply(view, Replace(draining))
            case StopInstance():
                await self._stop(view, action)
            case ForgetInstance():
                await self._apply(view, Remove(_instance(view, action.instance_id)))
            case TestTopics():
                self._topics.begin(_deployment(view, action.deployment_id))
            case Route():
                await self._apply(view, _routing_change(view, action.shares))
            case Activate():
                await self._activate(view, action)
            case Shift():
                await self._shift(view, action)
            case FailDeployment():
                await self._fail(view, action)
            case RollBack():
                await self._roll_back(view, action)
            case HaltRollback():
                await self._halt_rollback(view, action)
            case RevertCapacities():
                await self._revert_capacities(view, action)
            case EndUpdate():
                await self._end_update(view, action)
            case StopDeployment():
                await self._apply(view, Replace(_in_state(view, action.deployment_id, DeploymentState.STOPPED)))
            case FinishDeletion():
                await self._finish_deletion(view)
            case _:
                assert_never(action)

    async def _start(self, view: EndpointView, action: StartInstance) -> None:
        deployment = _deployment(view, action.deployment_id)
        row = Instance(
            id=self._ids.uuid(),
            endpoint_id=view.endpoint.id,
            deployment_id=deployment.id,
            variant_name=action.variant_name,
            instance_type=action.instance_type,
            state=InstanceState.PENDING,
            concurrency=await self._concurrency.of(deployment, action.variant_name, action.instance_type),
            created_at_us=self._clock.now_us(),
        )
        spec = instance_spec(view.endpoint, deployment, row)
        await self._apply(view, Add(row))
        self._keeper.attend(row, spec)

    async def _stop(self, view: EndpointView, action: StopInstance) -> None:
        """What serves nobody yet is Stopped before it is stopped: if it has come into service meanwhile, it may have work."""
        row = _instance(view, action.instance_id)
        if row.state in NOT_YET:
            await self._apply(view, Replace(replace(row, state=InstanceState.STOPPED, ended_at_us=self._clock.now_us())))
        self._keeper.stop(action.instance_id)

    async def _activate(self, view: EndpointView, action: Activate) -> None:
        new = _deployment(view, action.deployment_id)
        endpoint = replace(
            self._moved(view.endpoint, EndpointStatus.IN_SERVICE, None),
            active_deployment_id=new.id,
            config_name=new.config.name,
        )
        winds_down_at_us = self._clock.now_us() + new.rollout.config.termination_wait_s * 1_000_000
        old = [one for one in view.deployments if one.state in _REPLACED]
        await self._apply(
            view,
            Replace(endpoint),
            Replace(_in_state(view, new.id, DeploymentState.ACTIVE)),
            *(
                Replace(replace(_in_state(view, one.id, DeploymentState.DRAINING), winds_down_at_us=winds_down_at_us))
                for one in old
            ),
            _routing_change(view, action.shares),
        )

    async def _shift(self, view: EndpointView, action: Shift) -> None:
        shifted = _shifted(view, action)
        await self._apply(view, Replace(shifted), _routing_change(view, action.shares))
        mine = sum(len(share.buckets) for share in action.shares if share.deployment_id == shifted.id)
        rollout = shifted.rollout
        log.info(
            "traffic was shifted",
            endpoint=view.endpoint.name,
            before=view.endpoint.config_name,
            config=shifted.config.name,
            percent=mine,
            step=f"{rollout.steps_taken}/{len(rollout.steps)}",
            back=shifted.state is DeploymentState.ROLLING_BACK,
        )

    async def _fail(self, view: EndpointView, action: FailDeployment) -> None:
        reason = action.reason[:FAILURE_REASON_CHARS_MAX]
        failed = replace(_in_state(view, action.deployment_id, DeploymentState.FAILED), failure_reason=reason)
        routing = [] if action.shares is None else [_routing_change(view, action.shares)]
        await self._apply(view, Replace(self._moved(view.endpoint, _after_failure(view), reason)), Replace(failed), *routing)

    async def _roll_back(self, view: EndpointView, action: RollBack) -> None:
        reason = action.reason[:FAILURE_REASON_CHARS_MAX]
        deployment = _in_state(view, action.deployment_id, DeploymentState.ROLLING_BACK)
        changed = replace(deployment, rollout=action.rollout, failure_reason=reason)
        await self._apply(view, Replace(self._moved(view.endpoint, EndpointStatus.ROLLING_BACK, reason)), Replace(changed))

    async def _halt_rollback(self, view: EndpointView, action: HaltRollback) -> None:
        reason = action.reason[:FAILURE_REASON_CHARS_MAX]
        changed = replace(_in_state(view, action.deployment_id, DeploymentState.ROLLBACK_FAILED), failure_reason=None)
        endpoint = self._moved(view.endpoint, EndpointStatus.UPDATE_ROLLBACK_FAILED, reason)
        await self._apply(view, Replace(endpoint), Replace(changed))

    async def _revert_capacities(self, view: EndpointView, action: RevertCapacities) -> None:
        reason = action.reason[:FAILURE_REASON_CHARS_MAX]
        deployment = _deployment(view, action.deployment_id)
        reverted = replace(with_capacities(deployment, deployment.capacities_before), capacities_before=())
        endpoint = self._moved(view.endpoint, EndpointStatus.ROLLING_BACK, reason)
        await self._apply(view, Replace(endpoint), Replace(reverted))

    async def _end_update(self, view: EndpointView, action: EndUpdate) -> None:
        settled = [one for one in view.deployments if one.state is DeploymentState.ACTIVE and one.capacities_before]
        endpoint = self._moved(view.endpoint, EndpointStatus.IN_SERVICE, action.failure_reason)
        await self._apply(view, Replace(endpoint), *(Replace(replace(one, capacities_before=())) for one in settled))

    async def _finish_deletion(self, view: EndpointView) -> None:
        endpoint = view.endpoint
        deployments = await self._store.find(Deployment, endpoint_id=endpoint.id)
        tags = await self._store.get(TagSet, endpoint.arn)
        leftovers = [*deployments, *view.instances, *[it for it in (view.routing, tags) if it is not None]]
        deleted = self._moved(endpoint, EndpointStatus.DELETED, endpoint.failure_reason)
        await self._apply(view, Replace(deleted), *(Remove(entity) for entity in leftovers))

    def _moved(self, endpoint: Endpoint, status: EndpointStatus, reason: str | None) -> Endpoint:
        require_transition(endpoint.status, status)
        return replace(endpoint, status=status, failure_reason=reason, modified_at_us=self._clock.now_us())

    async def _apply(self, view: EndpointView, *changes: Change) -> None:
        await self._store.apply(*changes)
        for change in changes:
            if isinstance(change.entity, Endpoint):
                say_moved(view.endpoint.status, change.entity)


def _routing_change(view: EndpointView, shares: tuple[Share, ...]) -> Change:
    if view.routing is None:
        return Add(Routing(id=view.endpoint.id, shares=shares))
    return Replace(replace(view.routing, shares=shares))


def _after_failure(view: EndpointView) -> EndpointStatus:
    """What an endpoint is when a deployment of it was given up.

    AWS: a failed update leaves the endpoint InService with a FailureReason (aws-controllers-k8s, endpoint/hooks.go).
    """
    if view.endpoint.status is EndpointStatus.CREATING:
        return EndpointStatus.FAILED
    mixed = any(one.state is DeploymentState.ROLLBACK_FAILED for one in view.deployments)
    return EndpointStatus.UPDATE_ROLLBACK_FAILED if mixed else EndpointStatus.IN_SERVICE


def _shifted(view: EndpointView, action: Shift) -> Deployment:
    deployment = _deployment(view, action.deployment_id)
    if deployment.state is DeploymentState.STARTING:
        deployment = _in_state(view, deployment.id, DeploymentState.SHIFTING)
    return replace(deployment, rollout=action.rollout)


def _in_state(view: EndpointView, deployment_id: str, state: DeploymentState) -> Deployment:
    deployment = _deployment(view, deployment_id)
    if state not in TRANSITIONS[deployment.state]:
        raise Bug(f"A deployment cannot go from {deployment.state} to {state}.")
    return replace(deployment, state=state)


def _instance(view: EndpointView, instance_id: str) -> Instance:
    for row in view.instances:
        if row.id == instance_id:
            return row
    raise Bug(f"The plan names an instance that it was not shown: {instance_id}.")


def _deployment(view: EndpointView, deployment_id: str) -> Deployment:
    for deployment in view.deployments:
        if deployment.id == deployment_id:
            return deployment
    raise Bug(f"The plan names a deployment that it was not shown: {deployment_id}.")
