"""The door on a real server: boto3 on one side, recorded calls on the other; and requests that no client would send."""

import asyncio
import datetime
import json
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError, IncompleteReadError, ResponseStreamingError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from structlog.testing import capture_logs
from tests.support.door import Recorder, client, exchange, make_app, serving
from tests.support.signing import KEY

from tarry.aws.app import App
from tarry.aws.call import Call, Params, Reply, Service
from tarry.aws.services.sts import sts_service
from tarry.core.errors import Bug, EndpointNotFound, InvalidRequest, NotFound, StorageFull, Throttled
from tarry.core.keys import AccessKey
from tarry.testing.keyring import FakeKeyring


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def app(recorder: Recorder) -> App:
    async def certificate() -> bytes:
        return b"-----BEGIN CERTIFICATE-----\n"

    sns = Service(
        name="sns",
        operations=recorder.operations("CreateTopic", "ConfirmSubscription", "Unsubscribe"),
        unsigned=frozenset({"ConfirmSubscription", "Unsubscribe"}),
    )
    s3 = recorder.operations(
        "PutObject", "GetObject", "HeadObject", "ListObjectsV2", "DeleteObjects", "CreateBucket", "CopyObject"
    )
    services = {
        "sagemaker": Service(
            name="sagemaker", operations=recorder.operations("CreateEndpoint", "DescribeEndpoint", "DeleteEndpoint")
        ),
        "sagemaker-runtime": Service(name="sagemaker-runtime", operations=recorder.operations("InvokeEndpointAsync")),
        "s3": Service(name="s3", operations=s3),
        "sns": sns,
        "sts": sts_service(),
    }
    return make_app(services, internal={"/_tarry/cert.pem": certificate})


@pytest.fixture
async def url(app: App) -> AsyncIterator[str]:
    async with serving(app) as running:
        yield running


async def call(function: Any, **params: Any) -> dict[str, Any]:
    answer: dict[str, Any] = await asyncio.to_thread(function, **params)
    return answer


async def refused(function: Any, **params: Any) -> tuple[str, str, int]:
    with pytest.raises(ClientError) as caught:
        await call(function, **params)
    error = caught.value.response
    return error["Error"]["Code"], error["Error"]["Message"], error["ResponseMetadata"]["HTTPStatusCode"]


# ---------------------------------------------------------------------------------------------------------------- stops


@pytest.mark.parametrize(
    ("service", "operation", "method", "params"),
    [
        ("sagemaker", "DeleteEndpoint", "delete_endpoint", {"EndpointName": "e"}),
        ("sagemaker-runtime", "InvokeEndpointAsync", "invoke_endpoint_async", {"EndpointName": "e", "InputLocation": "s3://b/k"}),
        ("sns", "CreateTopic", "create_topic", {"Name": "t"}),
        ("s3", "PutObject", "put_object", {"Bucket": "b", "Key": "k", "Body": b"x" * 100_000}),
    ],
)
async def test_a_request_that_a_stop_cuts_off_is_told_in_the_form_of_its_protocol(
    service: str, operation: str, method: str, params: dict[str, Any]
) -> None:
    began = asyncio.Event()

    async def without_end(call: Call, params: Params) -> Reply:
        began.set()
        await asyncio.Event().wait()
        raise AssertionError

    app = make_app({service: Service(name=service, operations={operation: without_end})})
    async with serving(app) as url:
        answer = asyncio.create_task(refused(getattr(client(service, url), method), **params))
        await began.wait()
    code, message, status = await answer
    assert (code, status) == ("ServiceUnavailable", 503)
    assert "The server is stopping" in message


# ------------------------------------------------------------------------------------------------------- whole requests


async def test_sts_tells_who_signed(url: str) -> None:
    answer = await call(client("sts", url).get_caller_identity)
    assert (answer["UserId"], answer["Account"], answer["Arn"]) == (KEY.id, "123456789012", KEY.principal_arn)
    assert len(answer["ResponseMetadata"]["RequestId"]) == 36


async def test_over_tls(app: App, tmp_path: Path) -> None:
    tls = make_certificate(tmp_path)
    async with serving(app, tls=tls) as url:
        answer = await call(client("sts", url, verify=str(tls[0])).get_caller_identity)
        assert answer["Account"] == "123456789012"
        s3 = client("s3", url, verify=str(tls[0]))
        await call(s3.put_object, Bucket="b-1", Key="k", Body=b"x" * 300_000)


