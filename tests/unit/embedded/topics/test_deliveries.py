"""Pushes that are due: whatever happens to the clock, and as many at a time as the subscriber's answers allow."""

from pathlib import Path

import pytest
from sqlalchemy import update
from tests.support.plans import Plans
from tests.support.topics import Cloud, cloud, receiving

from tarry.core.retry import SNS_HTTP
from tarry.core.topics import Push
from tarry.embedded.topics import schema
from tarry.embedded.topics.deliveries import Tried

HOUR_S = 3600


async def lane_with(given: Cloud, count: int, endpoint: str = "http://127.0.0.1:9/inbox") -> int:
    """One subscription, confirmed without its letter, with this many pushes; the number of its lane."""
    topic = (await given.call("CreateTopic", Name="results"))["TopicArn"]
    await given.call("Subscribe", TopicArn=topic, Protocol="http", Endpoint=endpoint)
    await given.database.write(lambda c: c.execute(update(schema.subscription).values(state="Confirmed")))
    (lane,) = await given.deliveries.lanes_due()
    (letter,) = await given.deliveries.due(lane, 10)
    await given.deliveries.record([Tried(push=letter)])
    for number in range(count):
        await given.call("Publish", TopicArn=topic, Message=str(number))
    return lane


async def due(given: Cloud, lane: int) -> list[str]:
    return [push.message.draft.text for push in await given.deliveries.due(lane, 10)]


@pytest.mark.parametrize("back_s", [60, HOUR_S])
async def test_new_pushes_are_due_after_the_clock_was_set_back(tmp_path: Path, back_s: int) -> None:
    async with cloud(tmp_path) as given:
        lane = await lane_with(given, 2)
        given.clock.advance(-back_s)
        assert await given.deliveries.lanes_due() == [lane]
        assert await due(given, lane) == ["0", "1"]


@pytest.mark.parametrize("back_s", [60, HOUR_S])
async def test_a_letter_is_due_after_the_clock_was_set_back(tmp_path: Path, back_s: int) -> None:
    async with cloud(tmp_path) as given:
        topic = (await given.call("CreateTopic", Name="results"))["TopicArn"]
        await given.call("Subscribe", TopicArn=topic, Protocol="http", Endpoint="http://127.0.0.1:9/inbox")
        given.clock.advance(-back_s)
        assert len(await given.deliveries.lanes_due()) == 1


async def test_a_try_that_waits_is_due_after_the_clock_was_set_back(tmp_path: Path) -> None:
    async with cloud(tmp_path) as given:
        lane = await lane_with(given, 1)
        (push,) = await given.deliveries.due(lane, 10)
        await given.deliveries.record([Tried(push=push, error="HTTP status 500", retry_after_s=SNS_HTTP.longest_s)])
        assert await given.deliveries.lanes_due() == []
        given.clock.advance(-HOUR_S)
        assert await given.deliveries.lanes_due() == [lane]
        assert await due(given, lane) == ["0"]


@pytest.mark.parametrize("wait_s", [SNS_HTTP.longest_s, 100 * SNS_HTTP.longest_s])
async def test_the_longest_wait_is_kept_and_nothing_waits_longer(tmp_path: Path, wait_s: float) -> None:
    async with cloud(tmp_path) as given:
        lane = await lane_with(given, 1)
        (push,) = await given.deliveries.due(lane, 10)
        await given.deliveries.record([Tried(push=push, error="HTTP status 500", retry_after_s=wait_s)])
        given.clock.advance(SNS_HTTP.longest_s - 1)
        assert (await given.deliveries.lanes_due(), await due(given, lane)) == ([], [])
        given.clock.advance(1)
        assert await given.deliveries.lanes_due() == [lane]


async def test_after_a_failure_one_by_one_until_something_succeeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with cloud(tmp_path) as given, receiving() as inbox:
        await lane_with(given, 6, inbox.url)
        inbox.statuses = [500, 200, 200, 200, 500, 200]
        asked: list[tuple[int, int]] = []
        really_due = given.deliveries.due

        async def noted(lane: int, limit: int) -> list[Push]:
            found = await really_due(lane, limit)
            asked.append((limit, len(found)))
            return found

        monkeypatch.setattr(given.deliveries, "due", noted)
        async with given.pushing(pushes_per_subscriber_max=4):
            for _ in range(8):
                await inbox.next()
            while asked[-1][1]:
                await given.clock.sleep(0.01)
        # four at once of which one fails; the failed one alone, which fails again; alone once more; then as many as there are
        assert asked == [(4, 4), (1, 1), (1, 1), (4, 2), (4, 0)]


async def test_what_is_due_again_comes_before_what_is_new(tmp_path: Path) -> None:
    async with cloud(tmp_path) as given:
        lane = await lane_with(given, 4)
        first, second, _, _ = await given.deliveries.due(lane, 10)
        await given.deliveries.record(
            [Tried(push=second, error="no", retry_after_s=1), Tried(push=first, error="no", retry_after_s=60)]
        )
        assert await due(given, lane) == ["2", "3"]
        given.clock.advance(61)
        assert await due(given, lane) == ["1", "0", "2", "3"]
        assert [push.message.draft.text for push in await given.deliveries.due(lane, 3)] == ["1", "0", "2"]


async def test_neither_what_waits_for_one_subscriber_nor_what_others_have_had_is_read_again_and_again(tmp_path: Path) -> None:
    """A subscriber that takes nothing for an hour has a hundred thousand pushes; each look at them would hold up everybody."""
    async with cloud(tmp_path) as given:
        lane = await lane_with(given, 3)
        with Plans(given.database) as plans:
            assert await given.deliveries.lanes_due() == [lane]
            assert await due(given, lane) == ["0", "1", "2"]
    of_pushes = [step for step in plans.steps if "push" in step or "behind" in step]
    assert of_pushes
    assert all("ix_push_undelivered" in step and step.startswith("SEARCH") for step in of_pushes), of_pushes
    assert not [step for step in plans.steps if "TEMP B-TREE" in step]
