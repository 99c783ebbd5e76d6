"""Pages of invocations, newest first, whatever the filter: what a page costs does not depend on how many there are.

Two steps: first the keys (time of acceptance and ``seq``) from indexes that have them in the order of the page, one state at a
time, merged; then the documents of the few that are shown.
"""

import base64
import binascii
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import merge
from itertools import islice

from sqlalchemy import BindParameter, Connection, Select, Text, bindparam, literal_column, or_, select, tuple_

from tarry.backends.database.documents import load
from tarry.backends.database.prepared import Prepared
from tarry.backends.database.queue_rows import ENDED_ROWS
from tarry.backends.database.records import RECORD, read_record
from tarry.backends.database.schema import decision, endpoint, invocation
from tarry.core.endpoint import EndpointStatus
from tarry.core.errors import InvalidRequest
from tarry.core.history import InvocationRecord
from tarry.core.invocation import TERMINAL, InvocationState, Outcome
from tarry.ports import InvocationQuery, Page

EXAMINED_MAX = 1_000
"""Reasons that one page looks at: one that few have is found in more pages, not in a long read."""
_CHUNK = 100
_NUMBER_MAX = 2**63 - 1
_TOKEN = re.compile(r"i(\d{1,18})\.(\d{1,18})")  # numbers that SQLite can hold

_WITH_REASON = (TERMINAL - {InvocationState.COMPLETED}) | {InvocationState.PUBLISHING}


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """The place of an invocation in the order of pages."""

    received_at_us: int
    seq: int


_END = Key(_NUMBER_MAX, _NUMBER_MAX)
_PLACE = (invocation.c.received_at_us, invocation.c.seq)


def _keys() -> Select[tuple[int, int]]:
    return (
        select(*_PLACE)
        .where(invocation.c.state == bindparam("state"))
        .where(invocation.c.received_at_us > bindparam("after_us"))
        .where(tuple_(*_PLACE) < tuple_(bindparam("before_us"), bindparam("before_seq")))
        .order_by(invocation.c.received_at_us.desc(), invocation.c.seq.desc())
        .limit(bindparam("count"))
    )


_OF_ENDPOINT = Prepared(_keys().where(invocation.c.endpoint_id == bindparam("endpoint_id")))
_is_of_endpoint = or_(bindparam("endpoint_id", type_=Text()).is_(None), invocation.c.endpoint_id == bindparam("endpoint_id"))
"""No index is looked for: few InferenceIds are given to several endpoints."""
_NAMED = Prepared(_keys().where(invocation.c.inference_id == bindparam("inference_id"), _is_of_endpoint))
_ENDED = Prepared(_keys().where(ENDED_ROWS))
_LIVE = [literal_column(f"'{status}'", Text()) for status in EndpointStatus if status is not EndpointStatus.DELETED]
_ENDPOINTS = Prepared(select(endpoint.c.id).where(endpoint.c.status.in_(_LIVE)))
_THESE: BindParameter[int] = bindparam("seqs", expanding=True)
_RECORDS = RECORD.where(invocation.c.seq.in_(_THESE))
_OUTCOMES = (
    select(invocation.c.seq, decision.c.outcome)
    .select_from(invocation.join(decision, decision.c.invocation_id == invocation.c.id))
    .where(invocation.c.seq.in_(_THESE))
)


def read_page(connection: Connection, query: InvocationQuery, before: Key = _END) -> Page[InvocationRecord]:
    """The page that begins after this key. The token names the last one looked at."""
    examined = query.limit if query.reason_contains is None else max(query.limit, EXAMINED_MAX)
    found = _newest(connection, query, before, examined + 1)
    shown = list(islice(_passing(connection, found[:examined], query.reason_contains), query.limit))
    last = shown[-1] if len(shown) == query.limit else found[:examined][-1] if found else None
    more = last is not None and last != found[-1]
    return Page(_read(connection, shown), _token(last) if last is not None and more else None)


def _newest(connection: Connection, query: InvocationQuery, before: Key, count: int) -> list[Key]:
    """The first keys after ``before`` of the invocations that match, their reasons not looked at."""
    states = query.states or frozenset(InvocationState)
    if query.reason_contains is not None:
        states &= _WITH_REASON
    if query.received_before_us is not None:
        before = min(before, Key(query.received_before_us, 0))
    after_us = -1 if query.received_after_us is None else query.received_after_us
    span = {"after_us": after_us, "before_us": before.received_at_us, "before_seq": before.seq, "count": count}

    def parts(statement: Prepared, states: frozenset[InvocationState], **of: str | None) -> list[list[Key]]:
        return [[Key(*row) for row in statement.all(connection, {"state": state.value, **of, **span})] for state in states]

    if query.inference_id is not None:
        found = parts(_NAMED, states, inference_id=query.inference_id, endpoint_id=query.endpoint_id)
    elif query.endpoint_id is not None:
        found = parts(_OF_ENDPOINT, states, endpoint_id=query.endpoint_id)
    else:  # what has not ended is of an endpoint that is not Deleted: few, whatever the history
        found = parts(_ENDED, states & TERMINAL)
        for each in _ENDPOINTS.all(connection, {}) if states - TERMINAL else ():
            found += parts(_OF_ENDPOINT, states - TERMINAL, endpoint_id=each.id)
    return list(islice(merge(*found, reverse=True), count))


def _passing(connection: Connection, keys: Sequence[Key], reason_contains: str | None) -> Iterator[Key]:
    if reason_contains is None:
        yield from keys
        return
    for begin in range(0, len(keys), _CHUNK):
        chunk = keys[begin : begin + _CHUNK]
        rows = connection.execute(_OUTCOMES, {"seqs": [key.seq for key in chunk]})
        reasons = {row.seq: load(Outcome, row.outcome).reason for row in rows}
        yield from (key for key in chunk if (reason := reasons.get(key.seq)) and reason_contains.lower() in reason.lower())


def _read(connection: Connection, keys: Sequence[Key]) -> tuple[InvocationRecord, ...]:
    rows = {row.seq: row for row in connection.execute(_RECORDS, {"seqs": [key.seq for key in keys]})} if keys else {}
    return tuple(read_record(rows[key.seq]) for key in keys)


def _token(key: Key) -> str:
    return base64.urlsafe_b64encode(f"i{key.received_at_us}.{key.seq}".encode()).decode().rstrip("=")


def read_token(token: str | None) -> Key:
    """Where the next page begins. Errors: InvalidRequest for what no page has given out."""
    if token is None:
        return _END
    try:
        text = base64.b64decode(token + "=" * (-len(token) % 4), b"-_", validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        text = ""
    numbers = _TOKEN.fullmatch(text)
    if numbers is None:
        raise InvalidRequest("The token of the next page was not given out by this server; begin the list again.")
    return Key(int(numbers[1]), int(numbers[2]))
