"""The Query protocol of the older services: a form goes in (``Action=…&Version=…&Attributes.entry.1.key=…``), XML comes out."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from tarry.aws.codecs.answer import Answer, AnswerContext
from tarry.aws.codecs.scalars import BadValueError, from_text
from tarry.aws.codecs.xml import DECLARATION, escape, wire_name, write_element
from tarry.aws.errors import AwsError
from tarry.aws.request import Request
from tarry.aws.specs import OperationModel, Shape, Spec

FIELDS_MAX = 10_000
DEPTH_MAX = 32
_NOT_PARAMETERS = frozenset(
    {"Action", "Version", "AWSAccessKeyId", "Signature", "SignatureMethod", "SignatureVersion", "Timestamp"}
)
_index = re.compile(r"[1-9][0-9]{0,5}").fullmatch

Form = Mapping[str, str]
"""The fields of a request by name; of a repeated name the first counts."""


@dataclass(slots=True)
class _Field:
    """One step in a dotted name: its own value, if any, and what goes on below it."""

    value: str | None = None
    below: dict[str, "_Field"] = field(default_factory=dict)


def read_form(request: Request, body: bytes) -> Form:
    """The fields of the query string and of the body. Errors: AwsError MalformedQueryString."""
    try:
        pairs = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, encoding="utf-8", errors="strict", max_num_fields=FIELDS_MAX
        )
    except ValueError:  # includes bytes that are neither ASCII nor, once decoded, UTF-8
        raise AwsError(
            code="MalformedQueryString",
            message=f"Expected a form in UTF-8 (application/x-www-form-urlencoded) of at most {FIELDS_MAX} fields.",
        ) from None
    form: dict[str, str] = {}
    for name, value in (*request.query, *pairs):
        form.setdefault(name, value)
    return form


def resolve(spec: Spec, form: Form) -> str:
    """The operation that the form asks for. Errors: AwsError InvalidAction, MissingAction."""
    action, version = form.get("Action"), form.get("Version", spec.api_version)
    if action is None:
        raise AwsError(code="MissingAction", message="Expected a parameter Action that names the operation.")
    if action not in spec.operation_names or version != spec.api_version:
        # AWS: Common Errors of the Query APIs; the sentence is what SNS and IAM say.
        raise AwsError(
            code="InvalidAction", message=f"Could not find operation {action[:128]} for version {version[:32]}", status=400
        )
    return action


def parse(operation: OperationModel, form: Form) -> dict[str, Any]:
    """The parameters of a request. Errors: AwsError MalformedInput."""
    try:
        root = _grow(form)
        if operation.input_shape is None:
            return {}
        return _structure(operation.input_shape, root, "")
    except BadValueError as error:
        raise AwsError(code="MalformedInput", message=str(error)) from None


def _grow(form: Form) -> _Field:
    root = _Field()
    for name, value in form.items():
        if name in _NOT_PARAMETERS or name.lower().startswith("x-amz-"):
            continue
        steps = name.split(".")
        if len(steps) > DEPTH_MAX:
            raise BadValueError(f"Expected at most {DEPTH_MAX} steps in {name[:128]!r}.")
        place = root
        for step in steps:
            place = place.below.setdefault(step, _Field())
        place.value = value
    return root


def _value(shape: Shape, place: _Field, where: str) -> Any:
    match shape.type_name:
        case "structure":
            return _structure(shape, place, where)
        case "list":
            flattened = shape.serialization.get("flattened")
            items = place if flattened else place.below.get(shape.member.serialization.get("name", "member"), _Field())
            return [_value(shape.member, item, f"{where}.{index}") for index, item in _items(items, where)]
        case "map":
            entries = place if shape.serialization.get("flattened") else place.below.get("entry", _Field())
            return dict(_entry(shape, entry, f"{where}.{index}") for index, entry in _items(entries, where))
    if place.value is None:
        raise BadValueError(f"Expected a value for {where!r}.")
    try:
        return from_text(shape, place.value)
    except BadValueError as error:
        raise BadValueError(f"{where}: {error}") from None


def _structure(shape: Shape, place: _Field, where: str) -> dict[str, Any]:
    parsed: dict[str, Any] = {}
    names = set()
    for member, member_shape in shape.members.items():
        name = wire_name(member, member_shape)
        names.add(name)
        found = place.below.get(name)
        if found is not None:
            parsed[member] = _value(member_shape, found, f"{where}.{name}" if where else name)
    unknown = place.below.keys() - names
    if unknown:
        # OURS: AWS drops what it does not know. Here a parameter that cannot be honoured is refused, never lost in silence.
        raise BadValueError(f"Unknown parameter {min(unknown)[:128]!r}{f' in {where}' if where else ''}.")
    return parsed


def _entry(shape: Shape, place: _Field, where: str) -> tuple[Any, Any]:
    names = shape.key.serialization.get("name", "key"), shape.value.serialization.get("name", "value")
    if names[0] not in place.below or names[1] not in place.below:
        raise BadValueError(f"Expected {where}.{names[0]} and {where}.{names[1]}.")
    key, value = (place.below[name] for name in names)
    return _value(shape.key, key, where), _value(shape.value, value, where)


def _items(place: _Field, where: str) -> list[tuple[int, _Field]]:
    for step in place.below:
        if not _index(step):
            raise BadValueError(f"Expected a number from 1 after {where!r}, got {step[:32]!r}.")
    return sorted(((int(step), item) for step, item in place.below.items()), key=lambda pair: pair[0])


def serialise(
    spec: Spec, operation: OperationModel, output: Mapping[str, Any], status: int | None, context: AnswerContext
) -> Answer:
    """The answer to a request that succeeded: the result in its wrapper, and the request id."""
    shape = operation.output_shape
    result = ""
    if shape is not None:
        result = write_element(shape, output, shape.serialization.get("resultWrapper", f"{operation.name}Result"))
    body = (
        f'<{operation.name}Response xmlns="{escape(spec.xml_namespace)}">{result}'
        f"<ResponseMetadata><RequestId>{escape(context.request_id)}</RequestId></ResponseMetadata></{operation.name}Response>"
    )
    return Answer(status=status or 200, headers={"Content-Type": "text/xml"}, body=body.encode())


def error_answer(spec: Spec | None, error: AwsError, context: AnswerContext) -> Answer:
    """An error document."""
    namespace = f' xmlns="{escape(spec.xml_namespace)}"' if spec else ""
    body = (
        f"{DECLARATION}<ErrorResponse{namespace}><Error><Type>{error.fault}</Type><Code>{escape(error.code)}</Code>"
        f"<Message>{escape(error.message)}</Message></Error><RequestId>{escape(context.request_id)}</RequestId></ErrorResponse>"
    )
    return Answer(status=error.status, headers={"Content-Type": "text/xml"}, body=body.encode())
