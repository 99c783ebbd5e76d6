"""Text on the wire ↔ native values, for everything that travels as text: headers, paths, queries, forms and XML.

JSON has types of its own; only its timestamps and blobs come through here.
"""

import base64
import binascii
import math
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any

from tarry.aws.specs import Shape

_integer = re.compile(r"[+-]?[0-9]{1,19}").fullmatch
_number = re.compile(r"[+-]?([0-9]{1,64}\.?[0-9]{0,64}|\.[0-9]{1,64})([eE][+-]?[0-9]{1,3})?").fullmatch
_INTEGER_MAX = {"integer": 2**31 - 1, "long": 2**63 - 1}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
EPOCH_S_MAX = 253_402_300_799  # 9999-12-31T23:59:59Z, the last second that datetime can hold


class BadValueError(ValueError):
    """A text that is not what its shape wants; the message says what was expected and what came."""


def from_text(shape: Shape, text: str) -> Any:
    """The native value of a scalar shape. Errors: BadValueError."""
    parse = _PARSERS.get(shape.type_name)
    if parse is None:
        raise BadValueError(f"A value of type {shape.type_name} cannot be written as text.")
    return parse(shape, text)


def to_text(shape: Shape, value: Any, timestamp_format: str = "iso8601") -> str:
    """A scalar as text; ``timestamp_format`` is the place's own, which the shape may override."""
    kind = shape.type_name
    if kind == "timestamp":
        return format_timestamp(value, shape.serialization.get("timestampFormat", timestamp_format))
    if kind == "boolean":
        return "true" if value else "false"
    if kind == "blob":
        return base64.b64encode(value).decode()
    return str(value)


def format_timestamp(value: datetime, form: str) -> str:
    """A time in one of AWS's three forms; naive times are UTC."""
    utc = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    if form == "rfc822":
        return format_datetime(utc, usegmt=True)
    if form == "unixtimestamp":
        return str(epoch_millis(utc))
    return utc.strftime("%Y-%m-%dT%H:%M:%S.") + f"{utc.microsecond // 1000:03d}Z"


def epoch_millis(value: datetime) -> float:
    """Seconds since the epoch, cut to the millisecond."""
    # AWS: SageMaker's answers carry three decimals (amazon-sagemaker-examples#293).
    utc = value.replace(tzinfo=UTC) if value.tzinfo is None else value
    return (utc - _EPOCH) // _MILLISECOND / 1000


def from_epoch(seconds: float) -> datetime:
    """The time of so many seconds since the epoch. Errors: BadValueError beyond the years 1 to 9999."""
    if not math.isfinite(seconds) or not -62_135_596_800 <= seconds <= EPOCH_S_MAX:
        raise BadValueError(f"Expected a time within the years 1 to 9999, got {seconds!r} seconds since 1970.")
    return datetime.fromtimestamp(seconds, UTC)


def parse_timestamp(text: str) -> datetime:
    """A time from any of AWS's three forms. Errors: BadValueError."""
    text = text.strip()
    if _number(text):
        return from_epoch(float(text))
    try:
        parsed = datetime.fromisoformat(text) if text[:4].isdigit() else parsedate_to_datetime(text)
        return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except (ValueError, TypeError, OverflowError):
        raise BadValueError(
            f"Expected a time such as 2015-08-30T12:36:00Z or Sun, 30 Aug 2015 12:36:00 GMT, got {text[:64]!r}."
        ) from None


def decode_blob(text: str) -> bytes:
    """The bytes of base64 text. Errors: BadValueError."""
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise BadValueError("Expected base64 text.") from None


def _string(_shape: Shape, text: str) -> str:
    return text


def _blob(_shape: Shape, text: str) -> bytes:
    return decode_blob(text)


def _timestamp(_shape: Shape, text: str) -> datetime:
    return parse_timestamp(text)


def _boolean(_shape: Shape, text: str) -> bool:
    match text.strip().lower():
        case "true":
            return True
        case "false":
            return False
    raise BadValueError(f"Expected true or false, got {text[:64]!r}.")


def _integer_of(shape: Shape, text: str) -> int:
    if not _integer(text.strip()) or abs(value := int(text)) > _INTEGER_MAX[shape.type_name]:
        raise BadValueError(f"Expected a whole number, got {text[:64]!r}.")
    return value


def _float(_shape: Shape, text: str) -> float:
    if not _number(text.strip()) or not math.isfinite(value := float(text)):
        raise BadValueError(f"Expected a number, got {text[:64]!r}.")
    return value


_PARSERS: dict[str, Callable[[Shape, str], Any]] = {
    "string": _string,
    "character": _string,
    "blob": _blob,
    "timestamp": _timestamp,
    "boolean": _boolean,
    "integer": _integer_of,
    "long": _integer_of,
    "float": _float,
    "double": _float,
}
