"""Topics from Subscribe to a delivered message, over real HTTP and a real database, through failures and restarts."""

import asyncio
import datetime
import ipaddress
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from sqlalchemy import func, select
from tests.support.topics import Cloud, TestClock, cloud, is_authentic, receiving, subscribed

from tarry.aws.errors import AwsError
from tarry.core.notifications import Notification
from tarry.core.retry import RetrySchedule
from tarry.embedded.topics import schema
from tarry.embedded.topics.deliveries import Tried
from tarry.embedded.topics.notifier import EmbeddedNotifier


async def new_topic(given: Cloud, name: str = "results", **attributes: str) -> str:
    arn: str = (await given.call("CreateTopic", Name=name, Attributes=attributes))["TopicArn"]
    return arn


async def states(given: Cloud) -> dict[str, int]:
    query = select(schema.push.c.state, func.count()).group_by(schema.push.c.state)
    return await given.database.read(lambda c: {row[0]: int(row[1]) for row in c.execute(query)})


async def until(given: Cloud, expected: dict[str, int]) -> None:
    """Wait until the pushes are in these states: what a subscriber has got is written down a moment later."""
    async with asyncio.timeout(20):
        while await states(given) != expected:
            pass


def query_of(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items() if name != "Action"}


@pytest.mark.parametrize("version", ["1", "2"])
async def test_subscribe_confirm_by_url_publish_unsubscribe_by_url(tmp_path: Path, version: str) -> None:
    async with cloud(tmp_path) as given, receiving() as inbox, given.pushing():
        topic = await new_topic(given, SignatureVersion=version)
        told = await given.call("Subscribe", TopicArn=topic, Protocol="http", Endpoint=inbox.url)
        assert told == {"SubscriptionArn": "pending confirmation"}
        letter = await inbox.next()
        assert letter.path == "/inbox"
        assert letter.headers["Content-Type"] == "text/plain; charset=UTF-8"
        assert letter.headers["User-Agent"] == "Amazon Simple Notification Service Agent"
        assert is_authentic(letter.json, given.signer.certificate_pem)

        await given.call("Publish", TopicArn=topic, Message="too early")
        confirmed = await given.call("ConfirmSubscription", signed=False, **query_of(letter.json["SubscribeURL"]))
        published = await given.call("Publish", TopicArn=topic, Message="hello", Subject="S")
        got = await inbox.next()
        assert (got.json["Message"], got.json["MessageId"]) == ("hello", published["MessageId"])
        assert got.headers["x-amz-sns-subscription-arn"] == confirmed["SubscriptionArn"]
        assert got.json["SignatureVersion"] == version
        assert is_authentic(got.json, given.signer.certificate_pem)
        assert not is_authentic(got.json | {"Message": "hullo"}, given.signer.certificate_pem)

        await given.call("Unsubscribe", signed=False, **query_of(got.json["UnsubscribeURL"]))
        farewell = await inbox.next()
        assert farewell.json["Type"] == "UnsubscribeConfirmation"
        assert is_authentic(farewell.json, given.signer.certificate_pem)
        await given.call("Publish", TopicArn=topic, Message="nobody hears this")
        assert (await given.call("ListSubscriptions"))["Subscriptions"] == []

        await given.call("ConfirmSubscription", signed=False, **query_of(farewell.json["SubscribeURL"]))
        await given.call("Publish", TopicArn=topic, Message="back again")
        assert (await inbox.next()).json["Message"] == "back again"


async def test_retries_keep_the_message_id_and_end_with_success(tmp_path: Path) -> None:
    async with cloud(tmp_path) as given, receiving() as inbox, given.pushing():
        topic = await new_topic(given)
        await subscribed(given, inbox, topic)
        inbox.statuses = [500, 503, 429]
        await given.call("Publish", TopicArn=topic, Message="again and again")
        tries = [await inbox.next() for _ in range(4)]
        assert len({got.json["MessageId"] for got in tries}) == 1
        assert len({got.body for got in tries}) == 1, "every try says the same"
        await until(given, {"Done": 2})


@pytest.mark.parametrize("status", [400, 404, 410, 301, 307])
async def test_client_errors_and_redirects_are_final(tmp_path: Path, status: int) -> None:
    async with cloud(tmp_path) as given, receiving() as inbox, receiving() as elsewhere, given.pushing():
        topic = await new_topic(given)
        await subscribed(given, inbox, topic)
        inbox.statuses, inbox.headers = [status], {"Location": elsewhere.url}
        await given.call("Publish", TopicArn=topic, Message="no")
        await inbox.next()
        await until(given, {"Done": 1, "Failed": 1})
        assert (inbox.count, elsewhere.count) == (2, 0), "redirects are not followed"
        errors = await given.database.read(lambda c: list(c.execute(select(schema.push.c.last_error)).scalars()))
        assert f"HTTP status {status}" in errors


