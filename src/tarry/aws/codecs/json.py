"""AWS JSON 1.x: one POST, the operation in ``X-Amz-Target``, everything else a JSON document.

What comes in is checked for type here and for content in ``validate``: a wrong type is a SerializationException that names the
place, never a Python error further in.
"""

import base64
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from tarry.aws.codecs.answer import Answer, AnswerContext
from tarry.aws.codecs.scalars import BadValueError, decode_blob, epoch_millis, format_timestamp, from_epoch, parse_timestamp
from tarry.aws.errors import AwsError
from tarry.aws.request import Request
from tarry.aws.specs import OperationModel, Shape, Spec
from tarry.core.errors import Bug

DEPTH_MAX = 64
FLOAT_MAX = (2 - 2**-23) * 2.0**127
"""The largest number that a Float, of 32 bits, can hold."""


def resolve(spec: Spec, request: Request) -> str:
    """The operation of ``X-Amz-Target``. Errors: AwsError UnknownOperationException."""
    prefix, _, operation = request.headers.get("x-amz-target", "").rpartition(".")
    if prefix == spec.target_prefix and operation in spec.operation_names:
        return operation
    # AWS: an unknown target is refused before the signature is looked at (seen on DynamoDB, whose wire is the same).
    raise AwsError(
        code="UnknownOperationException",
        message=f"{spec.name} has no operation {operation[:128]!r}; X-Amz-Target must be {spec.target_prefix}.<Operation>.",
    )


def parse(operation: OperationModel, body: bytes) -> dict[str, Any]:
    """The parameters of a request. Errors: AwsError SerializationException."""
    document = read_document(body)
    try:
        return {} if operation.input_shape is None else _structure(operation.input_shape, document, "", DEPTH_MAX)
    except BadValueError as error:
        raise serialization_error(str(error)) from None


def read_document(body: bytes) -> Any:
    """Any JSON document; an empty body is an empty object. Errors: AwsError SerializationException."""
    if not body.strip():
        return {}
    try:
        return json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise serialization_error("Expected a JSON object in UTF-8.") from None


def serialization_error(message: str) -> AwsError:
    """The answer to a body that is not of the form that the operation wants."""
    return AwsError(code="SerializationException", message=message)


def parse_members(shape: Shape, document: Any, members: tuple[str, ...]) -> dict[str, Any]:
    """Some members of a structure. Errors: BadValueError."""
    return _members(shape, document, members, ("", DEPTH_MAX))


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)


def _value(shape: Shape, value: Any, where: str, depth: int) -> Any:
    if depth == 0:
        raise BadValueError(f"Expected at most {DEPTH_MAX} levels of nesting.")
    parse_kind = _PARSERS.get(shape.type_name)
    if parse_kind is None:
        raise Bug(f"No JSON form for a {shape.type_name}.")
    return parse_kind(shape, value, where, depth - 1)


def _structure(shape: Shape, value: Any, where: str, depth: int) -> dict[str, Any]:
    return _members(shape, value, tuple(shape.members), (where, depth))


def _members(shape: Shape, value: Any, members: tuple[str, ...], place: tuple[str, int]) -> dict[str, Any]:
    where, depth = place
    if not isinstance(value, dict):
        raise _mismatch(value, "a structure", where)
    parsed: dict[str, Any] = {}
    known = 0
    for member in members:
        member_shape = shape.members[member]
        name = member_shape.serialization.get("name", member)
        if name in value:
            known += 1
            if value[name] is not None:
                parsed[member] = _value(member_shape, value[name], f"{where}.{member}", depth)
    if known != len(value):
        names = {shape.members[member].serialization.get("name", member) for member in members}
        unknown = next(name for name in value if name not in names)
        # OURS: AWS drops what it does not know. Here a parameter that cannot be honoured is refused, never lost in silence.
        raise BadValueError(f"Unknown parameter {unknown[:128]!r}{_at(where)}.")
    return parsed


def _list(shape: Shape, value: Any, where: str, depth: int) -> list[Any]:
    if not isinstance(value, list):
        raise _mismatch(value, "a list", where)
    member = shape.member
    return [_value(member, item, f"{where}.{index}.member", depth) for index, item in enumerate(value, 1)]


def _map(shape: Shape, value: Any, where: str, depth: int) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _mismatch(value, "a map", where)
    return {
        _string(shape.key, key, where, depth): _value(shape.value, item, f"{where}.{key[:128]}", depth)
        for key, item in value.items()
        if item is not None
    }


def _string(_shape: Shape, value: Any, where: str, _depth: int) -> str:
    if not isinstance(value, str):
        raise _mismatch(value, "a String", where)
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise BadValueError(f"Expected Unicode text without lone surrogates{_at(where)}.") from None
    return value


def _whole(shape: Shape, value: Any, where: str, _depth: int) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise _mismatch(value, "an Integer" if shape.type_name == "integer" else "a Long", where)
    bits = 31 if shape.type_name == "integer" else 63
    if not -(2**bits) <= value < 2**bits:
        raise BadValueError(f"Expected a whole number of {bits + 1} bits{_at(where)}.")
    return value


