"""Acceptance: from a caller's request to a durable row in the queue.

When ``invoke`` returns, the invocation is on disk with everything that it will ever need; only then may 202 be answered.
"""

from dataclasses import dataclass

from tarry.core.errors import InvalidRequest
from tarry.core.invocation import Invocation, InvokeRequest, admit
from tarry.core.names import S3Location
from tarry.delivery.directory import EndpointDirectory
from tarry.ports import Clock, Ids, InvocationQueue

INLINE_BODY_BYTES_MAX = 128_000  # AWS: InvokeEndpointAsync API reference, Body


@dataclass(frozen=True, slots=True)
class Accepted:
    """What was accepted: a new invocation, or the earlier one that the request repeats."""

    invocation: Invocation
    repeated: bool


class Intake:
    """Accepts invocations."""

    def __init__(self, directory: EndpointDirectory, queue: InvocationQueue, clock: Clock, ids: Ids) -> None:
        self._directory = directory
        self._queue = queue
        self._clock = clock
        self._ids = ids

    async def invoke(self, request: InvokeRequest) -> Accepted:
        """Accept one invocation; durable when this returns. The input object's existence is not checked, as on AWS.

        A request that repeats an earlier one (``same_within_s``) gets that one.

        Errors: InvalidRequest, EndpointNotFound, Throttled, StorageFull.
        """
        view = await self._directory.lookup(request.endpoint_name)
        _check_input(request)
        now_us = self._clock.now_us()
        wanted = admit(request, view, invocation_id=self._ids.time_ordered_uuid(), now_us=now_us)
        within_s = request.same_within_s
        since_us = None if within_s is None else now_us - within_s * 1_000_000
        accepted = await self._queue.put(wanted, request.body, same_since_us=since_us)
        return Accepted(accepted, repeated=accepted.id != wanted.id)


def _check_input(request: InvokeRequest) -> None:
    if request.same_within_s is not None and request.inference_id is None:
        raise InvalidRequest("An idempotency window needs an InferenceId: requests of the same InferenceId and input are one.")
    if (request.body is None) == (request.input_location is None):
        came = "neither" if request.body is None else "both"
        raise InvalidRequest(f"Exactly one of Body and InputLocation must be given, got {came}.")
    if request.body is not None and len(request.body) > INLINE_BODY_BYTES_MAX:
        raise InvalidRequest(
            f"Body must have length less than or equal to {INLINE_BODY_BYTES_MAX} bytes, got {len(request.body)}. "
            "Put larger inputs into S3 and give their InputLocation."
        )
    if request.input_location is not None and not S3Location.parse(request.input_location).key:
        raise InvalidRequest(f"InputLocation must name an object, got {request.input_location!r}, which has no key.")