async def test_the_schedule_says_when_and_how_often(tmp_path: Path) -> None:
    clock = TestClock()
    schedule = RetrySchedule((20.0, 600.0))
    async with cloud(tmp_path, clock) as given, receiving() as inbox, given.pushing(schedule=schedule):
        topic = await new_topic(given)
        await subscribed(given, inbox, topic)
        await until(given, {"Done": 1})
        inbox.statuses = [500] * 9
        await given.call("Publish", TopicArn=topic, Message="m")
        for wait_s in (20, 600):
            await inbox.next()
            await recorded(given, inbox.count - 1)
            clock.advance(wait_s - 1)
            assert await given.deliveries.lanes_due() == []
            clock.advance(1)
        await inbox.next()
        await until(given, {"Done": 1, "Failed": 1})
        assert inbox.count == 1 + 3


async def recorded(given: Cloud, tries: int) -> None:
    query = select(func.max(schema.push.c.tries)).where(schema.push.c.last_error.is_not(None))
    async with asyncio.timeout(20):
        while await given.database.read(lambda c: c.execute(query).scalar()) != tries:
            pass


async def test_what_is_pending_survives_a_restart(tmp_path: Path) -> None:
    async with receiving() as inbox:
        async with cloud(tmp_path) as given:
            topic = await new_topic(given)
            async with given.pushing():
                arn = await subscribed(given, inbox, topic)
                await until(given, {"Done": 1})
                inbox.statuses = [500]
                inbox.hanging = True
                published = await given.call("Publish", TopicArn=topic, Message="before")
                await inbox.next()  # in flight when everything goes down
            later = await given.call("Publish", TopicArn=topic, Message="while no pusher ran")
        inbox.release()
        inbox.statuses = []
        async with cloud(tmp_path) as given, given.pushing():
            ids = [(await inbox.next()).json["MessageId"] for _ in range(2)]
            assert set(ids) == {published["MessageId"], later["MessageId"]}
            attributes = await given.call("GetSubscriptionAttributes", SubscriptionArn=arn)
            assert attributes["Attributes"]["PendingConfirmation"] == "false"
            await until(given, {"Done": 3})


async def test_a_confirmation_request_is_retried_after_a_restart(tmp_path: Path) -> None:
    async with receiving() as inbox:
        async with cloud(tmp_path) as given:
            topic = await new_topic(given)
            await given.call("Subscribe", TopicArn=topic, Protocol="http", Endpoint=inbox.url)
        async with cloud(tmp_path) as given, given.pushing():
            letter = await inbox.next()
            await given.call("ConfirmSubscription", signed=False, **query_of(letter.json["SubscribeURL"]))


async def test_a_dead_subscriber_holds_up_nobody(tmp_path: Path) -> None:
    async with cloud(tmp_path) as given, receiving() as dead, receiving() as alive, given.pushing(pushes_per_subscriber_max=2):
        topic = await new_topic(given)
        await subscribed(given, dead, topic)
        await subscribed(given, alive, topic)
        dead.hanging = True
        sent = [(await given.call("Publish", TopicArn=topic, Message=str(n)))["MessageId"] for n in range(25)]
        got = [(await alive.next()).json["MessageId"] for _ in sent]
        assert sorted(got) == sorted(sent)
        assert dead.count <= 1 + 2, "no more at once than the bound"


async def test_a_subscriber_that_never_answers_is_given_the_time_limit(tmp_path: Path) -> None:
    async with cloud(tmp_path) as given, receiving() as inbox, given.pushing(time_limit_s=0.2, schedule=RetrySchedule((0.0,))):
        topic = await new_topic(given)
        await subscribed(given, inbox, topic)
        inbox.hanging = True
        await given.call("Publish", TopicArn=topic, Message="m")
        await until(given, {"Done": 1, "Failed": 1})
        errors = await given.database.read(lambda c: list(c.execute(select(schema.push.c.last_error)).scalars()))
        assert "no answer within 0.2 s" in errors


async def test_nobody_listening_is_tried_again(tmp_path: Path) -> None:
    async with cloud(tmp_path) as given, given.pushing(schedule=RetrySchedule((0.0, 0.0))):
        topic = await new_topic(given)
        async with receiving() as gone:
            url = gone.url
        await given.call("Subscribe", TopicArn=topic, Protocol="http", Endpoint=url)
        await until(given, {"Failed": 1})
        assert await given.database.read(lambda c: c.execute(select(schema.push.c.tries)).scalar()) == 3


