"""One attempt: fetch the input, ask the model, stage the answer, settle.

Bytes stream from the object store through the model server into the object store; memory does not grow with the payload.
Whatever goes wrong ends in exactly one of three ways: the invocation is settled (the request's or the container's fault),
released (nobody's fault, the instance died, or the endpoint's owner wants another attempt), or left to whoever holds the lease
now.
"""

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from dataclasses import replace
from enum import Enum
from typing import Any

import structlog

from tarry.core import failure_reasons
from tarry.core.errors import (
    BucketNotFound,
    LeaseLost,
    ModelResponseInvalid,
    ModelServerNotConnected,
    ModelServerTimeout,
    ModelServerUnreachable,
    ObjectRefused,
    RaceError,
    StopRequested,
    StorageFull,
    Throttled,
)
from tarry.core.history import AttemptEnd
from tarry.core.instance import Instance
from tarry.core.invocation import LOST_ATTEMPTS_MAX, PAYLOAD_BYTES_MAX, InvocationState
from tarry.delivery.giving_back import LEAVING_TRIES_MAX, give_back
from tarry.delivery.model_request import InputUnusable, model_request
from tarry.delivery.pipeline import Pipeline
from tarry.delivery.settlement import Settlement
from tarry.delivery.work import Work
from tarry.ports import (
    LOST,
    RETURNED,
    UNTOUCHED,
    Back,
    Clock,
    InvocationQueue,
    InvocationRecords,
    ModelResponse,
    ModelServer,
    ObjectStore,
    Staged,
)

log = structlog.get_logger(__name__)


LAST_LOSS_S = 5.0
"""The loss that ends a request waits so long: by then it is known how the instance ended, and the failure says it."""
DRAINED = "The server was stopped, and its drain time ended before the request did."
"""The reason of an attempt that is cancelled, but for a stop of its invocation."""


class Attempted(Enum):
    """How an attempt went, as the slots need to know it."""

    SETTLED = "settled"
    TIMED_OUT = "timed out"  # settled; give its instance nothing more until it answers /ping
    INSTANCE_DEAD = "instance dead"  # give it nothing more until it answers /ping again
    STORE_FULL = "store full"  # claim nothing for a while
    LEASE_LOST = "lease lost"


