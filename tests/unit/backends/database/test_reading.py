"""Small reads share a snapshot; each caller hears of its own result alone."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import Column, Connection, Integer, MetaData, Table, Text, event, insert, select
from sqlalchemy.exc import OperationalError

from tarry.backends.database.reading import TOGETHER_MAX
from tarry.backends.database.transactions import Database
from tarry.core.errors import Throttled

metadata = MetaData()
row = Table("row", metadata, Column("seq", Integer, primary_key=True), Column("name", Text))


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    made = await Database.open(tmp_path / "tarry.db", create=metadata)
    try:
        await made.insert(row, {"name": "a"})
        yield made
    finally:
        await made.close()


@pytest.fixture
def snapshots(database: Database) -> list[str]:
    """One for each that a read has begun."""
    begun: list[str] = []
    event.listen(database._reading._engine, "begin", lambda _: begun.append("begin"))
    return begun


def names(connection: Connection) -> list[str]:
    return list(connection.execute(select(row.c.name)).scalars())


def refuse(connection: Connection) -> None:
    raise LookupError("mine")


async def test_what_comes_together_shares_a_snapshot_up_to_a_bound(database: Database, snapshots: list[str]) -> None:
    assert await asyncio.gather(*(database.read_small(names) for _ in range(TOGETHER_MAX))) == [["a"]] * TOGETHER_MAX
    assert len(snapshots) == 1
    await asyncio.gather(*(database.read_small(names) for _ in range(TOGETHER_MAX + 1)))
    assert len(snapshots) == 3


async def test_a_read_sees_what_was_committed_before_it(database: Database) -> None:
    assert await database.read_small(names) == ["a"]
    await database.insert(row, {"name": "b"})
    assert await database.read_small(names) == ["a", "b"]


async def test_an_error_is_its_callers_alone(database: Database) -> None:
    read, refused, written = await asyncio.gather(
        database.read_small(names),
        database.read_small(refuse),
        database.read_small(lambda c: c.execute(insert(row), {"name": "x"})),
        return_exceptions=True,
    )
    assert read == ["a"]
    assert isinstance(refused, LookupError)
    assert isinstance(written, OperationalError)


async def test_a_caller_that_is_gone_keeps_nobody_waiting(database: Database) -> None:
    entered, leave = threading.Event(), threading.Event()

    def slow(connection: Connection) -> None:
        entered.set()
        leave.wait()

    gone, other = asyncio.create_task(database.read_small(slow)), asyncio.create_task(database.read_small(names))
    await asyncio.to_thread(entered.wait)
    gone.cancel()
    leave.set()
    assert await other == ["a"]
    with pytest.raises(asyncio.CancelledError):
        await gone


async def test_an_error_of_the_disk_is_told_as_ours(database: Database) -> None:
    def busy(connection: Connection) -> None:
        error = sqlite3.OperationalError("database is locked")
        error.sqlite_errorcode = sqlite3.SQLITE_BUSY
        raise error

    with pytest.raises(Throttled, match="Another program holds the database"):
        await database.read_small(busy)


async def test_where_no_snapshot_begins_every_caller_hears_of_it(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Connection:
        raise LookupError("no connection")

    monkeypatch.setattr(database._reading, "_mine", fail)
    answers = await asyncio.gather(database.read_small(names), database.read_small(names), return_exceptions=True)
    assert [type(answer) for answer in answers] == [LookupError] * 2


async def test_reads_under_way_are_finished_at_the_close_and_later_ones_refused(database: Database) -> None:
    reading = asyncio.create_task(database.read_small(names))
    await asyncio.sleep(0)
    connections = database._reading._connections
    await database.close()
    assert await reading == ["a"]
    assert [connection.closed for connection in connections] == [True]
    for read in (database.read_small, database.read):
        with pytest.raises(Throttled, match="stopping"):
            await read(names)
