"""Queue and embedded topics in one commit: a topic has the message with the end, or the outbox says why it cannot."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from sqlalchemy import Connection, select, update
from tests.support import entities as make

from tarry.backends.database.invocation_records import SqlInvocationRecords
from tarry.backends.database.outbox import SqlOutbox
from tarry.backends.database.queue import SqlInvocationQueue
from tarry.backends.database.queue_accept import Bounds
from tarry.backends.database.queue_rows import LeaseTerms, next_epoch
from tarry.backends.database.schema import metadata
from tarry.backends.database.store import SqlStore
from tarry.backends.database.transactions import Database
from tarry.core.names import Scope
from tarry.core.notifications import Notification
from tarry.core.topics import MESSAGE_BYTES_MAX, SubscriptionState
from tarry.embedded.topics.notifier import announce_in_transaction
from tarry.embedded.topics.schema import message, subscription
from tarry.embedded.topics.subscriptions import NewSubscription, Subscriptions
from tarry.embedded.topics.topics import Topics
from tarry.ports import CHANNEL_OUTBOX, CHANNEL_PUSHES, Add, Claim
from tarry.testing.clock import FakeClock
from tarry.testing.ids import FakeIds
from tarry.testing.wakeups import FakeWakeups

SCOPE = Scope(account_id="123456789012", region="us-east-1")


@dataclass
class Case:
    database: Database
    queue: SqlInvocationQueue
    outbox: SqlOutbox
    records: SqlInvocationRecords
    topic_arn: str
    wakeups: FakeWakeups

    async def claim(self, *ids: str) -> list[Claim]:
        for each in ids:
            await self.queue.put(make.invocation(each), None)
        return await self.queue.claim(make.instance(), len(ids))

    async def end(self, claim: Claim, topic_arn: str, text: str = "{}") -> None:
        invocation_id = claim.invocation.id
        notification = Notification(id=invocation_id, topic_arn=topic_arn, message=text)
        self.wakeups.hints.clear()
        await self.queue.decide(claim.lease, replace(make.decision(invocation_id), staged=None, notification=notification))

    async def messages(self) -> list[str]:
        def read(connection: Connection) -> list[str]:
            return list(connection.execute(select(message.c.id).order_by(message.c.seq)).scalars())

        return await self.database.read(read)

    async def announced_at_us(self, id: str) -> int | None:
        history = await self.records.history(id)
        assert history is not None
        return history.announced_at_us


@pytest.fixture
async def case(tmp_path: Path) -> AsyncIterator[Case]:
    database = await Database.open(tmp_path / "tarry.db", create=metadata)
    clock, wakeups = FakeClock(make.NOW_US), FakeWakeups()
    terms = LeaseTerms(clock=clock, ids=FakeIds(), lease_s=30.0, epoch=await next_epoch(database))
    queue = SqlInvocationQueue(
        database,
        terms,
        wakeups,
        bounds=Bounds(100),
        publish_in_transaction=lambda *_: None,
        announce_in_transaction=announce_in_transaction,
    )
    await SqlStore(database, wakeups).apply(Add(make.endpoint()), Add(make.instance()), Add(make.routing()))
    topic = await Topics(database, scope=SCOPE, clock=clock, ids=FakeIds(), wakeups=wakeups).create("t", {}, {})
    try:
        yield Case(database, queue, SqlOutbox(database, clock), SqlInvocationRecords(database, clock), topic.arn, wakeups)
    finally:
        await database.close()


async def test_the_topic_has_the_message_with_the_end(case: Case) -> None:
    (claim,) = await case.claim("1")
    await case.end(claim, case.topic_arn)
    assert await case.messages() == ["1"]
    assert await case.announced_at_us("1") == make.NOW_US
    assert await case.outbox.due(10) == []
    assert not {CHANNEL_OUTBOX, CHANNEL_PUSHES} & set(case.wakeups.hints), "there is nobody to push it to"


async def test_the_pusher_hears_of_messages_that_have_subscribers(case: Case) -> None:
    subscriptions = Subscriptions(case.database, clock=FakeClock(make.NOW_US), ids=FakeIds(), wakeups=case.wakeups)
    wanted = NewSubscription(topic_arn=case.topic_arn, protocol="http", endpoint="http://127.0.0.1:1/", principal_arn="me")
    await subscriptions.subscribe(wanted)
    confirm = update(subscription).values(state=SubscriptionState.CONFIRMED.value)
    await case.database.write(lambda connection: connection.execute(confirm).rowcount)
    (claim,) = await case.claim("1")
    await case.end(claim, case.topic_arn)
    assert CHANNEL_PUSHES in case.wakeups.hints
    assert CHANNEL_OUTBOX not in case.wakeups.hints


@pytest.mark.parametrize(
    ("topic", "text"), [("arn:aws:sns:us-east-1:123456789012:gone", "{}"), (None, "x" * (MESSAGE_BYTES_MAX + 1))]
)
async def test_what_no_topic_takes_goes_to_the_outbox_and_the_end_stands(case: Case, topic: str | None, text: str) -> None:
    one, two = await case.claim("1", "2")
    await case.end(one, topic or case.topic_arn, text)
    assert CHANNEL_OUTBOX in case.wakeups.hints
    await case.end(two, case.topic_arn)
    assert await case.messages() == ["2"]
    assert [outgoing.notification.id for outgoing in await case.outbox.due(10)] == ["1"]
    assert await case.announced_at_us("1") is None
