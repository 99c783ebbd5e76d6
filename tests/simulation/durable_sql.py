"""The durable world in the product's own SQL, on a SQLite database in memory."""

import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Generic, TypeVar

from tests.simulation.durable import BUCKET, COMPLETED_TOPIC, FAILED_TOPIC, SCOPE, E, Opened, Row, Shelf, Terms
from tests.simulation.inline_database import Disk, InlineDatabase
from tests.simulation.loop import Part

from tarry.backends.database.documents import load
from tarry.backends.database.invocation_records import SqlInvocationRecords
from tarry.backends.database.kinds import KINDS
from tarry.backends.database.outbox import SqlOutbox
from tarry.backends.database.queue import SqlInvocationQueue
from tarry.backends.database.queue_accept import Bounds
from tarry.backends.database.queue_control import SqlQueueControl
from tarry.backends.database.queue_decisions import decided_handles
from tarry.backends.database.queue_rows import LeaseTerms, next_epoch
from tarry.backends.database.store import SqlStore
from tarry.core.endpoint import Endpoint
from tarry.core.invocation import Invocation, InvocationState, Outcome
from tarry.embedded.buckets.buckets import Buckets
from tarry.embedded.buckets.store import EmbeddedObjectStore, publish_in_transaction
from tarry.embedded.topics.notifier import announce_in_transaction
from tarry.ports import ObjectStore, Store, Wakeups

T = TypeVar("T")

_ROWS = """
    SELECT invocation.*, outcome
    FROM invocation LEFT JOIN decision ON decision.invocation_id = invocation.id
"""
_TOLD = "SELECT message.id, text FROM push JOIN message ON message.seq = push.message_seq"
_TOPIC = """
    INSERT INTO topic (seq, arn, name, display_name, signature_version, tags, created_at_us)
    VALUES ({seq}, '{arn}', '{name}', '', '1', '{{}}', 0)
"""
_SUBSCRIPTION = """
    INSERT INTO subscription (
        id, topic_seq, protocol, endpoint, state, token, token_expires_at_us, unsubscribe_token, principal_arn, raw,
        confirmation_was_authenticated, authenticate_on_unsubscribe, created_at_us
    ) VALUES ('{seq}', {seq}, 'http', 'http://listener', 'Confirmed', '', 0, '', '', 0, 0, 0, 0)
"""
_WAITING = "SELECT endpoint_id, queued FROM backlog"
_EPOCH = "SELECT value FROM counter WHERE name = 'epoch'"
_OBJECTS = "SELECT CAST(key AS TEXT) AS key, etag FROM stored_object"


