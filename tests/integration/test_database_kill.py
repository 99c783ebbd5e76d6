"""Whatever the database has acknowledged is there after kill -9, and whole."""

import asyncio
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

from tests.support import put_stream

KILLS = 5
LINES_BEFORE_THE_KILL = 150


async def acknowledged_until_killed(database: Path, run: int) -> list[str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, put_stream.__file__, str(database), str(run), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    lines = [await process.stdout.readline() for _ in range(LINES_BEFORE_THE_KILL * (run + 1) // 2)]
    process.kill()
    lines += (await process.stdout.read()).splitlines()
    assert await process.wait() == -9
    return [line.decode().strip() for line in lines]


async def test_nothing_acknowledged_is_lost_and_nothing_is_half_there(tmp_path: Path) -> None:
    path = tmp_path / "tarry.db"
    lines: list[str] = []
    for run in range(KILLS):
        lines += await acknowledged_until_killed(path, run)
    put = {line.removeprefix("put ") for line in lines if line.startswith("put ")}
    ended = {line.removeprefix("end ") for line in lines if line.startswith("end ")}
    assert len(put) >= KILLS * 20
    assert ended

    with closing(sqlite3.connect(path)) as connection:
        states = dict(connection.execute("SELECT id, state FROM invocation"))
        bodies = dict(connection.execute("SELECT invocation_id, body FROM invocation_body"))
        announced = [each for (each,) in connection.execute("SELECT id FROM outbox")]
        decided = {each for (each,) in connection.execute("SELECT invocation_id FROM decision")}
        (counted,) = connection.execute("SELECT queued FROM backlog").fetchone()
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    completed = {each for each, state in states.items() if state == "Completed"}
    assert put <= states.keys()
    assert ended <= completed
    assert set(states.values()) <= {"Queued", "Running", "Completed"}
    assert bodies == {each: b"body of " + each.encode() for each in states.keys() - completed}
    assert sorted(announced) == sorted(completed)
    assert decided == completed
    assert counted == sum(1 for state in states.values() if state == "Queued")
