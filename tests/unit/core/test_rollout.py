"""Steps and positions of a rollout."""

from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tarry.core.errors import InvalidRequest
from tarry.core.rollout import (
    ALL,
    BlueGreenPolicy,
    CapacitySize,
    CapacityUnit,
    DeploymentConfig,
    Position,
    RollingPolicy,
    Rollout,
    TrafficRouting,
    backward,
    forward,
    halted,
)
from tarry.core.rollout_limits import check

SECOND_US = 1_000_000


def percent(value: int) -> CapacitySize:
    return CapacitySize(unit=CapacityUnit.CAPACITY_PERCENT, value=value)


def count(value: int) -> CapacitySize:
    return CapacitySize(unit=CapacityUnit.INSTANCE_COUNT, value=value)


def blue_green(routing: TrafficRouting, step: CapacitySize | None = None, wait_s: int = 10) -> DeploymentConfig:
    return DeploymentConfig(blue_green=BlueGreenPolicy(routing=routing, wait_s=wait_s, step=step))


def rolling(batch: CapacitySize, back: CapacitySize | None = None) -> DeploymentConfig:
    return DeploymentConfig(rolling=RollingPolicy(batch=batch, wait_s=10, rollback_batch=back))


@pytest.mark.parametrize(
    ("config", "instances", "steps"),
    [
        (DeploymentConfig(), 3, [ALL]),
        (blue_green(TrafficRouting.ALL_AT_ONCE), 3, [ALL]),
        (blue_green(TrafficRouting.CANARY, percent(10)), 3, [Fraction(1, 10), ALL]),
        (blue_green(TrafficRouting.CANARY, count(1)), 4, [Fraction(1, 4), ALL]),
        (blue_green(TrafficRouting.CANARY, count(1)), 1, [ALL]),
        (blue_green(TrafficRouting.CANARY, count(1)), 0, [ALL]),
        (blue_green(TrafficRouting.LINEAR, percent(30)), 3, [Fraction(3, 10), Fraction(6, 10), Fraction(9, 10), ALL]),
        (blue_green(TrafficRouting.LINEAR, count(1)), 3, [Fraction(1, 3), Fraction(2, 3), ALL]),
        (rolling(count(2)), 5, [Fraction(2, 5), Fraction(4, 5), ALL]),
        (rolling(percent(50)), 5, [Fraction(1, 2), ALL]),
    ],
)
def test_steps(config: DeploymentConfig, instances: int, steps: list[Fraction]) -> None:
    assert list(Rollout(config=config, instances=instances).steps) == steps


@given(st.integers(1, 100), st.integers(0, 100), st.booleans())
def test_steps_grow_to_the_whole(value: int, instances: int, percents: bool) -> None:
    size = percent(value) if percents else count(value)
    steps = Rollout(config=rolling(size), instances=instances).steps
    assert steps[-1] == ALL
    assert all(a < b for a, b in pairwise(steps))


def test_a_linear_rollout_stops_a_slice_only_after_its_step_was_watched() -> None:
    rollout = Rollout(config=blue_green(TrafficRouting.LINEAR, percent(50)), instances=2)
    assert forward(rollout, 0) == Position(traffic=Fraction(0), instances=ALL, before=ALL)
    first = Rollout(config=rollout.config, instances=2, steps_taken=1, stepped_at_us=0)
    assert forward(first, 9 * SECOND_US) == Position(traffic=Fraction(1, 2), instances=ALL, before=ALL)
    assert forward(first, 10 * SECOND_US) == Position(traffic=Fraction(1, 2), instances=ALL, before=Fraction(1, 2))
    second = Rollout(config=rollout.config, instances=2, steps_taken=2, stepped_at_us=0)
    assert forward(second, 0) == Position(traffic=ALL, instances=ALL, before=Fraction(1, 2))


def test_a_rolling_rollout_starts_a_batch_shifts_watches_and_stops_the_old_one() -> None:
    config = rolling(count(1))
    assert forward(Rollout(config=config, instances=2), 0) == Position(traffic=Fraction(0), instances=Fraction(1, 2), before=ALL)
    first = Rollout(config=config, instances=2, steps_taken=1, stepped_at_us=0)
    assert forward(first, 0) == Position(traffic=Fraction(1, 2), instances=Fraction(1, 2), before=ALL)
    assert forward(first, 10 * SECOND_US) == Position(traffic=Fraction(1, 2), instances=ALL, before=Fraction(1, 2))


