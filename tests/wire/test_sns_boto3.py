"""SNS as an unmodified boto3 speaks it, and as a subscriber sees it, through the whole door over HTTP."""

import asyncio
import socket
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
import uvicorn
from botocore.config import Config
from botocore.exceptions import ClientError
from tests.support.door import no_invocations
from tests.support.server import abort_connections
from tests.support.topics import CALLER, SCOPE, Cloud, TestClock, cloud, is_authentic, receiving

from tarry.aws.app import App
from tarry.backends.system import SystemClock, SystemIds
from tarry.core.keys import AccessKey
from tarry.testing.keyring import FakeKeyring

SECRET = "secret-of-the-test"


@dataclass
class Door:
    """A served SNS: boto3's client, the topics behind it, and where it listens."""

    client: Any
    cloud: Cloud
    url: str

    async def call(self, operation: str, **params: Any) -> dict[str, Any]:
        run: Callable[..., dict[str, Any]] = getattr(self.client, operation)
        return await asyncio.to_thread(run, **params)

    async def get(self, url: str) -> tuple[int, bytes]:
        """An unsigned GET, as a browser or a subscriber does it."""

        def fetch() -> tuple[int, bytes]:
            try:
                with urllib.request.urlopen(url, timeout=20) as answer:
                    return answer.status, answer.read()
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, error.read()

        return await asyncio.to_thread(fetch)


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    clock = SystemClock()
    async with cloud(tmp_path, TestClock(clock.now_us())) as given:
        keyring = FakeKeyring()
        await keyring.add(
            AccessKey(id=CALLER.access_key_id, secret=SECRET, name="test", principal_arn=CALLER.principal_arn, created_at_us=0)
        )
        app = App(
            services={"sns": given.service},
            keyring=keyring,
            scope=SCOPE,
            clock=clock,
            ids=SystemIds(),
            public_url=lambda: given.public_url,
            endpoint_of=no_invocations,
            internal={given.signer.certificate_path: given.signer.certificate},
        )
        listener = socket.create_server(("127.0.0.1", 0))  # what connects before the server has started waits in the backlog
        given.public_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
        serving = asyncio.create_task(server._serve([listener]))
        client = boto3.client(
            "sns",
            endpoint_url=given.public_url,
            region_name=SCOPE.region,
            aws_access_key_id=CALLER.access_key_id,
            aws_secret_access_key=SECRET,
            config=Config(retries={"total_max_attempts": 1}),
        )
        async with given.pushing():
            yield Door(client, given, given.public_url)
        client.close()
        server.should_exit = True
        await serving
        await abort_connections(server)


async def test_the_life_of_a_topic_and_its_subscriber(door: Door) -> None:
    async with receiving() as inbox:
        topic = (await door.call("create_topic", Name="results", Tags=[{"Key": "k", "Value": "v"}]))["TopicArn"]
        await door.call("set_topic_attributes", TopicArn=topic, AttributeName="DisplayName", AttributeValue="Grüße & <Co>")
        answer = await door.call("get_topic_attributes", TopicArn=topic)
        assert answer["Attributes"]["DisplayName"] == "Grüße & <Co>"
        assert (await door.call("list_tags_for_resource", ResourceArn=topic))["Tags"] == [{"Key": "k", "Value": "v"}]

        told = await door.call("subscribe", TopicArn=topic, Protocol="http", Endpoint=inbox.url)
        assert told["SubscriptionArn"] == "pending confirmation"
        letter = (await inbox.next()).json
        status, certificate = await door.get(letter["SigningCertURL"])
        assert status == 200
        assert is_authentic(letter, certificate)
        status, body = await door.get(letter["SubscribeURL"])
        assert status == 200
        assert b"<ConfirmSubscriptionResult>" in body

        [listed] = (await door.call("list_subscriptions_by_topic", TopicArn=topic))["Subscriptions"]
        sent = await door.call(
            "publish",
            TopicArn=topic,
            Message="✓ done\n",
            Subject="S",
            MessageAttributes={
                "n": {"DataType": "Number", "StringValue": "1"},
                "b": {"DataType": "Binary", "BinaryValue": b"\0"},
            },
        )
        got = (await inbox.next()).json
        assert (got["MessageId"], got["Message"]) == (sent["MessageId"], "✓ done\n")
        assert got["MessageAttributes"] == {"n": {"Type": "Number", "Value": "1"}, "b": {"Type": "Binary", "Value": "AA=="}}
        assert is_authentic(got, certificate)

        status, _ = await door.get(got["UnsubscribeURL"])
        assert status == 200
        assert (await inbox.next()).json["Type"] == "UnsubscribeConfirmation"
        assert (await door.call("list_subscriptions"))["Subscriptions"] == []
        with pytest.raises(ClientError, match=r"NotFound.*Subscription does not exist"):
            await door.call("get_subscription_attributes", SubscriptionArn=listed["SubscriptionArn"])
        await door.call("delete_topic", TopicArn=topic)