class SqlDurable:
    """See Durable. With a ``directory`` objects lie in the embedded store in the same database, else in a store apart."""

    def __init__(self, terms: Terms, disk: Disk, directory: Path | None) -> None:
        self.one_commit = directory is not None
        self._terms = terms
        self._disk = disk
        self._directory = directory
        self._shelf = Shelf()
        self._rows = _Seen(disk, lambda: {row["id"]: _row(row) for row in disk.select(_ROWS)})
        self._objects = _Seen(disk, lambda: {f"s3://{BUCKET}/{row['key']}": row["etag"] for row in disk.select(_OBJECTS)})
        self._epoch = _Seen(disk, lambda: sum(int(row["value"]) for row in disk.select(_EPOCH)))
        self._told = _Seen(disk, self._read_told)
        disk.format()
        if self.one_commit:
            for seq, arn in enumerate((COMPLETED_TOPIC, FAILED_TOPIC), 1):
                disk.run(_TOPIC.format(seq=seq, arn=arn, name=arn.rpartition(":")[2]))
                disk.run(_SUBSCRIPTION.format(seq=seq))

    async def open_store(self, part: Part, wakeups: Wakeups) -> Store:
        """See Durable."""
        return SqlStore(self._database(part), wakeups)

    async def open_delivery(self, part: Part, wakeups: Wakeups) -> Opened:
        """See Durable."""
        terms, database = self._terms, self._database(part)
        lease = LeaseTerms(clock=terms.clock, ids=terms.ids, lease_s=terms.lease_s, epoch=await next_epoch(database))
        if self._directory is None:
            objects: ObjectStore = self._shelf.store
            put_input, close = self._shelf.put_input, database.close
        else:
            buckets = await self._buckets(database, self._directory)
            objects = EmbeddedObjectStore(buckets)

            async def put_input(key: str, body: bytes) -> None:
                await buckets.put_object(BUCKET, key, _one(body))

            async def close() -> None:
                await buckets.close()
                await database.close()

        queue = SqlInvocationQueue(
            database,
            lease,
            wakeups,
            bounds=Bounds(terms.queued_max),
            publish_in_transaction=publish_in_transaction if self.one_commit else None,
            announce_in_transaction=announce_in_transaction if self.one_commit else None,
        )
        return Opened(
            store=SqlStore(database, wakeups),
            queue=queue,
            outbox=SqlOutbox(database, terms.clock),
            records=SqlInvocationRecords(database, terms.clock),
            control=SqlQueueControl(database, terms.clock, wakeups),
            objects=objects,
            put_input=put_input,
            close=close,
        )

    def rows(self) -> Mapping[str, Row]:
        """See Durable."""
        return self._rows.now()

    def epoch(self) -> int:
        """See Durable."""
        return self._epoch.now()

    def waiting(self) -> Mapping[str, int]:
        """See Durable."""
        return {row["endpoint_id"]: row["queued"] for row in self._disk.select(_WAITING)}

    def entity(self, kind: type[E], id: str) -> E | None:
        """See Durable."""
        found = self._disk.select(f"SELECT document FROM {KINDS[kind].table.name} WHERE id = '{id}'")
        return load(kind, found[0]["document"]) if found else None

    def named(self, endpoint_name: str) -> Endpoint | None:
        """See Durable."""
        found = self._disk.select(f"SELECT document FROM endpoint WHERE name_key = '{endpoint_name}' ORDER BY seq")
        return load(Endpoint, found[-1]["document"]) if found else None

    def objects(self) -> Mapping[str, str]:
        """See Durable."""
        return self._shelf.objects() if self._directory is None else self._objects.now()

    def told(self, notification_id: str) -> Sequence[str] | None:
        """See Durable: one push for each message, since each topic has one subscriber."""
        return self._told.now().get(notification_id, ()) if self.one_commit else None

    def fill_disk(self, *, full: bool) -> bool:
        """See Durable."""
        self._disk.fill(full=full)
        return True

    def _read_told(self) -> Mapping[str, list[str]]:
        told: dict[str, list[str]] = {}
        for row in self._disk.select(_TOLD):
            told.setdefault(row["id"], []).append(row["text"])
        return told

    def _database(self, part: Part) -> InlineDatabase:
        return InlineDatabase(self._disk, part, self._terms.chance, self._terms.on_commit)

    async def _buckets(self, database: InlineDatabase, directory: Path) -> Buckets:
        terms = self._terms
        buckets = Buckets(database, directory, terms.clock, terms.ids, region=SCOPE.region, decided=decided_handles)
        await buckets.start()
        if not await buckets.list_buckets():
            await buckets.create_bucket(BUCKET)
        return buckets


class _Seen(Generic[T]):
    """What was read from the disk, read anew only when something has been written since."""

    def __init__(self, disk: Disk, read: Callable[[], T]) -> None:
        self._disk = disk
        self._read = read
        self._seen: tuple[int, T] | None = None

    def now(self) -> T:
        """As of now."""
        changes = self._disk.changes()
        if self._seen is None or self._seen[0] != changes:
            self._seen = (changes, self._read())
        return self._seen[1]


def _row(row: sqlite3.Row) -> Row:
    return Row(
        invocation=_invocation(row["request"]),
        state=InvocationState(row["state"]),
        attempts=row["attempts"],
        lost=row["lost_attempts"],
        token=row["lease_token"],
        owner=row["lease_owner"],
        lease_end_us=row["lease_expires_at_us"] or 0,
        due_at_us=row["due_at_us"],
        stop_requested=row["stop_requested_at_us"] is not None,
        redriven_as=row["redriven_as"],
        order=(row["rank_us"], row["seq"]),
        outcome=None if row["outcome"] is None else _outcome(row["outcome"]),
    )


@lru_cache(maxsize=1024)
def _invocation(document: str) -> Invocation:
    return load(Invocation, document)


@lru_cache(maxsize=1024)
def _outcome(document: str) -> Outcome:
    return load(Outcome, document)


async def _one(body: bytes) -> AsyncIterator[bytes]:
    yield body
