"""What SQLite does for the statements that run, as its EXPLAIN QUERY PLAN tells it."""

import sqlite3
from contextlib import closing

from sqlalchemy import Connection, event

from tarry.backends.database.engine import raw
from tarry.backends.database.transactions import Database


class Plans:
    """The query plans of all statements that run while it listens, in the writer's or a reader's thread."""

    def __init__(self, database: Database) -> None:
        self._path = database.path
        self._engines = (database._writer_engine, database._reading._engine)
        self._drivers: list[sqlite3.Connection] = []
        self.statements: list[str] = []

    def __enter__(self) -> "Plans":
        for engine in self._engines:
            event.listen(engine, "begin", self._trace)
        return self

    def __exit__(self, *_: object) -> None:
        for engine in self._engines:
            event.remove(engine, "begin", self._trace)
        for driver in self._drivers:
            driver.set_trace_callback(None)

    def _trace(self, connection: Connection) -> None:
        driver = raw(connection)
        driver.set_trace_callback(self.statements.append)
        self._drivers.append(driver)

    @property
    def steps(self) -> list[str]:
        """What SQLite does for each statement."""
        explained = [each for each in self.statements if each.split()[0] in {"SELECT", "INSERT", "UPDATE", "DELETE"}]
        with closing(sqlite3.connect(self._path)) as connection:
            return [row[3] for each in explained for row in connection.execute("EXPLAIN QUERY PLAN " + each)]

    def scans(self) -> list[str]:
        return [step for step in self.steps if step.startswith("SCAN")]

    def costly(self) -> list[str]:
        """Steps that read or sort whole tables. A subquery is scanned as far as its own limit."""
        return [step for step in self.steps if "TEMP B-TREE" in step or (step.startswith("SCAN") and "anon" not in step)]