async def test_trailing_checksum_over_tls_reaches_the_service(app: App, recorder: Recorder, tmp_path: Path) -> None:
    tls = make_certificate(tmp_path)
    async with serving(app, tls=tls) as url:
        await call(client("s3", url, verify=str(tls[0])).put_object, Bucket="b-1", Key="k", Body=b"hello" * 100_000)
    assert recorder.bodies == [b"hello" * 100_000]
    assert "crc32" in (recorder.calls[0][0].body or pytest.fail("no body")).checksums


async def test_json_request_and_answer(url: str, recorder: Recorder) -> None:
    when = datetime.datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=datetime.UTC)
    recorder.answers["DescribeEndpoint"] = {"EndpointName": "e", "EndpointArn": "arn", "CreationTime": when}
    answer = await call(client("sagemaker", url).describe_endpoint, EndpointName="e")
    assert answer["CreationTime"] == when
    assert recorder.calls[0][1] == {"EndpointName": "e"}
    caller = recorder.calls[0][0].caller
    assert caller is not None
    assert caller.principal_arn == KEY.principal_arn


async def test_operation_without_output_has_an_empty_body(url: str) -> None:
    answer = await call(client("sagemaker", url).delete_endpoint, EndpointName="e")
    assert answer["ResponseMetadata"]["HTTPHeaders"]["content-length"] == "0"


@pytest.mark.parametrize("key", ["中.csv", "ü.csv", "a b/é/😀.csv", "plain.csv"])
async def test_text_in_headers_is_utf_8(url: str, recorder: Recorder, key: str) -> None:
    runtime = client("sagemaker-runtime", url)
    await call(runtime.invoke_endpoint_async, EndpointName="e", InputLocation=f"s3://my-bucket/{key}")
    assert recorder.calls[-1][1]["InputLocation"] == f"s3://my-bucket/{key}"


async def test_lengths_of_headers_are_counted_in_characters(url: str, recorder: Recorder) -> None:
    runtime = client("sagemaker-runtime", url)
    longest = "s3://my-bucket/".ljust(1024, "中")
    await call(runtime.invoke_endpoint_async, EndpointName="e", InputLocation=longest)
    assert recorder.calls[-1][1]["InputLocation"] == longest
    code, _, _ = await refused(runtime.invoke_endpoint_async, EndpointName="e", InputLocation=longest + "中")
    assert code == "ValidationError"


@pytest.mark.parametrize("value", ["ü", "中 😀", "a"])
async def test_metadata_comes_back_as_the_bytes_that_were_sent(url: str, recorder: Recorder, value: str) -> None:
    # boto3 takes ASCII metadata alone, and other headers in any letters.
    await call(client("s3", url).put_object, Bucket="bbb", Key="k", Body=b"", ContentDisposition=f"attachment; filename={value}")
    sent = recorder.calls[-1][1]["ContentDisposition"]
    recorder.answers["HeadObject"] = {"ContentDisposition": sent, "Metadata": {"m": sent}}
    answer = await call(client("s3", url).head_object, Bucket="bbb", Key="k")
    for back in (answer["ContentDisposition"], answer["Metadata"]["m"]):
        assert back.encode("latin-1").decode() == f"attachment; filename={value}"


async def test_invoke_endpoint_async_with_inline_body(url: str, recorder: Recorder) -> None:
    recorder.answers["InvokeEndpointAsync"] = Reply(
        output={"InferenceId": "i", "OutputLocation": "s3://b/o"}, status=202, headers={"X-Tarry-Invocation-Id": "id-1"}
    )
    runtime = client("sagemaker-runtime", url)
    answer = await call(
        runtime.invoke_endpoint_async, EndpointName="e", Body=b"1,2\n", ContentType="text/csv", RequestTTLSeconds=90
    )
    assert (answer["InferenceId"], answer["OutputLocation"]) == ("i", "s3://b/o")
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 202
    assert answer["ResponseMetadata"]["HTTPHeaders"]["x-tarry-invocation-id"] == "id-1"
    assert recorder.calls[0][1] == {"EndpointName": "e", "Body": b"1,2\n", "ContentType": "text/csv", "RequestTTLSeconds": 90}


