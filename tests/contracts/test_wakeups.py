"""What ports.Wakeups promises, held against the one of a single process and the fake."""

import asyncio

import pytest

from tarry.backends.wakeups import LocalWakeups
from tarry.ports import Wakeups
from tarry.testing.wakeups import FakeWakeups


@pytest.fixture(params=[LocalWakeups, FakeWakeups])
def wakeups(request: pytest.FixtureRequest) -> Wakeups:
    made: Wakeups = request.param()
    return made


async def test_a_hint_wakes_everybody_who_waits_on_its_channel(wakeups: Wakeups) -> None:
    async with wakeups.listen("a") as one, wakeups.listen("a") as two, wakeups.listen("b") as other:
        waits = [asyncio.create_task(listener.wait(60)) for listener in (one, two, other)]
        await asyncio.sleep(0)
        wakeups.notify("a")
        assert await asyncio.gather(*waits[:2]) == [True, True]
        assert not waits[2].done()
        waits[2].cancel()


async def test_hints_between_two_waits_are_one_that_is_not_lost(wakeups: Wakeups) -> None:
    async with wakeups.listen("a") as listener:
        for _ in range(3):
            wakeups.notify("a")
        assert await listener.wait(60) is True
        assert await listener.wait(0) is False


async def test_nobody_hears_what_was_before_or_after(wakeups: Wakeups) -> None:
    wakeups.notify("a")
    async with wakeups.listen("a") as listener:
        assert await listener.wait(0.001) is False
    wakeups.notify("a")
    async with wakeups.listen("a") as listener:
        assert await listener.wait(0) is False


async def test_a_cancelled_wait_leaves_the_listener_usable(wakeups: Wakeups) -> None:
    async with wakeups.listen("a") as listener:
        wait = asyncio.create_task(listener.wait(60))
        await asyncio.sleep(0)
        wait.cancel()
        with pytest.raises(asyncio.CancelledError):
            await wait
        wakeups.notify("a")
        assert await listener.wait(60) is True
