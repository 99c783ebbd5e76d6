"""Every answer that we can write, read by botocore: the output comes back as it went in; so do errors."""

import io
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.parsers import create_parser
from tests.support.shapes import Samples

from tarry.aws.codecs import json, query, rest_json, rest_xml
from tarry.aws.codecs.answer import Answer, AnswerContext
from tarry.aws.errors import AwsError
from tarry.aws.specs import SPECS_SERVED, OperationModel, Spec, load_spec

CONTEXT = AnswerContext(request_id="req-1", host_id="host-1")
SKIPPED = {
    "SelectObjectContent": "an event stream",
    "InvokeEndpointWithResponseStream": "an event stream",
    "GetBucketNotification": "deprecated, and never served",
    "GetBucketLocation": "botocore reads it with a handler of its own; see test_bucket_location",
}
CASES = [
    (service, name) for service in SPECS_SERVED for name in sorted(load_spec(service).operation_names) if name not in SKIPPED
]


def write(spec: Spec, name: str, output: dict[str, Any]) -> Answer:
    operation = spec.operation(name)
    assert operation is not None
    match spec.family:
        case "json":
            return json.serialise(spec, operation, output, None)
        case "rest-json":
            return rest_json.serialise(operation, output, None)
        case "query":
            return query.serialise(spec, operation, output, None, CONTEXT)
        case "rest-xml":
            return rest_xml.serialise(operation, output, None)


def read(spec: Spec, name: str, answer: Answer) -> dict[str, Any]:
    operation = spec.operation(name)
    assert operation is not None
    response = AWSResponse("http://localhost", answer.status, {}, io.BytesIO())
    response.headers.update(answer.headers)
    streams = operation.has_streaming_output and answer.status < 300
    body: Any = io.BytesIO(answer.body) if streams else answer.body
    parser = create_parser(spec.model.resolved_protocol)
    fields = {"headers": response.headers, "status_code": answer.status, "body": body, "context": {}}
    parsed: dict[str, Any] = parser.parse(fields, operation.output_shape)
    return parsed


@pytest.mark.parametrize("only_required", [False, True], ids=["all", "required"])
@pytest.mark.parametrize(("service", "name"), CASES)
def test_output_comes_back(service: str, name: str, only_required: bool) -> None:
    spec = load_spec(service)
    operation = spec.operation(name)
    assert operation is not None
    shape = operation.output_shape
    output = Samples(len(name)).structure(shape, only_required=only_required) if shape is not None else {}
    answer = write(spec, name, output)
    parsed = read(spec, name, answer)
    parsed.pop("ResponseMetadata")
    parsed = {name: value.read() if hasattr(value, "read") else value for name, value in parsed.items()}
    # botocore makes something of an empty body even where the member was not set.
    parsed = {name: value for name, value in parsed.items() if name in output or value not in ({}, "", b"")}
    assert parsed == output
    assert answer.status == operation.http.get("responseCode", 200)


def test_bucket_location() -> None:
    answer = write(load_spec("s3"), "GetBucketLocation", {"LocationConstraint": "EU"})
    assert answer.body.endswith(b'<LocationConstraint xmlns="http://s3.amazonaws.com/doc/2006-03-01/">EU</LocationConstraint>')
    assert write(load_spec("s3"), "GetBucketLocation", {}).body.endswith(b"></LocationConstraint>")


def test_json_times_carry_three_decimals() -> None:
    operation: OperationModel = load_spec("sagemaker").operation("DescribeEndpoint")
    output = Samples().structure(operation.output_shape)
    body = write(load_spec("sagemaker"), "DescribeEndpoint", output).body
    assert b".678," in body.partition(b'"CreationTime":')[2][:20]


ERRORS = {
    "sagemaker": "CreateEndpoint",
    "sagemaker-runtime": "InvokeEndpointAsync",
    "sns": "CreateTopic",
    "sts": "GetCallerIdentity",
    "s3": "GetObject",
}


@pytest.mark.parametrize("service", ERRORS)
def test_error_comes_back(service: str) -> None:
    spec = load_spec(service)
    error = AwsError(code="SomeError", message='a <b> & "ü" \x01', status=403, extras={"Region": "eu-west-1"})
    match spec.family:
        case "json":
            answer = json.error_answer(spec, error, CONTEXT)
        case "rest-json":
            answer = rest_json.error_answer(error, CONTEXT)
        case "query":
            answer = query.error_answer(spec, AwsError(code="SomeError", message='a <b> & "ü"', status=403), CONTEXT)
        case "rest-xml":
            answer = rest_xml.error_answer(
                AwsError(code="SomeError", message='a <b> & "ü"', status=403, extras={"Region": "eu-west-1"}), CONTEXT
            )
    parsed = read(spec, ERRORS[service], answer)
    assert parsed["Error"]["Code"] == "SomeError"
    assert parsed["Error"]["Message"].startswith('a <b> & "ü"')
    assert parsed["ResponseMetadata"]["HTTPStatusCode"] == 403
    if service == "s3":
        assert parsed["Error"]["Region"] == "eu-west-1"
    if service == "sns":
        assert parsed["Error"]["Type"] == "Sender"
        assert parsed["ResponseMetadata"]["RequestId"] == "req-1"


def test_error_of_head_has_no_body() -> None:
    answer = rest_xml.error_answer(
        AwsError(code="NoSuchKey", message="no", status=404), AnswerContext(request_id="r", method="HEAD")
    )
    assert answer.body == b""
    parsed = read(load_spec("s3"), "HeadObject", answer)
    assert (parsed["Error"]["Code"], parsed["Error"]["Message"]) == ("404", "Not Found")
