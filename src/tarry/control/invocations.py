"""What people ask about invocations, and what they want of them: the oldest wish of SageMaker's users (boto3#3348).

Commands read records and write marks; delivery sees the marks and acts. So a stop or a purge is durable when the call returns,
whatever dies before it has been carried out.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import islice
from typing import TypeVar

from tarry.control.context import Context
from tarry.core.endpoint import Endpoint
from tarry.core.errors import InvalidRequest, NotFound
from tarry.core.history import InvocationHistory, InvocationRecord, QueuePlace, QueueState
from tarry.core.instance import Instance, InstanceState
from tarry.core.invocation import PRIORITY_MAX, TERMINAL, InvocationState
from tarry.ports import (
    InvocationQuery,
    InvocationQueue,
    InvocationRecords,
    Page,
    QueueControl,
    Wakeups,
    channel_invocation,
)

T = TypeVar("T")

NAMED_MAX = 100
"""Invocations of one InferenceId that are told of."""
SAME_NAME_MAX = 100
"""Endpoints of one name, deleted ones among them, that one page looks at."""
GROUP = 64
"""Calls that are made at a time for the invocations of one InferenceId."""
CHANGE_S = 20.0
"""Changing all of an InferenceId ends after this: a caller hears of what was done before it hangs up."""
_POLL_S = 1.0
WAITING = frozenset({InvocationState.QUEUED, InvocationState.DELAYED})
UNDECIDED = WAITING | {InvocationState.RUNNING}


@dataclass(frozen=True, slots=True, kw_only=True)
class InvocationDescription:
    """An invocation with all that is known of it. ``place`` is None unless it is Queued.

    ``slots``: how many invocations of its endpoint can be worked on at once.
    """

    history: InvocationHistory
    place: QueuePlace | None
    slots: int
    now_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """The invocations of an InferenceId that are as a call wanted them, newest first."""

    records: list[InvocationRecord]
    more_may_match: bool
    """The time was over before all had been looked at: the same call again changes the rest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InvocationPorts:
    """The ports that these commands use beside those of every command."""

    queue: InvocationQueue
    records: InvocationRecords
    control: QueueControl
    wakeups: Wakeups


