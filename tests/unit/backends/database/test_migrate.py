"""A database comes to the program's schema whole or not at all."""

import json
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text
from tests.support import entities as make

import tarry.embedded.buckets.schema
import tarry.embedded.topics.schema
from tarry.backends.database import migrate
from tarry.backends.database.documents import dump
from tarry.backends.database.schema import metadata
from tarry.backends.database.store import SqlStore
from tarry.backends.database.transactions import Database
from tarry.core.catalog import Container, Model, ModelDataSource
from tarry.core.errors import SchemaTooNew
from tarry.core.instance import Instance
from tarry.core.invocation import same_key
from tarry.testing.wakeups import FakeWakeups

assert tarry.embedded.buckets.schema
assert tarry.embedded.topics.schema


def objects_of(path: Path) -> dict[str, str]:
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name <> 'alembic_version'")
        return {name: " ".join(sql.split()) for name, sql in rows}


def versions_of(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return [version for (version,) in connection.execute("SELECT version_num FROM alembic_version")]


async def migrated(path: Path) -> None:
    database = await Database.open(path)
    await database.close()


async def test_the_migrations_make_exactly_the_tables_of_the_program(tmp_path: Path) -> None:
    await migrated(tmp_path / "by-migrations.db")
    created = await Database.open(tmp_path / "by-metadata.db", create=metadata)
    await created.close()
    made = objects_of(tmp_path / "by-migrations.db")
    wanted = objects_of(tmp_path / "by-metadata.db")
    assert made.keys() == wanted.keys(), "the metadata has changed: add a revision"
    with closing(sqlite3.connect(tmp_path / "by-migrations.db")) as a, closing(sqlite3.connect(tmp_path / "by-metadata.db")) as b:
        for name in wanted:
            if "CREATE TABLE" in wanted[name]:
                query = f"SELECT name, type, \"notnull\", pk FROM pragma_table_info('{name}') ORDER BY name"
                assert a.execute(query).fetchall() == b.execute(query).fetchall()
            else:
                assert made[name] == wanted[name], name
    engine = create_engine(f"sqlite:///{tmp_path / 'by-migrations.db'}")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), metadata) == []
    engine.dispose()


def test_the_newest_revision_is_the_schema_version() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrate.__file__).with_name("migrations")))
    config.set_main_option("path_separator", "os")
    script = ScriptDirectory.from_config(config)
    assert script.get_heads() == [migrate.SCHEMA_VERSION]
    numbers = sorted(revision.revision for revision in script.walk_revisions())
    assert numbers == [f"{n:04}" for n in range(1, len(numbers) + 1)]


