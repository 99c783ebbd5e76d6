"""What is told to SNS topics: the test message and the end of each invocation, in AWS's own form.

Forms: the SageMaker guide, async-inference-create-endpoint (test message) and async-inference-check-predictions (result).
"""

import base64
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from tarry.core.invocation import Invocation, InvocationState, Outcome

TEST_MESSAGE = '{"eventVersion":"1.0","eventSource":"aws:sagemaker","eventName":"TestNotification"}'


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """One message to one topic. ``id`` is stable over every repeat: a notifier that has seen it does nothing more."""

    id: str
    topic_arn: str
    message: str


def result_notification(invocation: Invocation, outcome: Outcome, *, has_object: bool = True) -> Notification | None:
    """The message for an invocation's end, or None where no topic is configured for it.

    Without an object (its bucket is gone) there is no location to name.

    Only what the caller sent appears under requestParameters. OURS: Expired and Stopped are told as ``Failed`` with the
    reason, since ``invocationStatus`` has two values on AWS.
    """
    completed = outcome.state is InvocationState.COMPLETED
    topic = invocation.success_topic if completed else invocation.error_topic
    if topic is None:
        return None
    message: dict[str, Any] = {
        "awsRegion": invocation.region,
        "eventTime": iso_millis(outcome.ended_at_us),
        "receivedTime": iso_millis(invocation.received_at_us),
        "invocationStatus": "Completed" if completed else "Failed",
    }
    if not completed:
        message["failureReason"] = outcome.reason
    message["requestParameters"] = _request_parameters(invocation)
    place = {"outputLocation": invocation.output_location} if completed else {"failureLocation": invocation.failure_location}
    if has_object:
        message["responseParameters"] = {"contentType": outcome.content_type, **place}
    if includes_response(invocation, completed=completed) and outcome.response is not None:
        message["responseBody"] = _response_body(outcome, completed=completed)
    message |= {
        "inferenceId": invocation.inference_id,
        "eventVersion": "1.0",
        "eventSource": "aws:sagemaker",
        "eventName": "InferenceResult",
    }
    text = json.dumps(message, separators=(",", ":"))
    return Notification(id=f"{invocation.id}", topic_arn=topic, message=text)


def iso_millis(time_us: int) -> str:
    """ISO 8601 in UTC with exactly three decimals and a Z, as SageMaker and SNS write times."""
    second, rest_us = divmod(time_us, 1_000_000)
    return f"{_iso_second(second)}.{rest_us // 1000:03d}Z"


@lru_cache(maxsize=64)
def _iso_second(second: int) -> str:
    """Every notification has two times, and most of them are of the same few seconds."""
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _request_parameters(invocation: Invocation) -> dict[str, str]:
    given = {
        "accept": invocation.accept,
        "contentType": invocation.content_type,
        "customAttributes": invocation.custom_attributes,
        "endpointName": invocation.endpoint_name,
        "inputLocation": invocation.input_location,
    }
    return {name: value for name, value in given.items() if value is not None}


def includes_response(invocation: Invocation, *, completed: bool) -> bool:
    """Whether the endpoint's configuration wants the answer itself in the notification of such an end."""
    return invocation.include_response_on_success if completed else invocation.include_response_on_error


def _response_body(outcome: Outcome, *, completed: bool) -> dict[str, str]:
    body = outcome.response or b""
    if completed:
        return {"content": base64.b64encode(body).decode(), "message": "", "encoding": "BASE64"}
    return {"content": body.decode(errors="replace"), "message": outcome.reason or ""}
