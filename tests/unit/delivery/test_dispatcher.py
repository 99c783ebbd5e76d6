"""From the outbox to the topics."""

import pytest
from tests.support.delivery import World

from tarry.core.notifications import Notification
from tarry.core.retry import outbox_delay_s


def _add(world: World, id: str = "1") -> None:
    world.outbox.add(Notification(id=id, topic_arn="arn:t", message=f"message {id}"))


async def test_what_is_due_is_published_once() -> None:
    world = World()
    _add(world)
    _add(world, "2")
    assert await world.dispatcher.dispatch() == 2
    assert await world.dispatcher.dispatch() == 0
    assert {notification.id for notification in world.notifier.published} == {"1", "2"}


async def test_a_failure_is_tried_again_later() -> None:
    world = World()
    _add(world)
    world.notifier.fail_next()
    await world.dispatcher.dispatch()
    assert await world.dispatcher.dispatch() == 0
    world.clock.advance(outbox_delay_s(0))
    assert await world.dispatcher.dispatch() == 1
    assert [notification.id for notification in world.notifier.published] == ["1"]
    assert world.metrics.counts == {("NotificationFailures", "arn:t"): 1.0}


async def test_a_topic_that_is_gone_is_given_up_with_its_error() -> None:
    world = World()
    _add(world)
    world.notifier.fail_next(permanent=True, message="no such topic")
    await world.dispatcher.dispatch()
    world.clock.advance(10_000)
    assert await world.dispatcher.dispatch() == 0
    assert world.outbox.given_up == {"1": "no such topic"}


@pytest.mark.parametrize(("tries", "seconds"), [(0, 1), (1, 2), (8, 256), (9, 300), (10_000, 300)])
def test_delays_grow_and_stay_bounded(tries: int, seconds: float) -> None:
    assert outbox_delay_s(tries) == seconds
