"""Whatever is sent, the answer is one that botocore's parser takes: no 500, no stack trace, nothing of our insides.

Inputs are built from botocore's own shapes, by turns sound and broken, written by botocore's serializer (or as bare JSON where it
refuses), signed, and given to the whole door over the control plane on fakes.
"""

import asyncio
import base64
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.parsers import create_parser
from botocore.serialize import create_serializer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.control import ROLE, SCOPE, TOPIC, World, a_variant
from tests.support.door import make_app
from tests.support.signing import Sent, sign

from tarry.aws.app import App
from tarry.aws.services.sagemaker import sagemaker_service
from tarry.backends.database.schema import metadata
from tarry.backends.database.store import SqlStore
from tarry.backends.database.transactions import Database
from tarry.ports import Store

SESSION = botocore.session.get_session()
SPEC = SESSION.get_service_model("sagemaker")
SERIALIZER = create_serializer("json", include_validation=False)
PARSER = create_parser("json")
ARN = f"arn:aws:sagemaker:us-east-1:{SCOPE.account_id}"
OPERATIONS = sorted(sagemaker_service(World().commands).operations)

KNOWN = st.sampled_from(
    ["m", "c", "Ep", "A", "new", ROLE, TOPIC, "s3://b/k", "s3://b/p/", f"{ARN}:endpoint/ep", f"{ARN}:model/m", "stub:1", "1", ""]
)
"""Values that lead past the first checks, since they name something."""
TEXT = st.text(max_size=20) | st.sampled_from(["../../x", "\x00", "𝕌ñí", "%00%2F", "a" * 70_000, "-", " ", "\\", "'\"`", "{0}"])
JUNK: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


GOOD: dict[str, list[Any]] = {
    "ModelName": ["m", "new"],
    "EndpointName": ["Ep", "ep", "new"],
    "EndpointConfigName": ["c", "new"],
    "VariantName": ["A", "B"],
    "ModelNameOverride": ["m"],
    "Image": ["stub:1"],
    "ModelDataUrl": ["s3://b/m.tar.gz"],
    "S3Uri": ["s3://b/m/", "s3://b/m"],
    "ResourceArn": [f"{ARN}:endpoint/ep", f"{ARN}:model/m", f"{ARN}:endpoint-config/c"],
    "S3OutputPath": ["s3://b/out"],
    "S3FailurePath": ["s3://b/bad"],
    "SuccessTopic": [TOPIC],
    "ErrorTopic": [TOPIC],
    "ContainerHostname": ["one", "two"],
    "MaxResults": [1, 10, 50],
    "NameContains": ["e"],
    "WaitIntervalInSeconds": [0, 10],
    "AlarmName": ["errors"],
}
"""By member: values that are in order."""


def fitting(shape: Any, name: str = "", depth: int = 0) -> st.SearchStrategy[Any]:
    """Values that keep every rule of the description, as far as a member's name tells."""
    if name in GOOD:
        return st.sampled_from(GOOD[name])
    match shape.type_name:
        case "structure":
            members = {one: fitting(member, one, depth + 1) for one, member in shape.members.items() if depth < 5}
            optional = {one: value for one, value in members.items() if one not in shape.required_members}
            return st.fixed_dictionaries({one: members[one] for one in members if one not in optional}, optional=optional)
        case "list":
            return st.lists(fitting(shape.member, "", depth + 1), min_size=1, max_size=2)
        case "map":
            return st.dictionaries(st.sampled_from(["A", "B"]), fitting(shape.value, "", depth + 1), max_size=2)
        case "boolean":
            return st.booleans()
        case "integer" | "long":
            least = shape.metadata.get("min", 0)
            return st.integers(least, min(shape.metadata.get("max", least + 9), least + 9))
        case "float" | "double":
            return st.floats(0, 10) | st.sampled_from([3e38, 1e39, 1e308])
        case "timestamp":
            return st.integers(0, 2**31)
    if getattr(shape, "enum", None):
        return st.sampled_from(shape.enum)
    if "Role" in name or "Role" in shape.name:
        return st.just(ROLE)
    return st.sampled_from(["a", "b1"])


