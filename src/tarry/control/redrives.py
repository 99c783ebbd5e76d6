"""Asking again what ended without an answer: a new invocation for each, accepted as any other and tied to the one it repeats.

Its limits and places are not looked up as at the door (``delivery.intake``): they were fixed when the first one was accepted, and
the repetition has the same. So it goes into the queue from here.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tarry.control.context import Context
from tarry.control.invocations import InvocationCommands, InvocationPorts
from tarry.core.endpoint import Endpoint, EndpointStatus
from tarry.core.errors import Conflict, InvalidRequest, TarryError
from tarry.core.history import InvocationRecord
from tarry.core.invocation import InvocationState, redriven
from tarry.ports import InvocationQuery

REDRIVABLE = frozenset({InvocationState.FAILED, InvocationState.EXPIRED, InvocationState.STOPPED})
GROUP = 64
"""So many are put at a time: they share commits, and leave room for other writers."""
PAGE = 500
LOOK_S = 10.0
"""Looking for what matches ends after this, and so does the asking: a caller hears of what was done before it hangs up."""
ASK_S = 10.0
_TOO_LONG = f"It takes more than {ASK_S:g} seconds. Ask again for the rest."


@dataclass(frozen=True, slots=True, kw_only=True)
class Redrive:
    """One ended invocation that matches, and the new one that asks the same; None in a dry run."""

    ended: InvocationRecord
    again: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Redriven:
    """What one call has done."""

    done: tuple[Redrive, ...]
    remaining: int = 0
    """How many of those that were meant have not been asked again."""
    reason: str | None = None
    """Why some remain."""
    more_may_match: bool = False
    """The limit was reached, or the time to look for them was over."""


class RedriveCommands:
    """Redrive these, or all that match."""

    def __init__(self, context: Context, ports: InvocationPorts, invocations: InvocationCommands) -> None:
        self._context = context
        self._invocations = invocations
        self._ports = ports

    async def these(self, ids: Sequence[str], names: Sequence[str] = (), *, dry_run: bool = False) -> Redriven:
        """Ask again what these ended invocations asked; of each InferenceId in ``names``, its newest.

        Errors: NotFound, InvalidRequest; before the first is put. Then those of ``InvocationQueue.put``, if not one could be
        put: else the answer says how far it came.
        """
        found = [await self._invocations.record(each) for each in ids]
        found += [await self._invocations.newest(each) for each in names]
        ended = {record.id: record for record in found}
        for record in ended.values():
            _check(record)
        answer = await self._ask_again(list(ended.values()), dry_run=dry_run)
        if not answer.done and not answer.reason:  # somebody else was first with each of them: the refusal says as what
            for record in ended.values():
                _check(await self._invocations.record(record.id))
        return answer

    async def matching(self, query: InvocationQuery, endpoint_name: str, *, limit: int, dry_run: bool = False) -> Redriven:
        """Ask again what all that match asked, but for those that have been redriven already; newest first, at most ``limit``.

        Errors: NotFound (the endpoint), InvalidRequest; and as ``these``.
        """
        states = query.states or REDRIVABLE
        if wrong := sorted(states - REDRIVABLE):
            raise InvalidRequest(f"Invocations that are {wrong[0]} cannot be redriven; give Failed, Expired or Stopped.")
        ended, more = await self._look(replace(query, states=states, limit=PAGE), endpoint_name, limit)
        return replace(await self._ask_again(ended, dry_run=dry_run), more_may_match=more)

    async def _look(self, query: InvocationQuery, endpoint_name: str, limit: int) -> tuple[list[InvocationRecord], bool]:
        """Up to ``limit`` that match and have not been redriven; and whether there may be more."""
        deadline = self._context.clock.monotonic() + LOOK_S
        found: list[InvocationRecord] = []
        while True:
            page = await self._invocations.page(query, endpoint_name)
            found += [record for record in page.items if record.redriven_as is None]
            if len(found) > limit:
                return found[:limit], True
            if page.next_token is None:
                return found, False
            if self._context.clock.monotonic() >= deadline:
                return found, True
            query = replace(query, token=page.next_token)

    async def _ask_again(self, ended: Sequence[InvocationRecord], *, dry_run: bool) -> Redriven:
        names = {record.invocation.endpoint_name for record in ended}
        present = {name: await self._present(name) for name in sorted(names)}
        if dry_run:
            return Redriven(done=tuple(Redrive(ended=record, again=None) for record in ended))
        deadline = self._context.clock.monotonic() + ASK_S
        done: list[Redrive] = []
        for start in range(0, len(ended), GROUP):
            group = ended[start : start + GROUP]
            answers = await asyncio.gather(
                *(self._put(record, present[record.invocation.endpoint_name]) for record in group), return_exceptions=True
            )
            done += [each for each in answers if isinstance(each, Redrive)]
            refusals = [each for each in answers if isinstance(each, BaseException)]
            if refusals and (not done or not isinstance(refusals[0], TarryError)):
                raise refusals[0]
            remaining = len(ended) - start - len(group) + len(refusals)
            late = self._context.clock.monotonic() >= deadline
            if remaining and (refusals or late):
                return Redriven(done=tuple(done), remaining=remaining, reason=str(refusals[0]) if refusals else _TOO_LONG)
        return Redriven(done=tuple(done))

    async def _put(self, record: InvocationRecord, endpoint: Endpoint) -> Redrive | None:
        """None where somebody else was first."""
        ended = record.invocation
        again = redriven(
            ended,
            endpoint_id=endpoint.id,
            invocation_id=self._context.ids.time_ordered_uuid(),
            now_us=self._context.clock.now_us(),
            priority=record.priority,
        )
        body = await self._ports.records.body(ended.id) if ended.input_location is None else None
        try:
            await self._ports.queue.put(again, body)
        except Conflict:
            return None
        return Redrive(ended=record, again=again.id)

    async def _present(self, name: str) -> Endpoint:
        """The endpoint of this name that can be asked now. Errors: InvalidRequest."""
        endpoint = await self._context.store.named(Endpoint, name)
        if endpoint is None or endpoint.status is EndpointStatus.DELETING:
            gone = "has been deleted" if endpoint is None else "is being deleted"
            raise InvalidRequest(f'The endpoint "{name}" {gone}: create one of that name, then redrive what it left.')
        return endpoint


def _check(record: InvocationRecord) -> None:
    if record.state not in REDRIVABLE:
        raise InvalidRequest(f'The invocation "{record.id}" is {record.state}; Failed, Expired and Stopped ones are redriven.')
    if record.redriven_as is not None:
        raise InvalidRequest(f'The invocation "{record.id}" has been redriven as "{record.redriven_as}".')
