"""Frozen dataclasses as JSON documents and back, the same text for the same value each time."""

from collections.abc import Hashable
from functools import cache
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter

from tarry.core.errors import InvalidRequest

T = TypeVar("T")


@cache
def _adapter(kind: Hashable) -> TypeAdapter[Any]:
    return TypeAdapter(cast("type[Any]", kind))


def dump(value: object) -> str:
    """The document of a dataclass; ``bytes`` have no place in documents (they get columns of their own).

    Errors: InvalidRequest for text that is no Unicode (half of a surrogate pair, which JSON lets a caller write).
    """
    try:
        return _adapter(cast("Hashable", type(value))).dump_json(value).decode()
    except ValueError as error:
        raise InvalidRequest("Expected Unicode text; got a string with an unpaired surrogate, which cannot be kept.") from error


def load(kind: type[T], document: str) -> T:
    """The dataclass that a document was made from."""
    return cast("T", _adapter(cast("Hashable", kind)).validate_json(document))