async def test_object_goes_in_and_comes_out_as_a_stream(url: str, recorder: Recorder) -> None:
    s3 = client("s3", url)
    key = "a//b/../c d+e%2F*~ü"
    await call(s3.put_object, Bucket="b-1", Key=key, Body=b"z" * 200_000, Metadata={"n": "v"})
    params = recorder.calls[0][1]
    assert (params["Bucket"], params["Key"], params["Metadata"]) == ("b-1", key, {"n": "v"})
    assert recorder.bodies == [b"z" * 200_000]

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(10):
            yield b"p" * 100_000

    recorder.answers["GetObject"] = Reply(output={"ContentLength": 1_000_000, "ContentType": "text/csv"}, stream=pieces())
    answer = await call(s3.get_object, Bucket="b-1", Key=key)
    assert (await asyncio.to_thread(answer["Body"].read)) == b"p" * 1_000_000
    assert answer["ContentType"] == "text/csv"
    recorder.answers["HeadObject"] = {"ContentLength": 7, "ETag": '"e"'}
    assert (await call(s3.head_object, Bucket="b-1", Key=key))["ContentLength"] == 7
    assert recorder.calls[-1][1]["Key"] == key


async def test_an_answer_that_breaks_off_is_seen_to(url: str, recorder: Recorder) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"p" * 10
        raise RuntimeError("the disk is gone")

    recorder.answers["GetObject"] = Reply(output={"ContentLength": 1000}, stream=pieces())
    answer = await call(client("s3", url).get_object, Bucket="b-1", Key="k")
    with pytest.raises((IncompleteReadError, ResponseStreamingError)):
        await asyncio.to_thread(answer["Body"].read)


async def test_a_stream_ends_with_its_client(url: str, recorder: Recorder) -> None:
    closed, exhausted = asyncio.Event(), False

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal exhausted
        try:
            for _ in range(20_000):
                yield b"p" * 100_000
            exhausted = True
        finally:
            closed.set()

    recorder.answers["GetObject"] = Reply(output={"ContentLength": 20_000 * 100_000}, stream=pieces())
    answer = await call(client("s3", url).get_object, Bucket="b-1", Key="k")
    await asyncio.to_thread(answer["Body"].read, 1000)
    await asyncio.to_thread(answer["Body"].close)
    async with asyncio.timeout(10):
        await closed.wait()
    assert not exhausted


async def test_one_connection_serves_many_requests(url: str, recorder: Recorder) -> None:
    sagemaker = client("sagemaker", url, config={"max_pool_connections": 1})
    for _ in range(5):
        await call(sagemaker.delete_endpoint, EndpointName="e")
    assert len(recorder.calls) == 5


