"""What ports.Clock promises, held against the machine's clock and the fake."""

import asyncio
import time
from collections.abc import Callable

import pytest

from tarry.backends.system import SystemClock
from tarry.ports import Clock
from tarry.testing.clock import FakeClock

SHORT_S = 0.1


class Case:
    """A clock, and a way to let time pass on it."""

    def __init__(self, clock: Clock, pass_time: Callable[[float], None]) -> None:
        self.clock, self.pass_time = clock, pass_time


@pytest.fixture(params=["system", "fake"])
def case(request: pytest.FixtureRequest) -> Case:
    if request.param == "system":
        return Case(SystemClock(), lambda _: None)  # its time passes by itself
    clock = FakeClock()
    return Case(clock, clock.advance)


def test_wall_time_is_whole_microseconds_of_this_century(case: Case) -> None:
    now_us = case.clock.now_us()
    assert type(now_us) is int
    assert 1_600_000_000_000_000 < now_us < 4_000_000_000_000_000


def test_the_systems_wall_time_is_that_of_the_machine() -> None:
    assert abs(SystemClock().now_us() - time.time() * 1_000_000) < 5_000_000


def test_monotonic_time_never_goes_back(case: Case) -> None:
    seen: list[float] = []
    for _ in range(100):
        seen.append(case.clock.monotonic())
        case.pass_time(0.001)
    assert seen == sorted(seen)


async def test_a_sleep_lasts_as_long_as_it_says(case: Case) -> None:
    begun, begun_us = case.clock.monotonic(), case.clock.now_us()
    sleep = asyncio.create_task(case.clock.sleep(SHORT_S))
    await asyncio.sleep(0)
    assert not sleep.done()
    case.pass_time(SHORT_S)
    await sleep
    assert case.clock.monotonic() - begun >= SHORT_S * 0.9  # timers have a resolution
    assert case.clock.now_us() - begun_us >= SHORT_S * 0.9 * 1_000_000


@pytest.mark.parametrize("seconds", [0.0, -1.0])
async def test_a_sleep_of_no_time_ends_by_itself_and_lets_others_run(case: Case, seconds: float) -> None:
    ran = asyncio.Event()
    asyncio.get_running_loop().call_soon(ran.set)
    await case.clock.sleep(seconds)
    assert ran.is_set()


async def test_sleeps_end_in_the_order_of_their_times(case: Case) -> None:
    ended: list[str] = []

    async def sleep(name: str, seconds: float) -> None:
        await case.clock.sleep(seconds)
        ended.append(name)

    async with asyncio.TaskGroup() as group:
        group.create_task(sleep("long", 3 * SHORT_S))
        group.create_task(sleep("short", SHORT_S))
        await asyncio.sleep(0)
        for _ in range(3):
            case.pass_time(SHORT_S)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
    assert ended == ["short", "long"]


async def test_a_cancelled_sleep_ends_and_others_go_on(case: Case) -> None:
    cancelled, other = (asyncio.create_task(case.clock.sleep(SHORT_S)) for _ in range(2))
    await asyncio.sleep(0)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    assert not other.done()
    case.pass_time(SHORT_S)
    await other
