"""When what waits is likely to start."""

import pytest

from tarry.core.history import AHEAD_MAX, QueuePlace


@pytest.mark.parametrize(
    ("ahead", "running", "slots", "wait_s"),
    [
        (0, 0, 1, 0),  # a slot is free
        (0, 1, 1, 10),  # the next in the queue waits for the one that runs
        (0, 1, 2, 0),
        (0, 2, 2, 5),  # one of two ends every five seconds
        (3, 2, 2, 20),
        (3, 1, 4, 2.5),
        (0, 5, 2, 5),  # answered and being written down: they have given back their slots
        (0, 0, 0, None),  # no instance
        (AHEAD_MAX, 1, 1, None),
    ],
)
def test_it_waits_for_as_many_ends_as_there_are_before_it(ahead: int, running: int, slots: int, wait_s: float | None) -> None:
    assert QueuePlace(ahead=ahead, running=running, attempt_s=10).expected_wait_s(slots) == wait_s


def test_where_no_attempt_is_known_nobody_can_tell() -> None:
    assert QueuePlace(ahead=0, running=0, attempt_s=None).expected_wait_s(1) is None