def test_going_back_starts_the_old_instances_of_the_next_batch_first() -> None:
    config = rolling(count(1), back=count(1))
    rollout = Rollout(config=config, instances=4, steps_taken=2, stepped_at_us=0, back_since_us=0)
    assert rollout.back_steps == (Fraction(1, 4), Fraction(0))
    assert backward(rollout) == Position(traffic=Fraction(1, 2), instances=Fraction(1, 2), before=Fraction(3, 4))
    assert halted(rollout) == Position(traffic=Fraction(1, 2), instances=Fraction(1, 2), before=Fraction(1, 2))
    later = Rollout(config=config, instances=4, steps_taken=2, stepped_at_us=0, back_since_us=0, back_steps_taken=1)
    assert backward(later) == Position(traffic=Fraction(1, 4), instances=Fraction(1, 4), before=ALL)


def test_without_a_rollback_batch_it_goes_back_at_once() -> None:
    rollout = Rollout(config=rolling(count(1)), instances=4, steps_taken=3, stepped_at_us=0)
    assert rollout.back_steps == (Fraction(0),)


@pytest.mark.parametrize(
    ("config", "instances", "sentence"),
    [
        (blue_green(TrafficRouting.CANARY, percent(51)), None, "The canary size must be 0 to 50 percent of the fleet, got 51"),
        (blue_green(TrafficRouting.LINEAR, percent(9)), None, "The linear step size must be 10 to 50 percent"),
        (rolling(percent(4)), None, "The maximum batch size must be 5 to 50 percent"),
        (rolling(percent(60)), None, "The maximum batch size must be 5 to 50 percent"),
        (rolling(count(2)), 3, "at most 50 percent of the fleet, got 2 of 3 instances"),
        (rolling(count(1), back=percent(101)), None, "The rollback maximum batch size"),
    ],
)
def test_what_cannot_be_carried_out_is_refused(config: DeploymentConfig, instances: int | None, sentence: str) -> None:
    with pytest.raises(InvalidRequest, match=sentence):
        check(config, instances)


def test_sizes_in_instances_are_taken_where_they_fit() -> None:
    check(rolling(count(1), back=percent(100)), 2)
    check(rolling(count(1)), 1)
    check(rolling(count(7)))


def limited(limit_s: int, routing: TrafficRouting, step: CapacitySize | None = None) -> DeploymentConfig:
    policy = BlueGreenPolicy(routing=routing, wait_s=300, step=step, termination_wait_s=100, execution_s_max=limit_s)
    return DeploymentConfig(blue_green=policy)


def limited_rolling(limit_s: int, batch: CapacitySize) -> DeploymentConfig:
    return DeploymentConfig(rolling=RollingPolicy(batch=batch, wait_s=300, execution_s_max=limit_s))


@pytest.mark.parametrize(
    ("config", "instances", "steps", "total_s"),
    [
        (lambda limit_s: limited(limit_s, TrafficRouting.ALL_AT_ONCE), None, 1, 400),
        (lambda limit_s: limited(limit_s, TrafficRouting.CANARY, percent(10)), None, 2, 700),
        (lambda limit_s: limited(limit_s, TrafficRouting.LINEAR, percent(10)), None, 10, 3100),
        (lambda limit_s: limited(limit_s, TrafficRouting.LINEAR, count(1)), 5, 5, 1600),
        (lambda limit_s: limited(limit_s, TrafficRouting.LINEAR, count(1)), None, 1, 400),
        (lambda limit_s: limited_rolling(limit_s, count(1)), 4, 4, 1200),
        (lambda limit_s: limited_rolling(limit_s, percent(25)), None, 4, 1200),
    ],
)
def test_an_update_has_more_time_than_it_waits(
    config: Callable[[int], DeploymentConfig], instances: int | None, steps: int, total_s: int
) -> None:
    check(config(total_s + 1), instances)
    with pytest.raises(InvalidRequest, match=rf"got {total_s} s: {steps} wait interval\(s\) of 300 s.* make {total_s} s\."):
        check(config(total_s), instances)
