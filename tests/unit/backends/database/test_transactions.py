"""Many callers share a commit; each hears of its own result alone, and only once that is on disk."""

import asyncio
import sqlite3
import stat
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Column, Connection, Integer, MetaData, Table, Text, func, insert, select
from sqlalchemy.exc import IntegrityError, OperationalError

from tarry.backends.database.transactions import Database
from tarry.core.errors import StorageFull, Throttled

metadata = MetaData()
row = Table("row", metadata, Column("seq", Integer, primary_key=True), Column("name", Text, unique=True), Column("text", Text))


class Gate:
    """Holds the writer's thread inside a transaction until it is opened, so that writes pile up behind it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._entered, self._open = threading.Event(), threading.Event()

    async def __aenter__(self) -> None:
        self._task = asyncio.create_task(self._database.write(self._hold))
        await asyncio.to_thread(self._entered.wait)

    async def __aexit__(self, *_: object) -> None:
        self._open.set()
        await self._task

    def _hold(self, _: Connection) -> None:
        self._entered.set()
        self._open.wait()


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    made = await Database.open(tmp_path / "tarry.db", create=metadata, writes_waiting_max=1000)
    try:
        yield made
    finally:
        await made.close()


def add(name: str) -> dict[str, object]:
    return {"name": name}


def names(connection: Connection) -> list[str]:
    return list(connection.execute(select(row.c.name).order_by(row.c.seq)).scalars())


def names_on_disk(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return [name for (name,) in connection.execute("SELECT name FROM row ORDER BY seq")]


async def test_writes_that_wait_together_share_a_commit(database: Database) -> None:
    before = database.commits
    async with Gate(database):
        writes = [asyncio.create_task(database.insert(row, add(str(n)))) for n in range(300)]
        writes += [asyncio.create_task(database.write(lambda c: c.execute(select(1)).scalar_one())) for _ in range(50)]
        await asyncio.sleep(0)
    await asyncio.gather(*writes)
    assert database.commits == before + 2  # the gate's own, and one for all others
    assert await database.read(names) == [str(n) for n in range(300)]


async def test_what_one_round_of_the_loop_brings_shares_a_commit(database: Database) -> None:
    before = database.commits
    await asyncio.gather(*(database.insert(row, add(str(n))) for n in range(10)))
    assert database.commits == before + 1


async def test_the_writers_thread_can_be_told_from_the_others(database: Database) -> None:
    def name(_: Connection) -> str:
        return Path(f"/proc/self/task/{threading.get_native_id()}/comm").read_text().strip()

    assert await database.write(name) == "tarry-write"


@pytest.mark.parametrize("rounds", [[35], [9, 10, 9, 10], [1, 1, 1], [10, 10, 1], [25, 3, 1]])
async def test_a_batch_has_a_bound_however_its_writes_come_and_is_filled_up_to_it(tmp_path: Path, rounds: list[int]) -> None:
    sizes: list[int] = []

    def one(connection: Connection, names: Sequence[str]) -> list[Exception | None]:
        sizes.append(len(names))
        connection.execute(insert(row), [add(name) for name in names])
        return [None] * len(names)

    database = await Database.open(tmp_path / "tarry.db", create=metadata, batch_max=10)
    sent = [f"{number}-{n}" for number, size in enumerate(rounds) for n in range(size)]
    left = iter(sent)
    async with Gate(database):
        writes = []
        for size in rounds:
            writes += [asyncio.create_task(database.write_grouped(one, next(left))) for _ in range(size)]
            await asyncio.sleep(0)  # they arrive
            await asyncio.sleep(0)  # and are handed over
        closing_task = asyncio.create_task(database.close())
        await asyncio.sleep(0)
    await asyncio.gather(*writes, closing_task)
    full, rest = divmod(sum(rounds), 10)
    assert sizes == [10] * full + [rest] * (rest > 0)
    assert names_on_disk(database.path) == sent


async def test_an_error_is_its_callers_alone(database: Database) -> None:
    def fail_after_writing(connection: Connection) -> None:
        connection.execute(insert(row), add("half-written"))
        raise ValueError("mine")

    await database.insert(row, add("taken"))
    async with Gate(database):
        writes: list[asyncio.Task[None]] = [asyncio.create_task(database.insert(row, add(name))) for name in ["a", "taken", "b"]]
        writes += [asyncio.create_task(database.write(fail_after_writing)), asyncio.create_task(database.insert(row, add("c")))]
        await asyncio.sleep(0)
    results = await asyncio.gather(*writes, return_exceptions=True)
    assert [type(result) for result in results] == [type(None), IntegrityError, type(None), ValueError, type(None)]
    assert sorted(await database.read(names)) == ["a", "b", "c", "taken"]


async def test_a_group_answers_each_item_with_its_own_result(database: Database) -> None:
    calls: list[int] = []

    def double(_: Connection, items: Sequence[int]) -> list[int | Exception]:
        calls.append(len(items))
        return [ValueError(str(item)) if item == 3 else item * 2 for item in items]

    async with Gate(database):
        writes = [asyncio.create_task(database.write_grouped(double, n)) for n in range(5)]
        await asyncio.sleep(0)
    results = await asyncio.gather(*writes, return_exceptions=True)
    assert [str(result) for result in results] == ["0", "2", "4", "3", "8"]
    assert calls == [5]


async def test_a_cancelled_caller_does_not_take_its_row_back(database: Database) -> None:
    heard: list[None] = []

    def one(connection: Connection, names: Sequence[str]) -> list[Exception | None]:
        connection.execute(insert(row), [add(name) for name in names])
        return [None] * len(names)

    async with Gate(database):
        write = asyncio.create_task(database.write_grouped(one, "kept", after=heard.append))
        await asyncio.sleep(0)
        write.cancel()
        with pytest.raises(asyncio.CancelledError):
            await write
        other = asyncio.create_task(database.insert(row, add("other")))
        await asyncio.sleep(0)
    await other
    assert sorted(await database.read(names)) == ["kept", "other"]
    assert heard == [None]  # hints go out even though nobody waits


async def test_after_is_called_when_the_row_is_on_disk_and_only_then(database: Database) -> None:
    seen: list[list[str]] = []
    await database.write(lambda c: c.execute(insert(row), add("x")), after=lambda _: seen.append(names_on_disk(database.path)))
    assert seen == [["x"]]
    with pytest.raises(IntegrityError):
        await database.write(lambda c: c.execute(insert(row), add("x")), after=lambda _: seen.append([]))
    assert len(seen) == 1


async def test_a_full_writer_throttles_and_recovers(tmp_path: Path) -> None:
    database = await Database.open(tmp_path / "tarry.db", create=metadata, writes_waiting_max=6)  # one is the gate
    async with Gate(database):
        writes = [asyncio.create_task(database.insert(row, add(str(n)))) for n in range(8)]
        await asyncio.sleep(0)
    results = await asyncio.gather(*writes, return_exceptions=True)
    assert [type(result) for result in results] == [type(None)] * 5 + [Throttled] * 3
    await database.insert(row, add("later"))
    assert len(await database.read(names)) == 6
    await database.close()


async def test_writes_that_were_answered_together_leave_room_for_as_many(tmp_path: Path) -> None:
    database = await Database.open(tmp_path / "tarry.db", create=metadata, writes_waiting_max=6)
    for number in range(3):
        await asyncio.gather(*(database.insert(row, add(f"{number}-{n}")) for n in range(6)))
    assert len(await database.read(names)) == 18
    await database.close()


async def test_a_full_disk_refuses_and_leaves_nothing_half_written(database: Database) -> None:
    await database.insert(row, {"name": "first", "text": ""})
    limit = await database.write(lambda c: int(c.exec_driver_sql("PRAGMA page_count").scalar_one()) + 8)
    await database.write(lambda c: c.exec_driver_sql(f"PRAGMA max_page_count={limit}").scalar())

    def big(connection: Connection) -> None:
        connection.execute(insert(row), {"name": "big-1", "text": ""})
        connection.execute(insert(row), {"name": "big-2", "text": "x" * 100_000})

    async with Gate(database):
        writes = [asyncio.create_task(database.write(big)), asyncio.create_task(database.insert(row, add("small")))]
        await asyncio.sleep(0)
    results = await asyncio.gather(*writes, return_exceptions=True)
    assert [type(result) for result in results] == [StorageFull, type(None)]
    assert sorted(await database.read(names)) == ["first", "small"]
    results = await asyncio.gather(
        *(database.insert(row, {"name": f"n{n}", "text": "x" * 3000}) for n in range(50)), return_exceptions=True
    )
    stored = {name for name in await database.read(names) if name.startswith("n")}
    assert stored == {f"n{n}" for n, result in enumerate(results) if result is None}
    assert {type(result) for result in results} == {type(None), StorageFull}
    await database.write(lambda c: c.exec_driver_sql("PRAGMA max_page_count=1000000").scalar())
    await database.insert(row, {"name": "room again", "text": "x" * 100_000})
    with closing(sqlite3.connect(database.path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def test_another_program_that_holds_the_file_is_throttling_not_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tarry.backends.database.engine.BUSY_TIMEOUT_S", 0.01)
    database = await Database.open(tmp_path / "tarry.db", create=metadata)
    with closing(sqlite3.connect(database.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        results = await asyncio.gather(*(database.insert(row, add(str(n))) for n in range(3)), return_exceptions=True)
        assert [type(result) for result in results] == [Throttled] * 3
        assert await database.read(names) == []
    await database.insert(row, add("again"))
    await database.close()


async def test_close_drains_then_refuses(tmp_path: Path) -> None:
    database = await Database.open(tmp_path / "tarry.db", create=metadata)
    async with Gate(database):
        writes = [asyncio.create_task(database.insert(row, add(str(n)))) for n in range(20)]
        await asyncio.sleep(0)
        closing_task = asyncio.create_task(database.close())
        await asyncio.sleep(0)
        with pytest.raises(Throttled):
            await database.insert(row, add("too late"))
    await asyncio.gather(*writes, closing_task)
    assert names_on_disk(database.path) == [str(n) for n in range(20)]
    assert [entry.name for entry in tmp_path.iterdir()] == ["tarry.db"]  # the log has been folded in
    await database.close()


async def test_what_comes_in_the_same_round_as_the_close_is_written(tmp_path: Path) -> None:
    database = await Database.open(tmp_path / "tarry.db", create=metadata)
    write, close = asyncio.create_task(database.insert(row, add("last"))), asyncio.create_task(database.close())
    await asyncio.wait({write, close}, timeout=30)
    assert (write.done(), close.done()) == (True, True)
    assert names_on_disk(database.path) == ["last"]


async def test_readers_do_not_wait_for_the_writer_and_cannot_write(database: Database) -> None:
    await database.insert(row, add("before"))

    async with Gate(database):
        assert await database.read(names) == ["before"]
    with pytest.raises(OperationalError, match="readonly"):
        await database.read(lambda c: c.execute(insert(row), add("x")))
    with pytest.raises(ValueError, match="mine"):
        await database.read(lambda _: (_ for _ in ()).throw(ValueError("mine")))
    assert await database.read(lambda c: c.execute(select(func.count()).select_from(row)).scalar_one()) == 1


async def test_the_file_is_the_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "tarry.db"
    path.touch(mode=0o644)
    database = await Database.open(path, create=metadata)
    await database.insert(row, add("x"))
    assert {stat.S_IMODE(entry.stat().st_mode) for entry in tmp_path.iterdir()} == {0o600}
    await database.close()


async def test_an_after_that_fails_keeps_nobody_waiting(database: Database) -> None:
    def fail(_: None) -> None:
        raise ValueError("in a hint")

    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context["exception"]))
    async with Gate(database):
        writes = [asyncio.create_task(database.write(lambda _: None, after=fail)) for _ in range(2)]
        writes.append(asyncio.create_task(database.insert(row, add("x"))))
        await asyncio.sleep(0)
    await asyncio.gather(*writes)
    assert len(complaints) == 2
