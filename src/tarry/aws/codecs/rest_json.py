"""REST-JSON: the operation is the method and the path; members travel in path, query, headers and a JSON body or raw payload."""

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from tarry.aws.codecs import json
from tarry.aws.codecs.answer import Answer, AnswerContext
from tarry.aws.codecs.locations import (
    Bindings,
    bindings_of,
    decode_label,
    parse_headers,
    parse_query,
    path_pattern,
    write_headers,
)
from tarry.aws.codecs.scalars import BadValueError, from_text
from tarry.aws.errors import AwsError
from tarry.aws.request import Request
from tarry.aws.specs import OperationModel, Spec
from tarry.core.errors import Bug


@cache
def _routes(spec: Spec) -> tuple[tuple[str, re.Pattern[bytes], str], ...]:
    """Method, path and name of each operation."""
    https = {name: spec.model.operation_model(name).http for name in sorted(spec.operation_names)}
    return tuple((http["method"], path_pattern(http["requestUri"])[0], name) for name, http in https.items())


def resolve(spec: Spec, request: Request) -> str:
    """The operation whose method and path these are. Errors: AwsError UnknownOperationException."""
    for method, path, name in _routes(spec):
        if method == request.method and path.fullmatch(request.raw_path):
            return name
    shown = request.raw_path[:128].decode("latin-1")
    raise AwsError(
        code="UnknownOperationException", message=f"{spec.name} has no operation at {request.method} {shown}.", status=404
    )


def parse(operation: OperationModel, request: Request, body: bytes) -> dict[str, Any]:
    """The parameters of a request. Errors: AwsError SerializationException."""
    shape = operation.input_shape
    bindings = bindings_of(shape)
    try:
        params = _parse_path(operation, bindings, request)
        if bindings.query:
            params.update(parse_query(bindings, request))
        # AWS: SDKs write text that is not ASCII as UTF-8 (boto3: InvokeEndpointAsync's InputLocation).
        params.update(parse_headers(bindings, request, utf8=True))
        payload = bindings.payload
        if payload is None:
            if bindings.body:
                params.update(json.parse_members(shape, json.read_document(body), bindings.body))
        elif bindings.payload_is_raw:
            # An empty body is an absent payload, unless the operation cannot do without one.
            if body or payload.member in shape.required_members:
                params[payload.member] = body if payload.shape.type_name == "blob" else body.decode()
        elif body:
            params[payload.member] = json.parse_members(payload.shape, json.read_document(body), tuple(payload.shape.members))
    except (BadValueError, UnicodeDecodeError) as error:
        raise json.serialization_error(str(error)) from None
    return params


def _parse_path(operation: OperationModel, bindings: Bindings, request: Request) -> dict[str, Any]:
    if not bindings.path:
        return {}
    pattern, labels = path_pattern(operation.http["requestUri"])
    match = pattern.fullmatch(request.raw_path)
    if match is None:
        raise Bug(f"{operation.name} was resolved from a path that is not its own.")
    raw = dict(zip(labels, match.groups(), strict=True))
    return {bound.member: from_text(bound.shape, decode_label(raw[bound.wire])) for bound in bindings.path}


def serialise(operation: OperationModel, output: Mapping[str, Any], status: int | None) -> Answer:
    """The answer to a request that succeeded."""
    shape = operation.output_shape
    bindings = bindings_of(shape)
    try:
        headers = write_headers(bindings, output)
    except BadValueError as error:
        raise AwsError(code="ValidationError", message=str(error)) from None
    body = b""
    if bindings.payload is not None:
        value = output.get(bindings.payload.member)
        if bindings.payload_is_raw:
            body = value.encode() if isinstance(value, str) else (value or b"")
        elif value is not None:
            body = json.dump(json.to_json(bindings.payload.shape, value))
    elif shape is not None:
        headers["Content-Type"] = "application/json"
        body = json.dump(json.members_to_json(shape, output, bindings.body))
    return Answer(status=status or operation.http.get("responseCode", 200), headers=headers, body=body)


def error_answer(error: AwsError, _context: AnswerContext) -> Answer:
    """An error: the code in the header, the message in the body, and what else the error has to say beside it."""
    return Answer(
        status=error.status,
        headers={"Content-Type": "application/json", "x-amzn-ErrorType": error.code},
        body=json.dump({**error.extras, "Message": error.message}),
    )