class Worker:
    """Works on claims; one instance of this class serves all model instances."""

    def __init__(  # noqa: PLR0913 - it connects ports
        self,
        queue: InvocationQueue,
        objects: ObjectStore,
        models: ModelServer,
        records: InvocationRecords,
        settlement: Settlement,
        clock: Clock,
        *,
        input_bytes_max: int = PAYLOAD_BYTES_MAX,
    ) -> None:
        """``input_bytes_max`` is that of the settings: requests with larger input objects fail unseen by any container."""
        self._input_bytes_max = input_bytes_max
        self._clock = clock
        self._records = records
        self._queue = queue
        self._objects = objects
        self._models = models
        self._settlement = settlement

    async def attempt(self, work: Work, instance: Instance) -> Attempted:
        """Carry one claim to its end.

        Cancelling gives the invocation back to the queue, uncounted, or ends it as Stopped if ``work.stopping`` says so; the
        connection to the container is closed either way.
        """
        try:
            return await self._ended(work, self._settled(work, instance))
        except asyncio.CancelledError:  # wherever it came: in the middle of giving the invocation back, too
            if work.stopping:
                return await self._stop(work)
            await self._leave(work)
            raise

    async def _ended(self, work: Work, ending: Coroutine[Any, Any, Attempted]) -> Attempted:
        try:
            return await ending
        except StopRequested:  # the stop was durable before the answer could be decided for
            work.stopping = True
            return await self._stop(work)
        except LeaseLost:  # somebody else holds it, or it was decided before a stop came
            log.info("lease lost, the attempt is dropped", invocation_id=work.claim.invocation.id)
            return Attempted.LEASE_LOST
        except (StorageFull, Throttled) as error:
            log.warning("nothing can be written, the request goes back to the queue", error=str(error))
            await give_back(self._queue, self._clock, work.claim.lease, _returned(work, str(error)))
            return Attempted.STORE_FULL

    async def _stop(self, work: Work) -> Attempted:
        try:
            return await self._ended(work, self._stopped(work))
        except asyncio.CancelledError:
            await self._leave(work)
            raise

    async def _stopped(self, work: Work) -> Attempted:
        await self._settlement.stop(work)
        return Attempted.SETTLED

    async def _leave(self, work: Work) -> None:
        await give_back(self._queue, self._clock, work.claim.lease, _returned(work, DRAINED), tries_max=LEAVING_TRIES_MAX)

    async def _settled(self, work: Work, instance: Instance) -> Attempted:
        """An attempt, with everything that nobody foresaw as a failure of the request: it must not come back for ever."""
        try:
            return await self._attempt(work, instance)
        except (RaceError, StorageFull, Throttled):
            raise
        except Exception as error:
            log.exception("an attempt ended in an error that nobody foresaw", invocation_id=work.claim.invocation.id)
            await self._settlement.fail(work, failure_reasons.unforeseen(error))
            return Attempted.SETTLED

    async def _attempt(self, work: Work, instance: Instance) -> Attempted:
        claim, invocation = work.claim, work.claim.invocation
        pipeline = Pipeline(self._models, self._clock, instance)
        try:
            async with AsyncExitStack() as stack:
                opened = model_request(self._objects, claim, input_bytes_max=self._input_bytes_max)
                request = await stack.enter_async_context(opened)
                work.downloaded_at_us = self._clock.now_us()
                response = await stack.enter_async_context(pipeline.invoke(request, timeout_s=float(invocation.timeout_s)))
                work.answered_at_us, work.status = self._clock.now_us(), response.status
                error = _container_error(response.status, pipeline.where)
                if error is not None and await self._retried(work, error, response.status):
                    return Attempted.SETTLED
                staged = await self._stage(work, response, error)
        except InputUnusable as unusable:
            return await self._failed(work, unusable.reason)
        except ModelServerTimeout:
            reason = failure_reasons.timed_out(invocation, pipeline.where, work.status)
            if not await self._retried(work, reason, None):
                await self._failed(work, reason)
            return Attempted.TIMED_OUT
        except ModelResponseInvalid as invalid:
            return await self._failed(work, failure_reasons.broken_answer(str(invalid), pipeline.where, work.status))
        except ModelServerUnreachable as unreachable:
            return await self._unreachable(work, instance, pipeline, unreachable)
        work.answered()
        if staged is not None:
            state = InvocationState.COMPLETED if error is None else InvocationState.FAILED
            await self._settlement.settle(work, staged, state, reason=error)
        return Attempted.SETTLED

    async def _failed(self, work: Work, reason: str) -> Attempted:
        await self._settlement.fail(work, reason)
        return Attempted.SETTLED

    async def _retried(self, work: Work, reason: str, status: int | None) -> bool:
        """Whether the endpoint's retry policy wants another attempt (None: after a timeout); then the invocation waits for it."""
        claim, policy = work.claim, work.claim.invocation.retry
        if policy is None or not policy.wants(status):
            return False
        history = await self._records.history(claim.invocation.id)
        before = sum(1 for each in history.undecided if each.end is AttemptEnd.RETRIED) if history else 0
        delay_s = policy.delay_s(before + 1)
        if delay_s is None:
            return False
        back = Back(end=AttemptEnd.RETRIED, delay_s=delay_s, status=work.status, reason=reason)
        await self._queue.release(claim.lease, back)
        return True

    async def _stage(self, work: Work, response: ModelResponse, container_error: str | None) -> Staged | None:
        """Stage the answer; None where the invocation has been failed: it has nowhere to go, or is an error without a word."""
        invocation = work.claim.invocation
        chunks = work.watched(response.chunks)
        try:
            staged = await self._settlement.stage_answer(
                invocation, response.content_type, chunks, failed=container_error is not None
            )
        except (BucketNotFound, ObjectRefused) as error:
            place = invocation.failure_location if container_error is not None else invocation.output_location
            await self._settlement.fail(work, container_error or failure_reasons.upload_failed(place, str(error)))
            return None
        if container_error is not None and not work.excerpt:  # OURS: as failure object an empty body would say nothing
            await self._objects.discard(staged)
            await self._settlement.fail(work, container_error)
            return None
        work.uploaded_at_us = self._clock.now_us()
        return staged

    async def _unreachable(self, work: Work, instance: Instance, pipeline: Pipeline, error: ModelServerUnreachable) -> Attempted:
        """The connection broke. A container that still answers /ping broke it itself; otherwise the instance died.

        That counts against the request. One that no container has seen anything of goes back as if nobody had tried, whatever
        became of the instance.
        """
        untouched = pipeline.at_first and isinstance(error, ModelServerNotConnected)
        if not untouched and (await self._models.ping(pipeline.address)).healthy:
            return await self._failed(work, failure_reasons.broken_answer(str(error), pipeline.where, work.status))
        said = "the instance takes no request" if untouched else "the instance died under a request"
        log.warning(said, instance_id=instance.id, invocation_id=work.claim.invocation.id, error=str(error))
        if not untouched and work.claim.lost_attempts + 1 >= LOST_ATTEMPTS_MAX:
            await self._clock.sleep(LAST_LOSS_S)
        back = replace(UNTOUCHED if untouched else LOST, reason=str(error))
        await give_back(self._queue, self._clock, work.claim.lease, back)
        return Attempted.INSTANCE_DEAD


def _returned(work: Work, reason: str) -> Back:
    """Before its input was there, no container can have had it."""
    return replace(UNTOUCHED if work.downloaded_at_us is None else RETURNED, reason=reason)


def _container_error(status: int, where: str | None) -> str | None:
    return None if 200 <= status < 300 else failure_reasons.container_error(status, where)
