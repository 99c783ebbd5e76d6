"""Whatever the order of events, the plan keeps its promises: a small world, walked at random.

The world does what actions ask for on rows alone, checks each step against the transition tables, and knows which instances
are at work. At the end the world is healthy for long enough, and the endpoint has to be what was desired.
"""

from dataclasses import replace
from typing import assert_never

from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.support.control import TOPIC, a_deployment, a_variant, an_endpoint

from tarry.core import deployment as deployments
from tarry.core import endpoint as endpoints
from tarry.core import instance as instances
from tarry.core.deployment import Deployment, DeploymentState, DesiredCapacity, Routing, with_capacities
from tarry.core.endpoint import Endpoint, EndpointStatus
from tarry.core.instance import ENDED, Instance, InstanceState
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
    plan,
)
from tarry.core.rollout import (
    BlueGreenPolicy,
    CapacitySize,
    CapacityUnit,
    DeploymentConfig,
    RollingPolicy,
    Rollout,
    TrafficRouting,
)

S, D, E = InstanceState, DeploymentState, EndpointStatus
EVENTS = (
    *("plan",) * 5,
    *("ready",) * 3,
    *("all goes well",) * 4,
    *("starts fail",) * 2,
    "update",
    "fail",
    "topics pass",
    "topics fail",
    "work begins",
    "work begins",
    "work ends",
    "stops end",
    "update",
    "rescale",
    "delete",
    "restart",
    "time passes",
    "alarm",
    "alarms unread",
)
ALARM = "errors"
HALF = CapacitySize(unit=CapacityUnit.CAPACITY_PERCENT, value=50)
ONE = CapacitySize(unit=CapacityUnit.INSTANCE_COUNT, value=1)
WAYS = (
    DeploymentConfig(),
    *(
        DeploymentConfig(
            blue_green=BlueGreenPolicy(routing=routing, wait_s=20, step=HALF, termination_wait_s=30, execution_s_max=600),
            alarms=(ALARM,),
        )
        for routing in TrafficRouting
    ),
    DeploymentConfig(rolling=RollingPolicy(batch=ONE, wait_s=20), alarms=(ALARM,)),
    DeploymentConfig(rolling=RollingPolicy(batch=ONE, wait_s=0, rollback_batch=ONE), alarms=(ALARM,)),
)


