import pytest

from tarry.core.errors import Bug, InvalidRequest, NotSupported
from tarry.core.topics import (
    MESSAGE_BYTES_MAX,
    SUBSCRIPTION_TRANSITIONS,
    Draft,
    MessageAttribute,
    Subscription,
    SubscriptionState,
    Topic,
    check_draft,
    check_endpoint,
    check_topic_name,
    structured,
)


@pytest.mark.parametrize("name", ["a", "A-b_9", "x" * 256])
def test_names_that_sns_takes(name: str) -> None:
    check_topic_name(name)


@pytest.mark.parametrize("name", ["", "x" * 257, "a b", "a/b", "../x", "tópico", "a:b", "a\n", "a.b"])
def test_names_that_sns_refuses(name: str) -> None:
    with pytest.raises(InvalidRequest, match=r"^Topic Name"):
        check_topic_name(name)


def test_fifo_topics_are_refused_by_name() -> None:
    with pytest.raises(NotSupported, match="FIFO"):
        check_topic_name("orders.fifo")


@pytest.mark.parametrize(
    ("protocol", "endpoint"),
    [
        ("http", "http://127.0.0.1:9/x?y=1"),
        ("https", "https://user:secret@example.com/"),
        ("http", "http://[::1]:80"),
        ("http", "http://host"),
    ],
)
def test_endpoints_that_are_taken(protocol: str, endpoint: str) -> None:
    check_endpoint(protocol, endpoint)


@pytest.mark.parametrize(
    ("protocol", "endpoint", "words"),
    [
        ("https", "http://host/", "Endpoint must match the specified protocol"),
        ("http", "", "Endpoint must match the specified protocol"),
        ("http", "http://", "Endpoint"),
        ("http", "http:///path", "Endpoint"),
        ("http", "http://host:99999/", "Endpoint"),
        ("http", "http://host:0/", "Endpoint"),
        ("http", "http://[::1/", "Endpoint"),
        ("http", "http://host/a b", "Endpoint"),
        ("http", "http://host/\r\nX: y", "Endpoint"),
        ("http", "http://host/#top", "Endpoint"),
        ("http", "http://host/" + "x" * 2048, "Endpoint"),
        ("http", "http://host/\ud800", "Endpoint"),
        ("gopher", "gopher://host/", "does not support this protocol string: gopher"),
        ("sqs", "arn:aws:sqs:us-east-1:123456789012:q", "not to sqs"),
        ("email", "a@example.com", "not to email"),
    ],
)
def test_endpoints_that_are_refused(protocol: str, endpoint: str, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        check_endpoint(protocol, endpoint)


def test_the_size_limit_counts_bytes_of_text_and_attributes() -> None:
    check_draft(Draft(text="x" * MESSAGE_BYTES_MAX))
    with pytest.raises(InvalidRequest, match=r"^Message too long"):
        check_draft(Draft(text="x" * (MESSAGE_BYTES_MAX + 1)))
    with pytest.raises(InvalidRequest, match=r"^Message too long"):
        check_draft(Draft(text="é" * (MESSAGE_BYTES_MAX // 2 + 1)))
    attribute = MessageAttribute(type="String", value="v")
    with pytest.raises(InvalidRequest, match=r"^Message too long"):
        check_draft(Draft(text="x" * (MESSAGE_BYTES_MAX - 7), attributes={"n": attribute}))


@pytest.mark.parametrize("subject", ["", "x" * 101, "two\nlines", "bell\a", "half \ud800"])
def test_subjects_that_are_refused(subject: str) -> None:
    with pytest.raises(InvalidRequest):
        check_draft(Draft(text="m", subject=subject))


@pytest.mark.parametrize(
    ("name", "type_", "value"),
    [
        ("", "String", "v"),
        (".a", "String", "v"),
        ("a..b", "String", "v"),
        ("AWS.x", "String", "v"),
        ("a b", "String", "v"),
        ("a", "Text", "v"),
        ("a", "String", ""),
        ("a", "Number", "seven"),
        ("a" * 257, "String", "v"),
    ],
)
def test_attributes_that_are_refused(name: str, type_: str, value: str) -> None:
    with pytest.raises(InvalidRequest, match="MessageAttributes"):
        check_draft(Draft(text="m", attributes={name: MessageAttribute(type=type_, value=value)}))


def test_structured_messages() -> None:
    assert structured('{"default":"d","http":"h","sqs":"s","https":7}') == ("d", {"http": "h"})
    for broken in ("", "[]", '"x"', "{", "[" * 100_000):
        with pytest.raises(InvalidRequest, match="failed to parse"):
            structured(broken)
    for without in ("{}", '{"default":1}', '{"http":"h"}'):
        with pytest.raises(InvalidRequest, match="No default entry"):
            structured(without)


def test_topic_attributes() -> None:
    topic = Topic(name="t", arn="a", created_at_us=0)
    assert topic.with_attribute("SignatureVersion", "2").signature_version == "2"
    assert topic.with_attribute("FifoTopic", "false") == topic
    assert topic.with_attribute("KmsMasterKeyId", "") == topic
    with pytest.raises(NotSupported):
        topic.with_attribute("KmsMasterKeyId", "alias/x")
    for name in ("x" * 101, "bell\a", "two\nlines"):
        with pytest.raises(InvalidRequest, match="DisplayName"):
            topic.with_attribute("DisplayName", name)
    with pytest.raises(InvalidRequest, match="AttributeName"):
        topic.with_attribute("Colour", "red")
    with pytest.raises(InvalidRequest, match="SignatureVersion"):
        topic.with_attribute("SignatureVersion", "3")


def _subscription(state: SubscriptionState) -> Subscription:
    return Subscription(
        id="i",
        topic_arn="t",
        protocol="http",
        endpoint="http://h",
        state=state,
        token="x",
        token_expires_at_us=0,
        unsubscribe_token="y",
        principal_arn="p",
        created_at_us=0,
    )


@pytest.mark.parametrize("before", SubscriptionState)
@pytest.mark.parametrize("after", SubscriptionState)
def test_subscriptions_follow_their_table(before: SubscriptionState, after: SubscriptionState) -> None:
    if after in SUBSCRIPTION_TRANSITIONS[before]:
        assert _subscription(before).moved_to(after).state is after
    else:
        with pytest.raises(Bug):
            _subscription(before).moved_to(after)


def test_filter_policies_are_refused_and_not_dropped() -> None:
    with pytest.raises(NotSupported, match="FilterPolicy"):
        _subscription(SubscriptionState.CONFIRMED).with_attribute("FilterPolicy", '{"a":["b"]}')
