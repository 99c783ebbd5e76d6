"""What every Alarms promises."""

import pytest

from tarry.backends.alarms import NoAlarms
from tarry.ports import Alarms, AlarmState
from tarry.testing.alarms import FakeAlarms


@pytest.fixture(params=["fake", "none"])
def alarms(request: pytest.FixtureRequest) -> Alarms:
    return FakeAlarms({"known": AlarmState.ALARM}) if request.param == "fake" else NoAlarms()


async def test_names_that_no_alarm_has_are_left_out(alarms: Alarms) -> None:
    assert "unknown" not in await alarms.states(["unknown", "known"])


async def test_nothing_asked_nothing_answered(alarms: Alarms) -> None:
    assert await alarms.states([]) == {}


async def test_only_what_was_asked_for_is_answered(alarms: Alarms) -> None:
    assert await alarms.states(["other"]) == {}
