"""REST-XML, which is S3: members travel in path, query, headers and an XML body or a raw payload that may stream."""

from collections.abc import Mapping
from typing import Any

from tarry.aws.codecs.answer import Answer, AnswerContext
from tarry.aws.codecs.locations import Bindings, bindings_of, parse_headers, parse_query, write_headers
from tarry.aws.codecs.s3_operations import place_of
from tarry.aws.codecs.scalars import BadValueError
from tarry.aws.codecs.xml import (
    DECLARATION,
    Node,
    escape,
    parse_members,
    parse_node,
    read_document,
    wire_name,
    write_element,
    write_members,
)
from tarry.aws.errors import AwsError
from tarry.aws.request import Request
from tarry.aws.specs import OperationModel, Shape
from tarry.core.errors import Bug

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"

_ROOTS = {
    "ListBuckets": "ListAllMyBucketsResult",
    "ListObjects": "ListBucketResult",
    "ListObjectsV2": "ListBucketResult",
    "ListObjectVersions": "ListVersionsResult",
    "ListMultipartUploads": "ListMultipartUploadsResult",
    "ListParts": "ListPartsResult",
    "CreateMultipartUpload": "InitiateMultipartUploadResult",
    "CompleteMultipartUpload": "CompleteMultipartUploadResult",
    "DeleteObjects": "DeleteResult",
    "UploadPartCopy": "CopyPartResult",
    "GetObjectAttributes": "GetObjectAttributesResponse",
    "GetBucketVersioning": "VersioningConfiguration",
    "GetBucketAcl": "AccessControlPolicy",
    "GetObjectAcl": "AccessControlPolicy",
    "GetBucketTagging": "Tagging",
    "GetObjectTagging": "Tagging",
}
"""AWS: the S3 API reference's response syntax; the descriptions leave most of these names out, and clients do not look."""


def streams_in(operation: OperationModel) -> bool:
    """Whether the body of the request is an object's bytes."""
    return bool(operation.has_streaming_input)


def parse(operation: OperationModel, request: Request, body: bytes) -> dict[str, Any]:
    """The parameters of a request; a streaming payload is not among them. Errors: AwsError in S3's words."""
    shape = operation.input_shape
    bindings = bindings_of(shape)
    place = place_of(request)
    path = {"Bucket": place.bucket, "Key": place.key}
    params: dict[str, Any] = {bound.member: path[bound.wire] for bound in bindings.path}
    try:
        params.update(parse_query(bindings, request))
        # OURS: S3 answers metadata outside ASCII in the form of RFC 2047 (S3 user guide, user-defined object metadata); here
        # they go back as the bytes that came, whatever they are: one a character.
        params.update(parse_headers(bindings, request, utf8=False))
    except BadValueError as error:
        raise AwsError(code="InvalidArgument", message=str(error)) from None
    if not streams_in(operation):
        _parse_body(bindings, shape, body, params)
    missing = [member for member in getattr(shape, "required_members", ()) if member not in params]
    if missing and not (streams_in(operation) and bindings.payload and missing == [bindings.payload.member]):
        raise _missing(shape, bindings, missing[0])
    return params


def _parse_body(bindings: Bindings, shape: Shape, body: bytes, params: dict[str, Any]) -> None:
    payload = bindings.payload
    try:
        if payload is None:
            if bindings.body and body.strip():
                params.update(parse_members(shape, read_document(body), bindings.body))
        elif bindings.payload_is_raw:
            if body:
                params[payload.member] = body if payload.shape.type_name == "blob" else body.decode()
        elif body.strip():
            params[payload.member] = parse_node(payload.shape, _root(read_document(body), payload.shape, payload.wire))
    except (BadValueError, UnicodeDecodeError) as error:
        raise AwsError(
            code="MalformedXML",
            message=f"The XML you provided was not well-formed or did not validate against our published schema. {error}",
        ) from None


def _root(node: Node, shape: Shape, name: str) -> Node:
    if node.name not in (name, shape.serialization.get("name"), shape.name):
        raise BadValueError(f"Expected the root element {name}, got {node.name[:64]}.")
    return node


def _missing(shape: Shape, bindings: Bindings, member: str) -> AwsError:
    if bindings.payload is not None and member == bindings.payload.member:
        # AWS: "Error responses" in the S3 API reference.
        return AwsError(code="MissingRequestBodyError", message="Request Body is empty")
    name = wire_name(member, shape.members[member])
    return AwsError(code="InvalidRequest", message=f"Missing required header for this request: {name}")


def serialise(operation: OperationModel, output: Mapping[str, Any], status: int | None) -> Answer:
    """The answer to a request that succeeded; a payload that streams is added by the gateway."""
    shape = operation.output_shape
    bindings = bindings_of(shape)
    _refuse_unknown(shape, output)
    try:
        headers = write_headers(bindings, output)
    except BadValueError as error:
        raise AwsError(code="InvalidArgument", message=str(error)) from None
    body = _body(operation, bindings, output)
    if isinstance(body, str):
        headers["Content-Type"] = "application/xml"
        body = (DECLARATION + body).encode()
    return Answer(status=status or operation.http.get("responseCode", 200), headers=headers, body=body)


def _refuse_unknown(shape: Shape, output: Mapping[str, Any]) -> None:
    unknown = output.keys() - (shape.members.keys() if shape is not None else set())
    if unknown:
        raise Bug(f"The output has no member {min(unknown)!r}.")


def _body(operation: OperationModel, bindings: Bindings, output: Mapping[str, Any]) -> str | bytes:
    payload = bindings.payload
    if payload is not None:
        value = output.get(payload.member)
        if bindings.payload_is_raw:
            return value.encode() if isinstance(value, str) else (value or b"")
        return b"" if value is None else write_element(payload.shape, value, _ROOTS.get(operation.name, payload.wire), NAMESPACE)
    if operation.name == "GetBucketLocation":
        # AWS: the constraint is the text of the root itself, and empty in us-east-1 (GetBucketLocation API reference).
        return f'<LocationConstraint xmlns="{NAMESPACE}">{escape(output.get("LocationConstraint") or "")}</LocationConstraint>'
    if not bindings.body:
        return b""
    shape = operation.output_shape
    root = _ROOTS.get(operation.name) or shape.serialization.get("name") or shape.name.removesuffix("Output")
    members = "".join(write_members(shape, output, bindings.body))
    return f'<{root} xmlns="{NAMESPACE}">{members}</{root}>'


def error_answer(error: AwsError, context: AnswerContext) -> Answer:
    """An error document without a namespace; HEAD and 304 have no body at all."""
    if context.method == "HEAD" or error.status == 304:
        return Answer(status=error.status, headers={"Content-Type": "application/xml"})
    extras = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in error.extras.items())
    body = (
        f"{DECLARATION}<Error><Code>{escape(error.code)}</Code><Message>{escape(error.message)}</Message>{extras}"
        f"<RequestId>{escape(context.request_id)}</RequestId><HostId>{escape(context.host_id)}</HostId></Error>"
    )
    return Answer(status=error.status, headers={"Content-Type": "application/xml"}, body=body.encode())
