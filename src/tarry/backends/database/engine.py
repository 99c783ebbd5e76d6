"""How this program talks to SQLite: connections that are durable and whose transactions are ours.

The driver's own idea of when a transaction begins is switched off; BEGIN is said here, IMMEDIATE for the writer, so that a
transaction never fails half-way because another connection wrote first.
"""

import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, StaticPool, create_engine, event
from sqlalchemy.exc import DBAPIError

from tarry.core.errors import StorageFull, Throttled

BUSY_TIMEOUT_S = 5.0
"""How long to wait for another program that holds the file (a backup, a person with a shell)."""

_FULL = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE}


def connect_writing(path: Path) -> Engine:
    """An engine with the one writing connection; every COMMIT is on disk (fsync) when it returns."""
    return _engine(path, ["PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL"], "BEGIN IMMEDIATE", poolclass=StaticPool)


def connect_reading(path: Path, connections: int) -> Engine:
    """An engine with up to ``connections`` connections that cannot write."""
    return _engine(path, ["PRAGMA query_only=ON"], "BEGIN", pool_size=connections, max_overflow=0)


def _engine(path: Path, pragmas: list[str], begin: str, **pool: Any) -> Engine:
    engine = create_engine(
        URL.create("sqlite+pysqlite", database=str(path)),
        connect_args={"isolation_level": None, "check_same_thread": False, "timeout": BUSY_TIMEOUT_S},
        **pool,
    )

    @event.listens_for(engine, "connect")
    def set_up(driver: sqlite3.Connection, _record: object) -> None:
        for pragma in ["PRAGMA foreign_keys=ON", *pragmas]:
            driver.execute(pragma)

    @event.listens_for(engine, "begin")
    def begin_transaction(connection: Connection) -> None:
        raw(connection).execute(begin)

    return engine


def raw(connection: Connection) -> sqlite3.Connection:
    """The driver's connection, for savepoints and pragmas on the hot path."""
    driver: Any = connection.connection.dbapi_connection
    return driver  # type: ignore[no-any-return]


def translated(error: BaseException) -> Exception:
    """Our own error for what the disk does to us; every other error as it is."""
    code = getattr(error.orig, "sqlite_errorcode", 0) if isinstance(error, DBAPIError) else getattr(error, "sqlite_errorcode", 0)
    if code in _FULL:
        return StorageFull("The disk that holds the database is full; nothing was written. Free some space and try again.")
    if code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return Throttled("Another program holds the database; nothing was written. Try again in a moment.")
    return error if isinstance(error, Exception) else RuntimeError(repr(error))
