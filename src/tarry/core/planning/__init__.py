"""What has to be done so that an endpoint becomes what its caller desires: pure, from a view of the rows to actions."""

from tarry.core.planning.actions import (
    Action,
    Activate,
    AttendInstance,
    DrainInstance,
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
from tarry.core.planning.fleet import BACKOFF_S_MAX, CRASH_WINDOW_S, next_start_us, waiting_for
from tarry.core.planning.plan import DRAIN_MARGIN_S, plan
from tarry.core.planning.updates import START_FAILURES_MAX
from tarry.core.planning.view import EndpointView

__all__ = [
    "BACKOFF_S_MAX",
    "CRASH_WINDOW_S",
    "DRAIN_MARGIN_S",
    "START_FAILURES_MAX",
    "Action",
    "Activate",
    "AttendInstance",
    "DrainInstance",
    "EndUpdate",
    "EndpointView",
    "FailDeployment",
    "FinishDeletion",
    "ForgetInstance",
    "HaltRollback",
    "RevertCapacities",
    "RollBack",
    "Route",
    "Shift",
    "StartInstance",
    "StopDeployment",
    "StopInstance",
    "TestTopics",
    "next_start_us",
    "plan",
    "waiting_for",
]
