"""InvokeEndpointAsync from the socket to the model and back, with unmodified boto3."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.support import deploy
from tests.support.deploy import wish
from tests.support.server_process import ServerProcess
from tests.support.subscriber import Subscriber

BUCKET = "invoke-test"
LARGE_BYTES = 16 * 1024 * 1024
"""More than a connection holds."""


@pytest.fixture(scope="module")
def subscriber() -> Iterator[Subscriber]:
    with Subscriber() as running:
        yield running


@pytest.fixture(scope="module")
def endpoint(server: ServerProcess, subscriber: Subscriber) -> str:
    deploy.bucket(server, BUCKET)
    server.client("s3").put_object(Bucket=BUCKET, Key="large", Body=bytes(LARGE_BYTES))
    sns = server.client("sns")
    topics = {name: sns.create_topic(Name=name)["TopicArn"] for name in ("SuccessTopic", "ErrorTopic")}
    for topic in topics.values():
        subscriber.subscribe(sns, topic)
    deploy.endpoint(server, "Invoke", BUCKET, topics=topics, failure_path=f"s3://{BUCKET}/failed")
    return "Invoke"


def _invoke(server: ServerProcess, endpoint: str, **params: Any) -> dict[str, Any]:
    answer: dict[str, Any] = server.client("sagemaker-runtime").invoke_endpoint_async(EndpointName=endpoint, **params)
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 202
    return answer


def test_an_input_object_becomes_an_output_object_and_a_message(
    server: ServerProcess, endpoint: str, subscriber: Subscriber
) -> None:
    s3 = server.client("s3")
    s3.put_object(Bucket=BUCKET, Key="in/1", Body=b"a,b", ContentType="text/csv")
    answer = _invoke(server, endpoint, InputLocation=f"s3://{BUCKET}/in/1", InferenceId="my id", CustomAttributes="c")
    assert answer["InferenceId"] == "my id"
    invocation_id = answer["ResponseMetadata"]["HTTPHeaders"]["x-tarry-invocation-id"]
    assert answer["OutputLocation"] == f"s3://{BUCKET}/out/{invocation_id}.out"
    assert answer["FailureLocation"] == f"s3://{BUCKET}/failed/{invocation_id}-error.out"
    assert deploy.read(server, answer["OutputLocation"]) == b"a,b"
    head = s3.head_object(Bucket=BUCKET, Key=f"out/{invocation_id}.out")
    assert (head["ContentType"], head["Metadata"]) == ("text/csv", {"tarry-invocation": invocation_id})
    subscriber.wait(lambda: answer["OutputLocation"] in subscriber.results("Completed"), "the message")
    (message,) = subscriber.results("Completed")[answer["OutputLocation"]]
    assert message["requestParameters"] == {
        "customAttributes": "c",
        "endpointName": endpoint,
        "inputLocation": f"s3://{BUCKET}/in/1",
    }
    assert message["inferenceId"] == "my id"


def test_an_inline_body_with_names_of_its_own(server: ServerProcess, endpoint: str) -> None:
    answer = _invoke(
        server,
        endpoint,
        Body=wish(upper=True, answer="hello"),
        ContentType="application/json",
        Filename="result.json",
        S3OutputPathExtension="team/a",
        RequestTTLSeconds=60,
        InvocationTimeoutSeconds=5,
        Accept="text/plain",
    )
    assert answer["OutputLocation"] == f"s3://{BUCKET}/out/team/a/result.json"
    assert answer["FailureLocation"] == f"s3://{BUCKET}/failed/team/a/result-error.out"
    assert deploy.read(server, answer["OutputLocation"]) == b"HELLO"


def test_the_later_of_two_with_one_name_wins(server: ServerProcess, endpoint: str) -> None:
    first = _invoke(server, endpoint, Body=b"first", Filename="same.out")
    assert deploy.read(server, first["OutputLocation"]) == b"first"
    second = _invoke(server, endpoint, Body=wish(status=200, answer="second"), Filename="same.out")
    other = _invoke(server, endpoint, Body=b"after")
    assert second["OutputLocation"] == first["OutputLocation"]
    deploy.read(server, other["OutputLocation"])
    s3 = server.client("s3")
    wanted = s3.get_object(Bucket=BUCKET, Key="out/same.out")["Body"].read()
    assert wanted in {b"first", b"second"}


def test_an_answer_that_ends_with_its_connection_counts(server: ServerProcess, endpoint: str) -> None:
    accepted = _invoke(server, endpoint, Body=wish(answer="whole", no_length=True))
    assert deploy.read(server, accepted["OutputLocation"]) == b"whole"


FAILURES = {
    "a missing input": ({"InputLocation": f"s3://{BUCKET}/no-such-object"}, "no-such-object does not exist"),
    "a bucket that is missing": ({"InputLocation": "s3://no-such-bucket-here/x"}, "The bucket no-such-bucket-here of"),
    "a container error": ({"Body": wish(status=500, answer="it broke")}, "server error (500)"),
    "a client error": ({"Body": wish(status=400, answer="it broke")}, "client error (400)"),
    "a timeout": ({"Body": wish(sleep=30), "InvocationTimeoutSeconds": 1}, "within 1 seconds"),
    "half an answer": ({"Body": wish(answer="it broke", half=True)}, "could not be used"),
    "a stalled answer": ({"Body": wish(answer="it broke", stall=True), "InvocationTimeoutSeconds": 1}, "within 1 seconds"),
    "a dripping answer": ({"Body": wish(answer="it broke" * 99, drip=0.1), "InvocationTimeoutSeconds": 1}, "within 1 seconds"),
    "long headers": ({"Body": wish(answer="it broke", header_bytes=5000)}, "length greater than 4096 bytes"),
    "a length that is never reached": (
        {"Body": wish(answer="it broke", lie=10), "InvocationTimeoutSeconds": 1},
        "began to answer (200) and did not come to an end within 1 seconds",
    ),
    "a body limit": (
        {
            "InputLocation": f"s3://{BUCKET}/large",
            "CustomAttributes": json.dumps({"early": True, "status": 413, "answer": "it broke"}),
        },
        "client error (413)",
    ),
    "a lying length": ({"Body": wish(answer="it broke", lie=10, close=True)}, "could not be used"),
}


@pytest.mark.parametrize("case", FAILURES)
def test_every_failure_leaves_an_object_and_a_message(
    server: ServerProcess, endpoint: str, subscriber: Subscriber, case: str
) -> None:
    params, words = FAILURES[case]
    answer = _invoke(server, endpoint, **params)  # type: ignore[arg-type]
    location = answer["FailureLocation"]
    body = deploy.read(server, location)
    subscriber.wait(lambda: location in subscriber.results("Failed"), case)
    (message,) = subscriber.results("Failed")[location]
    assert words in message["failureReason"]
    if "error (" in words:
        assert body == b"it broke"
    else:
        assert words in json.loads(body)["failureReason"]
    _, _, bucket, key = answer["OutputLocation"].split("/", 3)
    s3 = server.client("s3")
    with pytest.raises(ClientError, match="404"):
        s3.head_object(Bucket=bucket, Key=key)


def test_a_request_that_kills_its_instance_fails_after_three_and_the_endpoint_lives_on(
    server: ServerProcess, endpoint: str, subscriber: Subscriber
) -> None:
    answer = _invoke(server, endpoint, Body=wish(die=9))
    subscriber.wait(lambda: answer["FailureLocation"] in subscriber.results("Failed"), "the poison request's end")
    (message,) = subscriber.results("Failed")[answer["FailureLocation"]]
    assert "3 times" in message["failureReason"]
    assert "The model server ended with exit code 9." in message["failureReason"]
    history = json.loads(deploy.read(server, answer["FailureLocation"]))["attemptHistory"]
    assert ["ended with exit code 9" in each["reason"] for each in history] == [True] * 3
    (variant,) = server.client("sagemaker").describe_endpoint(EndpointName=endpoint)["ProductionVariants"]
    assert "The model server ended with exit code 9." in variant["VariantStatus"][0]["StatusMessage"]
    later = _invoke(server, endpoint, Body=b"still there")
    assert deploy.read(server, later["OutputLocation"]) == b"still there"


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({}, "got neither"),
        ({"Body": b"x", "InputLocation": "s3://b/k"}, "got both"),
        ({"InputLocation": "ftp://b/k"}, "inputLocation"),
        ({"Body": b"x", "Filename": "a.b.c"}, "filename"),
        ({"Body": b"x", "S3OutputPathExtension": "s3://b"}, "s3OutputPathExtension"),
        ({"Body": b"x", "RequestTTLSeconds": 59}, "greater than or equal to 60"),
        ({"Body": b"x", "InvocationTimeoutSeconds": 3601}, "less than or equal to 3600"),
        ({"Body": b"x" * 128_001}, "128000"),
        ({"Body": b"x", "EndpointName": "nobody"}, "Endpoint nobody of account 123456789012 not found."),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_wrong_request_is_a_validation_error(server: ServerProcess, endpoint: str, params: dict[str, Any], words: str) -> None:
    client = server.client("sagemaker-runtime", parameter_validation=False)
    with pytest.raises(ClientError) as refused:
        client.invoke_endpoint_async(**{"EndpointName": endpoint, **params})
    error = refused.value.response
    assert error["Error"]["Code"] == "ValidationError"
    assert error["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert words in error["Error"]["Message"]


def test_the_synchronous_call_is_refused_in_sagemakers_words(server: ServerProcess, endpoint: str) -> None:
    with pytest.raises(ClientError, match=f"Endpoint {endpoint} does not support this inference type."):
        server.client("sagemaker-runtime").invoke_endpoint(EndpointName=endpoint, Body=b"x")