async def test_a_second_start_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "tarry.db"
    for _ in range(2):
        await migrated(path)
        assert versions_of(path) == [migrate.SCHEMA_VERSION]
    assert [entry.name for entry in tmp_path.iterdir()] == ["tarry.db"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_paths_may_have_any_name(tmp_path: Path) -> None:
    directory = tmp_path / "100% of d?ta #1 file:x"
    directory.mkdir()
    await migrated(directory / "tarry.db")
    assert versions_of(directory / "tarry.db") == [migrate.SCHEMA_VERSION]


async def test_an_older_database_is_copied_before_it_is_upgraded(tmp_path: Path) -> None:
    path = tmp_path / "tarry.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("CREATE TABLE alembic_version (version_num VARCHAR(32)); CREATE TABLE kept (value TEXT)")
        connection.executescript("INSERT INTO alembic_version VALUES ('0000'); INSERT INTO kept VALUES ('before')")
    with pytest.raises(Exception, match="0000"):  # there is no way from 0000; what matters is what was kept
        await Database.open(path)
    backup = tmp_path / "tarry.db.schema-0000.backup"
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    for file in (backup, path):
        with closing(sqlite3.connect(file)) as connection:
            assert connection.execute("SELECT value FROM kept").fetchall() == [("before",)]
        assert versions_of(file) == ["0000"]


async def test_a_newer_database_is_refused_untouched(tmp_path: Path) -> None:
    path = tmp_path / "tarry.db"
    await migrated(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0999'")
        connection.commit()
    before = path.read_bytes()
    with pytest.raises(SchemaTooNew, match=rf"(?s)0999.*{migrate.SCHEMA_VERSION}"):
        await Database.open(path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["tarry.db"]


async def test_an_upgrade_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "tarry.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("CREATE TABLE tag_set (a TEXT)")  # stands in the way of one of the last tables
    with pytest.raises(Exception, match="tag_set"):
        await Database.open(path)
    assert objects_of(path).keys() == {"tag_set"}


async def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tarry.db"
    path.write_bytes(b"this is a letter, not a database" * 100)
    with pytest.raises(Exception, match="not a database"):
        await Database.open(path)
    assert path.read_bytes().startswith(b"this is a letter")


async def test_foreign_keys_are_on_and_commits_are_synchronous(tmp_path: Path) -> None:
    database = await Database.open(tmp_path / "tarry.db")
    names = ("foreign_keys", "journal_mode", "synchronous")
    found = await database.write(lambda c: {name: c.execute(text(f"PRAGMA {name}")).scalar() for name in names})
    assert found == {"foreign_keys": 1, "journal_mode": "wal", "synchronous": 2}
    await database.close()


async def test_documents_of_the_first_schema_are_read_by_this_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "tarry.db"
    with monkeypatch.context() as first:
        first.setattr(migrate, "SCHEMA_VERSION", "0001")
        await migrated(path)
    container = {
        "image": "i",
        "model_data_url": "s3://b/m",
        "environment": {"A": "ä"},
        "described_back": {"ContainerHostname": "h"},
    }
    model = {"id": "m", "name": "M", "arn": "a", "container": container, "execution_role_arn": None, "created_at_us": 1}
    running = {
        "id": "i", "endpoint_id": "e", "deployment_id": "d", "variant_name": "A", "state": "InService", "concurrency": 1,
        "created_at_us": 1, "address": "http://127.0.0.1:1",
    }  # fmt: skip
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "INSERT INTO model (id, revision, document, name_key, created_at_us) VALUES ('m', 0, ?, 'm', 1)", [json.dumps(model)]
        )
        connection.execute(
            "INSERT INTO instance (id, revision, document, endpoint_id, deployment_id, state) "
            "VALUES ('i', 0, ?, 'e', 'd', 'InService')",
            [json.dumps(running)],
        )
    database = await Database.open(path)
    store = SqlStore(database, FakeWakeups())
    upgraded, instance = await store.get(Model, "m"), await store.get(Instance, "i")
    await database.close()
    assert upgraded is not None
    assert upgraded.containers == (
        Container(image="i", hostname="h", model_data=ModelDataSource(s3_uri="s3://b/m"), environment={"A": "ä"}),
    )
    assert instance is not None
    assert instance.addresses == ("http://127.0.0.1:1",)


async def test_repeats_and_ends_from_before_the_indexes_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "tarry.db"
    with monkeypatch.context() as before:
        before.setattr(migrate, "SCHEMA_VERSION", "0005")
        await migrated(path)
    named = make.invocation("1", inference_id="mine", named_by_caller=True, content_type="ä")
    outcome = make.decision("1").outcome
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "INSERT INTO invocation (id, endpoint_id, bucket, priority, state, attempts, lost_attempts, expires_at_us, "
            "inference_id, request) VALUES ('1', 'endpoint-e', 1, 0, 'Completed', 1, 0, 1, 'mine', ?)",
            [dump(named)],
        )
        connection.execute("INSERT INTO decision (invocation_id, outcome) VALUES ('1', ?)", [dump(outcome)])
    await migrated(path)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT same_key FROM invocation").fetchall() == [(same_key(named),)]
        assert connection.execute("SELECT ended_at_us FROM decision").fetchall() == [(outcome.ended_at_us,)]
