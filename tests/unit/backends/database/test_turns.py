"""Several processes write to one database file, each in its turn."""

import asyncio
import subprocess
import sys
import threading
from pathlib import Path

from sqlalchemy import Column, Integer, MetaData, Table, func, select

from tarry.backends.database.transactions import Database
from tarry.backends.database.turns import Turns

METADATA = MetaData()
TABLE = Table("counted", METADATA, Column("number", Integer, primary_key=True))
ROWS = 300

WRITE = """
import asyncio, sys
from pathlib import Path
from tarry.backends.database.transactions import Database
from tarry.backends.database.turns import Turns
from tests.unit.backends.database.test_turns import METADATA, TABLE, ROWS
async def main(path, first):
    database = await Database.open(path, create=METADATA, turns=Turns(path.with_name("lock")))
    await asyncio.gather(*(database.insert(TABLE, {"number": first + number}) for number in range(ROWS)))
    await database.close()
asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
"""

HOLD = """
import sys
from pathlib import Path
from tarry.backends.database.turns import Turns
with Turns(Path(sys.argv[1])):
    print("mine", flush=True)
    input()
"""


async def test_nobody_is_refused_while_others_write(tmp_path: Path) -> None:
    path = tmp_path / "some.db"
    database = await Database.open(path, create=METADATA, turns=Turns(tmp_path / "lock"))
    writers = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", WRITE, str(path), str((1 + each) * ROWS)) for each in range(3)
    ]
    for number in range(ROWS):
        await database.insert(TABLE, {"number": number})
    assert [await writer.wait() for writer in writers] == [0, 0, 0]
    count = await database.read(lambda connection: connection.execute(select(func.count()).select_from(TABLE)).scalar_one())
    await database.close()
    assert count == 4 * ROWS


def test_a_turn_is_waited_for(tmp_path: Path) -> None:
    first, second, entered = Turns(tmp_path / "lock"), Turns(tmp_path / "lock"), threading.Event()

    def wait() -> None:
        with second:
            entered.set()

    with first:
        waiting = threading.Thread(target=wait)
        waiting.start()
        assert not entered.wait(0.05)
    assert entered.wait(60)
    waiting.join()
    first.close()
    second.close()


def test_who_ends_gives_its_turn_back(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path / "lock")]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"mine\n"
    holder.kill()
    holder.communicate()
    with (turns := Turns(tmp_path / "lock")):
        pass
    turns.close()