def _float(shape: Shape, value: Any, where: str, _depth: int) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise _mismatch(value, "a Float", where)
    if (isinstance(value, int) and abs(value) > 2**1023) or not math.isfinite(value):
        raise BadValueError(f"Expected a finite number{_at(where)}.")
    if shape.type_name == "float" and abs(value) > FLOAT_MAX:
        raise BadValueError(f"Expected a number of 32 bits, at most {FLOAT_MAX:.8g}{_at(where)}.")
    return float(value)


def _boolean(_shape: Shape, value: Any, where: str, _depth: int) -> bool:
    if not isinstance(value, bool):
        raise _mismatch(value, "a Boolean", where)
    return value


def _timestamp(_shape: Shape, value: Any, where: str, _depth: int) -> Any:
    try:
        if isinstance(value, str):
            return parse_timestamp(value)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return from_epoch(value)
    except (BadValueError, OverflowError) as error:
        raise BadValueError(f"{error}{_at(where)}") from None
    raise _mismatch(value, "a Timestamp", where)


def _blob(_shape: Shape, value: Any, where: str, _depth: int) -> bytes:
    if not isinstance(value, str):
        raise _mismatch(value, "a Blob", where)
    try:
        return decode_blob(value)
    except BadValueError as error:
        raise BadValueError(f"{error}{_at(where)}") from None


_PARSERS: dict[str, Callable[[Shape, Any, str, int], Any]] = {
    "structure": _structure,
    "list": _list,
    "map": _map,
    "string": _string,
    "integer": _whole,
    "long": _whole,
    "float": _float,
    "double": _float,
    "boolean": _boolean,
    "timestamp": _timestamp,
    "blob": _blob,
}

_TOKENS: dict[type, str] = {
    dict: "START_OBJECT",
    list: "START_ARRAY",
    str: "STRING_VALUE",
    int: "NUMBER_VALUE",
    float: "DECIMAL_VALUE",
    bool: "BOOLEAN_VALUE",
    type(None): "NULL_VALUE",
}


def _mismatch(value: Any, wanted: str, where: str) -> BadValueError:
    if wanted in ("a structure", "a map", "a list"):
        return BadValueError(f"Expected {wanted}, got {_TOKENS[type(value)]}{_at(where)}.")
    # AWS: "NUMBER_VALUE can not be converted to a String", as its JSON services say it (aarondfrancis/sidecar#148); the
    # place is ours.
    return BadValueError(f"{_TOKENS[type(value)]} can not be converted to {wanted}{_at(where)}")


def _at(where: str) -> str:
    return f" at {where[1:]!r}" if where else ""


def serialise(spec: Spec, operation: OperationModel, output: Mapping[str, Any], status: int | None) -> Answer:
    """The answer to a request that succeeded. An operation without output has an empty body (AWS: SageMaker's Delete*)."""
    headers = {"Content-Type": f"application/x-amz-json-{spec.json_version}"}
    body = b"" if operation.output_shape is None else dump(to_json(operation.output_shape, output))
    return Answer(status=status or 200, headers=headers, body=body)


_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


def dump(document: Any) -> bytes:
    """A document as bytes. Errors: ValueError for a number that JSON cannot hold, instead of a body that nobody can read."""
    return _encode(document).encode("utf-8", "surrogatepass")


def to_json(shape: Shape, value: Any) -> Any:
    """A value as what JSON can hold. Errors: Bug for a member that the description does not have."""
    match shape.type_name:
        case "structure":
            return members_to_json(shape, value, tuple(shape.members))
        case "list":
            return [to_json(shape.member, item) for item in value]
        case "map":
            return {key: to_json(shape.value, item) for key, item in value.items()}
        case "timestamp":
            form = shape.serialization.get("timestampFormat", "unixtimestamp")
            return epoch_millis(value) if form == "unixtimestamp" else format_timestamp(value, form)
        case "blob":
            return base64.b64encode(value).decode()
    return value


def members_to_json(shape: Shape, value: Mapping[str, Any], members: tuple[str, ...]) -> dict[str, Any]:
    """Some members of a structure; those that are None are left out."""
    unknown = value.keys() - shape.members.keys()
    if unknown:
        raise Bug(f"{shape.name} has no member {min(unknown)!r}.")
    document: dict[str, Any] = {}
    for member in members:
        if (item := value.get(member)) is not None:
            member_shape = shape.members[member]
            document[member_shape.serialization.get("name", member)] = to_json(member_shape, item)
    return document


def error_answer(spec: Spec | None, error: AwsError, _context: AnswerContext) -> Answer:
    """An error. botocore reads ``__type`` of JSON 1.x, other SDKs the header; both are sent."""
    version = spec.json_version if spec else "1.1"
    return Answer(
        status=error.status,
        headers={"Content-Type": f"application/x-amz-json-{version}", "x-amzn-ErrorType": error.code},
        body=dump({"__type": error.code, "message": error.message}),
    )
