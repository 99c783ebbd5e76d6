"""Topics, subscriptions, messages and pushes: what they are, which values they may have, and what may follow what.

The messages of InvalidRequest here begin with the words that SNS puts behind "Invalid parameter: ", so that the door adds
only those two words. Rules: the SNS API reference (CreateTopic, Subscribe, Publish) and developer guide.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from urllib.parse import urlsplit

from tarry.core.errors import Bug, InvalidRequest, NotSupported

MESSAGE_BYTES_MAX = 262_144
SUBJECT_CHARS_MAX = 100
DISPLAY_NAME_CHARS_MAX = 100
ENDPOINT_CHARS_MAX = 2048
TOKEN_VALID_US = 3 * 24 * 3600 * 1_000_000
# AWS: tokens are valid for two days (API_Subscribe) or three (older text, SendMessageToHttp); we keep to the longer promise.
PROTOCOLS = ("http", "https")

_NAME = re.compile(r"[A-Za-z0-9_-]{1,256}")
_ATTRIBUTE_NAME = re.compile(r"(?!AWS\.|Amazon\.|\.)(?!.*\.\.)[A-Za-z0-9_.-]{1,256}(?<!\.)", re.IGNORECASE)
_ONE_LINE = re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_OTHER_PROTOCOLS = frozenset({"email", "email-json", "sms", "sqs", "application", "lambda", "firehose"})
_TOPIC_ATTRIBUTES_REFUSED = frozenset(
    {"ApplicationSuccessFeedbackRoleArn", "ArchivePolicy", "ContentBasedDeduplication", "DataProtectionPolicy", "DeliveryPolicy"}
    | {"FifoThroughputScope", "FifoTopic", "KmsMasterKeyId", "MaximumMessageSize", "Policy", "TracingConfig"}
    | {
        f"{protocol}{what}"
        for protocol in ("Application", "Firehose", "HTTP", "Lambda", "SQS")
        for what in ("FailureFeedbackRoleArn", "SuccessFeedbackRoleArn", "SuccessFeedbackSampleRate")
    }
)
_TOPIC_DEFAULTS = {
    "ContentBasedDeduplication": "false",
    "FifoTopic": "false",
    "MaximumMessageSize": str(MESSAGE_BYTES_MAX),
    "TracingConfig": "PassThrough",
}
_SUBSCRIPTION_ATTRIBUTES_REFUSED = frozenset(
    {"DeliveryPolicy", "FilterPolicy", "FilterPolicyScope", "RedrivePolicy", "ReplayPolicy", "SubscriptionRoleArn"}
)


class SubscriptionState(StrEnum):
    """Where a subscription is in its life."""

    PENDING = "PendingConfirmation"
    CONFIRMED = "Confirmed"
    DELETED = "Deleted"  # unsubscribed; the token of the farewell message can bring it back


SUBSCRIPTION_TRANSITIONS: dict[SubscriptionState, frozenset[SubscriptionState]] = {
    SubscriptionState.PENDING: frozenset({SubscriptionState.CONFIRMED, SubscriptionState.DELETED}),
    SubscriptionState.CONFIRMED: frozenset({SubscriptionState.DELETED}),
    SubscriptionState.DELETED: frozenset({SubscriptionState.CONFIRMED}),
}


class PushState(StrEnum):
    """Where the delivery of one message to one subscriber is."""

    PENDING = "Pending"
    DONE = "Done"
    FAILED = "Failed"  # refused for good, or the last try failed


class MessageKind(StrEnum):
    """The value of a message's ``Type`` and of the header x-amz-sns-message-type."""

    NOTIFICATION = "Notification"
    SUBSCRIPTION_CONFIRMATION = "SubscriptionConfirmation"
    UNSUBSCRIBE_CONFIRMATION = "UnsubscribeConfirmation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """A place to publish to. ``seq`` is its row, 0 until it is stored."""

    name: str
    arn: str
    created_at_us: int
    display_name: str = ""
    signature_version: str = "1"
    tags: Mapping[str, str] = field(default_factory=dict)
    seq: int = 0

    def with_attribute(self, name: str, value: str) -> "Topic":
        """The topic with one attribute of SetTopicAttributes or CreateTopic set.

        Raises:
            NotSupported: SNS has the attribute and Tarry cannot honour it.
            InvalidRequest: there is no such attribute, or the value is not allowed.
        """
        if name == "DisplayName":
            if len(value) > DISPLAY_NAME_CHARS_MAX or (value and not _ONE_LINE.fullmatch(value)):
                raise InvalidRequest(f"DisplayName Reason: expected up to {DISPLAY_NAME_CHARS_MAX} characters in one line")
            return replace(self, display_name=value)
        if name == "SignatureVersion":
            if value not in {"1", "2"}:
                raise InvalidRequest(f"SignatureVersion Reason: expected 1 or 2, got {value[:20]!r}")
            return replace(self, signature_version=value)
        if name in _TOPIC_ATTRIBUTES_REFUSED:
            if value in {"", _TOPIC_DEFAULTS.get(name, "")}:
                return self
            raise NotSupported(f"{name} Reason: Tarry's topics do not have it; leave it out")
        raise InvalidRequest(f"AttributeName Reason: topics have no settable attribute {name[:100]!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """Who gets a topic's messages. ``token`` confirms it (again); ``unsubscribe_token`` ends it without a signature."""

    id: str
    topic_arn: str
    protocol: str
    endpoint: str
    state: SubscriptionState
    token: str
    token_expires_at_us: int
    unsubscribe_token: str
    principal_arn: str
    created_at_us: int
    raw: bool = False
    confirmation_was_authenticated: bool = False
    authenticate_on_unsubscribe: bool = False
    seq: int = 0

    @property
    def arn(self) -> str:
        """The subscription's own ARN."""
        return f"{self.topic_arn}:{self.id}"

    def moved_to(self, state: SubscriptionState) -> "Subscription":
        """The subscription in another state. Raises Bug unless the table allows the step."""
        if state not in SUBSCRIPTION_TRANSITIONS[self.state]:
            raise Bug(f"A subscription cannot go from {self.state} to {state}.")
        return replace(self, state=state)

    def with_attribute(self, name: str, value: str) -> "Subscription":
        """The subscription with one attribute set; only RawMessageDelivery can be. Errors as Topic.with_attribute."""
        if name == "RawMessageDelivery":
            if value.lower() not in {"true", "false"}:
                raise InvalidRequest(
                    f"Attributes Reason: RawMessageDelivery: Invalid value [{value[:20]}]. Must be true or false."
                )
            return replace(self, raw=value.lower() == "true")
        if name in _SUBSCRIPTION_ATTRIBUTES_REFUSED:
            if not value:
                return self
            raise NotSupported(f"{name} Reason: Tarry's subscriptions do not have it; leave it out")
        raise InvalidRequest(f"AttributeName Reason: subscriptions have no settable attribute {name[:100]!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageAttribute:
    """A typed value that travels beside a message. ``value`` is text; of Binary attributes it is base64."""

    type: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What a caller wants published. ``texts`` holds other wordings by protocol (MessageStructure json)."""

    text: str
    subject: str | None = None
    attributes: Mapping[str, MessageAttribute] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)

    @property
    def size_bytes(self) -> int:
        """What counts against the limit of a message or batch: texts and attributes (names, types and values)."""
        parts = [self.text, *self.texts.values()]
        parts += [part for name, value in self.attributes.items() for part in (name, value.type, value.value)]
        return sum(len(part.encode()) for part in parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A published message, or one of the two messages about a subscription. ``id`` is the MessageId, kept over all tries."""

    id: str
    kind: MessageKind
    created_at_us: int
    draft: Draft


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """The delivery of one message to one subscriber. ``tries`` counts the failed ones so far."""

    seq: int
    message: Message
    subscription: Subscription
    signature_version: str
    tries: int


def check_topic_name(name: str) -> None:
    """Raise InvalidRequest unless SNS would take the name (NotSupported for a FIFO topic's)."""
    if name.endswith(".fifo"):
        raise NotSupported("Topic Name Reason: Tarry has no FIFO topics; choose a name that does not end in .fifo")
    if not _NAME.fullmatch(name):
        raise InvalidRequest(f"Topic Name Reason: expected 1 to 256 letters, digits, hyphens and underscores, got {name[:300]!r}")


def check_tags(tags: Mapping[str, str]) -> None:
    """Raise InvalidRequest unless a topic may have these tags, however many there are."""
    for key, value in tags.items():
        if key.lower().startswith("aws:"):
            raise InvalidRequest(f"Tags Reason: keys that begin with aws: are reserved, got {key[:130]!r}")
        if not _ONE_LINE.fullmatch(key + value):
            raise InvalidRequest(f"Tags Reason: a key or value has control characters or line breaks: {key[:130]!r}")


def check_endpoint(protocol: str, endpoint: str) -> None:
    """Raise unless a subscription may push to this endpoint by this protocol (NotSupported for SNS's other protocols)."""
    if protocol in _OTHER_PROTOCOLS:
        raise NotSupported(f"Protocol Reason: Tarry delivers to http and https subscribers, not to {protocol}")
    if protocol not in PROTOCOLS:
        raise InvalidRequest(f"Amazon SNS does not support this protocol string: {protocol[:100]}")
    if not endpoint.startswith(f"{protocol}://"):
        raise InvalidRequest("Endpoint must match the specified protocol")
    if len(endpoint) > ENDPOINT_CHARS_MAX or any(char <= " " or char == "\x7f" for char in endpoint):
        raise InvalidRequest(f"Endpoint Reason: expected a URL of at most {ENDPOINT_CHARS_MAX} characters without spaces")
    try:
        split = urlsplit(endpoint)
        valid = bool(split.hostname) and split.port != 0 and not split.fragment
        endpoint.encode()
    except ValueError:  # a port that is no number, a broken IPv6 address, a lone surrogate
        valid = False
    if not valid:
        raise InvalidRequest("Endpoint Reason: expected a URL such as http://host:port/path, without a #fragment")


def check_draft(draft: Draft) -> None:
    """Raise InvalidRequest unless SNS would take the message. The size counts text and attributes, in bytes of UTF-8."""
    if not draft.text:
        raise InvalidRequest("Empty message")
    try:
        size = draft.size_bytes
        (draft.subject or "").encode()
    except UnicodeEncodeError:
        raise InvalidRequest("Message Reason: the text is not valid Unicode") from None
    if size > MESSAGE_BYTES_MAX:
        raise InvalidRequest(f"Message too long Reason: at most {MESSAGE_BYTES_MAX} bytes with its attributes, got {size}")
    if draft.subject is not None and (len(draft.subject) > SUBJECT_CHARS_MAX or not _ONE_LINE.fullmatch(draft.subject)):
        raise InvalidRequest(
            f"Subject Reason: expected 1 to {SUBJECT_CHARS_MAX} characters without line breaks and control characters"
        )
    for name, attribute in draft.attributes.items():
        _check_attribute(name, attribute)


def _check_attribute(name: str, attribute: MessageAttribute) -> None:
    if not _ATTRIBUTE_NAME.fullmatch(name):
        raise InvalidRequest(f"MessageAttributes Reason: the message attribute name {name[:300]!r} is not allowed")
    base = attribute.type.partition(".")[0]
    if base not in {"String", "Number", "Binary"} or len(attribute.type) > 256:
        raise InvalidRequest(
            f"MessageAttributes Reason: the message attribute {name!r} has the type {attribute.type[:100]!r}; "
            "expected String, String.Array, Number or Binary"
        )
    if not attribute.value:
        raise InvalidRequest(
            f"MessageAttributes Reason: the message attribute {name!r} must contain a non-empty value of type {attribute.type!r}"
        )
    if base == "Number":
        try:
            float(attribute.value)
        except ValueError:
            raise InvalidRequest(f"MessageAttributes Reason: the message attribute {name!r} is no number") from None


def structured(text: str) -> tuple[str, dict[str, str]]:
    """Read a message of MessageStructure json: the default text, and the texts of the protocols that we have.

    Raises:
        InvalidRequest: it is not a JSON object, or it has no ``default`` text.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise InvalidRequest("Message Structure - JSON message body failed to parse")
    default = value.get("default")
    if not isinstance(default, str):
        raise InvalidRequest("Message Structure - No default entry in JSON message body")
    return default, {name: other for name, other in value.items() if name in PROTOCOLS and isinstance(other, str)}
