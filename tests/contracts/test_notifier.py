"""What every Notifier promises, held against the embedded topics and the fake."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import func, select
from tests.support.topics import SCOPE, cloud

from tarry.core.errors import PublishError, StorageFull, Throttled
from tarry.core.notifications import Notification
from tarry.embedded.topics.notifier import EmbeddedNotifier
from tarry.embedded.topics.schema import message
from tarry.ports import Notifier
from tarry.testing.notifier import FakeNotifier

ARN = SCOPE.arn("sns", "results")


@dataclass
class Backend:
    notifier: Notifier
    accepted: Callable[[], Awaitable[int]]
    """How many messages the topic has taken."""


@pytest.fixture(params=["embedded", "fake"])
async def backend(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Backend]:
    if request.param == "fake":
        fake = FakeNotifier(ARN)

        async def kept() -> int:
            return len(fake.published)

        yield Backend(fake, kept)
        return
    async with cloud(tmp_path) as given:
        await given.call("CreateTopic", Name="results")

        async def stored() -> int:
            return await given.database.read(lambda c: c.execute(select(func.count()).select_from(message)).scalar_one())

        yield Backend(EmbeddedNotifier(given.topics), stored)


def note(id: str = "n-1", topic_arn: str = ARN, message: str = '{"a":1}') -> Notification:
    return Notification(id=id, topic_arn=topic_arn, message=message)


async def test_a_notification_is_accepted(backend: Backend) -> None:
    await backend.notifier.publish(note())
    assert await backend.accepted() == 1


async def test_a_repeat_adds_nothing(backend: Backend) -> None:
    for _ in range(3):
        await backend.notifier.publish(note())
    assert await backend.accepted() == 1


async def test_another_id_with_the_same_text_is_another_message(backend: Backend) -> None:
    await backend.notifier.publish(note("n-1"))
    await backend.notifier.publish(note("n-2"))
    assert await backend.accepted() == 2


@pytest.mark.parametrize(
    "arn", [SCOPE.arn("sns", "other"), "", "results", ARN + "x", "arn:aws:sns:us-east-1:123456789012:\ud800"]
)
async def test_an_unknown_topic_is_a_permanent_error(backend: Backend, arn: str) -> None:
    with pytest.raises(PublishError) as caught:
        await backend.notifier.publish(note(topic_arn=arn))
    assert caught.value.permanent
    assert await backend.accepted() == 0


@pytest.mark.parametrize("error", [Throttled("busy"), StorageFull("full")], ids=repr)
async def test_what_may_pass_is_no_permanent_error(error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object, **__: object) -> str:
        raise error

    async with cloud(tmp_path) as given:
        monkeypatch.setattr(given.topics, "publish", fail)
        with pytest.raises(PublishError) as caught:
            await EmbeddedNotifier(given.topics).publish(note())
    assert not caught.value.permanent


async def test_the_fake_fails_as_told() -> None:
    fake = FakeNotifier(ARN)
    fake.fail_next(2, permanent=False)
    for _ in range(2):
        with pytest.raises(PublishError) as caught:
            await fake.publish(note())
        assert not caught.value.permanent
    await fake.publish(note())
    assert (fake.calls, len(fake.published)) == (3, 1)