async def test_raw_delivery(tmp_path: Path) -> None:
    async with cloud(tmp_path) as given, receiving() as inbox, given.pushing():
        topic = await new_topic(given)
        await subscribed(given, inbox, topic, RawMessageDelivery="true")
        await given.call("Publish", TopicArn=topic, Message='{"plain":true}')
        got = await inbox.next()
        assert got.body == b'{"plain":true}'
        assert got.headers["x-amz-sns-rawdelivery"] == "true"


async def test_a_notification_twice_is_one_message(tmp_path: Path) -> None:
    async with cloud(tmp_path) as given, receiving() as inbox, given.pushing():
        topic = await new_topic(given)
        await subscribed(given, inbox, topic)
        notifier = EmbeddedNotifier(given.topics)
        note = Notification(id="inv-1", topic_arn=topic, message="{}")
        await asyncio.gather(*(notifier.publish(note) for _ in range(5)))
        assert (await inbox.next()).json["MessageId"] == "inv-1"
        await until(given, {"Done": 2})
        assert inbox.count == 2


async def test_old_pushes_and_messages_are_removed(tmp_path: Path) -> None:
    clock = TestClock()
    async with cloud(tmp_path, clock) as given, receiving() as inbox:
        topic = await new_topic(given)
        async with given.pushing():
            await subscribed(given, inbox, topic)
            await given.call("Publish", TopicArn=topic, Message="m")
            await inbox.next()
            await until(given, {"Done": 2})
        await given.call("Publish", TopicArn=topic, Message="not delivered yet")
        clock.advance(3600)
        while await given.deliveries.sweep(60):
            pass
        assert await states(given) == {"Pending": 1}
        texts = await given.database.read(lambda c: list(c.execute(select(schema.message.c.text)).scalars()))
        assert texts == ["not delivered yet"]


def self_signed(directory: Path) -> tuple[ssl.SSLContext, Path]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "subscriber")])
    now = datetime.datetime.now(datetime.UTC)
    builder: Any = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now - datetime.timedelta(1)).not_valid_after(now + datetime.timedelta(1))

    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = builder.add_extension(names, critical=False).sign(key, hashes.SHA256())
    path = directory / "subscriber.pem"
    path.write_bytes(certificate.public_bytes(Encoding.PEM))
    both = directory / "subscriber-key.pem"
    both.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + path.read_bytes())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)
    return context, path


async def test_https_needs_a_certificate_that_is_trusted(tmp_path: Path) -> None:
    context, bundle = self_signed(tmp_path)
    async with cloud(tmp_path) as given, receiving(context) as inbox:
        topic = await new_topic(given)
        async with given.pushing(schedule=RetrySchedule(())):
            await given.call("Subscribe", TopicArn=topic, Protocol="https", Endpoint=inbox.url)
            await until(given, {"Failed": 1})
            assert inbox.count == 0
        async with given.pushing(ca_bundle=bundle):
            await subscribed(given, inbox, topic)


async def test_deleting_a_topic_ends_everything_of_it(tmp_path: Path) -> None:
    async with cloud(tmp_path) as given:
        topic = await new_topic(given)
        await given.call("Subscribe", TopicArn=topic, Protocol="http", Endpoint="http://127.0.0.1:9/")
        await given.call("DeleteTopic", TopicArn=topic)
        await given.call("DeleteTopic", TopicArn=topic)
        assert await states(given) == {}
        with pytest.raises(AwsError, match="Topic does not exist"):
            await given.call("Publish", TopicArn=topic, Message="m")
        assert (await given.call("ListSubscriptions"))["Subscriptions"] == []


async def test_the_end_of_a_withdrawn_push_is_not_taken_for_anothers(tmp_path: Path) -> None:
    async with cloud(tmp_path) as given, receiving() as inbox:
        topic = await new_topic(given)
        async with given.pushing():
            arn = await subscribed(given, inbox, topic)
            await until(given, {"Done": 1})
        await given.call("Publish", TopicArn=topic, Message="in flight")
        [lane] = await given.deliveries.lanes_due()
        [flying] = await given.deliveries.due(lane, 10)
        await given.call("Unsubscribe", SubscriptionArn=arn)
        [farewell] = await given.deliveries.due(lane, 10)
        assert farewell.seq == flying.seq, "SQLite has given the number to the next row: what this test is about"
        await given.deliveries.record([Tried(push=flying)])
        assert await given.deliveries.due(lane, 10) == [farewell]
