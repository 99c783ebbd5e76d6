"""What the codecs say to bodies that no SDK sends."""

import base64
import json as stdlib_json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tarry.aws.auth import RawRequest
from tarry.aws.codecs import json, query, rest_json, rest_xml
from tarry.aws.codecs.scalars import BadValueError, epoch_millis, format_timestamp, parse_timestamp
from tarry.aws.codecs.xml import NODES_MAX, escape, read_document
from tarry.aws.errors import AwsError
from tarry.aws.request import Request, join_headers
from tarry.aws.specs import OperationModel, load_spec

CREATE_CONFIG: OperationModel = load_spec("sagemaker").operation("CreateEndpointConfig")
LIST: OperationModel = load_spec("sagemaker").operation("ListEndpoints")
PUBLISH: OperationModel = load_spec("sns").operation("Publish")
DELETE: OperationModel = load_spec("s3").operation("DeleteObjects")


def asked(method: str, path: str, raw_query: str = "", **headers: str) -> Request:
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    raw = RawRequest(method=method, raw_path=path.encode(), raw_query=raw_query.encode(), headers=pairs, host="x")
    return Request(raw=raw, headers=join_headers(pairs))


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"{", "Expected a JSON object"),
        (b"\xff", "Expected a JSON object"),
        (b"[" * 100_000, "Expected a JSON object"),
        (b'{"MaxResults": NaN}', "Expected a JSON object"),
        (b"[]", "Expected a structure, got START_ARRAY"),
        (b'"x"', "Expected a structure, got STRING_VALUE"),
        (b'{"MaxResults": "5"}', "STRING_VALUE can not be converted to an Integer at 'MaxResults'"),
        (b'{"MaxResults": true}', "BOOLEAN_VALUE can not be converted to an Integer at 'MaxResults'"),
        (b'{"MaxResults": 1.5}', "DECIMAL_VALUE can not be converted to an Integer at 'MaxResults'"),
        (b'{"MaxResults": 3000000000}', "Expected a whole number of 32 bits at 'MaxResults'"),
        (b'{"NameContains": 5}', "NUMBER_VALUE can not be converted to a String at 'NameContains'"),
        (b'{"NameContains": "\\ud800"}', "Expected Unicode text"),
        (b'{"CreationTimeAfter": 1e300}', "Expected a time within"),
        (b'{"CreationTimeAfter": "yesterday"}', "Expected a time such as"),
        (b'{"Nonsense": 5}', "Unknown parameter 'Nonsense'"),
    ],
)
def test_json(body: bytes, told: str) -> None:
    with pytest.raises(AwsError) as caught:
        json.parse(LIST, body)
    assert (caught.value.code, caught.value.status) == ("SerializationException", 400)
    assert told in caught.value.message


@pytest.mark.parametrize("weight", ["1e39", "-3.5e38", "1e308"])
def test_json_refuses_what_a_float_of_32_bits_cannot_hold(weight: str) -> None:
    with pytest.raises(AwsError, match="a number of 32 bits"):
        json.parse(CREATE_CONFIG, f'{{"ProductionVariants": [{{"InitialVariantWeight": {weight}}}]}}'.encode())
    assert json.parse(CREATE_CONFIG, b'{"ProductionVariants": [{"InitialVariantWeight": 3.4028234e38}]}')


def test_json_is_never_written_with_numbers_that_it_has_not() -> None:
    with pytest.raises(ValueError, match="JSON"):
        json.dump({"CurrentWeight": float("inf")})


def test_json_names_the_place() -> None:
    with pytest.raises(AwsError, match=r"START_OBJECT at 'ProductionVariants'"):
        json.parse(CREATE_CONFIG, b'{"ProductionVariants": {}}')
    with pytest.raises(AwsError, match=r"'ProductionVariants\.1\.member\.ModelName'"):
        json.parse(CREATE_CONFIG, b'{"ProductionVariants": [{"ModelName": 1}]}')
    with pytest.raises(AwsError, match=r"Unknown parameter 'X' at 'ProductionVariants\.2\.member'"):
        json.parse(CREATE_CONFIG, b'{"ProductionVariants": [{}, {"X": 1}]}')


def test_json_null_is_absent() -> None:
    assert json.parse(LIST, b'{"NameContains": null}') == {}
    assert json.parse(LIST, b"") == {}


def test_json_whole_floats_are_whole() -> None:
    assert json.parse(LIST, b'{"MaxResults": 5.0}') == {"MaxResults": 5}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(CREATE_CONFIG.input_shape.members)), JSON))
def test_json_never_fails_otherwise(document: dict[str, Any]) -> None:
    refusal: AwsError | None = None
    try:
        json.parse(CREATE_CONFIG, stdlib_json.dumps(document).encode())
    except AwsError as error:
        refusal = error
    assert refusal is None or refusal.code == "SerializationException"


PARSERS: list[Callable[[bytes], Any]] = [
    lambda body: json.parse(CREATE_CONFIG, body),
    lambda body: query.parse(PUBLISH, query.read_form(asked("POST", "/"), body)),
    lambda body: rest_xml.parse(DELETE, asked("POST", "/b", "delete"), body),
]


@pytest.mark.parametrize("parse", PARSERS, ids=["json", "query", "rest-xml"])
@settings(deadline=None)
@given(body=st.binary())
def test_no_bytes_surprise_any_codec(parse: Callable[[bytes], Any], body: bytes) -> None:
    refusal: AwsError | None = None
    try:
        parse(body)
    except AwsError as error:
        refusal = error
    assert refusal is None or refusal.status == 400


