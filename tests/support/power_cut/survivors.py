"""Looks into a data directory that a power cut has left: is what was acknowledged still there?"""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

TERMINAL = ("Completed", "Failed", "Expired", "Stopped")
_OBJECT = (
    "SELECT stored_object.body, stored_object.blob_id FROM stored_object JOIN bucket ON bucket.seq = stored_object.bucket_seq "
    "WHERE bucket.name = ? AND stored_object.key = ?"
)


class Survivors:
    """A data directory without a server. A context; opening the database recovers it, as the next start would."""

    def __init__(self, data_dir: Path) -> None:
        self._blobs = data_dir / "blobs"
        self._database = sqlite3.connect(data_dir / "tarry.db")

    def __enter__(self) -> "Survivors":
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def is_whole(self) -> bool:
        """The database is not damaged, and no row names a file that is not there."""
        sound = self._one("PRAGMA integrity_check") == "ok" and not self._database.execute("PRAGMA foreign_key_check").fetchall()
        named = "SELECT blob_id FROM stored_object UNION SELECT blob_id FROM upload_part UNION SELECT blob_id FROM staged_blob"
        blobs = [row[0] for row in self._database.execute(named) if row[0] is not None]
        return sound and all(self._blob(blob).exists() for blob in blobs)

    def has(self, table: str, column: str, value: str) -> bool:
        """A row with this value."""
        return self._one(f"SELECT count(*) FROM {table} WHERE {column} = ?", value) == 1

    def read(self, bucket: str, key: str) -> bytes | None:
        """An object's bytes."""
        row = self._database.execute(_OBJECT, (bucket, key.encode())).fetchone()
        if row is None:
            return None
        body, blob_id = row
        return bytes(body) if blob_id is None else self._blob(blob_id).read_bytes()

    def ended(self, invocation_id: str) -> bool:
        """Whether an invocation has come to its end."""
        return self._one("SELECT state FROM invocation WHERE id = ?", invocation_id) in TERMINAL

    def _one(self, query: str, *parameters: object) -> object:
        with closing(self._database.execute(query, parameters)) as rows:
            row = rows.fetchone()
        return None if row is None else row[0]

    def _blob(self, blob_id: str) -> Path:
        return self._blobs / blob_id[:2] / blob_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """Something that must survive from the moment when this was acknowledged, in the answer to ``request_id``."""

    what: str
    request_id: str
    kept: Callable[[Survivors], bool]
    replaces: str | None = None
    """The promise that this one ends: from its call on either may hold, from its answer on only this."""
