"""Which deployment configurations can be carried out: sizes of steps within their limits, and time enough for all pauses.

What is wrong with one is said in words that anybody who wrote it understands; the names of AWS's members stay at the door.
"""

from fractions import Fraction

from tarry.core.errors import InvalidRequest
from tarry.core.rollout import ALL, NOTHING, CapacitySize, CapacityUnit, DeploymentConfig, Rollout, TrafficRouting

# AWS: BlueGreenUpdatePolicy, TrafficRoutingConfig and RollingUpdatePolicy, API reference.
_CANARY = ("canary size", NOTHING, Fraction(1, 2))
_LINEAR_STEP = ("linear step size", Fraction(1, 10), Fraction(1, 2))
_BATCH = ("maximum batch size", Fraction(1, 20), Fraction(1, 2))
_ROLLBACK_BATCH = ("rollback maximum batch size", NOTHING, ALL)
_STEPS = {TrafficRouting.CANARY: _CANARY, TrafficRouting.LINEAR: _LINEAR_STEP}


def check(config: DeploymentConfig, instances: int | None = None) -> None:
    """Raise InvalidRequest for a configuration that cannot be carried out.

    What depends on the number of ``instances`` of the new fleet can be checked only where it is known. OURS: all sentences, and
    that a fleet of one instance takes any size in instances: there is nothing smaller.
    """
    policy, rolling = config.blue_green, config.rolling
    if policy is not None and policy.step is not None and policy.routing in _STEPS:
        _check_size(_STEPS[policy.routing], policy.step, instances)
    if rolling is not None:
        _check_size(_BATCH, rolling.batch, instances)
        if rolling.rollback_batch is not None:
            _check_size(_ROLLBACK_BATCH, rolling.rollback_batch, instances)
    _check_time(config, instances)


def _check_size(limits: tuple[str, Fraction, Fraction], size: CapacitySize, instances: int | None) -> None:
    name, low, high = limits
    if size.unit is CapacityUnit.CAPACITY_PERCENT:
        if not low <= Fraction(size.value, 100) <= high:
            raise InvalidRequest(
                f"The {name} must be {_percent(low)} to {_percent(high)} percent of the fleet, got {size.value} percent."
            )
    elif instances is not None and instances > 1 and size.part_of(instances) > high:
        raise InvalidRequest(
            f"The {name} must be at most {_percent(high)} percent of the fleet, got {size.value} of {instances} instances."
        )


def _check_time(config: DeploymentConfig, instances: int | None) -> None:
    """An update that is given less time than it has to wait could only roll back, while nothing else is allowed.

    AWS: "the timeout value should be larger than the total waiting time specified in TerminationWaitInSeconds and
    WaitIntervalInSeconds" (BlueGreenUpdatePolicy, API reference). OURS: it is refused, for rolling updates too; whether AWS
    refuses it was not found.
    """
    limit_s = config.execution_s_max
    if limit_s is None:
        return
    steps = _steps(config, instances)
    total_s = config.wait_s * steps + config.termination_wait_s
    if limit_s <= total_s:
        termination = f" and a termination wait of {config.termination_wait_s} s" if config.termination_wait_s else ""
        raise InvalidRequest(
            f"The maximum execution timeout must be larger than all that the update waits for, got {limit_s} s: {steps} wait "
            f"interval(s) of {config.wait_s} s{termination} make {total_s} s."
        )


def _steps(config: DeploymentConfig, instances: int | None) -> int:
    """How many steps are watched; 1 where that depends on a number of instances that is not known."""
    size = config.rolling.batch if config.rolling is not None else config.blue_green.step if config.blue_green else None
    if instances is None and size is not None and size.unit is CapacityUnit.INSTANCE_COUNT:
        return 1
    return len(Rollout(config=config, instances=instances or 0).steps)


def _percent(part: Fraction) -> str:
    return f"{int(part * 100)}"
