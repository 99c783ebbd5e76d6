"""How an invocation ends: stage its object, decide once, publish, finish. Shared by the worker and the sweeper.

``decide`` is the fence. Before it, whatever was staged is invisible and may be dropped; after it, the chosen bytes are the
only bytes, so any process may publish them again. A crash between decide and finish is rolled forward by the sweeper.
"""

from collections.abc import AsyncIterator
from dataclasses import replace

import structlog

from tarry.core import failure_reasons
from tarry.core.errors import DependencyError, StorageFull, TarryError
from tarry.core.failure_reasons import Failure
from tarry.core.history import AttemptEnd, UndecidedAttempt
from tarry.core.invocation import Invocation, InvocationState, Outcome
from tarry.core.names import S3Location
from tarry.core.notifications import includes_response, result_notification
from tarry.delivery.work import Work, one_chunk
from tarry.ports import Claim, Clock, Decision, InvocationQueue, InvocationRecords, Metrics, ObjectStore, Staged

log = structlog.get_logger(__name__)

METADATA_KEY = "tarry-invocation"
"""Each published object carries ``x-amz-meta-tarry-invocation``, so that a key can be told from the one that wrote it last."""


class Settlement:
    """Ends invocations."""

    def __init__(
        self, queue: InvocationQueue, objects: ObjectStore, records: InvocationRecords, clock: Clock, metrics: Metrics
    ) -> None:
        self._queue = queue
        self._records = records
        self._objects = objects
        self._clock = clock
        self._metrics = metrics

    async def stage_answer(
        self, invocation: Invocation, content_type: str, chunks: AsyncIterator[bytes], *, failed: bool
    ) -> Staged:
        """Take the container's answer, invisible as yet. Errors: BucketNotFound, StorageFull, and those of ``chunks``."""
        location = invocation.failure_location if failed else invocation.output_location
        return await self._objects.stage(
            S3Location.parse(location), content_type=content_type, metadata={METADATA_KEY: invocation.id}, chunks=chunks
        )

    async def settle(self, work: Work, staged: Staged, state: InvocationState, *, reason: str | None = None) -> None:
        """Decide for these bytes and make them visible.

        Errors: LeaseLost (somebody else decides; the staged bytes are dropped), StorageFull (once decided, the sweeper goes on).
        """
        invocation = work.claim.invocation
        outcome = Outcome(
            state=state,
            ended_at_us=self._clock.now_us(),
            reason=reason,
            content_type=staged.content_type,
            container_status=work.status,
            response=_response_for_notification(invocation, staged, state),
            attempt=work.attempt(),
        )
        try:
            await self._conclude(work.claim, outcome, staged)
        except StorageFull:
            raise
        except DependencyError as error:
            # The object has nowhere to go: its bucket is gone, or no store would take its key.
            if state is not InvocationState.COMPLETED:
                await self._conclude(work.claim, replace(outcome, response=None), None)
                return
            await self.fail(work, failure_reasons.upload_failed(invocation.output_location, str(error)))

    async def fail(self, work: Work, reason: str, state: InvocationState = InvocationState.FAILED) -> None:
        """End without an answer of the container: the failure object says why. Errors: LeaseLost, StorageFull.

        Where even the failure object has nowhere to go (its bucket is gone), the end and its notification still happen.
        """
        claim, now_us = work.claim, self._clock.now_us()
        failure = Failure(
            reason=reason,
            attempts=claim.attempt,
            ended_at_us=now_us,
            undecided=await self._undecided(claim),
            decided=work.attempt(),
            status=work.status,
            excerpt=work.excerpt,
        )
        body = failure_reasons.failure_document(claim.invocation, failure)
        try:
            staged = await self.stage_answer(claim.invocation, "application/json", one_chunk(body), failed=True)
        except StorageFull:
            raise
        except DependencyError:
            outcome = Outcome(
                state=state, ended_at_us=now_us, reason=reason, container_status=work.status, attempt=work.attempt()
            )
            await self._conclude(claim, outcome, None)
            return
        await self.settle(work, staged, state, reason=reason)

    async def stop(self, work: Work) -> None:
        """End it as Stopped, and say which operation asked for that. Errors: as ``fail``."""
        history = await self._records.history(work.claim.invocation.id)
        cause = history.record.stop_cause if history else None
        await self.fail(work, failure_reasons.stopped(cause), InvocationState.STOPPED)

    async def lose(self, work: Work) -> None:
        """End one that was lost too often, and say why it was lost the last time. Errors: as ``fail``."""
        lost = [each for each in await self._undecided(work.claim) if each.end is AttemptEnd.LOST]
        await self.fail(work, failure_reasons.lost(work.claim.lost_attempts, lost[-1].reason if lost else None))

    async def roll_forward(self, decision: Decision) -> None:
        """Publish and finish a decision whose process died. Repeats change nothing. Errors: StorageFull."""
        if decision.staged is not None:
            try:
                await self._objects.publish(decision.staged)
            except StorageFull:
                raise
            except DependencyError as error:
                # The bucket was deleted after the decision: the outcome stands, its object has nowhere to go.
                log.warning("a decided object cannot be published", invocation_id=decision.invocation_id, error=str(error))
                await self._objects.discard(decision.staged)
        await self._queue.finish(decision.invocation_id)

    async def _undecided(self, claim: Claim) -> tuple[UndecidedAttempt, ...]:
        history = await self._records.history(claim.invocation.id)
        return history.undecided if history else ()

    async def _conclude(self, claim: Claim, outcome: Outcome, staged: Staged | None) -> None:
        decision = Decision(
            invocation_id=claim.invocation.id,
            outcome=outcome,
            staged=staged,
            notification=result_notification(claim.invocation, outcome, has_object=staged is not None),
        )
        try:
            state = await self._queue.decide(claim.lease, decision)
        except TarryError:
            # Nothing was chosen. (When cancelled, nobody knows: then the bytes are left to the store's own sweeper.)
            if staged is not None:
                await self._objects.discard(staged)
            raise
        self._count(claim.invocation, outcome.state)
        _log_end(claim.invocation, outcome, has_object=staged is not None)
        if state is InvocationState.PUBLISHING:
            await self.roll_forward(decision)

    def _count(self, invocation: Invocation, state: InvocationState) -> None:
        # AWS: metric names of the asynchronous endpoint page (async-inference-monitor).
        name = {InvocationState.COMPLETED: "InvocationsProcessed", InvocationState.EXPIRED: "ExpiredRequests"}
        self._metrics.count(name.get(state, "InvocationFailures"), invocation.endpoint_name)


def _place(invocation: Invocation, outcome: Outcome) -> str:
    return invocation.output_location if outcome.state is InvocationState.COMPLETED else invocation.failure_location


def _log_end(invocation: Invocation, outcome: Outcome, *, has_object: bool) -> None:
    """A failure is told at level info, a success at level debug."""
    say = log.debug if outcome.state is InvocationState.COMPLETED else log.info
    say(
        "invocation ended",
        endpoint=invocation.endpoint_name,
        inference_id=invocation.inference_id,
        invocation_id=invocation.id,
        state=outcome.state,
        reason=outcome.reason,
        object=_place(invocation, outcome) if has_object else "none: it has nowhere to go",
    )


def _response_for_notification(invocation: Invocation, staged: Staged, state: InvocationState) -> bytes | None:
    return staged.inline if includes_response(invocation, completed=state is InvocationState.COMPLETED) else None
