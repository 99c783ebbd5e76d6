"""What the queue's contract cannot see: plans, commits, counters, and what is left in the tables."""

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, func, insert, select, text
from tests.support import entities as make
from tests.support.plans import Plans

from tarry.backends.database import queue_control
from tarry.backends.database.documents import dump
from tarry.backends.database.invocation_records import SqlInvocationRecords
from tarry.backends.database.outbox import SqlOutbox
from tarry.backends.database.queue import SqlInvocationQueue
from tarry.backends.database.queue_accept import Bounds
from tarry.backends.database.queue_control import SqlQueueControl
from tarry.backends.database.queue_decisions import decided_handles
from tarry.backends.database.queue_rows import LeaseTerms, next_epoch
from tarry.backends.database.schema import attempt, backlog, decision, invocation, invocation_body, outbox
from tarry.backends.database.store import SqlStore
from tarry.backends.database.transactions import Database
from tarry.core.endpoint import Endpoint, EndpointStatus
from tarry.core.errors import EndpointNotFound, Throttled
from tarry.core.history import InvocationRecord
from tarry.core.invocation import TERMINAL, InvocationState, same_key
from tarry.ports import LOST, RETURNED, Add, InvocationQuery
from tarry.testing.clock import FakeClock
from tarry.testing.ids import FakeIds
from tarry.testing.wakeups import FakeWakeups


@dataclass
class World:
    database: Database
    store: SqlStore
    queue: SqlInvocationQueue
    clock: FakeClock


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    database = await Database.open(tmp_path / "tarry.db")  # by migrations: plans depend on the indexes as users have them
    clock, wakeups = FakeClock(make.NOW_US), FakeWakeups()
    store = SqlStore(database, wakeups)
    await store.apply(Add(make.endpoint()), Add(make.instance()), Add(make.routing()))
    terms = LeaseTerms(clock=clock, ids=FakeIds(), lease_s=30.0, epoch=await next_epoch(database))
    try:
        yield World(database, store, SqlInvocationQueue(database, terms, wakeups, bounds=Bounds(1_000_000)), clock)
    finally:
        await database.close()