async def test_bucket_in_the_host_name(url: str, recorder: Recorder) -> None:
    signed = AWSRequest("GET", "http://my-bucket.localhost:8780/?list-type=2")
    S3SigV4Auth(Credentials(KEY.id, KEY.secret), "s3", "us-east-1").add_auth(signed)
    headers = b"".join(f"{name}: {value}\r\n".encode() for name, value in signed.headers.items())
    host = b"Host: my-bucket.localhost:8780\r\nConnection: close\r\n"
    answer = await exchange(url, b"GET /?list-type=2 HTTP/1.1\r\n" + host + headers + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 200"), answer
    assert recorder.calls[0][1]["Bucket"] == "my-bucket"


# --------------------------------------------------------------------------------------------------------------- errors


async def test_core_errors_in_the_words_of_each_service(url: str, recorder: Recorder) -> None:
    sagemaker, runtime, s3 = client("sagemaker", url), client("sagemaker-runtime", url), client("s3", url)
    arn = "arn:aws:sagemaker:us-east-1:123456789012:endpoint/e"
    recorder.answers["DescribeEndpoint"] = NotFound("endpoint", arn)
    assert await refused(sagemaker.describe_endpoint, EndpointName="e") == (
        "ValidationException",
        f'Could not find endpoint "{arn}".',
        400,
    )
    recorder.answers["DescribeEndpoint"] = Throttled("The queue is full.")
    assert await refused(sagemaker.describe_endpoint, EndpointName="e") == (
        "ThrottlingException",
        "Rate exceeded. The queue is full.",
        400,
    )
    recorder.answers["InvokeEndpointAsync"] = EndpointNotFound("e")
    assert await refused(runtime.invoke_endpoint_async, EndpointName="e", InputLocation="s3://b/k") == (
        "ValidationError",
        "Endpoint e of account 123456789012 not found.",
        400,
    )
    recorder.answers["InvokeEndpointAsync"] = InvalidRequest("no")
    assert await refused(runtime.invoke_endpoint_async, EndpointName="e", InputLocation="s3://b/k") == (
        "ValidationError",
        "no",
        400,
    )
    recorder.answers["ListObjectsV2"] = StorageFull("The disk is full.")
    assert await refused(s3.list_objects_v2, Bucket="b-1") == ("InsufficientStorage", "The disk is full.", 507)


@pytest.mark.parametrize("error", [RuntimeError("secret"), Bug("secret")])
async def test_what_is_unexpected_stays_inside(url: str, recorder: Recorder, error: Exception) -> None:
    recorder.answers |= {"DescribeEndpoint": error, "ListObjectsV2": error, "CreateTopic": error}
    code, message, status = await refused(client("sagemaker", url).describe_endpoint, EndpointName="e")
    assert (code, status) == ("InternalFailure", 500)
    assert "secret" not in message
    code, message, status = await refused(client("s3", url).list_objects_v2, Bucket="b-1")
    assert (code, status) == ("InternalError", 500)
    code, message, status = await refused(client("sns", url).create_topic, Name="t")
    assert (code, status) == ("InternalFailure", 500)


async def test_what_is_our_fault_is_logged_with_its_request_id_and_what_is_the_callers_is_not(
    url: str, recorder: Recorder
) -> None:
    recorder.answers |= {
        "DescribeEndpoint": RuntimeError("secret"),
        "CreateTopic": StorageFull("full"),
        "ListObjectsV2": Throttled("busy"),
    }
    for service, function, params, has_stack in (
        ("sagemaker", "describe_endpoint", {"EndpointName": "e"}, True),
        ("sns", "create_topic", {"Name": "t"}, False),  # the world's failure: there may be thousands
        ("s3", "list_objects_v2", {"Bucket": "b-1"}, False),
    ):
        with capture_logs() as logs, pytest.raises(ClientError) as caught:
            await call(getattr(client(service, url), function), **params)
        (entry,) = [entry for entry in logs if entry["log_level"] == "error"]
        assert (entry["event"], entry["service"]) == ("request failed", service)
        assert entry["request_id"] == caught.value.response["ResponseMetadata"]["RequestId"]
        error = recorder.answers[recorder.calls[-1][0].operation]
        assert entry["error"] == repr(error)
        assert entry["exc_info"] is (error if has_stack else None)
    recorder.answers["DescribeEndpoint"] = NotFound("endpoint", "e")
    with capture_logs() as logs:
        await refused(client("sagemaker", url).describe_endpoint, EndpointName="e")
    assert [entry for entry in logs if entry["log_level"] in ("error", "warning")] == []


async def test_violations_are_told_together(url: str, recorder: Recorder) -> None:
    code, message, status = await refused(client("sagemaker", url).create_endpoint, EndpointName="-e", EndpointConfigName="c_")
    assert (code, status) == ("ValidationException", 400)
    assert message.startswith(
        "2 validation errors detected: Value '-e' at 'endpointName' failed to satisfy constraint: Member must "
    )
    runtime = client("sagemaker-runtime", url, config={"parameter_validation": False})
    code, message, status = await refused(
        runtime.invoke_endpoint_async, EndpointName="e", InputLocation="s3://b/k", RequestTTLSeconds=59
    )
    assert (code, status) == ("ValidationError", 400)
    assert message == (
        "1 validation error detected: Value '59' at 'requestTTLSeconds' failed to satisfy constraint: "
        "Member must have value greater than or equal to 60"
    )
    assert not recorder.calls


async def test_what_is_not_implemented_is_refused_by_name(url: str, recorder: Recorder) -> None:
    code, message, status = await refused(client("sagemaker", url).list_training_jobs)
    assert (code, status) == ("NotImplementedException", 501)
    assert "sagemaker:ListTrainingJobs" in message
    assert (await refused(client("sns", url).list_topics))[0] == "NotImplementedException"
    s3 = client("s3", url)
    for function, name in ((s3.get_object_tagging, "GetObjectTagging"), (s3.get_object_acl, "GetObjectAcl")):
        code, message, status = await refused(function, Bucket="b-1", Key="k")
        assert (code, status) == ("NotImplemented", 501)
        assert name in message
    code, message, status = await refused(client("ec2", url).describe_instances)
    assert status == 501
    assert "'ec2'" in message
    assert not recorder.calls


async def test_wrong_keys_reach_no_service(url: str, recorder: Recorder) -> None:
    assert (await refused(client("sagemaker", url, key_id="AKIAUNKNOWN").describe_endpoint, EndpointName="e"))[::2] == (
        "UnrecognizedClientException",
        400,
    )
    assert (await refused(client("s3", url, key_id="AKIAUNKNOWN").put_object, Bucket="b-1", Key="k", Body=b"x"))[::2] == (
        "InvalidAccessKeyId",
        403,
    )
    assert (await refused(client("sns", url, key_id="AKIAUNKNOWN").create_topic, Name="t"))[::2] == ("InvalidClientTokenId", 403)
    assert not recorder.calls


class _TakenAway(FakeKeyring):
    """The key is good when the signature is verified; when its request is to be carried out it is what it has become."""

    def __init__(self, become: AccessKey | None) -> None:
        super().__init__(KEY)
        self.become = become
        self.asked = 0

    async def get(self, access_key_id: str) -> AccessKey | None:
        self.asked += 1
        return KEY if self.asked == 1 else self.become


@pytest.mark.parametrize(("become", "word"), [(None, "removed"), (replace(KEY, active=False), "disabled")])
async def test_a_key_that_is_taken_away_on_the_way_carries_nothing_out(
    recorder: Recorder, become: AccessKey | None, word: str
) -> None:
    services = {
        "sagemaker": Service(name="sagemaker", operations=recorder.operations("DescribeEndpoint")),
        "s3": Service(name="s3", operations=recorder.operations("PutObject", "DeleteObjects")),
    }
    attempts: list[tuple[str, str, dict[str, Any]]] = [
        ("sagemaker", "describe_endpoint", {"EndpointName": "e"}),
        ("s3", "put_object", {"Bucket": "b", "Key": "k", "Body": b"x"}),
        ("s3", "delete_objects", {"Bucket": "b", "Delete": {"Objects": [{"Key": "k"}]}}),
    ]
    for service, operation, params in attempts:
        async with serving(make_app(services, keyring=_TakenAway(become))) as url:
            with pytest.raises(ClientError, match=f"AccessDenied.*{KEY.id} was {word}"):
                await asyncio.to_thread(getattr(client(service, url), operation), **params)
    assert recorder.calls == []


async def test_inline_body_beyond_its_bound(url: str, recorder: Recorder) -> None:
    runtime = client("sagemaker-runtime", url)
    code, message, status = await refused(runtime.invoke_endpoint_async, EndpointName="e", Body=b"x" * 128_001)
    assert (code, status) == ("ValidationError", 400)
    assert "128000 bytes" in message
    await call(runtime.invoke_endpoint_async, EndpointName="e", Body=b"x" * 128_000)
    assert len(recorder.calls[0][1]["Body"]) == 128_000


# --------------------------------------------------------------------------------------------- without a signature, raw


def request(target: bytes, *headers: bytes, method: bytes = b"GET", body: bytes = b"") -> bytes:
    length = b"Content-Length: %d\r\n" % len(body) if body else b""
    lines = b"".join(header + b"\r\n" for header in headers)
    return method + b" " + target + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" + length + lines + b"\r\n" + body


async def test_health_follows_the_server(url: str, app: App) -> None:
    assert (await exchange(url, request(b"/health"))).startswith(b"HTTP/1.1 503")
    app.ready = True
    assert (await exchange(url, request(b"/health"))).startswith(b"HTTP/1.1 200")


async def test_internal_pages(url: str) -> None:
    answer = await exchange(url, request(b"/_tarry/cert.pem"))
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b"-----BEGIN CERTIFICATE-----\n")
    assert (await exchange(url, request(b"/_tarry/other"))).startswith(b"HTTP/1.1 404")
    assert (await exchange(url, request(b"/_tarry/../secret"))).startswith(b"HTTP/1.1 404")
    assert (await exchange(url, request(b"/_tarry/cert.pem", method=b"PUT", body=b"x"))).startswith(b"HTTP/1.1 405")


