"""Every request that botocore can write, read by us: the parameters come back as they went in."""

from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import pytest
from botocore.serialize import create_serializer
from tests.support.shapes import Samples

from tarry.aws.auth.request import RawRequest
from tarry.aws.codecs import json, query, rest_json, rest_xml, s3_operations
from tarry.aws.request import Request, join_headers
from tarry.aws.specs import SPECS_SERVED, OperationModel, Spec, load_spec

DEPRECATED = {"PutBucketLifecycle", "GetBucketLifecycle", "GetBucketNotification", "PutBucketNotification"}
"""A later operation has the same request line."""
SKIPPED = {"WriteGetObjectResponse", "ListDirectoryBuckets"}  # other kinds of hosts; see s3_operations
CASES = [
    (service, name)
    for service in SPECS_SERVED
    for name in sorted(load_spec(service).operation_names)
    if name not in SKIPPED | DEPRECATED
]


def as_request(serialised: dict[str, Any]) -> tuple[Request, bytes]:
    """What botocore's HTTP layer makes of a serialised request."""
    split = urlsplit(serialised["url_path"])
    pairs = urlencode(serialised["query_string"], quote_via=quote, doseq=True)
    body = serialised["body"]
    if isinstance(body, dict):
        body = urlencode(body, doseq=True).encode()
    headers = [(name.encode(), str(value).encode()) for name, value in serialised["headers"].items()]
    raw = RawRequest(
        method=serialised["method"],
        raw_path=quote(split.path, safe="/%~").encode(),
        raw_query="&".join(part for part in (split.query, pairs) if part).encode(),
        headers=headers,
        host="localhost",
    )
    return Request(raw=raw, headers=join_headers(headers)), body if isinstance(body, bytes) else body.encode()


def read(spec: Spec, request: Request, body: bytes) -> tuple[str, dict[str, Any]]:
    """Operation and parameters, as the gateway finds them."""
    operation: OperationModel
    match spec.family:
        case "json":
            operation = spec.operation(json.resolve(spec, request))
            return operation.name, json.parse(operation, body)
        case "rest-json":
            operation = spec.operation(rest_json.resolve(spec, request))
            return operation.name, rest_json.parse(operation, request, body)
        case "query":
            form = query.read_form(request, body)
            operation = spec.operation(query.resolve(spec, form))
            return operation.name, query.parse(operation, form)
        case "rest-xml":
            operation = spec.operation(s3_operations.resolve(spec, request))
            return operation.name, rest_xml.parse(operation, request, body)


@pytest.mark.parametrize("only_required", [False, True], ids=["all", "required"])
@pytest.mark.parametrize(("service", "name"), CASES)
def test_parameters_come_back(service: str, name: str, only_required: bool) -> None:
    spec = load_spec(service)
    operation: OperationModel = spec.operation(name)
    shape = operation.input_shape
    params = Samples(len(name)).structure(shape, only_required=only_required) if shape is not None else {}
    if service == "s3":
        params |= {"Bucket": "my-bucket"} if "Bucket" in params else {}
        params |= {"Key": "a//b/../c d+e%2F*~ü"} if "Key" in params else {}
    expected = dict(params)
    if rest_xml.streams_in(operation) and service == "s3":
        expected.pop(operation.input_shape.serialization["payload"], None)
    request, body = as_request(
        create_serializer(spec.model.resolved_protocol, include_validation=False).serialize_to_request(params, operation)
    )
    assert read(spec, request, body) == (name, expected)


def test_a_header_that_is_no_utf_8_is_read_byte_by_byte() -> None:
    headers = [(b"x-amzn-sagemaker-inputlocation", b"s3://my-bucket/\xfc\xff.csv")]
    raw = RawRequest(method="POST", raw_path=b"/endpoints/e/async-invocations", raw_query=b"", headers=headers, host="h")
    request = Request(raw=raw, headers=join_headers(headers))
    params = rest_json.parse(load_spec("sagemaker-runtime").operation("InvokeEndpointAsync"), request, b"")
    assert params["InputLocation"] == "s3://my-bucket/üÿ.csv"
    assert headers[0][1] == request.headers["x-amzn-sagemaker-inputlocation"].encode("latin-1")


@pytest.mark.parametrize("sent", ["中 ü".encode(), b"\xfc\xff", b"plain"])
def test_metadata_of_s3_is_kept_as_the_bytes_that_came(sent: bytes) -> None:
    headers = [(b"x-amz-meta-note", sent)]
    raw = RawRequest(method="PUT", raw_path=b"/my-bucket/key", raw_query=b"", headers=headers, host="h")
    operation = load_spec("s3").operation("PutObject")
    params = rest_xml.parse(operation, Request(raw=raw, headers=join_headers(headers)), b"")
    back = rest_xml.serialise(load_spec("s3").operation("HeadObject"), {"Metadata": params["Metadata"]}, None)
    assert back.headers["x-amz-meta-note"].encode("latin-1") == sent
