"""When to try again: delays as values, so that a loop only asks and sleeps.

A schedule says how long to wait after each failed try, and when to stop. It knows nothing of what is tried.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RetrySchedule:
    """The waits between tries, in seconds: ``delays_s[0]`` after the first try has failed, and so on to the last try."""

    delays_s: tuple[float, ...]

    @property
    def tries_max(self) -> int:
        """How many tries there are in all, the first included."""
        return len(self.delays_s) + 1

    @property
    def longest_s(self) -> float:
        """The longest of the waits, in seconds; 0 where there is none."""
        return max(self.delays_s, default=0.0)

    def delay_s_after(self, tries: int) -> float | None:
        """Seconds to wait when ``tries`` tries (at least 1) have failed, or None if that was the last one."""
        index = max(tries, 1) - 1
        return self.delays_s[index] if index < len(self.delays_s) else None


def phased(*, steady: tuple[int, float], growing: tuple[int, float], lasting: tuple[int, float]) -> RetrySchedule:
    """Three phases, each (number of retries, delay in seconds that it ends at); the second grows from the first's delay.

    The growth is geometric: each delay of that phase is the one before times a constant.
    """
    steady_count, steady_s = steady
    growing_count, growing_s = growing
    lasting_count, lasting_s = lasting
    ratio = (growing_s / steady_s) ** (1 / max(growing_count - 1, 1))
    grown = tuple(round(min(steady_s * ratio**step, growing_s), 3) for step in range(growing_count))
    return RetrySchedule((steady_s,) * steady_count + grown + (lasting_s,) * lasting_count)


# AWS: an HTTP/S subscriber gets 3 retries 20 s apart; customer managed endpoints of other protocols get 50 tries over more
# than 6 hours, with exponential backoff to 600 s (sns/latest/dg/sns-message-delivery-retries.html, SendMessageToHttp.retry).
# OURS: HTTP/S gets both, one after the other: a subscriber here is often a program on a laptop, started again by hand.
SNS_HTTP = phased(steady=(3, 20.0), growing=(10, 600.0), lasting=(36, 600.0))
"""What a push to an HTTP or HTTPS subscriber gets: 50 tries over about 7 hours."""


OUTBOX_DELAY_S_MAX = 300.0


def outbox_delay_s(tries: int) -> float:
    """Seconds before a notification that no topic would take is tried again: 1, 2, 4 … at most 300, without end."""
    return min(float(2 ** min(tries, 16)), OUTBOX_DELAY_S_MAX)


def is_due(due_at_us: int, now_us: int, delay_s_max: float) -> bool:
    """Whether it is time. A time further ahead than any delay comes from a clock that has been set back since: then it is."""
    return due_at_us <= now_us or due_at_us > now_us + int(delay_s_max * 1_000_000)