async def test_every_remaining_operation_is_understood(door: Door) -> None:
    topic = (await door.call("create_topic", Name="t", Attributes={"SignatureVersion": "2"}))["TopicArn"]
    url = "http://127.0.0.1:9/"
    asked = await door.call("subscribe", TopicArn=topic, Protocol="http", Endpoint=url, ReturnSubscriptionArn=True)
    arn = asked["SubscriptionArn"]
    await door.call("set_subscription_attributes", SubscriptionArn=arn, AttributeName="RawMessageDelivery", AttributeValue="true")
    shown = (await door.call("get_subscription_attributes", SubscriptionArn=arn))["Attributes"]
    assert (shown["RawMessageDelivery"], shown["PendingConfirmation"]) == ("true", "true")
    await door.call("tag_resource", ResourceArn=topic, Tags=[{"Key": "a", "Value": ""}])
    await door.call("untag_resource", ResourceArn=topic, TagKeys=["a"])
    entries = [{"Id": "a", "Message": "1"}, {"Id": "b", "Message": "2", "Subject": "two\nlines"}]
    batch = await door.call("publish_batch", TopicArn=topic, PublishBatchRequestEntries=entries)
    assert [one["Id"] for one in batch["Successful"]] == ["a"]
    assert [(one["Id"], one["Code"]) for one in batch["Failed"]] == [("b", "InvalidParameter")]
    await door.call("unsubscribe", SubscriptionArn=arn)
    assert (await door.call("list_topics"))["Topics"] == [{"TopicArn": topic}]


async def test_errors_become_boto3s_own_exceptions(door: Door) -> None:
    errors = door.client.exceptions
    with pytest.raises(errors.NotFoundException, match="Topic does not exist"):
        await door.call("publish", TopicArn=SCOPE.arn("sns", "none"), Message="m")
    with pytest.raises(errors.InvalidParameterException, match="An ARN must have at least 6 elements"):
        await door.call("publish", TopicArn="none", Message="m")
    with pytest.raises(errors.AuthorizationErrorException):
        await door.call("publish", TopicArn="arn:aws:sns:us-east-1:999999999999:t", Message="m")
    with pytest.raises(errors.InvalidParameterException, match="Topic Name"):
        await door.call("create_topic", Name="a/b")


async def test_nothing_works_unsigned_without_a_token(door: Door) -> None:
    topic = (await door.call("create_topic", Name="t"))["TopicArn"]
    for query in (
        "Action=ListTopics",
        f"Action=DeleteTopic&TopicArn={topic}",
        f"Action=ConfirmSubscription&TopicArn={topic}&Token=x",
        f"Action=ConfirmSubscription&TopicArn={topic}",
        f"Action=Unsubscribe&SubscriptionArn={topic}:00000000-0000-4000-8000-000000000001",
        "Action=Unsubscribe",
    ):
        status, body = await door.get(f"{door.url}/?{query}")
        assert 400 <= status < 500, query
        assert b"Traceback" not in body
    assert len((await door.call("list_topics"))["Topics"]) == 1
