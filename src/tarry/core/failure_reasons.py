"""Why an invocation did not complete, in words: the ``failureReason`` of its notification and of its failure object.

Only the text for container errors is known from AWS; the others are ours and say what happened and what to do.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tarry.core.history import StopCause, UndecidedAttempt
from tarry.core.invocation import FinalAttempt, Invocation
from tarry.core.names import S3Location
from tarry.core.notifications import iso_millis

SEE_LOGS = "See the SageMaker Endpoint logs in your account for more information."
"""In each reason that the container knows more of."""


def container_error(status: int, where: str | None = None) -> str:
    """The container answered with a status outside 2xx. ``where`` is which one, in a pipeline."""
    # AWS: the 5xx wording is quoted in awsdocs/amazon-sagemaker-developer-guide#203 and in awslabs/osml-model-runner.
    # OURS: 4xx and the rest follow its pattern.
    kind = "server" if status >= 500 else "client"
    return f"ClientError: Received {kind} error ({status}) from {_model(where)}. {SEE_LOGS}"


def input_missing(location: str) -> str:
    """OURS: the input object does not exist; its bucket does."""
    return f"ClientError: The input object {location} does not exist. Upload it before invoking the endpoint."


def input_bucket_missing(location: str) -> str:
    """OURS: there is no such bucket."""
    bucket = S3Location.parse(location).bucket
    return f"ClientError: The bucket {bucket} of the input object {location} does not exist. Is its name right, and is it here?"


def input_unreadable(detail: str) -> str:
    """OURS: the input object is there and cannot be read."""
    return f"InternalError: The input object cannot be read: {detail} Upload it again."


def input_too_large(location: str, size: int, size_max: int) -> str:
    """OURS: AWS documents the limit and no text."""
    return (
        f"ClientError: The input object {location} has {size} bytes; at most {size_max} are allowed. "
        "Send less at a time, or let the server's operator raise queue.input_bytes_max."
    )


def timed_out(invocation: Invocation, where: str | None = None, status: int | None = None) -> str:
    """OURS: the container did not answer in InvocationTimeoutSeconds, or began to, with this status, and came to no end."""
    missed = "did not answer" if status is None else f"began to answer ({status}) and did not come to an end"
    return (
        f"ClientError: The {_model(where)} {missed} within {invocation.timeout_s} seconds (InvocationTimeoutSeconds). "
        f"{SEE_LOGS} Raise InvocationTimeoutSeconds (at most 3600), or the model server's own time limits. "
        f"If none is answered, its workers may die behind a healthy /ping: tarry logs {invocation.endpoint_name} shows why."
    )


def broken_answer(detail: str, where: str | None = None, status: int | None = None) -> str:
    """OURS: the container's answer breaks the contract, or the connection broke while the container lives on."""
    answer = "answer" if status is None else f"answer ({status})"
    return f"ClientError: The {answer} of the {_model(where)} could not be used: {detail} {SEE_LOGS}"


def upload_failed(location: str, detail: str) -> str:
    """OURS: the answer has nowhere to go."""
    return f"ClientError: The model's answer could not be written to {location}: {detail}"


def unforeseen(error: Exception) -> str:
    """OURS: an error that no rule here knows; its text may hold what is not the caller's to see, its kind does not."""
    return f"InternalError: The request could not be processed ({type(error).__name__}). See the server's log."


def lost(attempts: int, last: str | None) -> str:
    """OURS: the instance died under this request again and again; ``last`` is why the last attempt was lost, in sentences."""
    said = f"InternalError: The instance or the server died while working on this request, {attempts} times."
    return f"{said} The last time: {last} {SEE_LOGS}" if last else f"{said} {SEE_LOGS}"


def expired(invocation: Invocation) -> str:
    """OURS: nobody took the request before its time to live ended."""
    ttl_s = (invocation.expires_at_us - invocation.received_at_us) // 1_000_000
    return (
        f"ClientError: The request waited in the queue for longer than its {ttl_s} seconds (RequestTTLSeconds) and has expired."
    )


def stopped(cause: StopCause | None) -> str:
    """OURS: AWS cannot stop an invocation."""
    said = {
        StopCause.STOP_INVOCATION: "The request was stopped by a call of StopInvocation.",
        StopCause.PURGE_QUEUE: "The request was stopped by a call of PurgeQueue, with all that waited for its endpoint.",
        None: "The request was stopped by a call of StopInvocation or PurgeQueue.",
    }
    return f"ClientError: {said[cause]}"


def endpoint_deleted(endpoint_name: str) -> str:
    """OURS: AWS drops such requests without a word."""
    return f"ClientError: Endpoint {endpoint_name} was deleted before this request had been processed (endpoint deleted)."


def _model(where: str | None) -> str:
    return "model" if where is None else f"model ({where})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What a failure object tells where the container's own words cannot be it."""

    reason: str
    attempts: int
    ended_at_us: int
    undecided: Sequence[UndecidedAttempt] = ()
    """The attempts that decided nothing."""
    decided: FinalAttempt | None = None
    """The last one, where it was decided for."""
    status: int | None = None
    excerpt: bytes = b""
    """The first bytes of what the container answered."""


def failure_document(invocation: Invocation, failure: Failure) -> bytes:
    """The failure object where no container answer exists. OURS: AWS documents no form for platform failures."""
    document: dict[str, object] = {
        "failureReason": failure.reason,
        "endpointName": invocation.endpoint_name,
        "inferenceId": invocation.inference_id,
        "invocationId": invocation.id,
        "inputLocation": invocation.input_location,
        "attempts": failure.attempts,
        "receivedTime": iso_millis(invocation.received_at_us),
        "eventTime": iso_millis(failure.ended_at_us),
    }
    if failure.status is not None:
        document["containerStatus"] = failure.status
        document["containerBodyExcerpt"] = failure.excerpt.decode(errors="replace")
    document["attemptHistory"] = list(_attempts(failure))
    return json.dumps(document, indent=2).encode() + b"\n"


def _attempts(failure: Failure) -> Iterator[dict[str, object]]:
    for each in failure.undecided:
        yield _attempt(each, each.ended_at_us, each.end.value, each.status, each.reason)
    if failure.decided is not None:
        yield _attempt(failure.decided, failure.ended_at_us, "Decided", failure.status, failure.reason)


def _attempt(
    attempt: UndecidedAttempt | FinalAttempt, ended_at_us: int, end: str, status: int | None, reason: str | None
) -> dict[str, object]:
    told = {
        "number": attempt.number,
        "instanceId": attempt.instance_id,
        "startTime": iso_millis(attempt.claimed_at_us),
        "endTime": iso_millis(ended_at_us),
        "end": end,
        "containerStatus": status,
        "reason": reason,
    }
    return {name: value for name, value in told.items() if value is not None}