def sound(shape: Any, depth: int = 0) -> st.SearchStrategy[Any]:
    """Values of the right type, many of them within what is allowed."""
    match shape.type_name:
        case "structure":
            return structure(shape, depth)
        case "list":
            return st.lists(sound(shape.member, depth + 1), max_size=2)
        case "map":
            return st.dictionaries(KNOWN | TEXT, sound(shape.value, depth + 1), max_size=2)
        case "boolean":
            return st.booleans()
        case "integer" | "long":
            least, most = shape.metadata.get("min", 0), shape.metadata.get("max", 100)
            return st.integers(least, max(least, most)) | st.integers(-(2**63), 2**63)
        case "float" | "double":
            return st.floats(0, 10) | st.floats()
        case "timestamp":
            return st.integers(0, 2**31) | st.floats() | st.integers(-(2**62), 2**62)
    enum = st.sampled_from(shape.enum) if getattr(shape, "enum", None) else KNOWN
    return enum | KNOWN | TEXT


def structure(shape: Any, depth: int) -> st.SearchStrategy[Any]:
    """Required members mostly, optional ones sometimes, less the deeper."""
    members: dict[str, st.SearchStrategy[Any]] = {}
    for name, member in shape.members.items():
        if depth < 5:
            members[name] = sound(member, depth + 1) if name in shape.required_members else sound(member, depth + 1) | st.none()
    chosen = st.fixed_dictionaries({}, optional=members)
    required = st.fixed_dictionaries(
        {name: one for name, one in members.items() if name in shape.required_members},
        optional={name: one for name, one in members.items() if name not in shape.required_members},
    )
    return required | required | chosen


