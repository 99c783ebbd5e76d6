"""The plan as tables: a view, and what has to be done."""

from dataclasses import replace
from typing import Any

import pytest
from tests.support.control import TOPIC, a_deployment, a_variant, an_endpoint

from tarry.core.deployment import Deployment, DeploymentState, Routing, Share, split_buckets
from tarry.core.endpoint import EndpointStatus
from tarry.core.instance import Instance, InstanceState, explain_failure
from tarry.core.planning import (
    CRASH_WINDOW_S,
    DRAIN_MARGIN_S,
    Activate,
    AttendInstance,
    DrainInstance,
    EndpointView,
    EndUpdate,
    FailDeployment,
    FinishDeletion,
    ForgetInstance,
    RevertCapacities,
    Route,
    StartInstance,
    StopDeployment,
    StopInstance,
    TestTopics,
    next_start_us,
    plan,
    waiting_for,
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

NOW_US = 10_000_000_000
NO_CAPACITY = (
    "There is no capacity for more on ml.m5.xlarge; it is asked for again every 30 s, and when an instance has ended. "
    "The machine is full."
)
S = InstanceState
D = DeploymentState
E = EndpointStatus


def row(id: str, state: InstanceState = S.IN_SERVICE, *, of: str = "d1", variant: str = "A", **changes: Any) -> Instance:
    values: dict[str, Any] = {"concurrency": 4, "created_at_us": 1, **changes}
    return Instance(id=id, endpoint_id="e", deployment_id=of, variant_name=variant, state=state, **values)


def crashed(id: str, ago_s: int, **changes: Any) -> Instance:
    """With a FailureReason as the instance's keeper writes it."""
    reason = explain_failure(f"The model server was ended by signal 9. It was {id}.", ["a line", "of the log"])
    return row(id, S.FAILED, ready_at_us=1, ended_at_us=NOW_US - ago_s * 1_000_000, failure_reason=reason, **changes)


def refused(id: str, ago_s: int) -> Instance:
    """One that there was no room for."""
    ended_us, full = NOW_US - ago_s * 1_000_000, "The machine is full."
    return row(id, S.FAILED, instance_type="ml.m5.xlarge", out_of_capacity=True, ended_at_us=ended_us, failure_reason=full)


def view(*parts: Deployment | Instance, status: EndpointStatus = E.IN_SERVICE, **changes: Any) -> EndpointView:
    instances = tuple(part for part in parts if isinstance(part, Instance))
    values: dict[str, Any] = {
        "endpoint": an_endpoint(status),
        "deployments": tuple(part for part in parts if isinstance(part, Deployment)),
        "instances": instances,
        "routing": None,
        "now_us": NOW_US,
        "attended": frozenset(it.id for it in instances),
        **changes,
    }
    return EndpointView(**values)


def shares(*variants: tuple[str, float], of: str = "d1") -> tuple[Share, ...]:
    return split_buckets({(of, name): weight for name, weight in variants})


def routed(*variants: tuple[str, float], of: str = "d1") -> Routing:
    return Routing(id="e", shares=shares(*variants, of=of))


STARTING = a_deployment("d1")
TOLD = a_deployment("d1", success_topic=TOPIC)
ACTIVE = a_deployment("d1", state=D.ACTIVE)
OLD = a_deployment("d0", state=D.DRAINING)
TWO = a_deployment("d1", a_variant("A", count=2), a_variant("B", weight=3.0), state=D.ACTIVE)
STEP = CapacitySize(unit=CapacityUnit.CAPACITY_PERCENT, value=10)
CANARY = DeploymentConfig(blue_green=BlueGreenPolicy(routing=TrafficRouting.CANARY, wait_s=60, step=STEP))
WATCHED = Rollout(config=CANARY, instances=2, steps_taken=1, stepped_at_us=NOW_US - 61_000_000)
QUARTER = CapacitySize(unit=CapacityUnit.CAPACITY_PERCENT, value=25)
ROLLING = Rollout(config=DeploymentConfig(rolling=RollingPolicy(batch=QUARTER, wait_s=60)), instances=3)
SHIFTING = a_deployment("d2", a_variant(count=2), generation=2, state=D.SHIFTING, rollout=WATCHED)
A_TENTH = Routing(id="e", shares=split_buckets({("d2", "A"): 0.1, ("d1", "A"): 0.9}))
ALL_TO_A = routed(("A", 1.0))

CASES = {
    "a new endpoint starts what is desired": (view(STARTING, status=E.CREATING), (StartInstance("d1", "A", "ml.m5.xlarge"),)),
    "and tests its topics meanwhile": (
        view(TOLD, status=E.CREATING),
        (StartInstance("d1", "A", "ml.m5.xlarge"), TestTopics("d1")),
    ),
    "a start is waited for": (view(STARTING, row("i", S.STARTING), status=E.CREATING), ()),
    "what is ready serves": (view(STARTING, row("i"), status=E.CREATING), (Activate("d1", shares(("A", 1.0))),)),
    "not before its topics are tested": (view(TOLD, row("i"), status=E.CREATING), (TestTopics("d1"),)),
    "tested topics let it serve": (
        view(replace(TOLD, topics_tested=1), row("i"), status=E.CREATING),
        (Activate("d1", shares(("A", 1.0))),),
    ),
    "a bad topic ends the start": (
        view(replace(TOLD, topics_tested=1, failure_reason="no topic"), row("i"), status=E.CREATING),
        (FailDeployment("d1", "no topic"),),
    ),
    "one failed start is enough": (
        view(STARTING, row("i", S.FAILED, failure_reason="no image", ended_at_us=NOW_US), status=E.CREATING),
        (FailDeployment("d1", "no image"),),
    ),
    "one that was ready is replaced": (
        view(STARTING, row("i", S.FAILED, ready_at_us=5, ended_at_us=NOW_US), status=E.CREATING),
        (StartInstance("d1", "A", "ml.m5.xlarge"),),
    ),
    "an update starts beside the old one": (
        view(ACTIVE, a_deployment("d2", generation=2), row("i"), status=E.UPDATING, routing=ALL_TO_A),
        (StartInstance("d2", "A", "ml.m5.xlarge"),),
    ),
    "the old one drains": (
        view(OLD, ACTIVE, row("o", of="d0"), row("i"), routing=ALL_TO_A),
        (DrainInstance("o"),),
    ),
    "starts of the old one end": (
        view(OLD, ACTIVE, row("o", S.STARTING, of="d0"), row("i"), routing=ALL_TO_A),
        (StopInstance("o"),),
    ),
    "a draining instance that works is left alone": (
        view(OLD, ACTIVE, row("o", S.DRAINING, of="d0"), row("i"), routing=ALL_TO_A, busy={"o": 900}),
        (),
    ),
    "an idle one is stopped": (
        view(OLD, ACTIVE, row("o", S.DRAINING, of="d0"), row("i"), routing=ALL_TO_A),
        (StopInstance("o"),),
    ),
    "work without end is not waited for": (
        view(
            ACTIVE,
            row("o", S.DRAINING, draining_at_us=NOW_US - (900 + DRAIN_MARGIN_S + 1) * 1_000_000),
            row("i"),
            routing=ALL_TO_A,
            busy={"o": 900},
        ),
        (StopInstance("o"),),
    ),
    "a drain lasts as long as its longest invocation may, and the margin": (
        view(
            ACTIVE,
            row("o", S.DRAINING, draining_at_us=NOW_US - (DRAIN_MARGIN_S + 1) * 1_000_000),
            row("i"),
            routing=ALL_TO_A,
            busy={"o": 900},
        ),
        (),
    ),
    "a rollout goes no further while its fleet is not complete": (
        view(ACTIVE, SHIFTING, row("i"), row("n", of="d2"), row("m", S.STARTING, of="d2"), status=E.UPDATING, routing=A_TENTH),
        (),
    ),
    "a batch of less than an instance is one": (
        view(
            replace(ACTIVE, variants=(replace(ACTIVE.variants[0], desired_count=3),)),
            a_deployment("d2", a_variant(count=3), generation=2, rollout=ROLLING),
            row("i"),
            row("j"),
            row("k"),
            status=E.UPDATING,
            routing=ALL_TO_A,
        ),
        (StartInstance("d2", "A", "ml.m5.xlarge"),),
    ),
    "failures before a change of capacities do not count against it": (
        view(
            ACTIVE,
            *(row(f"f{n}", S.FAILED, ended_at_us=NOW_US - 200_000_000) for n in range(3)),
            routing=Routing(id="e"),
            endpoint=an_endpoint(E.UPDATING, modified_at_us=NOW_US - 100_000_000),
        ),
        (StartInstance("d1", "A", "ml.m5.xlarge"),),
    ),
    "an old deployment without instances is over": (view(OLD, ACTIVE, row("i"), routing=ALL_TO_A), (StopDeployment("d0"),)),
    "all in order": (view(ACTIVE, row("i"), routing=ALL_TO_A), ()),
    "a dead instance is replaced and its share lent": (
        view(
            TWO, row("a1"), row("a2"), row("b", S.FAILED, variant="B", ended_at_us=NOW_US), routing=routed(("A", 1.0), ("B", 3.0))
        ),
        (StartInstance("d1", "B", "ml.m5.xlarge"), Route(shares(("A", 1.0)))),
    ),
    "weights are split among those that run": (
        view(TWO, row("a1"), row("a2"), row("b", variant="B"), routing=ALL_TO_A),
        (Route(shares(("A", 1 / 3), ("B", 1.0))),),
    ),
    "nothing runs: the queue waits": (
        view(replace(ACTIVE, variants=(replace(ACTIVE.variants[0], desired_count=0),)), routing=ALL_TO_A),
        (Route(()),),
    ),
    "down to none is an update that ends": (
        view(
            replace(ACTIVE, variants=(replace(ACTIVE.variants[0], desired_count=0),)),
            row("i", S.DRAINING),
            status=E.UPDATING,
            routing=Routing(id="e"),
            busy={"i": 900},
        ),
        (EndUpdate(None),),
    ),
    "what serves nobody goes first, then the newest": (
        view(ACTIVE, row("i1"), row("i2", created_at_us=2), row("i3", S.STARTING), routing=ALL_TO_A),
        (StopInstance("i3"), DrainInstance("i2")),
    ),
    "capacities end when reached": (view(ACTIVE, row("i"), status=E.UPDATING, routing=ALL_TO_A), (EndUpdate(None),)),
    "not before the topics are tested again": (
        view(replace(TOLD, state=D.ACTIVE), row("i"), status=E.UPDATING, routing=ALL_TO_A),
        (TestTopics("d1"),),
    ),
    "and tell of topics": (
        view(replace(ACTIVE, failure_reason="no topic"), row("i"), status=E.UPDATING, routing=ALL_TO_A),
        (EndUpdate("no topic"),),
    ),
    "failures that come again are waited out": (
        view(
            ACTIVE,
            *(row(f"f{n}", S.FAILED, ended_at_us=NOW_US - 1_000_000) for n in range(3)),
            routing=Routing(id="e"),
            status=E.IN_SERVICE,
        ),
        (),
    ),
    "capacities that cannot be reached go back with the reason": (
        view(
            ACTIVE,
            *(row(f"f{n}", S.FAILED, ended_at_us=NOW_US - 1_000_000, failure_reason=f"r{n}") for n in range(3)),
            routing=Routing(id="e"),
            status=E.UPDATING,
        ),
        (RevertCapacities("d1", "r2"),),
    ),
    "ended rows are forgotten": (
        view(
            ACTIVE,
            row("i"),
            row("s", S.STOPPED),
            row("f", S.FAILED, ended_at_us=NOW_US - (CRASH_WINDOW_S + 1) * 1_000_000),
            routing=ALL_TO_A,
            attended=frozenset({"i"}),
        ),
        (ForgetInstance("s"), ForgetInstance("f")),
    ),
    "failures since an update began are kept until it ends, however long each start takes": (
        view(
            ACTIVE,
            row("i", S.STARTING),
            row("f", S.FAILED, ended_at_us=NOW_US - (CRASH_WINDOW_S + 1) * 1_000_000),
            routing=Routing(id="e"),
            status=E.UPDATING,
            attended=frozenset({"i"}),
        ),
        (),
    ),
    "an old deployment is over only after the rows of what is gone": (
        view(OLD, ACTIVE, row("o", of="d0"), row("i"), routing=ALL_TO_A, attended=frozenset({"i"})),
        (StopInstance("o"),),
    ),
    "after a restart, what is gone is replaced at once": (
        view(ACTIVE, row("i"), routing=ALL_TO_A, attended=frozenset()),
        (StopInstance("i"), StartInstance("d1", "A", "ml.m5.xlarge"), Route(())),
    ),
    "what outlived the restart is looked after": (
        view(ACTIVE, row("i"), routing=ALL_TO_A, attended=frozenset(), running=frozenset({"i"})),
        (AttendInstance("i"),),
    ),
    "a row that nobody got to is taken up": (
        view(ACTIVE, row("i", S.PENDING), routing=Routing(id="e"), attended=frozenset()),
        (AttendInstance("i"),),
    ),
    "a failed endpoint cleans up": (
        view(a_deployment("d1", state=D.FAILED), row("i"), status=E.FAILED),
        (DrainInstance("i"),),
    ),
    "deleting stops all, busy or not": (
        view(ACTIVE, row("i"), row("j", S.DRAINING), row("k", S.PENDING), status=E.DELETING, busy={"j": 900}),
        (DrainInstance("i"), StopInstance("j"), StopInstance("k")),
    ),
    "deleting waits for invocations": (view(ACTIVE, row("i", S.STOPPED), status=E.DELETING, unfinished=True), ()),
    "deleting ends": (view(ACTIVE, row("i", S.STOPPED), status=E.DELETING), (FinishDeletion(),)),
    "deleting after a restart": (
        view(ACTIVE, row("i"), status=E.DELETING, attended=frozenset()),
        (StopInstance("i"),),
    ),
    "a tombstone rests": (view(status=E.DELETED), ()),
}


@pytest.mark.parametrize("case", CASES)
def test_plan(case: str) -> None:
    seen, wanted = CASES[case]
    assert plan(seen) == wanted


@pytest.mark.parametrize(("failures", "wait_s"), [(0, None), (1, None), (2, 2), (3, 4), (6, 32), (7, 60), (40, 60)])
def test_repeated_failures_wait_longer(failures: int, wait_s: int | None) -> None:
    failed = [row(str(n), S.FAILED, ended_at_us=NOW_US - n * 1_000_000) for n in range(failures)]
    assert next_start_us(failed, NOW_US) == (0 if wait_s is None else NOW_US + wait_s * 1_000_000)


def test_old_failures_do_not_count() -> None:
    failed = [row(str(n), S.FAILED, ended_at_us=NOW_US - CRASH_WINDOW_S * 1_000_000) for n in range(5)]
    assert next_start_us(failed, NOW_US) == 0


def test_weights_without_bound_are_still_split() -> None:
    huge = a_deployment("d1", a_variant("A", weight=1e308), a_variant("B", weight=1e308), state=D.ACTIVE)
    (action,) = plan(view(huge, row("a"), row("b", variant="B")))
    assert isinstance(action, Route)
    assert [len(share.buckets) for share in action.shares] == [50, 50]


def test_a_variant_of_weight_zero_takes_nothing_while_others_run() -> None:
    zero = a_deployment("d1", a_variant("A"), a_variant("B", weight=0.0), state=D.ACTIVE)
    (action,) = plan(view(zero, row("a"), row("b", variant="B")))
    assert action == Route((Share("d1", "A", tuple(range(100))),))


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([row("a"), row("b")], None),
        (
            [row("a"), row("b", unanswered_since_us=1)],
            "2 of 2 instances are in service, 1 of them without an answer to GET /ping and therefore without new work.",
        ),
        (
            [row("a", unanswered_since_us=1), row("b", S.FAILED, unanswered_since_us=1), row("c", S.STARTING)],
            "1 of 2 instances are in service, 1 of them without an answer to GET /ping and therefore without new work, "
            "1 are starting (image and model data, then GET /ping).",
        ),
        ([row("a"), row("b", S.FAILED, ended_at_us=NOW_US - 600_000_000)], "1 of 2 instances are in service."),
        ([row("a"), row("b"), row("c", S.FAILED, ended_at_us=NOW_US - 1, out_of_capacity=True)], None),
        (
            [row("a"), crashed("b", 90), crashed("c", 40), row("d", S.STARTING)],
            "1 of 2 instances are in service, 1 are starting (image and model data, then GET /ping). "
            "An instance failed 40 s ago: The model server was ended by signal 9. It was c.",
        ),
        (
            [row("a"), row("b"), crashed("c", 599)],
            "2 of 2 instances are in service. An instance failed 599 s ago: The model server was ended by signal 9. It was c.",
        ),
        ([row("a"), row("b"), crashed("c", 599, variant="B")], None),
        (
            [row("a"), row("b", S.STARTING, ping_answer="500 No model.")],
            "1 of 2 instances are in service, 1 are starting (image and model data, then GET /ping). "
            "GET /ping last answered: 500 No model (tarry logs Ep has more).",
        ),
        (
            [row("a"), row("b", unanswered_since_us=1, ping_answer="503")],
            "2 of 2 instances are in service, 1 of them without an answer to GET /ping and therefore without new work. "
            "GET /ping last answered: 503 (tarry logs Ep has more).",
        ),
        ([row("a"), refused("b", 20)], f"1 of 2 instances are in service. {NO_CAPACITY}"),
        ([row("a"), refused("b", 20), row("c", S.STOPPED, ended_at_us=NOW_US - 10_000_000)], "1 of 2 instances are in service."),
        ([row("a", created_at_us=NOW_US - 1), refused("b", 20)], "1 of 2 instances are in service."),
        (
            [refused("a", 300), crashed("b", 60), crashed("c", 1)],
            "0 of 2 instances are in service. An instance failed 1 s ago: The model server was ended by signal 9. It was c.",
        ),
        (
            [refused("a", 10), crashed("b", 60)],
            f"0 of 2 instances are in service. {NO_CAPACITY} "
            "An instance failed 60 s ago: The model server was ended by signal 9. It was b.",
        ),
    ],
)
def test_what_a_variant_lacks_is_said(rows: list[Instance], words: str | None) -> None:
    deployment = a_deployment("d1", a_variant(count=2))
    assert waiting_for("Ep", deployment, deployment.variants[0], rows, NOW_US) == words
