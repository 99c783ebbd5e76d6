"""An invocation in the form of the extension API."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from tarry.aws.services.values import given, moment
from tarry.control.invocations import InvocationDescription
from tarry.core.history import AHEAD_MAX, InvocationRecord
from tarry.core.invocation import TERMINAL, FinalAttempt, InvocationState

STOPPING = "Stopping"
_NOT_DECIDED = frozenset({InvocationState.QUEUED, InvocationState.DELAYED, InvocationState.RUNNING})


def shown_state(record: InvocationRecord) -> str:
    """The state; Stopping where the end is asked for and has not come yet."""
    return STOPPING if record.stop_requested and record.state in _NOT_DECIDED else str(record.state)


def summarise(record: InvocationRecord) -> Mapping[str, Any]:
    """One line of a list."""
    invocation, outcome = record.invocation, record.outcome
    ended = outcome is not None and record.state in TERMINAL
    return given(
        InvocationId=invocation.id,
        InferenceId=invocation.inference_id,
        EndpointName=invocation.endpoint_name,
        State=shown_state(record),
        Priority=record.priority,
        ReceivedTime=moment(invocation.received_at_us),
        EndTime=moment(outcome.ended_at_us) if outcome is not None and ended else None,
        Reason=outcome.reason if outcome is not None else None,
        AttemptCount=record.attempts,
        OutputLocation=invocation.output_location,
        FailureLocation=invocation.failure_location,
        RedrivenAs=record.redriven_as,
    )


def describe_invocation(described: InvocationDescription) -> Mapping[str, Any]:
    """All that is known of one."""
    record = described.history.record
    invocation, outcome = record.invocation, record.outcome
    topic = invocation.success_topic if record.state is InvocationState.COMPLETED else invocation.error_topic
    return given(
        **summarise(record),
        **_place(described),
        InputLocation=invocation.input_location,
        ContentType=invocation.content_type,
        ExpiryTime=moment(invocation.expires_at_us),
        TimeoutSeconds=invocation.timeout_s,
        ContainerStatus=outcome.container_status if outcome is not None else None,
        InstanceId=record.instance_id,
        LostAttemptCount=record.lost_attempts,
        StopCause=record.stop_cause,
        RedriveOf=invocation.redrive_of,
        NextAttemptTime=_optional(record.due_at_us),
        Timeline=list(_timeline(described)),
        Attempts=list(_attempts(described)),
        NotificationTopicArn=topic if record.state in TERMINAL else None,
        NotificationError=described.history.notification_error,
    )


def _place(described: InvocationDescription) -> dict[str, Any]:
    place = described.place
    if place is None:
        return {}
    wait_s = place.expected_wait_s(described.slots)
    return given(
        QueuePosition=place.ahead + 1,
        QueuePositionIsAtLeast=True if place.ahead >= AHEAD_MAX else None,
        ExpectedStartTime=None if wait_s is None else moment(described.now_us + int(wait_s * 1_000_000)),
    )


def _timeline(described: InvocationDescription) -> Iterator[Mapping[str, Any]]:
    record = described.history.record
    outcome = record.outcome
    final = outcome.attempt if outcome is not None else None
    claimed_us = final.claimed_at_us if final else record.claimed_at_us
    steps = {
        "Received": record.invocation.received_at_us,
        "Claimed": claimed_us,
        "Downloaded": final.downloaded_at_us if final else None,
        "Answered": final.answered_at_us if final else None,
        "Uploaded": final.uploaded_at_us if final else None,
        "Ended": outcome.ended_at_us if outcome is not None and record.state in TERMINAL else None,
        "Announced": described.history.announced_at_us,
    }
    before_us: int | None = None
    for step, time_us in steps.items():
        if time_us is not None:
            since = None if before_us is None else (time_us - before_us) / 1000
            yield given(Step=step, Time=moment(time_us), MillisecondsSinceBefore=since)
            before_us = time_us


def _attempts(described: InvocationDescription) -> Iterator[Mapping[str, Any]]:
    for each in described.history.undecided:
        yield given(
            Number=each.number,
            InstanceId=each.instance_id,
            StartTime=moment(each.claimed_at_us),
            EndTime=moment(each.ended_at_us),
            Result=each.end.value,
            ContainerStatus=each.status,
            Reason=each.reason,
        )
    record = described.history.record
    if record.outcome is not None and record.outcome.attempt is not None:
        yield _decided(record.outcome.attempt, record)
    elif record.state is InvocationState.RUNNING and record.claimed_at_us is not None:
        yield {
            "Number": record.attempts,
            "InstanceId": record.instance_id or "",
            "StartTime": moment(record.claimed_at_us),
            "Result": "Running",
        }


def _decided(final: FinalAttempt, record: InvocationRecord) -> Mapping[str, Any]:
    outcome = record.outcome
    return given(
        Number=final.number,
        InstanceId=final.instance_id,
        StartTime=moment(final.claimed_at_us),
        EndTime=None if outcome is None else moment(outcome.ended_at_us),
        Result="Decided",
        ContainerStatus=None if outcome is None else outcome.container_status,
        Reason=None if outcome is None else outcome.reason,
    )


def _optional(time_us: int | None) -> datetime | None:
    return None if time_us is None else moment(time_us)
