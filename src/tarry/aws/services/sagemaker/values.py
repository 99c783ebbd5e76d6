"""Small values that several operations read or write: tags, times, pages."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from tarry.aws.call import Params
from tarry.aws.services.sagemaker.members import take
from tarry.control.requests import Tags
from tarry.ports import PageQuery, SortBy

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
LIST_RESULTS_DEFAULT = 10  # AWS: ListEndpoints API reference, MaxResults


def moment(time_us: int) -> datetime:
    """A time of ours as the codecs write it."""
    return _EPOCH + timedelta(microseconds=time_us)


def given(**members: Any) -> dict[str, Any]:
    """The members that have a value: AWS leaves out what is not set."""
    return {name: value for name, value in members.items() if value is not None}


def read_tags(tags: Sequence[Mapping[str, str]] | None) -> Tags:
    """A Tags member."""
    pairs = []
    for tag in tags or ():
        take("Tag", tag)
        pairs.append((tag["Key"], tag["Value"]))
    return tuple(pairs)


def write_tags(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """A Tags member of an answer."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def read_page(params: Params) -> PageQuery:
    """What all List operations share. AWS: by CreationTime, Descending, 10 a page (ListEndpoints API reference)."""
    return PageQuery(
        limit=params.get("MaxResults") or LIST_RESULTS_DEFAULT,
        token=params.get("NextToken"),
        sort_by=SortBy(params.get("SortBy", SortBy.CREATION_TIME)),
        ascending=params.get("SortOrder", "Descending") == "Ascending",
        name_contains=params.get("NameContains"),
        created_before_us=_microseconds(params.get("CreationTimeBefore")),
        created_after_us=_microseconds(params.get("CreationTimeAfter")),
        modified_before_us=_microseconds(params.get("LastModifiedTimeBefore")),
        modified_after_us=_microseconds(params.get("LastModifiedTimeAfter")),
        status=params.get("StatusEquals"),
    )


def _microseconds(time: datetime | None) -> int | None:
    return None if time is None else (time - _EPOCH) // _MICROSECOND
