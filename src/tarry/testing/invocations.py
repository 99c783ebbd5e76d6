"""What people ask about invocations and want of them, over the queue in memory."""

from tarry.core.errors import InvalidRequest
from tarry.core.history import InvocationHistory, InvocationRecord, QueuePlace, QueueState, StopCause, explained
from tarry.core.instance import Instance
from tarry.core.invocation import TERMINAL, InvocationState
from tarry.ports import CHANNEL_STOPS, InvocationQuery, Page, Wakeups
from tarry.testing.outbox import FakeOutbox
from tarry.testing.queue import FakeInvocationQueue, Row
from tarry.testing.store import FakeStore

_WAITING = (InvocationState.QUEUED, InvocationState.DELAYED)


class FakeInvocationRecords:
    """ports.InvocationRecords."""

    def __init__(self, queue: FakeInvocationQueue, store: FakeStore, outbox: FakeOutbox) -> None:
        self._queue = queue
        self._store = store
        self._outbox = outbox

    async def history(self, id: str) -> InvocationHistory | None:
        """See ports.InvocationRecords."""
        row = self._queue.rows.get(id)
        if row is None:
            return None
        return InvocationHistory(
            record=self._store.records[id],
            undecided=tuple([explained(each, await self._store.get(Instance, each.instance_id)) for each in row.undecided]),
            announced_at_us=self._outbox.announced.get(id),
            notification_error=self._outbox.error(id),
        )

    async def state(self, id: str) -> InvocationState | None:
        """See ports.InvocationRecords."""
        row = self._queue.rows.get(id)
        return None if row is None else row.state

    async def named(self, inference_id: str, limit: int) -> list[InvocationRecord]:
        """See ports.InvocationRecords."""
        return [
            record
            for record in self._newest()
            if record.invocation.named_by_caller and record.invocation.inference_id == inference_id
        ][:limit]

    async def page(self, query: InvocationQuery) -> Page[InvocationRecord]:
        """See ports.InvocationRecords."""
        newest = sorted(self._newest(), key=lambda record: record.invocation.received_at_us, reverse=True)
        if query.token is not None:
            if query.token not in self._queue.rows:
                raise InvalidRequest("The token of the next page was not given out by this server; begin the list again.")
            newest = newest[[record.id for record in newest].index(query.token) + 1 :]
        found = [record for record in newest if _passes(record, query)]
        shown = found[: query.limit]
        return Page(tuple(shown), shown[-1].id if len(found) > len(shown) else None)

    async def place(self, id: str) -> QueuePlace | None:
        """See ports.InvocationRecords."""
        here = self._queue.rows.get(id)
        if here is None or here.state is not InvocationState.QUEUED:
            return None
        of_endpoint = [row for row in self._waiting(here.invocation.endpoint_id) if row.state is InvocationState.QUEUED]
        ordered = sorted(of_endpoint, key=lambda row: row.rank)
        ahead = ordered[: next(n for n, row in enumerate(ordered) if row is here)]
        return QueuePlace(
            ahead=sum(1 for row in ahead if not row.stop_requested),
            running=(await self.queue(here.invocation.endpoint_id)).running,
            attempt_s=self._attempt_s(here.invocation.endpoint_id),
        )

    async def queue(self, endpoint_id: str) -> QueueState:
        """See ports.InvocationRecords."""
        states = [row.state for row in self._queue.rows.values() if row.invocation.endpoint_id == endpoint_id]
        waiting = self._waiting(endpoint_id)
        return QueueState(
            queued=states.count(InvocationState.QUEUED),
            delayed=states.count(InvocationState.DELAYED),
            running=sum(1 for record in self._newest() if _runs(record) and record.invocation.endpoint_id == endpoint_id),
            publishing=states.count(InvocationState.PUBLISHING),
            oldest_received_at_us=min((row.invocation.received_at_us for row in waiting), default=None),
        )

    async def body(self, id: str) -> bytes | None:
        """See ports.InvocationRecords."""
        row = self._queue.rows.get(id)
        return None if row is None else row.body

    def _attempt_s(self, endpoint_id: str) -> float | None:
        rows = self._queue.rows.values()
        outcomes = [row.decision.outcome for row in rows if row.decision and row.invocation.endpoint_id == endpoint_id]
        spans_us = [each.ended_at_us - each.attempt.claimed_at_us for each in outcomes if each.attempt]
        return sum(spans_us) / len(spans_us) / 1_000_000 if spans_us else None

    def _newest(self) -> list[InvocationRecord]:
        return [self._store.records[each] for each in reversed(self._queue.rows)]

    def _waiting(self, endpoint_id: str) -> list[Row]:
        rows = self._queue.rows.values()
        return [row for row in rows if row.invocation.endpoint_id == endpoint_id and row.state in _WAITING]


def _runs(record: InvocationRecord) -> bool:
    """What is only being ended has no instance."""
    return record.state is InvocationState.RUNNING and record.instance_id is not None


class FakeQueueControl:
    """ports.QueueControl."""

    def __init__(self, queue: FakeInvocationQueue, wakeups: Wakeups) -> None:
        self._queue = queue
        self._wakeups = wakeups

    async def stop(self, id: str) -> InvocationState | None:
        """See ports.QueueControl."""
        row = self._queue.rows.get(id)
        if row is not None and row.state not in TERMINAL | {InvocationState.PUBLISHING}:
            self._mark(row, StopCause.STOP_INVOCATION)
        self._wakeups.notify(CHANNEL_STOPS)
        return None if row is None else row.state

    async def purge(self, endpoint_id: str) -> int:
        """See ports.QueueControl."""
        found = [
            row
            for row in self._queue.rows.values()
            if row.invocation.endpoint_id == endpoint_id and row.state in _WAITING and not row.stop_requested
        ]
        for row in found:
            self._mark(row, StopCause.PURGE_QUEUE)
        self._wakeups.notify(CHANNEL_STOPS)
        return len(found)

    async def forget(self, ended_before_us: int, limit: int) -> int:
        """See ports.QueueControl."""
        decided = [row for row in self._queue.rows.values() if row.state in TERMINAL and row.decision]
        ended = [(row.decision.outcome.ended_at_us, n, row) for n, row in enumerate(decided) if row.decision]
        gone = [row for ended_at_us, _, row in sorted(ended) if ended_at_us < ended_before_us]
        for row in gone[:limit]:
            self._queue.forget(row)
        return len(gone[:limit])

    async def prioritise(self, id: str, priority: int) -> InvocationState | None:
        """See ports.QueueControl."""
        row = self._queue.rows.get(id)
        if row is not None and row.state in _WAITING:
            row.priority = priority
            self._queue.changed(row)
        return None if row is None else row.state

    def _mark(self, row: Row, cause: StopCause) -> None:
        row.stop_cause = row.stop_cause or cause
        row.stop_requested = True
        self._queue.changed(row)


def _passes(record: InvocationRecord, query: InvocationQuery) -> bool:
    invocation, reason = record.invocation, record.outcome.reason if record.outcome else None
    return (
        (query.endpoint_id is None or invocation.endpoint_id == query.endpoint_id)
        and (query.inference_id is None or (invocation.named_by_caller and invocation.inference_id == query.inference_id))
        and (not query.states or record.state in query.states)
        and (query.received_after_us is None or invocation.received_at_us > query.received_after_us)
        and (query.received_before_us is None or invocation.received_at_us < query.received_before_us)
        and (query.reason_contains is None or (reason is not None and query.reason_contains.lower() in reason.lower()))
    )
