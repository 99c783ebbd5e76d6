"""Times as people type them: ``15m``, ``2h``, ``3d`` ago, or ISO 8601."""

import re
from datetime import UTC, datetime, timedelta

from tarry.core.errors import InvalidRequest

_AGO = re.compile(r"(\d{1,6})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def read_time(text: str, now: datetime) -> datetime:
    """The time that is meant; UTC where none is said. Errors: InvalidRequest."""
    if match := _AGO.fullmatch(text):
        return now - timedelta(**{_UNITS[match[2]]: int(match[1])})
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidRequest(f"Expected a time such as 15m, 2h, 3d (ago) or 2026-11-01T10:00:00, got {text!r}.") from None
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)
