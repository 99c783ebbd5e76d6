"""What a subscriber gets: headers and a signed JSON document, or the bare message where delivery is raw.

Forms: sns/latest/dg/sns-message-and-json-formats.html, http-header.html and sns-verify-signature-of-message.html.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from tarry.core.notifications import iso_millis
from tarry.core.topics import MessageKind, Push
from tarry.embedded.topics.signer import Signer

_SIGNED = {
    MessageKind.NOTIFICATION: ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    MessageKind.SUBSCRIPTION_CONFIRMATION: ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
    MessageKind.UNSUBSCRIBE_CONFIRMATION: ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """One HTTP request to a subscriber: POST ``body`` with ``headers`` to ``url``."""

    url: str
    headers: Mapping[str, str]
    body: bytes


class Envelopes:
    """Makes envelopes: ``public_url`` gives what absolute URLs begin with now, without a slash at the end."""

    def __init__(self, signer: Signer, public_url: Callable[[], str]) -> None:
        self._signer = signer
        self._public_url = public_url

    def make(self, push: Push) -> Envelope:
        """The request for one push. Every try of it says the same, apart from a public URL that has changed meanwhile."""
        subscription, message = push.subscription, push.message
        raw = subscription.raw and message.kind is MessageKind.NOTIFICATION
        headers = {
            "Content-Type": "text/plain; charset=UTF-8",  # AWS: also for JSON (http-header.html)
            "User-Agent": "Amazon Simple Notification Service Agent",
            "x-amz-sns-message-type": message.kind.value,
            "x-amz-sns-message-id": message.id,
            "x-amz-sns-topic-arn": subscription.topic_arn,
        }
        if message.kind is not MessageKind.SUBSCRIPTION_CONFIRMATION:
            headers["x-amz-sns-subscription-arn"] = subscription.arn
        if raw:
            headers["x-amz-sns-rawdelivery"] = "true"
            return Envelope(url=subscription.endpoint, headers=headers, body=_text_of(push).encode())
        document = json.dumps(self._document(push), indent=2, separators=(",", " : "), ensure_ascii=False)
        return Envelope(url=subscription.endpoint, headers=headers, body=document.encode())

    def _document(self, push: Push) -> dict[str, object]:
        subscription, message = push.subscription, push.message
        base = self._public_url()
        said: dict[str, str] = {"Type": message.kind.value, "MessageId": message.id}
        if message.kind is not MessageKind.NOTIFICATION:
            said["Token"] = subscription.token
        said["TopicArn"] = subscription.topic_arn
        if message.draft.subject is not None:
            said["Subject"] = message.draft.subject
        said["Message"] = _text_of(push)
        if message.kind is not MessageKind.NOTIFICATION:
            query = {"Action": "ConfirmSubscription", "TopicArn": subscription.topic_arn, "Token": subscription.token}
            said["SubscribeURL"] = f"{base}/?{urlencode(query, safe=':')}"
        said["Timestamp"] = iso_millis(message.created_at_us)
        said["SignatureVersion"] = push.signature_version
        said["Signature"] = self._signer.sign(string_to_sign(said), push.signature_version)
        said["SigningCertURL"] = base + self._signer.certificate_path
        document: dict[str, object] = dict(said)
        if message.kind is MessageKind.NOTIFICATION:
            # OURS: AWS takes an unsigned Unsubscribe from whoever knows the ARN; we want a secret, and put it behind the ARN
            # since the operation has no member for one.
            target = f"{subscription.arn}:{subscription.unsubscribe_token}"
            document["UnsubscribeURL"] = f"{base}/?{urlencode({'Action': 'Unsubscribe', 'SubscriptionArn': target}, safe=':')}"
        if message.draft.attributes:
            document["MessageAttributes"] = {
                name: {"Type": attribute.type, "Value": attribute.value} for name, attribute in message.draft.attributes.items()
            }
        return document


def string_to_sign(said: Mapping[str, str]) -> str:
    """The text that is signed: each key of the message's type and its value in byte order of keys, a line feed after each."""
    keys = _SIGNED[MessageKind(said["Type"])]
    return "".join(f"{key}\n{said[key]}\n" for key in keys if key in said)


def _text_of(push: Push) -> str:
    draft = push.message.draft
    return draft.texts.get(push.subscription.protocol, draft.text)
