"""How the work of an endpoint moves from one deployment to the next: in which steps, with what pauses, and how it goes back.

AWS calls these deployment guardrails. A policy and a number of instances make a list of steps, the parts of the traffic that the
new deployment has had after each. A Rollout is how far one deployment has come; what follows from it is a Position: the parts of
traffic and of instances that the new one and the ones before it should have now. Parts are exact fractions, so that the last step
is the whole.

AWS: DeploymentConfig and the types in it, SageMaker API reference; deployment-guardrails-* in the developer guide.
"""

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

_SECOND_US = 1_000_000
NOTHING, ALL = Fraction(0), Fraction(1)


class CapacityUnit(StrEnum):
    """What a capacity size counts."""

    INSTANCE_COUNT = "INSTANCE_COUNT"
    CAPACITY_PERCENT = "CAPACITY_PERCENT"


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacitySize:
    """A part of a fleet: so many instances, or so many percent of them."""

    unit: CapacityUnit
    value: int

    def part_of(self, instances: int) -> Fraction:
        """The part, at most all; all of a fleet of no instances."""
        if self.unit is CapacityUnit.CAPACITY_PERCENT:
            return min(Fraction(self.value, 100), ALL)
        return min(Fraction(self.value, instances), ALL) if instances else ALL


class TrafficRouting(StrEnum):
    """How a blue/green update moves traffic."""

    ALL_AT_ONCE = "ALL_AT_ONCE"
    CANARY = "CANARY"
    LINEAR = "LINEAR"


@dataclass(frozen=True, slots=True, kw_only=True)
class BlueGreenPolicy:
    """Start a whole new fleet, then move the traffic to it. ``step`` is the canary's size or the linear step's."""

    routing: TrafficRouting
    wait_s: int
    step: CapacitySize | None = None
    termination_wait_s: int = 0
    """How long the old fleet is kept after the update, without work."""
    execution_s_max: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RollingPolicy:
    """Replace the fleet in batches. Without ``rollback_batch`` it goes back at once."""

    batch: CapacitySize
    wait_s: int
    rollback_batch: CapacitySize | None = None
    execution_s_max: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentConfig:
    """How an update is carried out. Neither policy: blue/green, all at once, without waiting."""

    blue_green: BlueGreenPolicy | None = None
    rolling: RollingPolicy | None = None
    alarms: tuple[str, ...] = ()
    """Any of these in ALARM while the new deployment is being watched takes the update back."""

    @property
    def wait_s(self) -> int:
        """How long each step is watched before the next (baking)."""
        policy = self.rolling or self.blue_green
        return policy.wait_s if policy else 0

    @property
    def execution_s_max(self) -> int | None:
        """How long the whole update may take; None: as long as it takes."""
        policy = self.rolling or self.blue_green
        return policy.execution_s_max if policy else None

    @property
    def termination_wait_s(self) -> int:
        """How long the old fleet is kept after the update."""
        return self.blue_green.termination_wait_s if self.blue_green else 0

    @property
    def replaces_in_parts(self) -> bool:
        """Whether instances of the old fleet are stopped while the update goes on."""
        linear = self.blue_green is not None and self.blue_green.routing is TrafficRouting.LINEAR
        return linear or self.rolling is not None


ALL_AT_ONCE = DeploymentConfig()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """How far a deployment has come. ``instances`` is the size of its largest variant, which steps are reckoned by."""

    config: DeploymentConfig = ALL_AT_ONCE
    instances: int = 1
    steps_taken: int = 0
    stepped_at_us: int | None = None
    """When the last step was taken; the watch over it began then."""
    back_steps_taken: int = 0
    back_since_us: int | None = None
    """When it began to go back in batches."""

    @property
    def steps(self) -> tuple[Fraction, ...]:
        """The part of the traffic after each step; the last is all of it."""
        config = self.config
        if config.rolling is not None:
            return _even_steps(config.rolling.batch.part_of(self.instances))
        policy = config.blue_green
        if policy is None or policy.step is None or policy.routing is TrafficRouting.ALL_AT_ONCE:
            return (ALL,)
        step = policy.step.part_of(self.instances)
        if policy.routing is TrafficRouting.LINEAR:
            return _even_steps(step)
        return (step, ALL) if step < ALL else (ALL,)

    @property
    def taken(self) -> Fraction:
        """The part of the traffic that the steps so far have moved."""
        return self.steps[self.steps_taken - 1] if self.steps_taken else NOTHING

    @property
    def back_steps(self) -> tuple[Fraction, ...]:
        """The part of the traffic after each step back; the last is nothing."""
        rolling = self.config.rolling
        if rolling is None or rolling.rollback_batch is None:
            return (NOTHING,)
        batch = rolling.rollback_batch.part_of(self.instances)
        parts = []
        left = self.taken
        while left > NOTHING:
            left = max(left - batch, NOTHING)
            parts.append(left)
        return tuple(parts) or (NOTHING,)

    @property
    def left(self) -> Fraction:
        """The part of the traffic that the steps back so far have left."""
        return self.back_steps[self.back_steps_taken - 1] if self.back_steps_taken else self.taken

    def watched(self, now_us: int) -> bool:
        """Whether the last step has been watched for as long as it should be; true before the first."""
        return self.stepped_at_us is None or now_us - self.stepped_at_us >= self.config.wait_s * _SECOND_US


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """What a deployment and the ones before it should have now, as parts."""

    traffic: Fraction
    """Of the traffic, for this deployment; the rest is for those before it."""
    instances: Fraction
    """Of this deployment's own instances."""
    before: Fraction
    """Of the instances of the deployments before it."""


def forward(rollout: Rollout, now_us: int) -> Position:
    """Where a rollout that goes forward is: while a step is watched, nothing new is started and nothing old is stopped."""
    steps, taken = rollout.steps, rollout.taken
    if rollout.watched(now_us):
        prepared, retired = steps[min(rollout.steps_taken, len(steps) - 1)], taken
    else:
        prepared, retired = taken, steps[rollout.steps_taken - 2] if rollout.steps_taken >= 2 else NOTHING
    rolling = rollout.config.rolling is not None
    return Position(
        traffic=taken,
        instances=prepared if rolling else ALL,
        before=ALL - retired if rollout.config.replaces_in_parts else ALL,
    )


def backward(rollout: Rollout) -> Position:
    """Where a rollout that goes back is: the old instances of the next step are started before the traffic moves to them."""
    after = rollout.back_steps[min(rollout.back_steps_taken, len(rollout.back_steps) - 1)]
    return Position(traffic=rollout.left, instances=rollout.left, before=ALL - after)


def halted(rollout: Rollout) -> Position:
    """Where a rollout is that can go neither way: everything stays as it is."""
    return Position(traffic=rollout.left, instances=rollout.left, before=ALL - rollout.left)


def _even_steps(step: Fraction) -> tuple[Fraction, ...]:
    parts = []
    part = NOTHING
    while part < ALL:
        part = min(part + step, ALL)
        parts.append(part)
    return tuple(parts)