class InvocationCommands:
    """Describe, list, wait, stop, prioritise, purge."""

    def __init__(self, context: Context, ports: InvocationPorts) -> None:
        self._context = context
        self._ports = ports
        self._closing = False
        self._waits: list[str] = []
        """The invocations that somebody waits for, once for each who does."""

    async def describe(self, id: str) -> InvocationDescription:
        """The invocation of this id. Errors: NotFound."""
        history = await self._ports.records.history(id)
        if history is None:
            raise _not_found(id)
        place = await self._ports.records.place(id) if history.record.state is InvocationState.QUEUED else None
        slots = 0 if place is None else await self._slots(history.record.invocation.endpoint_id)
        return InvocationDescription(history=history, place=place, slots=slots, now_us=self._context.clock.now_us())

    async def record(self, id: str) -> InvocationRecord:
        """The record of this invocation. Errors: NotFound."""
        history = await self._ports.records.history(id)
        if history is None:
            raise _not_found(id)
        return history.record

    async def endpoint_of(self, id: str) -> str | None:
        """The name of the endpoint that this invocation belongs to; None where there is no such invocation."""
        record = await self._context.store.get(InvocationRecord, id)
        return None if record is None else record.invocation.endpoint_name

    async def named(self, inference_id: str) -> list[InvocationRecord]:
        """The invocations whose caller gave this InferenceId, newest first, at most NAMED_MAX. Errors: NotFound."""
        found = await self._ports.records.named(inference_id, NAMED_MAX)
        if not found:
            raise NotFound("invocation with InferenceId", inference_id)
        return found

    async def page(self, query: InvocationQuery, endpoint_name: str | None) -> Page[InvocationRecord]:
        """One page, newest first. A name stands for every endpoint that has had it: what a deletion ended is told, too.

        Errors: NotFound (no such endpoint, and no records of one), InvalidRequest (the token).
        """
        if endpoint_name is None:
            return await self._ports.records.page(query)
        return await self._page_of(query, [endpoint.id for endpoint in await self._context.endpoints_named(endpoint_name)])

    async def wait(self, id: str, timeout_s: float) -> InvocationDescription:
        """The invocation as soon as it has ended, or as it is after ``timeout_s`` or at the server's stop. Errors: NotFound."""
        clock = self._context.clock
        deadline = clock.monotonic() + timeout_s
        async with self._ports.wakeups.listen(channel_invocation(id)) as hints, self._waiting(id):
            while True:
                state = await self._ports.records.state(id)  # not all that is known: many may wait, and look every second
                left_s = deadline - clock.monotonic()
                if state is None or state in TERMINAL or left_s <= 0 or self._closing:
                    return await self.describe(id)
                await hints.wait(min(left_s, _POLL_S))

    def end_waits(self) -> None:
        """The server stops: who waits is told how things are now, and nobody waits any more."""
        self._closing = True
        for waited in self._waits:
            self._ports.wakeups.notify(channel_invocation(waited))

    async def newest(self, inference_id: str) -> InvocationRecord:
        """The newest invocation whose caller gave this InferenceId. Errors: NotFound."""
        named = await self._ports.records.named(inference_id, 1)
        if not named:
            raise NotFound("invocation with InferenceId", inference_id)
        return named[0]

    async def stop(self, id: str) -> InvocationRecord:
        """Ask for the end of an invocation as Stopped. One that has ended stays as it is. Errors: NotFound."""
        if await self._ports.control.stop(id) is None:
            raise _not_found(id)
        return await self.record(id)

    async def stop_named(self, inference_id: str) -> Changed:
        """Ask for the end of all of this InferenceId that have not ended, for CHANGE_S at most. Errors: NotFound."""

        async def stop(record: InvocationRecord) -> InvocationRecord:
            return record if record.stop_requested else await self.stop(record.id)

        await self.newest(inference_id)
        return await self._change_all(inference_id, UNDECIDED, stop)

    async def prioritise(self, id: str, priority: int) -> InvocationRecord:
        """Give an invocation that waits another priority. Errors: NotFound, InvalidRequest where it waits no longer."""
        check_priority(priority)
        state = await self._ports.control.prioritise(id, priority)
        if state is None:
            raise _not_found(id)
        if state not in WAITING:
            raise InvalidRequest(f'The invocation "{id}" does not wait any more: it is {state}.')
        return await self.record(id)

    async def prioritise_named(self, inference_id: str, priority: int) -> Changed:
        """Give all of this InferenceId that wait another priority, for CHANGE_S at most.

        Errors: NotFound, InvalidRequest where none waits.
        """

        async def move(record: InvocationRecord) -> InvocationRecord | None:
            if record.priority == priority:
                return record
            state = await self._ports.control.prioritise(record.id, priority)
            return await self.record(record.id) if state in WAITING else None

        check_priority(priority)
        newest = await self.newest(inference_id)
        moved = await self._change_all(inference_id, WAITING, move)
        if not moved.records and not moved.more_may_match:
            raise InvalidRequest(
                f'No invocation with the InferenceId "{inference_id}" waits: the newest, "{newest.id}", is {newest.state}.'
            )
        return moved

    async def purge(self, endpoint_name: str) -> int:
        """Ask for the end of all that waits for an endpoint now; returns how many. Errors: NotFound."""
        endpoint = await self._context.endpoint(endpoint_name)
        return await self._ports.control.purge(endpoint.id)

    async def queue(self, endpoint_name: str) -> tuple[Endpoint, QueueState]:
        """An endpoint and what its queue holds. Errors: NotFound."""
        endpoint = await self._context.endpoint(endpoint_name)
        return endpoint, await self._ports.records.queue(endpoint.id)

    @asynccontextmanager
    async def _waiting(self, id: str) -> AsyncIterator[None]:
        self._waits.append(id)
        try:
            yield
        finally:
            self._waits.remove(id)

    async def _change_all(
        self,
        inference_id: str,
        states: frozenset[InvocationState],
        change: Callable[[InvocationRecord], Awaitable[InvocationRecord | None]],
    ) -> Changed:
        """Page by page, newest first, until the last or until the time is over."""
        deadline = self._context.clock.monotonic() + CHANGE_S
        query = InvocationQuery(inference_id=inference_id, states=states)
        changed: list[InvocationRecord] = []
        while True:
            page = await self._ports.records.page(query)
            changed += filter(None, await _together(change(record) for record in page.items))
            late = self._context.clock.monotonic() >= deadline
            if page.next_token is None or late:
                return Changed(records=changed, more_may_match=page.next_token is not None)
            query = replace(query, token=page.next_token)

    async def _slots(self, endpoint_id: str) -> int:
        instances = await self._context.store.find(Instance, endpoint_id=endpoint_id, state=InstanceState.IN_SERVICE)
        return sum(each.concurrency for each in instances if each.unanswered_since_us is None)

    async def _page_of(self, query: InvocationQuery, endpoint_ids: Sequence[str]) -> Page[InvocationRecord]:
        """A page over endpoints that had one name one after the other, newest first; its token names one of them and a row."""
        of, _, token = (query.token or endpoint_ids[0]).partition(".")
        if of not in endpoint_ids:
            raise InvalidRequest("The token of the next page was not given out for this endpoint; begin the list again.")
        items: list[InvocationRecord] = []
        first = endpoint_ids.index(of)
        for endpoint_id in endpoint_ids[first : first + SAME_NAME_MAX]:
            if len(items) == query.limit:
                return Page(tuple(items), endpoint_id)
            part = replace(query, endpoint_id=endpoint_id, token=token or None, limit=query.limit - len(items))
            page = await self._ports.records.page(part)
            items += page.items
            if page.next_token is not None:
                return Page(tuple(items), f"{endpoint_id}.{page.next_token}")
            token = ""
        return Page(tuple(items), next(iter(endpoint_ids[first + SAME_NAME_MAX :]), None))


async def _together(calls: Iterable[Awaitable[T]]) -> list[T]:
    """The results, in order; some calls at a time, so that writes share commits."""
    results: list[T] = []
    left = iter(calls)
    while group := list(islice(left, GROUP)):
        results += await asyncio.gather(*group)
    return results


def check_priority(priority: int) -> None:
    """Raise InvalidRequest for a priority that does not exist."""
    if not -PRIORITY_MAX <= priority <= PRIORITY_MAX:
        raise InvalidRequest(f"Expected a priority from -{PRIORITY_MAX} to {PRIORITY_MAX}, got {priority}.")


def _not_found(id: str) -> NotFound:
    return NotFound("invocation", id)