async def test_unsigned_requests_get_their_protocols_own_refusal(url: str, recorder: Recorder) -> None:
    answer = await exchange(url, request(b"/", b"X-Amz-Target: SageMaker.ListEndpoints", method=b"POST", body=b"{}"))
    assert answer.startswith(b"HTTP/1.1 400")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["__type"] == "MissingAuthenticationTokenException"
    answer = await exchange(url, request(b"/endpoints/e/async-invocations", method=b"POST"))
    assert answer.startswith(b"HTTP/1.1 403")
    assert b"x-amzn-errortype: MissingAuthenticationTokenException" in answer
    form = b"Content-Type: application/x-www-form-urlencoded"
    answer = await exchange(url, request(b"/", form, method=b"POST", body=b"Action=ListTopics"))
    assert answer.startswith(b"HTTP/1.1 403")
    assert b"<Code>MissingAuthenticationToken</Code>" in answer
    for target in (b"/", b"/b/k", b"/health/x", b"/b?acl", b"/?Action=CreateTopic"):
        answer = await exchange(url, request(target))
        assert answer.startswith(b"HTTP/1.1 403"), target
    assert b"<Code>AccessDenied</Code>" in await exchange(url, request(b"/b/k"))
    assert not recorder.calls


async def test_a_token_is_proof_enough_where_the_service_says_so(url: str, recorder: Recorder) -> None:
    recorder.answers["ConfirmSubscription"] = {"SubscriptionArn": "arn:x"}
    arn = b"arn:aws:sns:us-east-1:123456789012:t"
    answer = await exchange(url, request(b"/?Action=ConfirmSubscription&Token=abc&TopicArn=" + arn))
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"<SubscriptionArn>arn:x</SubscriptionArn>" in answer
    called, params = recorder.calls[0]
    assert (called.caller, params) == (None, {"Token": "abc", "TopicArn": arn.decode()})
    answer = await exchange(url, request(b"/?Action=ConfirmSubscription"))
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"Value null at 'topicArn' failed to satisfy constraint: Member must not be null" in answer


