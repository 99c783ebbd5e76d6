"""Are the parameters within what the service description allows? All violations are told at once, in AWS's words.

Checks are worked out once per shape and kept: the hot path runs over a handful of closures. A parameter that is present has
the right type already; the codecs have seen to that.

Wording: the "N validation errors detected" messages of AWS's Java services, as quoted in many public reports. Several
violations of one value are several errors; elements of a list of plain values are told as one.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from tarry.aws.errors import AwsError
from tarry.aws.patterns import compile_pattern
from tarry.aws.specs import OperationModel, Shape, Spec

VIOLATIONS_MAX = 20
SHOWN_MAX = 256
MATCHED_MAX = 64 * 1024
"""Texts longer than this are not matched against patterns if they are too long anyway."""

Check = Callable[[Any, str], Iterator[str]]
"""Value and path → sentences."""

_SIMPLE = frozenset({"string", "integer", "long", "float", "double", "boolean", "timestamp", "blob"})
_NUMBERS = frozenset({"integer", "long", "float", "double"})


def validate(spec: Spec, operation: OperationModel, params: Mapping[str, Any]) -> None:
    """Refuse parameters that break the description's rules. Errors: AwsError.

    S3 is left alone: its answers to bad values are codes of its own, one by one.
    """
    if spec.family == "rest-xml" or operation.input_shape is None:
        return
    violations: list[str] = []
    for violation in _structure_check(operation.input_shape)(params, ""):
        violations.append(violation)
        if len(violations) == VIOLATIONS_MAX:
            break
    if violations:
        raise validation_error(spec, violations)


def validation_error(spec: Spec, violations: Sequence[str]) -> AwsError:
    """The error for some violations."""
    count = "1 validation error" if len(violations) == 1 else f"{len(violations)} validation errors"
    # AWS: SageMaker and most JSON services say ValidationException, its runtime and the Query services ValidationError
    # (InvokeEndpointAsync API reference; Common Errors of the Query APIs).
    code = "ValidationException" if spec.family == "json" else "ValidationError"
    return AwsError(code=code, message=f"{count} detected: {'; '.join(violations)}")


@dataclass(frozen=True, slots=True)
class _Member:
    """How one member of a structure is checked."""

    name: str
    shown: str
    required: bool
    constraints: "tuple[Constraint, ...]"
    """Of a plain value: what it has to satisfy."""
    sensitive: bool
    check: Check | None
    """Of a structure, list or map."""


def _member(name: str, shape: Shape, *, required: bool) -> _Member:
    shown, sensitive = name[:1].lower() + name[1:], bool(shape.metadata.get("sensitive"))
    if shape.type_name in _SIMPLE:
        return _Member(name, shown, required, _constraints(shape), sensitive, None)
    return _Member(name, shown, required, (), sensitive, _check_of(shape))


@cache
def _structure_check(shape: Shape) -> Check:
    required = frozenset(shape.required_members)
    members: tuple[_Member, ...] | None = None

    def check(value: Mapping[str, Any], path: str) -> Iterator[str]:
        nonlocal members
        if members is None:  # not before the first use: a structure may hold itself
            members = tuple(_member(name, member, required=name in required) for name, member in shape.members.items())
        for member in members:
            item = value.get(member.name)
            if item is None:
                if member.required:
                    yield f"Value null at '{_inside(path, member)}' failed to satisfy constraint: Member must not be null"
                continue
            for text, holds in member.constraints:
                if not holds(item):
                    yield _sentence(item, _inside(path, member), text, sensitive=member.sensitive)
            if member.check is not None:
                yield from member.check(item, _inside(path, member))
        if shape.is_tagged_union and len(value) != 1:
            names = ", ".join(shape.members)
            yield f"Value at '{path}' failed to satisfy constraint: Member must have exactly one of [{names}] set"

    return check


def _inside(path: str, member: _Member) -> str:
    return f"{path}.{member.shown}" if path else member.shown


def _check_of(shape: Shape) -> Check | None:
    match shape.type_name:
        case "structure":
            return _structure_check(shape)
        case "list":
            return _list_check(shape)
        case "map":
            return _map_check(shape)
    return _value_check(shape)


def _value_check(shape: Shape) -> Check | None:
    constraints = _constraints(shape)
    if not constraints:
        return None
    sensitive = bool(shape.metadata.get("sensitive"))

    def check(value: Any, path: str) -> Iterator[str]:
        for text, holds in constraints:
            if not holds(value):
                yield _sentence(value, path, text, sensitive=sensitive)

    return check


def _list_check(shape: Shape) -> Check | None:
    own, member = _value_check(shape), _check_of(shape.member)
    if own is None and member is None:
        return None
    simple = shape.member.type_name in _SIMPLE
    constraints = _constraints(shape.member) if simple else ()
    sensitive = bool(shape.metadata.get("sensitive") or shape.member.metadata.get("sensitive"))

    def check(value: Sequence[Any], path: str) -> Iterator[str]:
        if own is not None:
            yield from own(value, path)
        if simple:
            if not all(holds(item) for _, holds in constraints for item in value):
                yield _sentence(value, path, f"Member must satisfy constraint: [{_all(constraints)}]", sensitive=sensitive)
        elif member is not None:
            for index, item in enumerate(value, 1):
                yield from member(item, f"{path}.{index}.member")

    return check


def _map_check(shape: Shape) -> Check | None:
    own, member = _value_check(shape), _check_of(shape.value)
    keys = _constraints(shape.key)
    simple = shape.value.type_name in _SIMPLE
    values = _constraints(shape.value) if simple else ()
    sensitive = bool(shape.metadata.get("sensitive") or shape.value.metadata.get("sensitive"))

    def check(value: Mapping[str, Any], path: str) -> Iterator[str]:
        if own is not None:
            yield from own(value, path)
        if not all(holds(key) for _, holds in keys for key in value):
            yield _sentence(value, path, f"Map keys must satisfy constraint: [{_all(keys)}]", sensitive=sensitive)
        if simple:
            if not all(holds(item) for _, holds in values for item in value.values()):
                yield _sentence(value, path, f"Map value must satisfy constraint: [{_all(values)}]", sensitive=sensitive)
        elif member is not None:
            for key, item in value.items():
                yield from member(item, f"{path}.{key[:SHOWN_MAX]}.member")

    return check


Constraint = tuple[str, Callable[[Any], bool]]


def _constraints(shape: Shape) -> tuple[Constraint, ...]:
    """What a value of this shape has to satisfy, apart from what is inside it: wording and test."""
    found: list[Constraint] = []
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    if shape.type_name in _NUMBERS:
        if most is not None:
            found.append((f"Member must have value less than or equal to {most}", lambda value: bool(value <= most)))
        if least is not None:
            found.append((f"Member must have value greater than or equal to {least}", lambda value: bool(value >= least)))
        return tuple(found)
    if most is not None:
        found.append((f"Member must have length less than or equal to {most}", lambda value: len(value) <= most))
    if least:
        found.append((f"Member must have length greater than or equal to {least}", lambda value: len(value) >= least))
    if shape.type_name == "string":
        found.extend(_string_constraints(shape))
    return tuple(found)


def _string_constraints(shape: Shape) -> Iterator[Constraint]:
    if shape.enum:
        allowed = frozenset(shape.enum)
        yield f"Member must satisfy enum value set: [{', '.join(shape.enum)}]", lambda value: value in allowed
    pattern = shape.metadata.get("pattern")
    compiled = compile_pattern(pattern) if pattern else None
    if compiled is not None:
        matches = compiled.fullmatch
        bounded = shape.metadata.get("max") is not None
        yield (
            f"Member must satisfy regular expression pattern: {pattern}",
            lambda value: (bounded and len(value) > MATCHED_MAX) or matches(value) is not None,
        )


def _all(constraints: Sequence[Constraint]) -> str:
    return ", ".join(text for text, _ in constraints)


def _sentence(value: Any, path: str, constraint: str, *, sensitive: bool) -> str:
    shown = "Value" if sensitive else f"Value '{_show(value)}'"
    return f"{shown} at '{path}' failed to satisfy constraint: {constraint}"


def _show(value: Any) -> str:
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    if isinstance(value, Mapping):
        return _cut("{" + ", ".join(f"{key}={_show(item)}" for key, item in _first(value.items())) + "}")
    if isinstance(value, list):
        return _cut("[" + ", ".join(_show(item) for item in _first(value)) + "]")
    return _cut(str(value))


def _first(items: Any) -> Iterator[Any]:
    return (item for _, item in zip(range(20), items, strict=False))


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN_MAX else text[:SHOWN_MAX] + "..."