class SmallWorld:
    """Rows of one endpoint, and what the engine and the workers really do."""

    def __init__(self) -> None:
        self.endpoint: Endpoint = an_endpoint()
        self.deployments: dict[str, Deployment] = {"d1": self._new_deployment(1, [1, 2])}
        self.instances: dict[str, Instance] = {}
        self.routing: Routing | None = None
        self.attended: set[str] = set()
        self.stopping: set[str] = set()
        self.busy: set[str] = set()
        self.testing: set[str] = set()
        self.now_us = 1_000_000_000
        self.count = 0
        self.seen_running: set[tuple[str, str]] = set()
        """What ran when the plan was made: one that is drained by the same plan is out of the routing of the next."""
        self.ringing = False
        self.unread = False

    @staticmethod
    def _new_deployment(generation: int, counts: list[int]) -> Deployment:
        variants = [a_variant(name, count=max(count, 1)) for name, count in zip("AB", counts, strict=True)]
        made = a_deployment(f"d{generation}", *variants, generation=generation, success_topic=TOPIC)
        wanted = zip(made.variants, counts, strict=True)
        return replace(made, variants=tuple(replace(variant, desired_count=count) for variant, count in wanted))

    def view(self) -> EndpointView:
        draining = {row.id for row in self.instances.values() if row.state is S.DRAINING}
        return EndpointView(
            endpoint=self.endpoint,
            deployments=tuple(it for it in self.deployments.values() if it.state is not D.STOPPED),
            instances=tuple(self.instances.values()),
            routing=self.routing,
            now_us=self.now_us,
            attended=frozenset(self.attended),
            busy=dict.fromkeys(self.busy & draining, 900),
            ringing=frozenset({ALARM} if self.ringing else ()),
            unread_alarms=frozenset({ALARM} if self.unread else ()),
            unfinished=False,
        )

    # -------------------------------------------------------------------------------------------------------- actions

    def plan_and_act(self) -> int:
        rows = [row for row in self.instances.values() if row.state is S.IN_SERVICE]
        self.seen_running = {(row.deployment_id, row.variant_name) for row in rows}
        actions = plan(self.view())
        for action in actions:
            self.act(action)
            assert sum(it.state is D.ACTIVE for it in self.deployments.values()) <= 1
        return len(actions)

    def act(self, action: Action) -> None:  # noqa: C901, PLR0912
        match action:
            case StartInstance():
                self.count += 1
                new = f"i{self.count}"
                deployment = self.deployments[action.deployment_id]
                assert deployment.state in deployments.SERVING
                self.instances[new] = Instance(
                    id=new,
                    endpoint_id="e",
                    deployment_id=deployment.id,
                    variant_name=action.variant_name,
                    state=S.PENDING,
                    concurrency=1,
                    created_at_us=self.now_us,
                )
                self.attended.add(new)
            case AttendInstance():
                self.attended.add(action.instance_id)
            case DrainInstance():
                self.move(action.instance_id, S.DRAINING, draining_at_us=self.now_us)
            case StopInstance():
                is_gone = action.instance_id not in self.attended
                assert is_gone or action.instance_id not in self.busy or self.endpoint.status is E.DELETING
                assert self.instances[action.instance_id].state is not S.IN_SERVICE or is_gone
                self.stopping.add(action.instance_id)
                self.attended.add(action.instance_id)
            case ForgetInstance():
                assert self.instances.pop(action.instance_id).state in ENDED
            case TestTopics():
                self.testing.add(action.deployment_id)
            case Route():
                self.route(action.shares)
            case Activate():
                assert self.endpoint.status in (E.CREATING, E.UPDATING)
                for it in list(self.deployments.values()):
                    if it.state in (D.ACTIVE, D.ROLLBACK_FAILED):
                        self.step(it.id, D.DRAINING)
                self.step(action.deployment_id, D.ACTIVE)
                self.become(E.IN_SERVICE, active_deployment_id=action.deployment_id, failure_reason=None)
                self.route(action.shares)
            case FailDeployment():
                self.step(action.deployment_id, D.FAILED)
                mixed = any(it.state is D.ROLLBACK_FAILED for it in self.deployments.values())
                before = E.UPDATE_ROLLBACK_FAILED if mixed else E.IN_SERVICE
                self.become(E.FAILED if self.endpoint.status is E.CREATING else before, failure_reason=action.reason)
                if action.shares is not None:
                    self.route(action.shares)
            case Shift():
                moved = self.deployments[action.deployment_id]
                steps = (action.rollout.steps_taken, action.rollout.back_steps_taken)
                assert sum(steps) == moved.rollout.steps_taken + moved.rollout.back_steps_taken + 1
                if moved.state is D.STARTING:
                    self.step(moved.id, D.SHIFTING)
                assert not (self.unread and moved.state is D.SHIFTING and moved.rollout.config.alarms)
                self.deployments[moved.id] = replace(self.deployments[moved.id], rollout=action.rollout)
                self.route(action.shares)
            case RollBack():
                self.step(action.deployment_id, D.ROLLING_BACK)
                back = replace(self.deployments[action.deployment_id], rollout=action.rollout, failure_reason=action.reason)
                self.deployments[back.id] = back
                self.become(E.ROLLING_BACK, failure_reason=action.reason)
            case HaltRollback():
                self.step(action.deployment_id, D.ROLLBACK_FAILED)
                kept = replace(self.deployments[action.deployment_id], failure_reason=None)
                self.deployments[kept.id] = kept
                self.become(E.UPDATE_ROLLBACK_FAILED, failure_reason=action.reason)
            case RevertCapacities():
                active = self.deployments[action.deployment_id]
                assert active.capacities_before
                reverted = replace(with_capacities(active, active.capacities_before), capacities_before=())
                self.deployments[active.id] = reverted
                self.become(E.ROLLING_BACK, failure_reason=action.reason)
            case EndUpdate():
                for it in list(self.deployments.values()):
                    self.deployments[it.id] = replace(it, capacities_before=())
                self.become(E.IN_SERVICE, failure_reason=action.failure_reason)
            case StopDeployment():
                self.step(action.deployment_id, D.STOPPED)
                assert all(row.state in ENDED for row in self.instances.values() if row.deployment_id == action.deployment_id)
            case FinishDeletion():
                assert all(row.state in ENDED for row in self.instances.values())
                self.become(E.DELETED)
                self.deployments, self.instances = {}, {}
            case _:
                assert_never(action)

    def route(self, shares: tuple[deployments.Share, ...]) -> None:
        self.routing = Routing(id="e", shares=shares)
        routed = {(share.deployment_id, share.variant_name) for share in shares}
        assert routed <= self.seen_running
        assert sum(len(share.buckets) for share in shares) == (100 if routed else 0)

    def move(self, id: str, state: InstanceState, **changes: int) -> None:
        row = self.instances[id]
        assert state in instances.TRANSITIONS[row.state], (row.state, state)
        self.instances[id] = replace(row, state=state, **changes)  # type: ignore[arg-type]

    def step(self, id: str, state: DeploymentState) -> None:
        assert state in deployments.TRANSITIONS[self.deployments[id].state], (self.deployments[id].state, state)
        self.deployments[id] = replace(self.deployments[id], state=state)

    def become(self, status: EndpointStatus, **changes: str | None) -> None:
        endpoints.require_transition(self.endpoint.status, status)
        self.endpoint = replace(self.endpoint, status=status, modified_at_us=self.now_us, **changes)  # type: ignore[arg-type]

    # --------------------------------------------------------------------------------------------------------- events

    def happen(self, event: str, pick: int) -> None:  # noqa: C901, PLR0912 - one case an event
        ids = sorted(self.attended - self.stopping)
        rows = [self.instances[it] for it in ids if it in self.instances]
        chosen = rows[pick % len(rows)] if rows else None
        if event == "plan":
            self.plan_and_act()
        elif event == "ready" and chosen and chosen.state in (S.PENDING, S.STARTING):
            self.move(chosen.id, S.STARTING if chosen.state is S.PENDING else S.IN_SERVICE, ready_at_us=self.now_us)
        elif event == "fail" and chosen and chosen.state not in ENDED:
            self.move(chosen.id, S.FAILED, ended_at_us=self.now_us)
            self.busy.discard(chosen.id)
            self.attended.discard(chosen.id)
        elif event.startswith("topics") and self.testing:
            self.end_topic_test(min(self.testing), event == "topics pass")
        elif event == "work begins" and chosen and chosen.state is S.IN_SERVICE:
            self.busy.add(chosen.id)
        elif event == "work ends":
            self.busy = set(sorted(self.busy)[1:])
        elif event == "stops end":
            self.end_stops()
        elif event == "update" and self.endpoint.status in endpoints.MAY_UPDATE:
            counts = [pick % 3, pick // 3 % 3]
            made = self._new_deployment(len(self.deployments) + 1, counts)
            rollout = Rollout(config=WAYS[pick // 2 % len(WAYS)], instances=max(counts))
            self.deployments[made.id] = replace(made, rollout=rollout, created_at_us=self.now_us)
            self.become(E.UPDATING, failure_reason=None)
        elif event == "rescale" and self.endpoint.status is E.IN_SERVICE:
            self.rescale([pick % 4, pick // 4 % 4])
        elif event == "delete" and self.endpoint.status in (E.IN_SERVICE, E.FAILED, E.UPDATE_ROLLBACK_FAILED) and pick % 4 == 0:
            self.become(E.DELETING)
        elif event == "restart":
            self.attended, self.stopping, self.busy, self.testing = set(), set(), set(), set()
        elif event == "time passes":
            self.now_us += pick * 10_000_000
        elif event == "all goes well":
            self.go_well()
        elif event == "starts fail":
            for row in [it for it in rows if it.state in (S.PENDING, S.STARTING)]:
                self.move(row.id, S.FAILED, ended_at_us=self.now_us)
                self.attended.discard(row.id)
        elif event == "alarm":
            self.ringing = not self.ringing
        elif event == "alarms unread":
            self.unread = not self.unread

    def end_topic_test(self, id: str, passed: bool) -> None:
        self.testing.discard(id)
        it = self.deployments.get(id)
        if it is not None:
            reason = None if passed else "topic"
            self.deployments[id] = replace(it, topics_tested=it.topics_tests_wanted, failure_reason=reason)

    def end_stops(self) -> None:
        for ending in self.stopping:
            if ending in self.instances and self.instances[ending].state not in ENDED:
                self.move(ending, S.STOPPED)
            self.attended.discard(ending)
            self.busy.discard(ending)
        self.stopping = set()

    def rescale(self, counts: list[int]) -> None:
        active = next(it for it in self.deployments.values() if it.state is D.ACTIVE)
        wanted = zip(active.variants, counts, strict=True)
        before = tuple(DesiredCapacity.of(variant) for variant in active.variants)
        variants = tuple(replace(variant, desired_count=count) for variant, count in wanted)
        tests = active.topics_tests_wanted + 1
        self.deployments[active.id] = replace(
            active, variants=variants, topics_tests_wanted=tests, failure_reason=None, capacities_before=before
        )
        self.become(E.UPDATING, failure_reason=None)

    def be_healthy(self) -> None:
        """Everything that was begun succeeds, all work ends, and time passes, until the plan is empty."""
        self.ringing = self.unread = False
        for _ in range(60):
            self.now_us += 61_000_000
            rows = list(self.instances.values())
            acted = self.go_well()
            if not acted and all(row.state in ENDED or row.state is S.IN_SERVICE for row in rows) and not self.waits():
                return
        raise AssertionError("the plan never comes to rest")

    def go_well(self) -> int:
        acted = self.plan_and_act()
        for tested in sorted(self.testing):
            self.end_topic_test(tested, passed=True)
        self.busy.clear()
        self.end_stops()
        for row in list(self.instances.values()):
            if row.state is S.PENDING:
                self.move(row.id, S.STARTING)
            if row.state in (S.PENDING, S.STARTING):
                self.move(row.id, S.IN_SERVICE, ready_at_us=self.now_us)
        return acted

    def waits(self) -> bool:
        return self.endpoint.status in endpoints.IN_PROGRESS


WELL = [("all goes well", 0)]
FAILING = [("plan", 0), ("starts fail", 0), ("time passes", 7)]


@given(st.lists(st.tuples(st.sampled_from(EVENTS), st.integers(0, 11)), max_size=60), st.booleans())
@example([("update", 8), *WELL * 3, ("time passes", 2), *WELL * 2, ("alarm", 0), *FAILING * 5], True)  # the rollback fails
@example([("update", 8), *WELL * 3, ("alarm", 0), *WELL * 3], True)  # it rolls back
@example([("rescale", 11), ("plan", 0), ("topics pass", 0), *FAILING * 5, *WELL], True)  # capacities go back
@settings(max_examples=150, deadline=None)
def test_desired_is_reached_whatever_happened_before(events: list[tuple[str, int]], in_service: bool) -> None:
    world = SmallWorld()
    if in_service:
        world.be_healthy()
    for event, pick in events:
        world.happen(event, pick)
    world.be_healthy()

    live = [row for row in world.instances.values() if row.state not in ENDED]
    active = [it for it in world.deployments.values() if it.state is D.ACTIVE]
    if world.endpoint.status is E.UPDATE_ROLLBACK_FAILED:
        states = sorted(it.state for it in world.deployments.values() if it.state is not D.STOPPED)
        assert states == [D.ACTIVE, D.ROLLBACK_FAILED]
        return
    if world.endpoint.status is not E.IN_SERVICE:
        assert world.endpoint.status in (E.FAILED, E.DELETED)
        assert not live
        return
    (serving,) = active
    assert world.endpoint.active_deployment_id == serving.id
    assert all(it.state is D.STOPPED for it in world.deployments.values() if it is not serving)
    for variant in serving.variants:
        mine = [row for row in live if row.variant_name == variant.variant.name]
        assert len(mine) == variant.desired_count
        assert all(row.deployment_id == serving.id and row.state is S.IN_SERVICE for row in mine)
    routed = {share.variant_name for share in world.routing.shares} if world.routing else set()
    assert routed == {row.variant_name for row in live}
