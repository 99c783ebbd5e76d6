"""One attempt: fetch the input, ask the model, stage the answer, settle.

Bytes stream from the object store through the model server into the object store; memory does not grow with the payload.
Whatever goes wrong ends in exactly one of three ways: the invocation is settled (the request's or the container's fault),
released (nobody's fault, or the instance died), or left to whoever holds the lease now.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from enum import Enum

import structlog

from tarry.core import failure_reasons
from tarry.core.errors import (
    BucketNotFound,
    LeaseLost,
    ModelResponseInvalid,
    ModelServerTimeout,
    ModelServerUnreachable,
    ObjectDamaged,
    ObjectNotFound,
    ObjectRefused,
    RaceError,
    StorageFull,
    Throttled,
)
from tarry.core.instance import Instance
from tarry.core.invocation import Invocation, InvocationState
from tarry.core.names import S3Location
from tarry.delivery.pipeline import Pipeline
from tarry.delivery.settlement import Settlement
from tarry.ports import Claim, Clock, InvocationQueue, ModelRequest, ModelResponse, ModelServer, ObjectStore, Staged

log = structlog.get_logger(__name__)


GIVE_BACK_PAUSE_S = 1.0


class Attempted(Enum):
    """How an attempt went, as the slots need to know it."""

    SETTLED = "settled"
    INSTANCE_DEAD = "instance dead"  # give it nothing more until it answers /ping again
    STORE_FULL = "store full"  # claim nothing for a while
    LEASE_LOST = "lease lost"


class Worker:
    """Works on claims; one instance of this class serves all model instances."""

    def __init__(
        self, queue: InvocationQueue, objects: ObjectStore, models: ModelServer, settlement: Settlement, clock: Clock
    ) -> None:
        self._clock = clock
        self._queue = queue
        self._objects = objects
        self._models = models
        self._settlement = settlement

    async def attempt(self, claim: Claim, instance: Instance) -> Attempted:
        """Carry one claim to its end. Cancelling gives the invocation back to the queue, uncounted."""
        try:
            return await self._settled(claim, instance)
        except LeaseLost:
            log.info("lease lost, the attempt is dropped", invocation_id=claim.invocation.id)
            return Attempted.LEASE_LOST
        except (StorageFull, Throttled) as error:
            log.warning("nothing can be written, the request goes back to the queue", error=str(error))
            await self._give_back(claim)
            return Attempted.STORE_FULL
        except asyncio.CancelledError:
            await self._queue.release(claim.lease, lost=False)
            raise

    async def _settled(self, claim: Claim, instance: Instance) -> Attempted:
        """An attempt, with everything that nobody foresaw as a failure of the request: it must not come back for ever."""
        try:
            return await self._attempt(claim, instance)
        except (RaceError, StorageFull, Throttled):
            raise
        except Exception as error:
            log.exception("an attempt ended in an error that nobody foresaw", invocation_id=claim.invocation.id)
            await self._settlement.fail(claim, failure_reasons.unforeseen(error))
            return Attempted.SETTLED

    async def _give_back(self, claim: Claim) -> None:
        """Release, as often as it takes: what is full for the results is full for the queue too."""
        while True:
            try:
                return await self._queue.release(claim.lease, lost=False)
            except (StorageFull, Throttled):
                await self._clock.sleep(GIVE_BACK_PAUSE_S)

    async def _attempt(self, claim: Claim, instance: Instance) -> Attempted:
        invocation = claim.invocation
        pipeline = Pipeline(self._models, self._clock, instance)
        try:
            async with AsyncExitStack() as stack:
                try:
                    request = await stack.enter_async_context(self._request(claim))
                except (ObjectNotFound, BucketNotFound):
                    await self._settlement.fail(claim, failure_reasons.input_missing(invocation.input_location or ""))
                    return Attempted.SETTLED
                except ObjectDamaged as error:
                    await self._settlement.fail(claim, failure_reasons.input_unreadable(str(error)))
                    return Attempted.SETTLED
                response = await stack.enter_async_context(pipeline.invoke(request, timeout_s=float(invocation.timeout_s)))
                staged = await self._stage(claim, response, pipeline.where)
        except ModelServerTimeout:
            await self._settlement.fail(claim, failure_reasons.timed_out(invocation.timeout_s, pipeline.where))
            return Attempted.SETTLED
        except ModelResponseInvalid as error:
            await self._settlement.fail(claim, failure_reasons.broken_answer(str(error), pipeline.where))
            return Attempted.SETTLED
        except ModelServerUnreachable as error:
            return await self._unreachable(claim, instance, pipeline, error)
        if staged is not None:
            await self._settle(claim, staged, response.status, pipeline.where)
        return Attempted.SETTLED

    async def _settle(self, claim: Claim, staged: Staged, status: int, where: str | None) -> None:
        if _succeeded(status):
            await self._settlement.settle(claim, staged, InvocationState.COMPLETED, status=status)
        else:
            reason = failure_reasons.container_error(status, where)
            await self._settlement.settle(claim, staged, InvocationState.FAILED, reason=reason, status=status)

    async def _stage(self, claim: Claim, response: ModelResponse, where: str | None) -> Staged | None:
        """Stage the answer; None where it has nowhere to go and the invocation has been failed for that."""
        invocation = claim.invocation
        failed = not _succeeded(response.status)
        try:
            return await self._settlement.stage_answer(invocation, response.content_type, response.chunks, failed=failed)
        except (BucketNotFound, ObjectRefused) as error:
            place = invocation.failure_location if failed else invocation.output_location
            reason = (
                failure_reasons.container_error(response.status, where)
                if failed
                else failure_reasons.upload_failed(place, str(error))
            )
            await self._settlement.fail(claim, reason)
            return None

    async def _unreachable(
        self, claim: Claim, instance: Instance, pipeline: Pipeline, error: ModelServerUnreachable
    ) -> Attempted:
        """The connection broke. A container that still answers /ping broke it itself; otherwise the instance died."""
        if await self._models.ping(pipeline.address):
            await self._settlement.fail(claim, failure_reasons.broken_answer(str(error), pipeline.where))
            return Attempted.SETTLED
        log.warning("the instance died under a request", instance_id=instance.id, invocation_id=claim.invocation.id)
        await self._queue.release(claim.lease, lost=True)
        return Attempted.INSTANCE_DEAD

    @asynccontextmanager
    async def _request(self, claim: Claim) -> AsyncIterator[ModelRequest]:
        invocation = claim.invocation
        if claim.body is not None:
            yield ModelRequest(headers=_headers(invocation, None), size=len(claim.body), chunks=_one(claim.body))
            return
        async with self._objects.open(S3Location.parse(invocation.input_location or "")) as source:
            # AWS: ContentType left out means the input object's own; the SDK's AsyncPredictor depends on it.
            yield ModelRequest(headers=_headers(invocation, source.content_type), size=source.size, chunks=source.chunks)


def _succeeded(status: int) -> bool:
    return 200 <= status < 300


def _headers(invocation: Invocation, object_content_type: str | None) -> Mapping[str, str]:
    # AWS: everything else the client sent is stripped (your-algorithms-inference-code).
    headers = {
        "Content-Type": invocation.content_type or object_content_type,
        "Accept": invocation.accept,
        "X-Amzn-SageMaker-Custom-Attributes": invocation.custom_attributes,
        "X-Amzn-SageMaker-Inference-Id": invocation.inference_id,
    }
    return {name: value for name, value in headers.items() if value is not None}


async def _one(body: bytes) -> AsyncIterator[bytes]:
    yield body
