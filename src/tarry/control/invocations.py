"""What people ask about invocations, and what they want of them: the oldest wish of SageMaker's users (boto3#3348).

Commands read records and write marks; delivery sees the marks and acts. So a stop or a purge is durable when the call returns,
whatever dies before it has been carried out.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from tarry.control.context import Context
from tarry.core.endpoint import Endpoint, EndpointStatus
from tarry.core.errors import Conflict, InvalidRequest, NotFound
from tarry.core.history import InvocationHistory, InvocationRecord, QueuePlace, QueueState
from tarry.core.invocation import PRIORITY_MAX, TERMINAL, InvocationState, redriven
from tarry.core.retry import RetryPolicy, check_policy
from tarry.ports import (
    InvocationQuery,
    InvocationQueue,
    InvocationRecords,
    Page,
    QueueControl,
    Replace,
    Wakeups,
    channel_invocation,
)

NAMED_MAX = 100
"""Invocations of one InferenceId that are told of."""
SAME_NAME_MAX = 100
"""Endpoints of one name, deleted ones among them, that one page looks at."""
REDRIVE_MAX = 10_000
"""Invocations that one call redrives."""
WAIT_S_MAX = 60
REDRIVABLE = frozenset({InvocationState.FAILED, InvocationState.EXPIRED, InvocationState.STOPPED})
_POLL_S = 1.0
_TRIES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class InvocationDescription:
    """An invocation with all that is known of it. ``place`` is None unless it is Queued."""

    history: InvocationHistory
    place: QueuePlace | None
    now_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Redrive:
    """One ended invocation that matches, and the new one that asks the same; None in a dry run."""

    ended: InvocationRecord
    again: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class InvocationPorts:
    """The ports that these commands use beside those of every command."""

    queue: InvocationQueue
    records: InvocationRecords
    control: QueueControl
    wakeups: Wakeups


class InvocationCommands:
    """Describe, list, wait, stop, prioritise, redrive, purge; and the retry policy of an endpoint."""

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
        return InvocationDescription(history=history, place=place, now_us=self._context.clock.now_us())

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
                described = await self.describe(id)
                left_s = deadline - clock.monotonic()
                if described.history.record.state in TERMINAL or left_s <= 0 or self._closing:
                    return described
                await hints.wait(min(left_s, _POLL_S))

    def end_waits(self) -> None:
        """The server stops: who waits is told how things are now, and nobody waits any more."""
        self._closing = True
        for waited in self._waits:
            self._ports.wakeups.notify(channel_invocation(waited))

    async def stop(self, id: str) -> InvocationRecord:
        """Ask for the end of an invocation as Stopped. One that has ended stays as it is. Errors: NotFound."""
        if await self._ports.control.stop(id) is None:
            raise _not_found(id)
        return (await self.describe(id)).history.record

    async def prioritise(self, id: str, priority: int) -> InvocationRecord:
        """Give an invocation that waits another priority. Errors: NotFound, InvalidRequest where it waits no longer."""
        check_priority(priority)
        state = await self._ports.control.prioritise(id, priority)
        if state is None:
            raise _not_found(id)
        if state not in (InvocationState.QUEUED, InvocationState.DELAYED):
            raise InvalidRequest(f'The invocation "{id}" does not wait any more: it is {state}.')
        return (await self.describe(id)).history.record

    async def purge(self, endpoint_name: str) -> int:
        """Ask for the end of all that waits for an endpoint now; returns how many. Errors: NotFound."""
        endpoint = await self._context.endpoint(endpoint_name)
        return await self._ports.control.purge(endpoint.id)

    async def redrive(self, ids: Sequence[str], *, dry_run: bool) -> list[Redrive]:
        """Ask again what these ended invocations asked. Errors: NotFound, InvalidRequest; before the first is put."""
        ended = []
        for each in dict.fromkeys(ids):
            record = (await self.describe(each)).history.record
            if record.state not in REDRIVABLE:
                raise InvalidRequest(f'The invocation "{each}" is {record.state}; Failed, Expired and Stopped ones are redriven.')
            if record.redriven_as is not None:
                raise InvalidRequest(f'The invocation "{each}" has been redriven as "{record.redriven_as}".')
            ended.append(record)
        redrives = [await self._again(record, dry_run=dry_run) for record in ended]
        return [each for each in redrives if each is not None]

    async def redrive_matching(self, query: InvocationQuery, endpoint_name: str, *, limit: int, dry_run: bool) -> list[Redrive]:
        """Ask again what all that match asked, but for those that have been redriven already; newest first, at most ``limit``.

        Errors: NotFound (the endpoint), InvalidRequest.
        """
        states = query.states or REDRIVABLE
        if wrong := sorted(states - REDRIVABLE):
            raise InvalidRequest(f"Invocations that are {wrong[0]} cannot be redriven; give Failed, Expired or Stopped.")
        redrives: list[Redrive] = []
        async for record in self._all(replace(query, states=states), endpoint_name):
            if len(redrives) == limit:
                break
            if record.redriven_as is None and (each := await self._again(record, dry_run=dry_run)):
                redrives.append(each)
        return redrives

    async def queue(self, endpoint_name: str) -> tuple[Endpoint, QueueState]:
        """An endpoint and what its queue holds. Errors: NotFound."""
        endpoint = await self._context.endpoint(endpoint_name)
        return endpoint, await self._ports.records.queue(endpoint.id)

    async def set_retry_policy(self, endpoint_name: str, policy: RetryPolicy | None) -> Endpoint:
        """For invocations that are accepted from now on; None: no retries. Errors: NotFound, InvalidRequest, Conflict."""
        if policy is not None:
            check_policy(policy)
        for tries_left in reversed(range(_TRIES)):
            endpoint = replace(await self._context.endpoint(endpoint_name), retry=policy)
            try:
                await self._context.store.apply(Replace(endpoint))
            except Conflict:
                if not tries_left:
                    raise
                continue
            break
        return endpoint

    async def _again(self, record: InvocationRecord, *, dry_run: bool) -> Redrive | None:
        ended = record.invocation
        present = await self._present(ended.endpoint_name)
        if dry_run:
            return Redrive(ended=record, again=None)
        again = redriven(
            ended, endpoint_id=present.id, invocation_id=self._context.ids.uuid(), now_us=self._context.clock.now_us()
        )
        body = await self._ports.records.body(ended.id) if ended.input_location is None else None
        try:
            await self._ports.queue.put(again, body)
        except Conflict:  # somebody else was first
            return None
        return Redrive(ended=record, again=again.id)

    @asynccontextmanager
    async def _waiting(self, id: str) -> AsyncIterator[None]:
        self._waits.append(id)
        try:
            yield
        finally:
            self._waits.remove(id)

    async def _all(self, query: InvocationQuery, endpoint_name: str) -> AsyncIterator[InvocationRecord]:
        while True:
            page = await self.page(query, endpoint_name)
            for record in page.items:
                yield record
            if page.next_token is None:
                return
            query = replace(query, token=page.next_token)

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

    async def _present(self, name: str) -> Endpoint:
        """The endpoint of this name that can be asked now. Errors: InvalidRequest."""
        endpoint = await self._context.store.named(Endpoint, name)
        if endpoint is None or endpoint.status is EndpointStatus.DELETING:
            gone = "has been deleted" if endpoint is None else "is being deleted"
            raise InvalidRequest(f'The endpoint "{name}" {gone}: create one of that name, then redrive what it left.')
        return endpoint


def check_priority(priority: int) -> None:
    """Raise InvalidRequest for a priority that does not exist."""
    if not -PRIORITY_MAX <= priority <= PRIORITY_MAX:
        raise InvalidRequest(f"Expected a priority from -{PRIORITY_MAX} to {PRIORITY_MAX}, got {priority}.")


def _not_found(id: str) -> NotFound:
    return NotFound("invocation", id)