def broken(value: Any, junk: Any, where: int) -> Any:
    """The value with something in it replaced by what does not belong there."""
    if isinstance(value, dict) and value and where % 3:
        name = sorted(value)[where % len(value)]
        return {**value, name: broken(value[name], junk, where // 3)}
    if isinstance(value, list) and value and where % 3:
        return [broken(value[0], junk, where // 3), *value[1:]]
    if isinstance(value, dict) and where % 2:
        return {**value, "NoSuchMember": junk}
    return junk


async def ask(app: App, target: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
    """One signed request through the ASGI application."""
    headers = {"X-Amz-Target": target, "Content-Type": "application/x-amz-json-1.1"}
    now_s = int(time.time())
    raw = sign(Sent(signer="header", method="POST", path="/", headers=headers, body=body, service="sagemaker", now_s=now_s))
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "headers": [*raw.headers, (b"content-length", str(len(body)).encode())],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8780),
    }
    incoming = [{"type": "http.request", "body": body, "more_body": False}, {"type": "http.disconnect"}]
    sent: list[dict[str, Any]] = []

    async def receive() -> Any:
        return incoming.pop(0) if len(incoming) > 1 else incoming[0]

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    answered = {name.decode().lower(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], answered, b"".join(message.get("body", b"") for message in sent[1:])


async def check(operation: str, body: bytes) -> str | None:
    """Ask a new small world, and then for what it has become; the error's code, or None for success."""
    world = World()
    await world.in_service("Ep", "c", a_variant("A"), a_variant("B"))
    app = make_app({"sagemaker": sagemaker_service(world.commands)})
    try:
        code = await answered(app, operation, body)
        await answered(app, "DescribeEndpoint", b'{"EndpointName": "Ep"}')
    finally:
        await world.reconciler.close()
    return code


async def answered(app: App, operation: str, body: bytes) -> str | None:
    """Ask, and hold the answer to what botocore's parser takes; the error's code, or None for success."""
    status, headers, answer = await ask(app, f"SageMaker.{operation}", body)
    assert status < 500, (status, answer)
    assert b"Traceback" not in answer
    assert b"tarry." not in answer
    assert b" object at 0x" not in answer
    if answer:
        json.loads(answer, parse_constant=pytest.fail)  # Python would take Infinity and NaN, other clients do not
    parsed = PARSER.parse(
        {"status_code": status, "headers": headers, "body": answer}, SPEC.operation_model(operation).output_shape
    )
    if status == 200:
        fits(SPEC.operation_model(operation).output_shape, parsed)
        return None
    code: str = parsed["Error"]["Code"]
    assert code in {"ValidationException", "ResourceLimitExceeded", "SerializationException"}, (code, answer)
    assert parsed["Error"]["Message"]
    return code


def fits(shape: Any, value: Any) -> None:
    """An answer has what the shape requires."""
    if shape is None or shape.type_name != "structure":
        return
    for name in shape.required_members:
        assert value.get(name) is not None, name
    for name, member in shape.members.items():
        if value.get(name) is not None:
            for one in value[name] if member.type_name == "list" else [value[name]]:
                fits(member.member if member.type_name == "list" else member, one)


def wire(operation: str, params: Any) -> bytes:
    """As botocore writes it; as bare JSON where the value is beyond its serializer."""
    try:
        return bytes(SERIALIZER.serialize_to_request(params, SPEC.operation_model(operation))["body"])
    except Exception:  # noqa: BLE001 - whatever it cannot write, a hand can
        return json.dumps(params).encode("utf-8", "surrogatepass")


VARIANT = {"VariantName": "A", "ModelName": "m", "InstanceType": "ml.m5.xlarge", "InitialInstanceCount": 1}
BASES: dict[str, dict[str, Any]] = {
    "CreateModel": {"ModelName": "new", "PrimaryContainer": {"Image": "stub:1"}},
    "CreateEndpointConfig": {
        "EndpointConfigName": "new",
        "ProductionVariants": [VARIANT],
        "AsyncInferenceConfig": {"OutputConfig": {"S3OutputPath": "s3://b/out"}},
    },
    "CreateEndpoint": {"EndpointName": "new", "EndpointConfigName": "c"},
    "DescribeModel": {"ModelName": "m"},
}
"""What is needed at least for success."""


def _with_some(base: dict[str, Any], more: dict[str, Any], names: list[str]) -> dict[str, Any]:
    return {**base, **{name: more[name] for name in names if name in more}}


def requests_of(operation: str) -> st.SearchStrategy[Any]:
    shape = SPEC.operation_model(operation).input_shape
    values, fit = sound(shape), fitting(shape)
    if operation in BASES:
        names = st.lists(st.sampled_from(sorted(shape.members)), max_size=2)
        fit = st.builds(_with_some, st.just(BASES[operation]), fit, names) | fit
    mistaken = st.builds(broken, fit | values, JUNK, st.integers(0, 80))
    return fit | fit | mistaken | values | JUNK


@pytest.mark.parametrize("operation", OPERATIONS)
@settings(max_examples=120, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_input_gets_an_answer(operation: str, data: st.DataObject) -> None:
    asyncio.run(check(operation, wire(operation, data.draw(requests_of(operation)))))


@pytest.mark.slow
@pytest.mark.parametrize("operation", OPERATIONS)
@settings(max_examples=500, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_of_many_inputs_gets_an_answer(operation: str, data: st.DataObject) -> None:
    asyncio.run(check(operation, wire(operation, data.draw(requests_of(operation)))))


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b"{}" * 2, b'{"ModelName":' * 5000, b'{"ModelName":1e999}', b"\0"]
)
@pytest.mark.parametrize("operation", ["CreateModel", "CreateEndpointConfig", "DescribeEndpoint", "AddTags"])
def test_a_body_that_is_no_json_object_is_refused(operation: str, body: bytes) -> None:
    assert asyncio.run(check(operation, body)) in {"ValidationException", "SerializationException"}


LISTS = ("ListModels", "ListEndpointConfigs", "ListEndpoints")


def forged(operation: str) -> st.SearchStrategy[dict[str, Any]]:
    """List requests with a token of the right form that no page ever ended in."""
    orders = st.sampled_from(SPEC.operation_model(operation).input_shape.members["SortBy"].enum)
    odd = st.sampled_from(["\ud800", "a\udfff", "\x00", "\uffff", True, 1.5, 2**63])
    places = odd | odd | JUNK | st.text(max_size=3) | st.integers()

    def request(order: str, said: Any, ascending: bool, value: Any, seq: Any) -> dict[str, Any]:
        token = base64.urlsafe_b64encode(json.dumps([said, ascending, value, seq]).encode()).decode()
        return {"SortBy": order, "SortOrder": "Ascending" if ascending else "Descending", "NextToken": token}

    seqs = st.integers(0, 9)
    # Most of it is in order, so that the rest gets as far as the database.
    return orders.flatmap(
        lambda order: st.builds(
            request, st.just(order), st.just(order) | st.just(order) | JUNK, st.booleans(), places, seqs | seqs | places
        )
    )


async def list_on(store: Store, operation: str, params: dict[str, Any]) -> None:
    app = make_app({"sagemaker": sagemaker_service(World().commands_over(store))})
    await answered(app, operation, json.dumps(params).encode())


@pytest.mark.parametrize("operation", LISTS)
@settings(max_examples=30, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_forged_token_gets_an_answer_of_the_database(operation: str, data: st.DataObject) -> None:
    params = data.draw(forged(operation))

    async def on_sql() -> None:
        with tempfile.TemporaryDirectory() as directory:
            database = await Database.open(Path(directory) / "tarry.db", create=metadata)
            try:
                await list_on(SqlStore(database, World().wakeups), operation, params)
            finally:
                await database.close()

    asyncio.run(on_sql())