@pytest.mark.parametrize(
    "document",
    [
        b'<!DOCTYPE x [<!ENTITY a "aaaa">]><Delete>&a;</Delete>',
        b'<!DOCTYPE x SYSTEM "file:///etc/passwd"><Delete/>',
        b"<Delete>&undefined;</Delete>",
        b"<a>" * 100 + b"</a>" * 100,
        b"<Delete>" + b"<a/>" * (NODES_MAX + 1) + b"</Delete>",
        b"<Delete>",
        b'<?xml version="1.0" encoding="utf-7"?><Delete/>',
        b"\x00",
        b"",
    ],
)
def test_hostile_xml(document: bytes) -> None:
    with pytest.raises(BadValueError):
        read_document(document)


@pytest.mark.parametrize(
    "document",
    [
        b"<Wrong><Object><Key>k</Key></Object></Wrong>",
        b"<Delete><Object><Name>k</Name></Object></Delete>",
        b"<Delete><Object/></Delete>",
        b"<Delete><Quiet>maybe</Quiet><Object><Key>k</Key></Object></Delete>",
        b"<Delete><Quiet>true</Quiet><Quiet>true</Quiet><Object><Key>k</Key></Object></Delete>",
        b"<Delete>",
        b"<Delete/>",
    ],
)
def test_xml_that_is_not_what_the_operation_wants(document: bytes) -> None:
    with pytest.raises(AwsError) as caught:
        rest_xml.parse(DELETE, asked("POST", "/b", "delete"), document)
    assert (caught.value.code, caught.value.status) == ("MalformedXML", 400)


def test_missing_xml() -> None:
    with pytest.raises(AwsError) as caught:
        rest_xml.parse(DELETE, asked("POST", "/b", "delete"), b"")
    assert caught.value.code == "MissingRequestBodyError"


def test_xml_with_and_without_a_namespace() -> None:
    for root in (b"<Delete>", b'<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'):
        params = rest_xml.parse(
            DELETE, asked("POST", "/b", "delete"), root + b"<Object>\n <Key> a&amp;b </Key>\n</Object></Delete>"
        )
        assert params["Delete"] == {"Objects": [{"Key": " a&b "}]}


def test_headers_that_are_no_values() -> None:
    get: OperationModel = load_spec("s3").operation("GetObject")
    with pytest.raises(AwsError, match="InvalidArgument"):
        rest_xml.parse(get, asked("GET", "/b/k", "partNumber=x"), b"")
    assert "IfModifiedSince" not in rest_xml.parse(get, asked("GET", "/b/k", if_modified_since="yesterday"), b"")
    invoke: OperationModel = load_spec("sagemaker-runtime").operation("InvokeEndpointAsync")
    with pytest.raises(AwsError, match="SerializationException"):
        rest_json.parse(invoke, asked("POST", "/endpoints/e/async-invocations", x_amzn_sagemaker_requestttlseconds="9" * 30), b"")


def test_header_values_stay_in_their_line() -> None:
    get: OperationModel = load_spec("s3").operation("GetObject")
    with pytest.raises(AwsError, match="control characters"):
        rest_xml.serialise(get, {"ContentDisposition": "x\r\nSet-Cookie: a"}, None)


@pytest.mark.parametrize(
    "form",
    [
        "Message=a&Unknown=1",
        "Message=a&MessageAttributes.entry.0.Name=x",
        "Message=a&MessageAttributes.entry.x.Name=x",
        "Message=a&MessageAttributes.entry.1.Name=x",
        "Message.x=a",
        ".".join("a" * 50) + "=1",
        "Message=a&MessageAttributes.entry.1.Name=n&MessageAttributes.entry.1.Value.DataType=Binary"
        "&MessageAttributes.entry.1.Value.BinaryValue=!",
    ],
)
def test_forms_that_are_not_what_the_operation_wants(form: str) -> None:
    with pytest.raises(AwsError) as caught:
        query.parse(PUBLISH, query.read_form(asked("POST", "/"), form.encode()))
    assert (caught.value.code, caught.value.status) == ("MalformedInput", 400)


def test_forms_that_name_no_operation() -> None:
    sns = load_spec("sns")
    for form, code in (
        ({}, "MissingAction"),
        ({"Action": "X"}, "InvalidAction"),
        ({"Action": "Publish", "Version": "1"}, "InvalidAction"),
    ):
        with pytest.raises(AwsError) as caught:
            query.resolve(sns, form)
        assert caught.value.code == code
    assert query.resolve(sns, {"Action": "Publish"}) == "Publish"


def test_unknown_targets() -> None:
    for target in ("SageMaker.Nope", "Other.ListEndpoints", "", "ListEndpoints"):
        with pytest.raises(AwsError, match="UnknownOperationException"):
            json.resolve(load_spec("sagemaker"), asked("POST", "/", x_amz_target=target))


def test_characters_that_xml_cannot_hold() -> None:
    assert escape("a\x01<&>\r\n\t😀") == "a&#x1;&lt;&amp;&gt;&#xD;\n\t😀"


@settings(deadline=None)
@given(st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(9000, 1, 1)))  # noqa: DTZ001 - made aware below
def test_times_come_back(naive: datetime) -> None:
    when = naive.replace(tzinfo=UTC, microsecond=naive.microsecond // 1000 * 1000)
    assert parse_timestamp(format_timestamp(when, "iso8601")) == when
    assert parse_timestamp(format_timestamp(when, "rfc822")) == when.replace(microsecond=0)
    assert abs(epoch_millis(when) - when.timestamp()) < 0.0005


def test_blobs_are_base64() -> None:
    params = {"Message": "m", "MessageAttributes.entry.1.Name": "n", "MessageAttributes.entry.1.Value.DataType": "Binary"}
    params["MessageAttributes.entry.1.Value.BinaryValue"] = base64.b64encode(b"\x00\xff").decode()
    assert query.parse(PUBLISH, params)["MessageAttributes"]["n"]["BinaryValue"] == b"\x00\xff"
