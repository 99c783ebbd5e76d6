"""Bringing a database to the schema of this program: at every start, all or nothing, with a copy kept of what was before.

A revision is a file in ``migrations/versions``, numbered without gaps. It writes its tables out, and imports nothing of the
program: what it does must stay the same while the program changes. The whole upgrade is one transaction.
"""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy import Connection, Engine, MetaData, inspect, text

from tarry.backends.database.engine import raw
from tarry.core.errors import SchemaTooNew
from tarry.files import sync

SCHEMA_VERSION = "0008"
"""The newest revision in ``migrations/versions``."""


def migrate(path: Path, engine: Engine, create: MetaData | None = None) -> None:
    """Upgrade the database that ``engine`` writes to; with ``create`` make those tables instead, for tests.

    A database that is not empty is copied first, beside itself. Errors: SchemaTooNew, and then nothing has been changed; those
    of the database. After a crash: the database is as it was, or wholly new.
    """
    with engine.connect() as connection:
        if create is not None:
            with connection.begin():
                create.create_all(connection)
            return
        with connection.begin():
            current = _version(connection)
        if current == SCHEMA_VERSION:
            return
        if current is not None:
            if current > SCHEMA_VERSION:
                raise SchemaTooNew(
                    f"The database {path} has schema {current}, this program knows schemas up to {SCHEMA_VERSION}. "
                    f"Start it with the newer program, or put a backup of schema {SCHEMA_VERSION} in its place."
                )
            _back_up(raw(connection), path.with_name(f"{path.name}.schema-{current}.backup"))
        with connection.begin():
            _upgrade(connection)


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    return found


def _back_up(source: sqlite3.Connection, target: Path) -> None:
    """Copy a database into a file of mode 0600 that appears whole or not at all."""
    partial = target.with_name(f"{target.name}.partial")
    partial.unlink(missing_ok=True)
    os.close(os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    with closing(sqlite3.connect(partial)) as copy:
        source.backup(copy)
    sync(partial)
    partial.rename(target)
    sync(target.parent)


def _upgrade(connection: Connection) -> None:
    from alembic import command  # noqa: PLC0415 - slow to import, and not needed at most starts
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    place = Path(__file__).with_name("migrations")
    config.set_main_option("script_location", str(place).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, SCHEMA_VERSION)
