"""When a container's error is worth another attempt: what an endpoint's owner may say about it.

Without a policy a container's answer is the answer, as on AWS.
"""

import re
from dataclasses import dataclass

from tarry.core.errors import InvalidRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """What an endpoint's owner wants to be tried again."""

    attempts_max: int
    """Attempts that end with an answer, the first included: 2 to 10."""
    statuses: tuple[str, ...] = ("5xx",)
    """Statuses that are tried again: ``503``, ``5xx``, and ``timeout`` for no answer in time."""
    backoff_s: float = 1.0
    backoff_rate: float = 2.0
    backoff_s_max: float = 300.0

    def wants(self, status: int | None) -> bool:
        """Whether an attempt that ended with this status (None: a timeout) is worth another."""
        names = {"timeout"} if status is None else {f"{status}", f"{status // 100}xx"}
        return not names.isdisjoint(self.statuses)

    def delay_s(self, attempts: int) -> float | None:
        """Seconds to wait after so many attempts (at least 1) have failed; None if that was the last one."""
        if attempts >= self.attempts_max:
            return None
        return float(min(self.backoff_s * self.backoff_rate ** (attempts - 1), self.backoff_s_max))


_STATUS = re.compile(r"timeout|[45]xx|[45]\d\d")
ATTEMPTS_MAX = 10
BACKOFF_S_MAX = 3600.0
BACKOFF_RATE_MAX = 10.0


def check_policy(policy: RetryPolicy) -> None:
    """Raise InvalidRequest for a policy that cannot be carried out."""
    bounds: tuple[tuple[str, float, float, float], ...] = (
        ("attempts", policy.attempts_max, 2, ATTEMPTS_MAX),
        ("back-off in seconds", policy.backoff_s, 0, BACKOFF_S_MAX),
        ("back-off rate", policy.backoff_rate, 1, BACKOFF_RATE_MAX),
        ("longest back-off in seconds", policy.backoff_s_max, 0, BACKOFF_S_MAX),
    )
    for what, value, low, high in bounds:
        if not low <= value <= high:  # NaN is not either
            raise InvalidRequest(f"Expected a number of {what} from {low:g} to {high:g}, got {value:g}.")
    if not policy.statuses:
        raise InvalidRequest("A retry policy needs statuses to retry, such as 5xx, 503 or timeout; got none.")
    if wrong := [status for status in policy.statuses if not _STATUS.fullmatch(status)]:
        raise InvalidRequest(f"Expected statuses such as 5xx, 503 or timeout, got {wrong[0]!r}.")
