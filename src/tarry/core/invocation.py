"""The life of one invocation: what is fixed at acceptance, which states follow which, and its names in S3.

States: Queued (accepted, waiting) → Running (leased to an instance) → Publishing (outcome chosen, not yet visible) → one
of Completed, Failed, Expired, Stopped. The step to Publishing is taken once, guarded by state and lease token, and chooses
the outcome for ever. A lost lease puts Running back to Queued; a retry puts it into Delayed, from where it is Queued again.
"""

import hashlib
import json
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache

from tarry.core.catalog import AsyncInferenceConfig
from tarry.core.deployment import BUCKETS
from tarry.core.errors import InvalidRequest
from tarry.core.names import S3Location
from tarry.core.retry_policy import RetryPolicy

LOST_ATTEMPTS_MAX = 3
"""The third lost attempt fails the request: a poison request must not kill every instance in turn."""
INLINE_BYTES_MAX = 128 * 1024
"""Answers up to this size ride in the decision row, and in a notification that includes the response."""
PAYLOAD_BYTES_MAX = 1024**3
"""AWS: payloads of up to 1 GB, in and out (developer guide, "asynchronous inference").

OURS: taken for GiB, so that nothing is refused that AWS may take.
"""
TTL_S_DEFAULT = 21_600  # AWS: InvokeEndpointAsync API reference, RequestTTLSeconds
TIMEOUT_S_DEFAULT = 900  # AWS: InvokeEndpointAsync API reference, InvocationTimeoutSeconds
KEY_BYTES_MAX = 1024  # AWS: S3 user guide, object-keys
PRIORITY_MAX = 9
"""Priorities go from -9 to 9; 0 is the default."""
HEAD_START_US = 600_000_000
"""What one step of priority is worth: a request is taken as if it had come ten minutes earlier."""


class InvocationState(StrEnum):
    """Where an invocation is."""

    QUEUED = "Queued"
    DELAYED = "Delayed"
    RUNNING = "Running"
    PUBLISHING = "Publishing"
    COMPLETED = "Completed"
    FAILED = "Failed"
    EXPIRED = "Expired"
    STOPPED = "Stopped"


TERMINAL = frozenset({InvocationState.COMPLETED, InvocationState.FAILED, InvocationState.EXPIRED, InvocationState.STOPPED})

TRANSITIONS: dict[InvocationState, frozenset[InvocationState]] = {
    InvocationState.QUEUED: frozenset({InvocationState.RUNNING}),
    InvocationState.DELAYED: frozenset({InvocationState.QUEUED}),
    InvocationState.RUNNING: frozenset({InvocationState.PUBLISHING, InvocationState.QUEUED, InvocationState.DELAYED, *TERMINAL}),
    InvocationState.PUBLISHING: TERMINAL,
    **dict.fromkeys(TERMINAL, frozenset()),
}
"""Running → terminal in one step is Publishing and the end in one commit, where the store can do that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InvokeRequest:
    """What the caller of InvokeEndpointAsync sent, after validation of its shape."""

    endpoint_name: str
    input_location: str | None = None
    body: bytes | None = None
    content_type: str | None = None
    accept: str | None = None
    custom_attributes: str | None = None
    inference_id: str | None = None
    output_extension: str | None = None
    filename: str | None = None
    ttl_s: int | None = None
    timeout_s: int | None = None
    priority: int = 0
    same_within_s: int | None = None
    """The same InferenceId and input within so many seconds is the same request; None: each is one of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """An accepted invocation. Everything it needs later is copied in at acceptance; it never changes.

    ``id`` is ours and unique; ``inference_id`` is the caller's and may repeat. Times are microseconds since the epoch, UTC.
    """

    id: str
    endpoint_id: str
    endpoint_name: str
    region: str
    bucket: int
    inference_id: str
    received_at_us: int
    expires_at_us: int
    """Past this and no container has had it: Expired."""
    timeout_s: int
    output_location: str
    failure_location: str
    priority: int = 0
    """At acceptance; it can be changed while the invocation waits, see ``InvocationRecord``."""
    input_location: str | None = None
    """None: the body came inline with the request."""
    content_type: str | None = None
    accept: str | None = None
    custom_attributes: str | None = None
    kms_key_id: str | None = None
    """Read by an object store that encrypts (Amazon S3 itself); the embedded one has no keys."""
    success_topic: str | None = None
    error_topic: str | None = None
    include_response_on_success: bool = False
    include_response_on_error: bool = False
    named_by_caller: bool = False
    """Whether ``inference_id`` is the caller's; else it is our id."""
    body_sha256: str | None = None
    """Of an inline body, in hex, where the caller named the request."""
    retry: RetryPolicy | None = None
    """None, as on AWS: what a container answers is the answer."""
    redrive_of: str | None = None
    """The ended invocation that this one repeats."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalAttempt:
    """When an attempt came how far; None for a step that it did not come to. Microseconds since the epoch, UTC."""

    number: int
    instance_id: str
    claimed_at_us: int
    downloaded_at_us: int | None = None
    """The input was open and its first bytes on the way to the container."""
    answered_at_us: int | None = None
    """The container's status line was there."""
    uploaded_at_us: int | None = None
    """The whole answer was with the object store, invisible as yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How an invocation ended. ``reason`` is None exactly when it Completed."""

    state: InvocationState
    ended_at_us: int
    reason: str | None = None
    content_type: str | None = None
    """Of the object that is published."""
    container_status: int | None = None
    """What the container answered; kept for the lists of invocations that operators will read."""
    response: bytes | None = None
    """The published bytes, where a notification has to include them and they are at most INLINE_BYTES_MAX."""
    attempt: FinalAttempt | None = None
    """The attempt that was decided for; None where no instance had it at its end."""


