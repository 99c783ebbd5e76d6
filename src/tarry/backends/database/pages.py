"""Pages of named entities: filters, an order, and tokens that say where the last page ended.

A token holds the sort value and ``seq`` of the last row shown (keyset), so that a page costs the same wherever it is, and
entities that come or go meanwhile neither repeat nor hide others.
"""

import base64
import binascii
import json
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, select, tuple_

from tarry.backends.database.kinds import Kind, name_key
from tarry.core.errors import Bug, InvalidRequest
from tarry.ports import PageQuery, SortBy

_SORT_COLUMNS = {SortBy.NAME: "name_key", SortBy.CREATION_TIME: "created_at_us", SortBy.STATUS: "status"}
_SEQ_MAX = 2**63 - 1


def read_page(connection: Connection, kind: Kind, query: PageQuery) -> tuple[list[str], str | None]:
    """The documents of one page in order, and the token of the next page if there is one."""
    if not kind.named:
        raise Bug(f"There are no pages of {kind.noun}.")
    if query.limit < 1:
        raise InvalidRequest(f"Expected a page size of at least 1, got {query.limit}.")
    table = kind.table
    order = _column(kind, _SORT_COLUMNS[query.sort_by])
    statement = select(table.c.document, order, table.c.seq).where(kind.live, *_filters(kind, query))
    if query.token is not None:
        statement = _after(statement, order, table.c.seq, query)
    keys = (order, table.c.seq) if query.ascending else (order.desc(), table.c.seq.desc())
    rows = connection.execute(statement.order_by(*keys).limit(query.limit + 1)).all()
    shown = rows[: query.limit]
    token = _token(query, shown[-1][1], shown[-1][2]) if len(rows) > query.limit else None
    return [row[0] for row in shown], token


def _column(kind: Kind, name: str) -> ColumnElement[Any]:
    if name not in kind.table.c:
        raise InvalidRequest(f"A list of {kind.noun} entries can neither be sorted nor filtered by {name}.")
    return kind.table.c[name]


def _filters(kind: Kind, query: PageQuery) -> list[ColumnElement[bool]]:
    filters: list[ColumnElement[bool]] = []
    if query.name_contains is not None:
        filters.append(_column(kind, "name_key").contains(name_key(query.name_contains), autoescape=True))
    if query.status is not None:
        filters.append(_column(kind, "status") == query.status)
    if query.created_before_us is not None:
        filters.append(_column(kind, "created_at_us") < query.created_before_us)
    if query.created_after_us is not None:
        filters.append(_column(kind, "created_at_us") > query.created_after_us)
    if query.modified_before_us is not None:
        filters.append(_column(kind, "modified_at_us") < query.modified_before_us)
    if query.modified_after_us is not None:
        filters.append(_column(kind, "modified_at_us") > query.modified_after_us)
    return filters


def _after(statement: Select[Any], order: ColumnElement[Any], seq: ColumnElement[int], query: PageQuery) -> Select[Any]:
    value, last = _read_token(query)
    here, there = tuple_(order, seq), tuple_(value, last)
    return statement.where(here > there if query.ascending else here < there)


def _token(query: PageQuery, value: str | int, seq: int) -> str:
    text = json.dumps([query.sort_by, query.ascending, value, seq], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _is_unicode(text: str) -> bool:
    """JSON lets a caller write half of a surrogate pair, which no database takes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _read_token(query: PageQuery) -> tuple[str | int, int]:
    """The place that the token names. InvalidRequest unless we made it, for a list in this order."""
    token = query.token or ""
    try:
        sort_by, ascending, value, seq = json.loads(base64.b64decode(token + "=" * (-len(token) % 4), b"-_", validate=True))
    except (binascii.Error, ValueError, TypeError, RecursionError) as error:
        raise InvalidRequest("The token of the next page was not given out by this server; begin the list again.") from error
    number = query.sort_by is SortBy.CREATION_TIME
    right = type(value) is (int if number else str) and type(seq) is int and abs(seq) <= _SEQ_MAX
    right = right and (abs(value) <= _SEQ_MAX if number else _is_unicode(value))
    if not right or [sort_by, ascending] != [query.sort_by, query.ascending]:
        raise InvalidRequest("The token belongs to a list in another order; begin the list again.")
    return value, seq
