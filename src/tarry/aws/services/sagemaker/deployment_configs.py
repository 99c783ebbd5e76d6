"""DeploymentConfig, as it comes with CreateEndpoint and UpdateEndpoint and as DescribeEndpoint shows it."""

from collections.abc import Mapping
from typing import Any

from tarry.aws.services.sagemaker.members import take
from tarry.aws.services.values import given
from tarry.core.errors import InvalidRequest
from tarry.core.rollout import (
    BlueGreenPolicy,
    CapacitySize,
    CapacityUnit,
    DeploymentConfig,
    RollingPolicy,
    TrafficRouting,
)

_STEPS = {TrafficRouting.CANARY: "CanarySize", TrafficRouting.LINEAR: "LinearStepSize"}


def read_deployment_config(member: Mapping[str, Any] | None) -> DeploymentConfig | None:
    """A DeploymentConfig member, None where it was not given. Errors: NotSupported, InvalidRequest."""
    if member is None:
        return None
    take("DeploymentConfig", member)
    rollback = member.get("AutoRollbackConfiguration") or {}
    take("AutoRollbackConfig", rollback)
    alarms = rollback.get("Alarms") or ()
    for alarm in alarms:
        take("Alarm", alarm)
        if not alarm.get("AlarmName"):
            # OURS: optional in AWS's model. An alarm without a name would watch nothing.
            raise InvalidRequest("Each of the Alarms in AutoRollbackConfiguration must have an AlarmName.")
    blue_green, rolling = member.get("BlueGreenUpdatePolicy"), member.get("RollingUpdatePolicy")
    if blue_green is not None and rolling is not None:
        raise InvalidRequest("A DeploymentConfig has a BlueGreenUpdatePolicy or a RollingUpdatePolicy, got both.")
    return DeploymentConfig(
        blue_green=None if blue_green is None else _blue_green(blue_green),
        rolling=None if rolling is None else _rolling(rolling),
        alarms=tuple(alarm["AlarmName"] for alarm in alarms),
    )


def write_deployment_config(config: DeploymentConfig | None) -> Mapping[str, Any] | None:
    """A DeploymentConfig member of an answer."""
    if config is None:
        return None
    alarms = {"Alarms": [{"AlarmName": name} for name in config.alarms]} if config.alarms else None
    return given(
        BlueGreenUpdatePolicy=None if config.blue_green is None else _write_blue_green(config.blue_green),
        RollingUpdatePolicy=None if config.rolling is None else _write_rolling(config.rolling),
        AutoRollbackConfiguration=alarms,
    )


def _blue_green(policy: Mapping[str, Any]) -> BlueGreenPolicy:
    take("BlueGreenUpdatePolicy", policy)
    traffic = policy["TrafficRoutingConfiguration"]
    take("TrafficRoutingConfig", traffic)
    routing = TrafficRouting(traffic["Type"])
    for meant, name in _STEPS.items():
        if meant is not routing and traffic.get(name) is not None:
            raise InvalidRequest(f"{name} is for TrafficRoutingConfiguration of type {meant}, got type {routing}.")
    if routing in _STEPS and traffic.get(_STEPS[routing]) is None:
        raise InvalidRequest(f"TrafficRoutingConfiguration of type {routing} must have a {_STEPS[routing]}.")
    return BlueGreenPolicy(
        routing=routing,
        wait_s=traffic["WaitIntervalInSeconds"],
        step=_optional_size(traffic.get(_STEPS.get(routing, ""))),
        termination_wait_s=policy.get("TerminationWaitInSeconds") or 0,
        execution_s_max=policy.get("MaximumExecutionTimeoutInSeconds"),
    )


def _write_blue_green(policy: BlueGreenPolicy) -> Mapping[str, Any]:
    traffic = {"Type": str(policy.routing), "WaitIntervalInSeconds": policy.wait_s}
    if policy.step is not None:
        traffic[_STEPS[policy.routing]] = _write_size(policy.step)
    return given(
        TrafficRoutingConfiguration=traffic,
        TerminationWaitInSeconds=policy.termination_wait_s,
        MaximumExecutionTimeoutInSeconds=policy.execution_s_max,
    )


def _rolling(policy: Mapping[str, Any]) -> RollingPolicy:
    take("RollingUpdatePolicy", policy)
    return RollingPolicy(
        batch=_size(policy["MaximumBatchSize"]),
        wait_s=policy["WaitIntervalInSeconds"],
        rollback_batch=_optional_size(policy.get("RollbackMaximumBatchSize")),
        execution_s_max=policy.get("MaximumExecutionTimeoutInSeconds"),
    )


def _write_rolling(policy: RollingPolicy) -> Mapping[str, Any]:
    return given(
        MaximumBatchSize=_write_size(policy.batch),
        WaitIntervalInSeconds=policy.wait_s,
        MaximumExecutionTimeoutInSeconds=policy.execution_s_max,
        RollbackMaximumBatchSize=None if policy.rollback_batch is None else _write_size(policy.rollback_batch),
    )


def _optional_size(member: Mapping[str, Any] | None) -> CapacitySize | None:
    return None if member is None else _size(member)


def _size(member: Mapping[str, Any]) -> CapacitySize:
    take("CapacitySize", member)
    return CapacitySize(unit=CapacityUnit(member["Type"]), value=member["Value"])


def _write_size(size: CapacitySize) -> dict[str, Any]:
    return {"Type": str(size.unit), "Value": size.value}
