"""Queue and embedded object store in one commit: an object that cannot appear takes the whole decision back with it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from sqlalchemy import func, select
from tests.support import entities as make
from tests.support.buckets import INLINE_MAX, files_in, get, noise, open_buckets, pieces

from tarry.backends.database.outbox import SqlOutbox
from tarry.backends.database.queue import SqlInvocationQueue
from tarry.backends.database.queue_accept import Bounds
from tarry.backends.database.queue_rows import LeaseTerms, next_epoch
from tarry.backends.database.schema import decision
from tarry.backends.database.store import SqlStore
from tarry.core.errors import BucketNotFound, LeaseLost, ObjectRefused
from tarry.core.history import InvocationRecord
from tarry.core.invocation import InvocationState
from tarry.core.names import S3Location
from tarry.embedded.buckets.buckets import Buckets
from tarry.embedded.buckets.store import EmbeddedObjectStore, publish_in_transaction
from tarry.ports import Add, Claim, Decision
from tarry.testing.clock import FakeClock
from tarry.testing.ids import FakeIds
from tarry.testing.wakeups import FakeWakeups

QUEUED_MAX = 50
SIZES = [5, INLINE_MAX + 1]
OUTPUT = S3Location("bbb", "out/1.out")


@dataclass
class Case:
    buckets: Buckets
    objects: EmbeddedObjectStore
    queue: SqlInvocationQueue
    outbox: SqlOutbox
    store: SqlStore
    hints: list[str]

    async def decision(self, id: str, size: int, location: S3Location = OUTPUT) -> Decision:
        """Completed, with this many bytes staged."""
        staged = await self.objects.stage(location, content_type="text/csv", metadata={}, chunks=pieces(noise(size)))
        return replace(make.decision(id), staged=staged)

    async def claim(self, *ids: str) -> list[Claim]:
        for each in ids:
            await self.queue.put(make.invocation(each), b"input")
        return await self.queue.claim(make.instance(), len(ids))

    async def assert_nothing_changed(self, id: str) -> None:
        record = await self.store.get(InvocationRecord, id)
        assert record is not None
        assert (record.state, record.outcome, record.attempts) == (InvocationState.RUNNING, None, 1)
        assert await self.outbox.due(10) == []
        assert self.hints == []
        count = select(func.count()).select_from(decision)
        assert await self.buckets.database.read(lambda connection: connection.execute(count).scalar()) == 0


@pytest.fixture
async def case(tmp_path: Path) -> AsyncIterator[Case]:
    async with open_buckets(tmp_path) as buckets:
        await buckets.create_bucket("bbb")
        clock, wakeups, database = FakeClock(make.NOW_US), FakeWakeups(), buckets.database
        terms = LeaseTerms(clock=clock, ids=FakeIds(), lease_s=30.0, epoch=await next_epoch(database))
        queue = SqlInvocationQueue(
            database, terms, wakeups, publish_in_transaction=publish_in_transaction, bounds=Bounds(QUEUED_MAX)
        )
        store = SqlStore(database, wakeups)
        await store.apply(Add(make.endpoint()), Add(make.instance()), Add(make.routing()))
        made = Case(buckets, EmbeddedObjectStore(buckets), queue, SqlOutbox(database, clock), store, wakeups.hints)
        yield made


@pytest.mark.parametrize("size", SIZES)
async def test_object_end_and_notification_appear_together(case: Case, size: int) -> None:
    (claim,) = await case.claim("1")
    assert await case.queue.decide(claim.lease, await case.decision("1", size)) is InvocationState.COMPLETED
    assert await get(case.buckets, OUTPUT.key, "bbb") == noise(size)
    assert len(await case.outbox.due(10)) == 1


@pytest.mark.parametrize("size", SIZES)
async def test_a_bucket_that_is_gone_at_the_decision_changes_nothing(case: Case, tmp_path: Path, size: int) -> None:
    (claim,) = await case.claim("1")
    decided = await case.decision("1", size)
    await case.buckets.delete_bucket("bbb")
    case.hints.clear()
    before = files_in(tmp_path)
    with pytest.raises(BucketNotFound):
        await case.queue.decide(claim.lease, decided)
    await case.assert_nothing_changed("1")
    assert files_in(tmp_path) == before
    await case.buckets.create_bucket("bbb")  # the lease still holds, and what is staged is still there
    assert await case.queue.decide(claim.lease, decided) is InvocationState.COMPLETED
    assert await get(case.buckets, OUTPUT.key, "bbb") == noise(size)


async def test_a_failed_publish_takes_no_other_decision_of_its_group_along(case: Case) -> None:
    claims = {claim.invocation.id: claim for claim in await case.claim("1", "2", "3")}
    good = {each: await case.decision(each, 5, S3Location("bbb", f"out/{each}")) for each in "13"}
    lost = await case.decision("2", 5)
    bad = replace(lost, staged=replace(lost.staged, location=S3Location("gone", "k"))) if lost.staged else lost
    results = await asyncio.gather(
        *(case.queue.decide(claims[each].lease, {**good, "2": bad}[each]) for each in "123"), return_exceptions=True
    )
    assert [type(result) for result in results] == [InvocationState, BucketNotFound, InvocationState]
    for each in "13":
        assert await get(case.buckets, f"out/{each}", "bbb") == noise(5)
    with pytest.raises(LeaseLost):
        await case.queue.decide(claims["1"].lease, good["1"])


async def test_a_key_that_no_object_can_have_changes_nothing(case: Case) -> None:
    (claim,) = await case.claim("1")
    decided = await case.decision("1", 5)
    assert decided.staged is not None
    case.hints.clear()
    with pytest.raises(ObjectRefused):
        await case.queue.decide(
            claim.lease, replace(decided, staged=replace(decided.staged, location=S3Location("bbb", "k" * 1025)))
        )
    await case.assert_nothing_changed("1")
