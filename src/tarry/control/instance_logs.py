"""What instances have printed: also of those that never came up, and of those that are gone with their endpoint.

The logs are found by the names of their files, since the rows of instances are not kept for long.
"""

from dataclasses import dataclass

from tarry.control.context import Context
from tarry.core.endpoint import Endpoint
from tarry.core.errors import InvalidRequest
from tarry.core.instance import Instance, InstanceState
from tarry.ports import InstanceLog, InstanceLogs, LogName, LogPart, Page

_BETWEEN = ","


@dataclass(frozen=True, slots=True, kw_only=True)
class LogQuery:
    """Which logs of an endpoint; ``token`` is that of the page before."""

    limit: int
    token: str | None = None
    variant_name: str | None = None
    instance_id: str | None = None
    written_after_us: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundLog:
    """A log, and what is known of its instance; None where nothing is any more: then it has ended."""

    log: InstanceLog
    state: InstanceState | None


class InstanceLogCommands:
    """Find logs, read them."""

    def __init__(self, context: Context, logs: InstanceLogs) -> None:
        self._context = context
        self._logs = logs

    async def page(self, endpoint_name: str, query: LogQuery) -> Page[FoundLog]:
        """The logs of all endpoints that have had this name, what was written to last first.

        What is written to between two pages moves to the front, where the next page does not find it any more. Errors: NotFound
        (no log, and no endpoint either), InvalidRequest (the token).
        """
        logs = await self._logs.find(endpoint_name)
        if not logs:
            await self._context.endpoints_named(endpoint_name)
        before = None if query.token is None else _read_token(query.token)
        wanted = [log for log in logs if _matches(log, query) and (before is None or _place(log) < before)]
        wanted.sort(key=_place, reverse=True)
        shown = wanted[: query.limit]
        states = await self._states(endpoint_name)
        found = tuple(FoundLog(log=log, state=states.get(log.name.instance_id)) for log in shown)
        return Page(found, _token(shown[-1]) if len(wanted) > len(shown) else None)

    async def read(self, name: LogName, offset: int, bytes_max: int) -> LogPart:
        """See ports.InstanceLogs. Errors: NotFound, InvalidRequest."""
        if offset < 0:
            raise InvalidRequest(f"Expected an Offset of 0 or more, got {offset}.")
        return await self._logs.read(name, offset, bytes_max)

    async def _states(self, endpoint_name: str) -> dict[str, InstanceState]:
        endpoint = await self._context.store.named(Endpoint, endpoint_name)
        if endpoint is None:
            return {}
        return {row.id: row.state for row in await self._context.store.find(Instance, endpoint_id=endpoint.id)}


def _matches(log: InstanceLog, query: LogQuery) -> bool:
    return (
        query.variant_name in {None, log.name.variant_name}
        and query.instance_id in {None, log.name.instance_id}
        and (query.written_after_us is None or log.written_at_us > query.written_after_us)
    )


def _place(log: InstanceLog) -> tuple[int, str, str]:
    """Where it stands in the order. Two endpoints that had a name in different cases never have an instance in common."""
    return log.written_at_us, log.name.instance_id, log.name.container or ""


def _token(log: InstanceLog) -> str:
    return _BETWEEN.join(map(str, _place(log)))


def _read_token(token: str) -> tuple[int, str, str]:
    written_at, _, rest = token.partition(_BETWEEN)
    instance_id, between, container = rest.partition(_BETWEEN)
    if not between or not written_at.isdecimal():
        raise InvalidRequest("The token of the next page was not given out here; begin the list again.")
    return int(written_at), instance_id, container