async def test_preflight(url: str) -> None:
    headers = (b"Origin: http://x", b"Access-Control-Request-Method: PUT", b"Access-Control-Request-Headers: authorization")
    answer = await exchange(url, request(b"/b/k", *headers, method=b"OPTIONS"))
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"access-control-allow-headers: authorization\r\n" in answer
    assert b"access-control-allow-origin: *\r\n" in answer
    assert (await exchange(url, request(b"/b/k", method=b"OPTIONS"))).startswith(b"HTTP/1.1 403")


async def test_refusal_comes_before_the_body_and_ends_the_connection(url: str) -> None:
    host, _, port = url.partition("://")[2].partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"PUT /b/k HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\nExpect: 100-continue\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(-1), 10)
    assert answer.startswith(b"HTTP/1.1 403")
    assert b"\r\nconnection: close\r\n" in answer
    assert b"100 Continue" not in answer
    writer.close()


async def test_refusal_reaches_a_client_that_is_still_sending(url: str) -> None:
    body = b"x" * 3_000_000
    answer = await exchange(url, b"PUT /b/k HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3000000\r\n\r\n" + body)
    assert answer.startswith(b"HTTP/1.1 403")
    assert b"</Error>" in answer


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (b"//b//k", b"400"),
        (b"/b/../../etc/passwd", b"403"),
        (b"/b/%2e%2e/k", b"403"),
        (b"/b/%ff", b"403"),
        (b"/b/%00", b"403"),
        (b"http://localhost/b/k", b"403"),
        (b"/" + b"k" * 20_000, b"414"),
    ],
)
async def test_strange_targets_are_answered(url: str, recorder: Recorder, target: bytes, status: bytes) -> None:
    answer = await exchange(url, request(target))
    assert answer.split(b" ", 2)[1] in (status, b"403"), answer[:200]
    assert not recorder.calls


async def test_targets_that_are_no_paths(url: str) -> None:
    for target, method in ((b"*", b"OPTIONS"), (b"no-slash", b"GET"), (b"localhost:80", b"CONNECT")):
        answer = await exchange(url, request(target, method=method))
        assert answer.split(b" ", 2)[1] in (b"400", b"403", b"405"), (target, answer[:200])


async def test_bounds_on_headers(url: str) -> None:
    many = [b"X-A-%d: v" % index for index in range(250)]
    assert (await exchange(url, request(b"/b/k", *many))).startswith(b"HTTP/1.1 431")
    assert (await exchange(url, request(b"/b/k", b"X-A: " + b"v" * 70_000))).startswith(b"HTTP/1.1 431")


def make_certificate(directory: Path) -> tuple[Path, Path]:
    """A certificate for localhost and its key, as files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert_path, key_path = directory / "cert.pem", directory / "key.pem"
    cert_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return cert_path, key_path


def test_certificate_is_readable(tmp_path: Path) -> None:
    cert, key = make_certificate(tmp_path)
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key)
