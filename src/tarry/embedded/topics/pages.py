"""Pages of lists: a token that names the last row shown, so that inserts and deletes between pages disturb nothing."""

import base64
import binascii
from collections.abc import Sequence
from typing import Protocol, TypeVar

from tarry.core.errors import InvalidRequest

PAGE_SIZE = 100  # AWS: ListTopics and ListSubscriptions return up to 100 a page (their API reference)
_PREFIX = b"after:"
_DIGITS_MAX = 18  # what fits a row number


class _Row(Protocol):
    @property
    def seq(self) -> int: ...


RowT = TypeVar("RowT", bound=_Row)


def position(token: str | None) -> int:
    """The row behind which the page begins. Raises InvalidRequest for a token that is not ours."""
    if not token:
        return 0
    try:
        row = base64.b64decode(token, validate=True).removeprefix(_PREFIX)
    except (binascii.Error, ValueError):
        row = b""
    if row.isdigit() and len(row) <= _DIGITS_MAX:
        return int(row)
    raise InvalidRequest("NextToken Reason: expected the NextToken of the page before, unchanged")


def page_of(found: Sequence[RowT]) -> tuple[list[RowT], str | None]:
    """One page of rows, of which one more than PAGE_SIZE were asked for, and the token of the next page."""
    items = list(found[:PAGE_SIZE])
    if len(found) <= PAGE_SIZE:
        return items, None
    return items, base64.b64encode(_PREFIX + str(items[-1].seq).encode()).decode()