def rank_us(received_at_us: int, priority: int) -> int:
    """The place in the queue: the lowest rank is claimed first.

    OURS: a priority is a head start, not a class of its own, so that nothing waits for ever: what comes later than the head
    start is worth can no longer overtake.
    """
    return received_at_us - priority * HEAD_START_US


def bucket_of(invocation_id: str) -> int:
    """The bucket 0..99 of an invocation: a hash of its id, so that any process computes the same."""
    return int.from_bytes(hashlib.blake2b(invocation_id.encode(), digest_size=4).digest()) % BUCKETS


@dataclass(frozen=True, slots=True)
class Locations:
    """Where an invocation's output and failure objects go; always two different keys."""

    output: S3Location
    failure: S3Location


def locations_of(config: AsyncInferenceConfig, invocation_id: str, extension: str | None, filename: str | None) -> Locations:
    """Fix both keys at acceptance. Errors: InvalidRequest where a key would be longer than S3 allows.

    Output: ``<S3OutputPath>/[<ext>/]<Filename or id.out>``.
    Failure: ``<S3FailurePath, else S3OutputPath>/[<ext>/]<stem>-error.out``.

    AWS: ``<uuid>.out`` and ``<uuid>-error.out``, extension appended, Filename instead of the generated name
    (InvokeEndpointAsync API reference). OURS: AWS has no failure object without
    S3FailurePath; here there always is one, beside the output.
    OURS: the stem of a Filename is the part before its only dot; a Filename that would meet the failure key gets it once more.
    """
    name = filename or f"{invocation_id}.out"
    stem = name.partition(".")[0]
    ext = extension or ""
    output = _root(config.s3_output_path).join(ext, name)
    failure_root = _root(config.s3_failure_path or config.s3_output_path)
    failure = failure_root.join(ext, f"{stem}-error.out")
    if failure == output:
        failure = failure_root.join(ext, f"{stem}-error-error.out")
    for place in (output, failure):
        if len(place.key.encode()) > KEY_BYTES_MAX:
            raise InvalidRequest(
                f"The result's key would have {len(place.key.encode())} bytes, S3 allows {KEY_BYTES_MAX}: {place.key[:100]}... "
                "Shorten S3OutputPath, S3FailurePath or S3OutputPathExtension."
            )
    return Locations(output, failure)


@lru_cache(maxsize=1024)  # the paths of configurations: few, and asked for by every request
def _root(path: str) -> S3Location:
    return S3Location.parse(path)


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptView:
    """What acceptance needs to know of an endpoint."""

    endpoint_id: str
    endpoint_name: str
    region: str
    config: AsyncInferenceConfig
    retry: RetryPolicy | None = None


def admit(request: InvokeRequest, endpoint: AcceptView, *, invocation_id: str, now_us: int) -> Invocation:
    """Make the invocation that is put into the queue; pure, so a repeat with the same arguments is the same row."""
    places = locations_of(endpoint.config, invocation_id, request.output_extension, request.filename)
    ttl_s = TTL_S_DEFAULT if request.ttl_s is None else request.ttl_s
    config = endpoint.config
    return Invocation(
        id=invocation_id,
        endpoint_id=endpoint.endpoint_id,
        endpoint_name=endpoint.endpoint_name,
        region=endpoint.region,
        bucket=bucket_of(invocation_id),
        inference_id=request.inference_id or invocation_id,
        received_at_us=now_us,
        expires_at_us=now_us + ttl_s * 1_000_000,
        timeout_s=TIMEOUT_S_DEFAULT if request.timeout_s is None else request.timeout_s,
        output_location=str(places.output),
        failure_location=str(places.failure),
        input_location=request.input_location,
        content_type=request.content_type,
        accept=request.accept,
        custom_attributes=request.custom_attributes,
        kms_key_id=config.kms_key_id,
        success_topic=config.success_topic,
        error_topic=config.error_topic,
        include_response_on_success=config.include_response_on_success,
        include_response_on_error=config.include_response_on_error,
        named_by_caller=request.inference_id is not None,
        body_sha256=_digest(request),
        priority=request.priority,
        retry=endpoint.retry,
    )


def redriven(ended: Invocation, *, endpoint_id: str, invocation_id: str, now_us: int, priority: int) -> Invocation:
    """A new invocation that asks the same of the endpoint that has the name now; its answer goes where the first was expected.

    ``priority``: the ended one's last, which may be another than at acceptance.
    """
    return replace(
        ended,
        id=invocation_id,
        endpoint_id=endpoint_id,
        bucket=bucket_of(invocation_id),
        priority=priority,
        received_at_us=now_us,
        expires_at_us=now_us + ended.expires_at_us - ended.received_at_us,
        redrive_of=ended.id,
    )


def same_key(invocation: Invocation) -> str | None:
    """Equal for two requests that ask for the same under the same InferenceId; None where the caller gave none.

    None, too, for a redrive: that is an operator's, and neither the answer to the caller's repeat nor the begin of a window.
    It is kept beside the invocation: what it is made from can be changed by a migration only.
    """
    if not invocation.named_by_caller or invocation.redrive_of is not None:
        return None
    asked = json.dumps([getattr(invocation, field) for field in _ASKED])
    return hashlib.blake2b(asked.encode(), digest_size=16).hexdigest()


_ASKED = ("inference_id", "endpoint_id", "input_location", "body_sha256", "content_type", "accept", "custom_attributes")


def _digest(request: InvokeRequest) -> str | None:
    if request.body is None or request.inference_id is None:
        return None
    return hashlib.sha256(request.body).hexdigest()
