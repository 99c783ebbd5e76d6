"""Statements of the hot path, compiled once.

Building and compiling a statement through SQLAlchemy costs several times what SQLite takes to run it, and an invocation runs
about twenty. A Prepared is written as SQLAlchemy Core like every other statement, compiled at its first use for the
connection's dialect, and from then on handed to the driver with its values alone. Types (JSON, bytes) are converted by
SQLAlchemy's own rules. Only statements with a fixed text can be one: no expanding IN.
"""

from collections import namedtuple
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from sqlalchemy import Connection, Insert, Select
from sqlalchemy.sql.dml import UpdateBase

from tarry.backends.database.engine import raw

Params = Mapping[str, Any]
_Convert = Callable[[Any], Any]

INSERTED_TOGETHER = (64, 16, 4, 1)
"""How many rows one INSERT takes. The driver gives the interpreter lock up at each statement and waits for it afterwards: row by
row, the writer's thread and a busy event loop would hand the lock back and forth. Few sizes: each is a statement of its own.
"""


class Prepared:
    """One statement. ``keys``: the columns that an INSERT without explicit values gets."""

    def __init__(self, statement: Select[Any] | UpdateBase, *keys: str) -> None:
        self._statement = statement
        self._keys = keys
        self._text = ""
        self._values: Callable[[Params], tuple[Any, ...]] = _unprepared
        self._row: Callable[[Iterable[Any]], Any] = tuple

    def run(self, connection: Connection, params: Params) -> int:
        """Run a write; returns how many rows it touched."""
        self._prepare(connection)
        return raw(connection).execute(self._text, self._values(params)).rowcount

    def run_many(self, connection: Connection, rows: Iterable[Params]) -> None:
        """Run a write once for each row; an INSERT takes many rows at a time."""
        self._prepare(connection)
        values = [self._values(row) for row in rows]
        if not isinstance(self._statement, Insert):
            raw(connection).executemany(self._text, values)
            return
        into, _, places = self._text.rpartition(" VALUES ")
        for together in _together(values):
            text = f"{into} VALUES {', '.join([places] * len(together))}"
            raw(connection).execute(text, tuple(chain.from_iterable(together)))

    def insert(self, connection: Connection, params: Params) -> int:
        """Run an INSERT of one row; returns its ``seq``."""
        self._prepare(connection)
        return int(raw(connection).execute(self._text, self._values(params)).lastrowid or 0)

    def all(self, connection: Connection, params: Params) -> list[Any]:
        """The rows of a SELECT, with attributes as its columns are called."""
        self._prepare(connection)
        return [self._row(row) for row in raw(connection).execute(self._text, self._values(params))]

    def first(self, connection: Connection, params: Params) -> Any | None:
        """The first row of a SELECT, or None."""
        self._prepare(connection)
        row = raw(connection).execute(self._text, self._values(params)).fetchone()
        return None if row is None else self._row(row)

    def _prepare(self, connection: Connection) -> None:
        if self._text:
            return
        dialect = connection.dialect
        compiled: Any = self._statement.compile(dialect=dialect, column_keys=list(self._keys) or None)
        names: list[str] = list(compiled.positiontup or ())
        converts = {name: compiled.binds[name].type.dialect_impl(dialect).bind_processor(dialect) for name in names}
        fixed = {name: compiled.binds[name].value for name in names if not compiled.binds[name].required}
        self._values = _values_of(names, fixed, {name: convert for name, convert in converts.items() if convert})
        if isinstance(self._statement, Select):
            self._row = _row_of(self._statement, dialect)
        self._text = compiled.string


def _together(values: Sequence[tuple[Any, ...]]) -> Iterator[Sequence[tuple[Any, ...]]]:
    done = 0
    while left := len(values) - done:
        size = next(size for size in INSERTED_TOGETHER if size <= left)
        yield values[done : done + size]
        done += size


def _unprepared(params: Params) -> tuple[Any, ...]:
    raise AssertionError("the statement has not been compiled")


def _values_of(names: list[str], fixed: Params, converts: Mapping[str, _Convert]) -> Callable[[Params], tuple[Any, ...]]:
    if not fixed and not converts:
        return lambda params: tuple([params[name] for name in names])

    converted = [(index, converts[name]) for index, name in enumerate(names) if name in converts]

    def values(params: Params) -> tuple[Any, ...]:
        given = {**params, **fixed}
        ordered = [given[name] for name in names]
        for index, convert in converted:
            ordered[index] = convert(ordered[index])
        return tuple(ordered)

    return values


def _row_of(statement: Select[Any], dialect: Any) -> Callable[[Iterable[Any]], Any]:
    columns = list(statement.selected_columns)
    kind: Any = namedtuple("Row", [column.key for column in columns])  # type: ignore[misc]
    row: Callable[[Iterable[Any]], Any] = kind._make
    reads = [column.type.dialect_impl(dialect).result_processor(dialect, None) for column in columns]
    if not any(reads):
        return row
    return lambda values: row([read(value) if read else value for read, value in zip(reads, values, strict=True)])
