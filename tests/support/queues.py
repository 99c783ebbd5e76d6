"""The invocation queue on every backend, with one endpoint and one instance: what its contracts are held against."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.support import entities as make

from tarry.backends.database.invocation_records import SqlInvocationRecords
from tarry.backends.database.outbox import SqlOutbox
from tarry.backends.database.queue import SqlInvocationQueue
from tarry.backends.database.queue_accept import Bounds
from tarry.backends.database.queue_control import SqlQueueControl
from tarry.backends.database.queue_rows import LeaseTerms, next_epoch
from tarry.backends.database.schema import metadata
from tarry.backends.database.store import SqlStore
from tarry.backends.database.transactions import Database
from tarry.core.endpoint import Endpoint, EndpointStatus
from tarry.core.errors import BucketNotFound
from tarry.core.history import InvocationRecord
from tarry.core.instance import Instance
from tarry.core.invocation import InvocationState
from tarry.ports import (
    Add,
    Claim,
    InvocationQueue,
    InvocationRecords,
    Outbox,
    QueueControl,
    Replace,
    Staged,
    Store,
)
from tarry.testing.clock import FakeClock
from tarry.testing.ids import FakeIds
from tarry.testing.invocations import FakeInvocationRecords, FakeQueueControl
from tarry.testing.outbox import FakeOutbox
from tarry.testing.queue import FakeInvocationQueue
from tarry.testing.store import FakeStore
from tarry.testing.wakeups import FakeWakeups

QUEUED_MAX = 50
S = InvocationState


@dataclass
class Case:
    """A queue with one endpoint ``endpoint-e`` and one instance ``i`` that all buckets are routed to."""

    store: Store
    queue: InvocationQueue
    outbox: Outbox
    records: InvocationRecords
    control: QueueControl
    clock: FakeClock
    wakeups: FakeWakeups
    in_one_commit: bool
    restart: Callable[[], "asyncio.Future[None]"]
    published: list[Staged] = field(default_factory=list)
    instance: Instance = field(default_factory=make.instance)

    def publish(self, staged: Staged) -> None:
        if staged.location.bucket == "missing":
            raise BucketNotFound("no such bucket")
        self.published.append(staged)

    async def put(self, *ids: str) -> None:
        for each in ids:
            await self.queue.put(make.invocation(each), None)

    async def claim(self, limit: int = 1) -> list[Claim]:
        return await self.queue.claim(self.instance, limit)

    async def record(self, id: str) -> InvocationRecord:
        record = await self.store.get(InvocationRecord, id)
        assert record is not None
        return record

    async def state(self, id: str) -> InvocationState:
        return (await self.record(id)).state

    async def end(self, claim: Claim, state: InvocationState = S.COMPLETED) -> None:
        invocation_id = claim.invocation.id
        reached = await self.queue.decide(claim.lease, make.decision(invocation_id, state))
        assert reached is (state if self.in_one_commit else S.PUBLISHING)
        await self.queue.finish(invocation_id)

    async def change_endpoint(self, status: EndpointStatus) -> None:
        found = await self.store.get(Endpoint, "endpoint-e")
        assert found is not None
        await self.store.apply(Replace(replace(found, status=status)))


CASES = ("sql", "sql-one-commit", "fake", "fake-one-commit")


async def cases(name: str, path: Path) -> AsyncIterator[Case]:
    """One of CASES, on a directory of its own."""
    in_one_commit = name.endswith("one-commit")
    making = _sql if name.startswith("sql") else _fake
    async for case in making(path / "tarry.db", in_one_commit):
        await case.store.apply(Add(make.endpoint()), Add(case.instance), Add(make.routing()))
        case.wakeups.hints.clear()
        yield case


async def _sql(path: Path, in_one_commit: bool) -> AsyncIterator[Case]:
    database = await Database.open(path, create=metadata)
    clock, ids, wakeups = FakeClock(make.NOW_US), FakeIds(), FakeWakeups()

    async def queue() -> SqlInvocationQueue:
        terms = LeaseTerms(clock=clock, ids=ids, lease_s=30.0, epoch=await next_epoch(database))
        publish = (lambda _connection, staged, _now_us: made.publish(staged)) if in_one_commit else None
        return SqlInvocationQueue(database, terms, wakeups, publish_in_transaction=publish, bounds=Bounds(QUEUED_MAX))

    async def restart() -> None:
        made.queue = await queue()

    made = Case(
        SqlStore(database, wakeups),
        await queue(),
        SqlOutbox(database, clock),
        SqlInvocationRecords(database, clock),
        SqlQueueControl(database, clock, wakeups),
        clock,
        wakeups,
        in_one_commit,
        lambda: asyncio.ensure_future(restart()),
    )
    try:
        yield made
    finally:
        await database.close()


async def _fake(_: Path, in_one_commit: bool) -> AsyncIterator[Case]:
    clock, wakeups = FakeClock(make.NOW_US), FakeWakeups()
    store, outbox = FakeStore(wakeups), FakeOutbox(clock)
    queue = FakeInvocationQueue(store, outbox, clock, FakeIds(), wakeups)
    queue.queued_max = QUEUED_MAX

    async def restart() -> None:
        queue.new_epoch()

    made = Case(
        store,
        queue,
        outbox,
        FakeInvocationRecords(queue, store, outbox),
        FakeQueueControl(queue, wakeups),
        clock,
        wakeups,
        in_one_commit,
        lambda: asyncio.ensure_future(restart()),
    )
    if in_one_commit:
        queue.publish = lambda staged, _now_us: made.publish(staged)
    yield made


def ids_of(claims: list[Claim]) -> list[str]:
    """The ids of what was claimed."""
    return [claim.invocation.id for claim in claims]
