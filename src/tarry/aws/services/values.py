"""Small values that all JSON services read or write: times, and members that are left out."""

from datetime import UTC, datetime, timedelta
from typing import Any

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def moment(time_us: int) -> datetime:
    """A time of ours as the codecs write it."""
    return _EPOCH + timedelta(microseconds=time_us)


def microseconds(time: datetime | None) -> int | None:
    """A time of theirs as we keep it; None where it was not given."""
    return None if time is None else (time - _EPOCH) // _MICROSECOND


def given(**members: Any) -> dict[str, Any]:
    """The members that have a value: AWS leaves out what is not set."""
    return {name: value for name, value in members.items() if value is not None}