async def fill(world: World, count: int) -> None:
    """A long backlog, many ended invocations, and ten that are held."""
    source = random.Random(1)
    common = {"endpoint_id": "endpoint-e", "priority": 0, "lost_attempts": 0, "expires_at_us": 2**62, "request": "{}"}
    common |= {"rank_us": make.NOW_US, "received_at_us": make.NOW_US}
    rows = [
        {"id": str(n), "bucket": source.randrange(100), "state": "Completed" if n % 2 else "Queued", "attempts": n % 2, **common}
        for n in range(count)
    ]
    rows[-1] |= {"request": make_request("last"), "state": "Queued", "attempts": 0}
    rows[0] |= {"request": make_request("first")}
    await world.database.write(lambda connection: connection.execute(insert(invocation), rows))
    await world.database.write(lambda c: c.execute(insert(backlog), {"endpoint_id": "endpoint-e", "queued": count // 2}))


def make_request(id: str) -> str:
    return dump(make.invocation(id))


async def test_nothing_reads_the_backlog_to_find_its_head(world: World) -> None:
    await fill(world, 100_000)
    with Plans(world.database) as plans:
        (claim,) = await world.queue.claim(make.instance(), 1)
        assert claim.invocation.id == "first"
        claim_steps = list(plans.steps)
        plans.statements.clear()
        await world.queue.put(make.invocation("new"), None)
        await world.queue.renew([claim.lease])
        await world.queue.reap(10)
        await world.store.find(InvocationRecord, limit=1, endpoint_id="endpoint-e", state=["Running", "Publishing"])
        await world.store.find(InvocationRecord, instance_id="i")
        await world.store.get(InvocationRecord, "0")
    heads = [step for step in claim_steps if "waiting" in step]
    assert heads
    assert all("ix_invocation_claim (endpoint_id=? AND bucket=?)" in step for step in heads), heads
    scans = [step for step in claim_steps if step.startswith("SCAN")] + plans.scans()
    assert [step for step in scans if "invocation" in step or step.startswith("SCAN head")] == []


async def test_overdue_rows_are_found_by_their_own_indexes(world: World) -> None:
    with Plans(world.database) as plans:
        await world.queue.reap(10)
    used = "\n".join(plans.steps)
    for index in ("ix_invocation_expiry", "ix_invocation_lost", "ix_invocation_lease"):
        assert index in used
    assert plans.scans() == []


@pytest.fixture
async def old(world: World) -> World:
    """A world with a past: invocations in every state, most of them ended, all under one InferenceId."""
    states = [*InvocationState, *[InvocationState.COMPLETED] * 20]
    rows, decisions = [], []
    for n in range(500):
        each, state = make.invocation(f"old{n}", **NAMED, received_at_us=make.NOW_US + n), states[n % len(states)]
        common = {"id": each.id, "endpoint_id": each.endpoint_id, "bucket": each.bucket, "priority": 0, "lost_attempts": 0}
        times = {"rank_us": each.received_at_us, "received_at_us": each.received_at_us, "expires_at_us": 2**62}
        names = {"inference_id": each.inference_id, "same_key": same_key(each), "request": dump(each)}
        rows.append({**common, **times, **names, "state": state.value, "attempts": 0})
        if state in TERMINAL | {InvocationState.PUBLISHING}:
            outcome = make.decision(each.id, state if state in TERMINAL else InvocationState.FAILED).outcome
            ended = {"outcome": dump(outcome), "ended_at_us": outcome.ended_at_us}
            decisions.append({"invocation_id": each.id, **ended})
    await world.database.write(lambda connection: connection.execute(insert(invocation), rows))
    await world.database.write(lambda connection: connection.execute(insert(decision), decisions))
    queued = sum(row["state"] == "Queued" for row in rows)
    await world.database.write(lambda c: c.execute(insert(backlog), {"endpoint_id": "endpoint-e", "queued": queued}))
    return world


S = InvocationState
NAMED = {"inference_id": "mine", "named_by_caller": True}
FILTERS: dict[str, dict[str, Any]] = {
    "none": {},
    "one state": {"states": frozenset({S.FAILED})},
    "a state that is no end": {"states": frozenset({S.QUEUED})},
    "states": {"states": frozenset({S.FAILED, S.EXPIRED, S.STOPPED})},
    "InferenceId": {"inference_id": "mine"},
    "states of an InferenceId": {"inference_id": "mine", "states": frozenset({S.FAILED, S.QUEUED})},
    "received after": {"received_after_us": make.NOW_US + 3},
    "received before": {"received_before_us": make.NOW_US + 300},
    "reason": {"reason_contains": "because"},
}


@pytest.mark.parametrize("endpoint_id", [None, "endpoint-e"])
@pytest.mark.parametrize("filters", FILTERS)
async def test_a_page_is_read_in_the_order_of_an_index_whatever_the_filter(
    old: World, filters: str, endpoint_id: str | None
) -> None:
    records = SqlInvocationRecords(old.database, old.clock)
    query = InvocationQuery(limit=5, endpoint_id=endpoint_id, **FILTERS[filters])
    with Plans(old.database) as plans:
        page = await records.page(query)
        assert page.next_token
        await records.page(replace(query, token=page.next_token))
    assert len(page.items) == 5
    assert plans.costly() == []
    documents = [each for each in plans.statements if "invocation.request" in each]
    assert len(documents) == 2, "of the rows that are shown, and of no others"


async def test_questions_about_queues_and_names_are_answered_from_indexes(old: World) -> None:
    records = SqlInvocationRecords(old.database, old.clock)
    queued = "old0"
    with Plans(old.database) as plans:
        await records.place(queued)
        await records.state(queued)
        await records.history(queued)
        await records.named("mine", 3)
        assert (await records.queue("endpoint-e")).queued == 18
        await old.store.find(InvocationRecord, limit=1, endpoint_id="endpoint-e")
    assert [step for step in plans.costly() if step != "SCAN decision"] == []  # the last ones, in the order of the key
    (ahead, *_) = [each for each in plans.steps if "ix_invocation_claim" in each]
    assert "endpoint_id=? AND bucket=? AND rank_us<?" in ahead


async def test_every_endpoint_that_has_had_a_name_is_found_by_an_index(old: World) -> None:
    for number in range(3):
        await old.store.apply(Add(make.endpoint(id=f"deleted-{number}", status=EndpointStatus.DELETED)))
    with Plans(old.database) as plans:
        found = await old.store.find(Endpoint, name_key="e")
        assert [each.id for each in found] == ["endpoint-e", *(f"deleted-{number}" for number in range(3))]
        assert await old.store.named(Endpoint, "e") == found[0]
    assert plans.costly() == []


async def test_a_request_that_repeats_is_found_without_a_look_at_others_of_its_name(old: World) -> None:
    with Plans(old.database) as plans:
        put = await old.queue.put(make.invocation("new", **NAMED), None, same_since_us=0)
        same = await old.queue.put(make.invocation("newer", **NAMED, input_location=put.input_location), None, same_since_us=0)
    assert (put.id, same.id) == ("new", "new")
    assert plans.costly() == []
    assert [each for each in plans.steps if "ix_invocation_same (same_key=? AND received_at_us>?)" in each]
    assert not [each for each in plans.steps if "ix_invocation_named" in each]


async def test_controls_find_their_rows_by_indexes(old: World) -> None:
    control = SqlQueueControl(old.database, old.clock, FakeWakeups())
    with Plans(old.database) as plans:
        assert await control.purge("endpoint-e") == 36
        await control.stop("old1")
        assert await control.forget(make.NOW_US + 1, 10) == 10
    assert plans.costly() == []
    assert any("ix_invocation_claim (endpoint_id=?)" in each for each in plans.steps)


async def test_a_key_with_no_name_costs_no_index(world: World) -> None:
    await world.queue.put(make.invocation("1"), None)
    await world.queue.put(make.invocation("2", **NAMED), None)
    keys = await world.database.read(
        lambda c: c.execute(select(invocation.c.same_key).order_by(invocation.c.seq)).scalars().all()
    )
    assert keys == [None, same_key(make.invocation("2", **NAMED))]


async def test_concurrent_accepts_share_commits(world: World) -> None:
    before = world.database.commits
    await asyncio.gather(*(world.queue.put(make.invocation(str(n)), b"x") for n in range(400)))
    assert world.database.commits - before <= 20


async def test_one_bad_accept_among_many_fails_alone(world: World) -> None:
    offers = [make.invocation(str(n), endpoint_id="nowhere" if n == 7 else "endpoint-e") for n in range(20)]
    offers[9] = make.invocation("3")  # the same id a second time
    results = await asyncio.gather(*(world.queue.put(each, None) for each in offers), return_exceptions=True)
    assert isinstance(results[7], EndpointNotFound)
    assert [n for n, result in enumerate(results) if isinstance(result, Exception)] == [7, 9]
    assert len(await world.queue.claim(make.instance(), 50)) == 18


async def test_the_count_of_waiting_rows_is_always_right(world: World) -> None:
    source = random.Random(2)
    held = []

    def counts(connection: Connection) -> tuple[int, int]:
        queued = select(func.count()).select_from(invocation).where(text("state = 'Queued'"))
        return connection.execute(select(backlog.c.queued)).scalar_one(), connection.execute(queued).scalar_one()

    for n in range(120):
        match source.randrange(6):
            case 0 | 1:
                await asyncio.gather(*(world.queue.put(make.invocation(f"{n}-{k}"), None) for k in range(3)))
            case 2:
                held += await world.queue.claim(make.instance(), source.randrange(4))
            case 3 if held:
                await world.queue.release(held.pop().lease, source.choice([LOST, RETURNED]))
            case 4 if held:
                claim = held.pop()
                await world.queue.decide(claim.lease, make.decision(claim.invocation.id))
            case 5:
                world.clock.advance(source.choice([1, 31]))
                if not await world.queue.renew([claim.lease for claim in held]):
                    await world.queue.reap(2)
                else:
                    held.clear()
        if n > 10:
            counted, real = await world.database.read(counts)
            assert counted == real
    assert await world.database.read(lambda c: c.execute(select(func.count()).select_from(invocation)).scalar_one()) > 50


async def test_an_ended_invocation_leaves_no_bytes_behind(world: World) -> None:
    await world.queue.put(make.invocation("1", input_location=None), b"body")
    (claim,) = await world.queue.claim(make.instance(), 1)
    await world.queue.decide(claim.lease, make.decision("1"))
    await world.queue.finish("1")

    def left(connection: Connection) -> tuple[Any, Any]:
        bodies = connection.execute(select(func.count()).select_from(invocation_body)).scalar_one()
        kept = connection.execute(select(decision.c.staged, decision.c.inline, decision.c.notification)).one()
        return bodies, tuple(kept)

    assert await world.database.read(left) == (0, (None, None, None))


async def test_staged_objects_of_open_decisions_are_named(world: World) -> None:
    for each in ("inline", "staged", "open"):
        await world.queue.put(make.invocation(each), None)
    inline, staged, _ = await world.queue.claim(make.instance(), 3)
    await world.queue.decide(inline.lease, make.decision("inline"))
    await world.queue.decide(staged.lease, make.decision("staged", InvocationState.FAILED, inline=None))
    assert await world.database.read(decided_handles) == {"handle-staged"}
    await world.queue.finish("staged")
    assert await world.database.read(decided_handles) == set()


async def test_a_forgotten_invocation_leaves_no_row_in_any_table(world: World) -> None:
    await world.queue.put(make.invocation("1", input_location=None), b"body")
    (claim,) = await world.queue.claim(make.instance(), 1)
    await world.queue.release(claim.lease, LOST)
    (claim,) = await world.queue.claim(make.instance(), 1)
    await world.queue.decide(claim.lease, make.decision("1", InvocationState.FAILED))
    await world.queue.finish("1")
    await SqlOutbox(world.database, world.clock).give_up("1", error="no such topic")
    control = SqlQueueControl(world.database, world.clock, FakeWakeups())
    with Plans(world.database) as plans:
        assert await control.forget(make.NOW_US + 1, 10) == 1
    assert plans.costly() == []

    def left(connection: Connection) -> list[int]:
        tables = (invocation, invocation_body, attempt, decision, outbox)
        return [connection.execute(select(func.count()).select_from(table)).scalar_one() for table in tables]

    assert await world.database.read(left) == [0, 0, 0, 0, 0]


async def test_a_disk_without_reserve_takes_nothing_more(world: World) -> None:
    free = [1000]
    terms = LeaseTerms(clock=world.clock, ids=FakeIds(), lease_s=30.0, epoch=await next_epoch(world.database))
    bounds = Bounds(10, disk_reserve_bytes=1000, free_bytes=lambda: free[0])
    queue = SqlInvocationQueue(world.database, terms, FakeWakeups(), bounds=bounds)
    await queue.put(make.invocation("1"), None)
    free[0] = 999
    with pytest.raises(Throttled, match="999 bytes left, 1000 are kept for results"):
        await queue.put(make.invocation("2"), None)
    (claim,) = await queue.claim(make.instance(), 5)
    assert claim.invocation.id == "1"
    assert await queue.decide(claim.lease, make.decision("1"))


async def test_epochs_count_up_over_restarts(tmp_path: Path) -> None:
    for expected in (1, 2, 3):
        database = await Database.open(tmp_path / "tarry.db")
        assert await next_epoch(database) == expected
        await database.close()


async def test_a_purge_comes_to_an_end_while_more_is_accepted_and_leaves_that(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of its batches is followed by a new request, of an hour ago by the caller's clock."""
    monkeypatch.setattr(queue_control, "PURGE_BATCH", 2)
    control = SqlQueueControl(world.database, world.clock, FakeWakeups())
    for n in range(5):
        await world.queue.put(make.invocation(f"n{n}"), None)
    write, later = world.database.write, iter(range(100))

    async def write_and_accept(*given: Any, **options: Any) -> Any:
        written = await write(*given, **options)
        await world.queue.put(make.invocation(f"later{next(later)}", received_at_us=make.NOW_US - 3_600_000_000), None)
        return written

    monkeypatch.setattr(world.database, "write", write_and_accept)
    assert await control.purge("endpoint-e") == 5
    found = await world.store.find(InvocationRecord, endpoint_id="endpoint-e")
    assert [record.id for record in found if record.stop_requested] == [f"n{n}" for n in range(5)]


async def test_a_purge_reads_nothing_but_what_waits(world: World) -> None:
    await fill(world, 20_000)
    control = SqlQueueControl(world.database, world.clock, FakeWakeups())
    with Plans(world.database) as plans:
        assert await control.purge("endpoint-e") == 10_001
    assert plans.scans() == []
    assert not [step for step in plans.steps if "TEMP B-TREE" in step]
