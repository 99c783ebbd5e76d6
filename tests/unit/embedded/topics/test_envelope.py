import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from tests.support.topics import PUBLIC_URL, SCOPE, is_authentic

from tarry.core.topics import Draft, Message, MessageAttribute, MessageKind, Push, Subscription, SubscriptionState
from tarry.embedded.topics.envelope import Envelope, Envelopes
from tarry.embedded.topics.signer import Signer

ARN = SCOPE.arn("sns", "t")
NOW_US = 1_700_000_000_123_456


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    directory: Path = tmp_path_factory.mktemp("signer")
    return Signer.load(directory, NOW_US)


def push(kind: MessageKind = MessageKind.NOTIFICATION, version: str = "1", *, raw: bool = False, **draft: Any) -> Push:
    subscription = Subscription(
        id="sub-1",
        topic_arn=ARN,
        protocol="http",
        endpoint="http://host/x",
        state=SubscriptionState.CONFIRMED,
        token="token-1",
        token_expires_at_us=0,
        unsubscribe_token="out-1",
        principal_arn="p",
        created_at_us=0,
        raw=raw,
    )
    message = Message(id="m-1", kind=kind, created_at_us=NOW_US, draft=Draft(**({"text": "Grüße\n✓"} | draft)))
    return Push(seq=1, message=message, subscription=subscription, signature_version=version, tries=0)


def make(signer: Signer, given: Push) -> tuple[Envelope, dict[str, Any]]:
    envelope = Envelopes(signer, lambda: PUBLIC_URL).make(given)
    return envelope, json.loads(envelope.body)


def test_a_notification_in_awss_form(signer: Signer) -> None:
    attributes = {"n": MessageAttribute(type="Number", value="7")}
    envelope, document = make(signer, push(subject="S", attributes=attributes))
    assert list(document) == [
        *("Type", "MessageId", "TopicArn", "Subject", "Message", "Timestamp", "SignatureVersion", "Signature"),
        *("SigningCertURL", "UnsubscribeURL", "MessageAttributes"),
    ]
    assert (document["Message"], document["Subject"], document["Timestamp"]) == ("Grüße\n✓", "S", "2023-11-14T22:13:20.123Z")
    assert document["MessageAttributes"] == {"n": {"Type": "Number", "Value": "7"}}
    assert document["SigningCertURL"] == PUBLIC_URL + signer.certificate_path
    assert dict(envelope.headers) == {
        "Content-Type": "text/plain; charset=UTF-8",
        "User-Agent": "Amazon Simple Notification Service Agent",
        "x-amz-sns-message-type": "Notification",
        "x-amz-sns-message-id": "m-1",
        "x-amz-sns-topic-arn": ARN,
        "x-amz-sns-subscription-arn": f"{ARN}:sub-1",
    }
    query = parse_qs(urlsplit(document["UnsubscribeURL"]).query)
    assert query == {"Action": ["Unsubscribe"], "SubscriptionArn": [f"{ARN}:sub-1:out-1"]}


def test_no_subject_and_no_attributes_leave_no_trace(signer: Signer) -> None:
    _, document = make(signer, push())
    assert not {"Subject", "MessageAttributes", "Token", "SubscribeURL"} & set(document)


@pytest.mark.parametrize("kind", [MessageKind.SUBSCRIPTION_CONFIRMATION, MessageKind.UNSUBSCRIBE_CONFIRMATION])
def test_letters_carry_the_token_and_never_the_unsubscribe_token(signer: Signer, kind: MessageKind) -> None:
    envelope, document = make(signer, push(kind, raw=True))
    assert list(document) == [
        *("Type", "MessageId", "Token", "TopicArn", "Message", "SubscribeURL", "Timestamp", "SignatureVersion", "Signature"),
        "SigningCertURL",
    ]
    query = parse_qs(urlsplit(document["SubscribeURL"]).query)
    assert query == {"Action": ["ConfirmSubscription"], "TopicArn": [ARN], "Token": ["token-1"]}
    assert b"out-1" not in envelope.body
    has_arn = "x-amz-sns-subscription-arn" in envelope.headers
    assert has_arn == (kind is MessageKind.UNSUBSCRIBE_CONFIRMATION)


@pytest.mark.parametrize("kind", MessageKind)
@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("subject", [None, "S"])
def test_a_verifier_accepts_every_message_and_rejects_changed_ones(
    signer: Signer, kind: MessageKind, version: str, subject: str | None
) -> None:
    _, document = make(signer, push(kind, version, subject=subject if kind is MessageKind.NOTIFICATION else None))
    assert document["SignatureVersion"] == version
    assert is_authentic(document, signer.certificate_pem)
    signed = {"Message", "MessageId", "Subject", "SubscribeURL", "Timestamp", "Token", "TopicArn"} & set(document)
    for name in signed:
        assert not is_authentic(document | {name: document[name] + "x"}, signer.certificate_pem), name
    other = "2" if version == "1" else "1"
    assert not is_authentic(document | {"SignatureVersion": other}, signer.certificate_pem)


def test_raw_delivery_is_the_bare_message(signer: Signer) -> None:
    envelope = Envelopes(signer, lambda: PUBLIC_URL).make(push(raw=True, text='{"a":1}', subject="S"))
    assert envelope.body == b'{"a":1}'
    assert envelope.headers["x-amz-sns-rawdelivery"] == "true"
    assert envelope.headers["x-amz-sns-message-id"] == "m-1"


def test_each_protocol_gets_its_own_text(signer: Signer) -> None:
    given = push(text="default", texts={"http": "for http"})
    assert make(signer, given)[1]["Message"] == "for http"
    https = replace(given, subscription=replace(given.subscription, protocol="https"))
    assert make(signer, https)[1]["Message"] == "default"
