"""A prepared statement does what the statement does, types included, and is compiled once."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import JSON, Column, Connection, Integer, LargeBinary, MetaData, Table, Text, bindparam, insert, select, update

from tarry.backends.database.engine import connect_writing
from tarry.backends.database.prepared import Prepared

thing = Table(
    "thing",
    MetaData(),
    Column("seq", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    Column("document", JSON),
    Column("body", LargeBinary),
)
ADD = Prepared(insert(thing), "name", "document", "body")
NAMED = Prepared(select(thing.c.seq, thing.c.document, thing.c.body).where(thing.c.name == bindparam("name")))
KEYS = {"document": {"ä": [1, None]}, "body": b"\x00\xff"}


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    engine = connect_writing(tmp_path / "t.db")
    with engine.begin() as connection:
        thing.metadata.create_all(connection)
        yield connection
    engine.dispose()


def test_rows_come_back_as_they_went_in(connection: Connection) -> None:
    assert ADD.insert(connection, {"name": "a", **KEYS}) == 1
    ADD.run_many(connection, [{"name": name, "document": None, "body": None} for name in "bc"])
    row = NAMED.first(connection, {"name": "a"})
    assert row is not None
    assert (row.seq, row.document, row.body) == (1, KEYS["document"], KEYS["body"])
    assert [row.document for row in NAMED.all(connection, {"name": "b"})] == [None]
    assert NAMED.first(connection, {"name": "none"}) is None
    plain = connection.execute(select(thing).where(thing.c.name == "a")).one()
    assert (plain.document, plain.body) == (KEYS["document"], KEYS["body"])


@pytest.mark.parametrize("count", [0, 1, 3, 64, 64 + 16 + 16 + 4 + 1])
def test_many_rows_are_inserted_in_their_order(connection: Connection, count: int) -> None:
    names = [f"n{number}" for number in range(count)]
    ADD.run_many(connection, [{"name": name, "document": {"of": name}, "body": None} for name in names])
    rows = connection.execute(select(thing.c.name, thing.c.document).order_by(thing.c.seq)).all()
    assert [(row.name, row.document) for row in rows] == [(name, {"of": name}) for name in names]


def test_fixed_values_are_part_of_the_statement(connection: Connection) -> None:
    ADD.insert(connection, {"name": "a", **KEYS})
    emptied = Prepared(update(thing).where(thing.c.name == bindparam("of")).values(document={"n": 1}, body=None))
    assert [emptied.run(connection, {"of": name}) for name in "ab"] == [1, 0]
    row = NAMED.first(connection, {"name": "a"})
    assert row is not None
    assert (row.document, row.body) == ({"n": 1}, None)


def test_a_missing_value_is_an_error(connection: Connection) -> None:
    with pytest.raises(KeyError, match="name"):
        NAMED.first(connection, {})
