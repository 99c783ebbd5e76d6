"""What ports.Outbox promises, held against SQL and the fake."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import select

from tarry.backends.database.outbox import SqlOutbox
from tarry.backends.database.queue_decisions import put_out
from tarry.backends.database.schema import metadata, outbox
from tarry.backends.database.transactions import Database
from tarry.core.notifications import Notification
from tarry.core.retry import OUTBOX_DELAY_S_MAX
from tarry.ports import Outbox
from tarry.testing.clock import FakeClock
from tarry.testing.outbox import FakeOutbox


@dataclass
class Case:
    outbox: Outbox
    clock: FakeClock
    add: Callable[[Notification], Awaitable[None]]
    error_of: Callable[[str], Awaitable[str | None]]

    async def put(self, *ids: str) -> None:
        for each in ids:
            await self.add(Notification(id=each, topic_arn="arn:t", message=f"message ä {each}"))

    async def due(self, limit: int = 10) -> list[str]:
        return [outgoing.notification.id for outgoing in await self.outbox.due(limit)]


@pytest.fixture(params=["sql", "fake"])
async def case(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Case]:
    clock = FakeClock()
    if request.param == "fake":
        fake = FakeOutbox(clock)

        async def add(notification: Notification) -> None:
            fake.add(notification)

        async def error_of(id: str) -> str | None:
            return fake.given_up.get(id)

        yield Case(fake, clock, add, error_of)
        return
    database = await Database.open(tmp_path / "tarry.db", create=metadata)

    async def insert(notification: Notification) -> None:
        await database.write(lambda connection: put_out(connection, [notification]))

    async def read_error(id: str) -> str | None:
        statement = select(outbox.c.error).where(outbox.c.id == id, outbox.c.given_up_at_us.is_not(None))
        return await database.read(lambda connection: connection.execute(statement).scalar_one_or_none())

    try:
        yield Case(SqlOutbox(database, clock), clock, insert, read_error)
    finally:
        await database.close()


async def test_oldest_first_up_to_the_limit(case: Case) -> None:
    assert await case.due() == []
    await case.put("c", "a", "b")
    assert await case.due() == ["c", "a", "b"]
    assert await case.due(2) == ["c", "a"]
    (first,) = await case.outbox.due(1)
    assert first.notification == Notification(id="c", topic_arn="arn:t", message="message ä c")
    assert first.tries == 0


async def test_done_is_gone_and_may_be_repeated(case: Case) -> None:
    await case.put("1", "2")
    for _ in range(2):
        await case.outbox.done("1")
    await case.outbox.done("unknown")
    assert await case.due() == ["2"]


async def test_retry_waits_its_time_and_keeps_its_place(case: Case) -> None:
    await case.put("1", "2")
    await case.outbox.retry("1", after_s=1.5, error="refused")
    assert await case.due() == ["2"]
    case.clock.advance(1.499999)
    assert await case.due() == ["2"]
    case.clock.advance(0.000001)
    await case.put("3")
    assert await case.due() == ["1", "2", "3"]
    assert [outgoing.tries for outgoing in await case.outbox.due(10)] == [1, 0, 0]
    await case.outbox.retry("1", after_s=0, error="refused again")
    assert (await case.outbox.due(1))[0].tries == 2
    await case.outbox.retry("unknown", after_s=1, error="")


async def test_a_new_one_is_due_whatever_the_clock_says(case: Case) -> None:
    await case.put("1")
    case.clock.set_wall(-60)
    assert await case.due() == ["1"]


async def test_a_clock_that_is_set_back_holds_nothing_up(case: Case) -> None:
    await case.put("1", "2", "3")
    await case.outbox.retry("2", after_s=OUTBOX_DELAY_S_MAX, error="refused")
    case.clock.set_wall(-3600)
    assert await case.due() == ["1", "2", "3"]


async def test_the_longest_delay_is_waited_for(case: Case) -> None:
    await case.put("1", "2")
    await case.outbox.retry("1", after_s=OUTBOX_DELAY_S_MAX, error="refused")
    await case.outbox.retry("2", after_s=OUTBOX_DELAY_S_MAX * 100, error="a longer wait is cut to the longest one")
    assert await case.due() == []
    case.clock.advance(OUTBOX_DELAY_S_MAX)
    assert await case.due() == ["1", "2"]


async def test_given_up_is_out_of_the_queue_with_its_error_kept(case: Case) -> None:
    await case.put("1", "2")
    await case.outbox.give_up("1", error="no such topic")
    case.clock.advance(1_000_000)
    assert await case.due() == ["2"]
    assert await case.error_of("1") == "no such topic"
    await case.outbox.give_up("1", error="something else")
    await case.outbox.retry("1", after_s=0, error="late")
    await case.outbox.give_up("unknown", error="x")
    assert await case.due() == ["2"]
    assert await case.error_of("1") == "no such topic"
