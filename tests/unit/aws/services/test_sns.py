"""The SNS front on a real database: what callers are told, above all when they are wrong."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from tests.support.topics import SCOPE, Cloud, cloud

from tarry.aws.errors import AwsError
from tarry.core.topics import TOKEN_VALID_US
from tarry.embedded.topics import schema

ARN = SCOPE.arn("sns", "t")
URL = "http://127.0.0.1:9/hook"


@pytest.fixture
async def given(tmp_path: Path) -> AsyncIterator[Cloud]:
    async with cloud(tmp_path) as one:
        await one.call("CreateTopic", Name="t")
        yield one


async def refusal(given: Cloud, operation: str, *, signed: bool = True, **params: Any) -> AwsError:
    with pytest.raises(AwsError) as caught:
        await given.call(operation, signed=signed, **params)
    return caught.value


async def tokens(given: Cloud) -> list[tuple[str, str]]:
    query = select(schema.subscription.c.token, schema.subscription.c.unsubscribe_token).order_by(schema.subscription.c.seq)
    return await given.database.read(lambda c: [(row[0], row[1]) for row in c.execute(query)])


async def confirmed(given: Cloud, endpoint: str = URL) -> str:
    await given.call("Subscribe", TopicArn=ARN, Protocol="http", Endpoint=endpoint)
    token = (await tokens(given))[-1][0]
    arn: str = (await given.call("ConfirmSubscription", TopicArn=ARN, Token=token))["SubscriptionArn"]
    return arn


# ---------------------------------------------------------------------------------------------------------------- Topics


async def test_create_topic_may_be_repeated_and_names_have_case(given: Cloud) -> None:
    assert (await given.call("CreateTopic", Name="t"))["TopicArn"] == ARN
    assert (await given.call("CreateTopic", Name="T"))["TopicArn"] == SCOPE.arn("sns", "T")
    assert len((await given.call("ListTopics"))["Topics"]) == 2


async def test_create_topic_with_other_attributes_or_tags_is_refused(given: Cloud) -> None:
    await given.call("CreateTopic", Name="u", Attributes={"DisplayName": "one"}, Tags=[{"Key": "k", "Value": "v"}])
    await given.call("CreateTopic", Name="u", Attributes={"DisplayName": "one"}, Tags=[{"Key": "k", "Value": "v"}])
    await given.call("CreateTopic", Name="u")
    error = await refusal(given, "CreateTopic", Name="u", Attributes={"DisplayName": "two"})
    assert (error.code, error.status) == ("InvalidParameter", 400)
    assert error.message == "Invalid parameter: Attributes Reason: Topic already exists with different attributes"
    error = await refusal(given, "CreateTopic", Name="u", Tags=[{"Key": "k", "Value": "w"}])
    assert error.message == "Invalid parameter: Tags Reason: Topic already exists with different tags"


async def test_topic_attributes(given: Cloud) -> None:
    await given.call("SetTopicAttributes", TopicArn=ARN, AttributeName="DisplayName", AttributeValue="Grüße")
    await given.call("SetTopicAttributes", TopicArn=ARN, AttributeName="SignatureVersion", AttributeValue="2")
    await confirmed(given)
    await given.call("Subscribe", TopicArn=ARN, Protocol="http", Endpoint=URL + "2")
    shown = (await given.call("GetTopicAttributes", TopicArn=ARN))["Attributes"]
    assert all(isinstance(value, str) for value in shown.values())
    assert (shown["DisplayName"], shown["SignatureVersion"], shown["Owner"]) == ("Grüße", "2", SCOPE.account_id)
    assert (shown["SubscriptionsConfirmed"], shown["SubscriptionsPending"]) == ("1", "1")
    for name, value in (("Policy", "{}"), ("DeliveryPolicy", "{}"), ("Colour", "red"), ("SignatureVersion", "9")):
        error = await refusal(given, "SetTopicAttributes", TopicArn=ARN, AttributeName=name, AttributeValue=value)
        assert error.code == "InvalidParameter"
        assert error.message.startswith("Invalid parameter: ")


async def test_lists_come_in_pages_of_a_hundred(given: Cloud) -> None:
    for number in range(100):
        await given.call("CreateTopic", Name=f"t{number}")
    first = await given.call("ListTopics")
    second = await given.call("ListTopics", NextToken=first["NextToken"])
    assert (len(first["Topics"]), len(second["Topics"])) == (100, 1)
    assert "NextToken" not in second
    for token in ("x", "é", "YWZ0ZXI6LTE=", "YWZ0ZXI6" + "OTk5" * 9, "\ud800"):
        assert (await refusal(given, "ListTopics", NextToken=token)).message.startswith("Invalid parameter: NextToken")


async def test_tags(given: Cloud) -> None:
    await given.call("TagResource", ResourceArn=ARN, Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}])
    await given.call("UntagResource", ResourceArn=ARN, TagKeys=["a", "zzz"])
    assert await given.call("ListTagsForResource", ResourceArn=ARN) == {"Tags": [{"Key": "b", "Value": "2"}]}
    many = [{"Key": str(n), "Value": ""} for n in range(51)]
    assert (await refusal(given, "TagResource", ResourceArn=ARN, Tags=many)).code == "TagLimitExceeded"
    for key in ("aws:x", "bell\a"):
        error = await refusal(given, "TagResource", ResourceArn=ARN, Tags=[{"Key": key, "Value": "v"}])
        assert error.message.startswith("Invalid parameter: Tags")
    error = await refusal(given, "ListTagsForResource", ResourceArn=ARN + "x")
    assert (error.code, error.status) == ("ResourceNotFound", 404)


@pytest.mark.parametrize(
    ("arn", "code", "message"),
    [
        ("t", "InvalidParameter", "Invalid parameter: TopicArn Reason: An ARN must have at least 6 elements, not 1"),
        ("", "InvalidParameter", "Invalid parameter: TopicArn Reason: An ARN must have at least 6 elements, not 1"),
        ("arn:aws:sns:eu-west-1:123456789012:t", "InvalidParameter", "Invalid parameter: TopicArn"),
        ("arn:aws:sqs:us-east-1:123456789012:t", "InvalidParameter", "Invalid parameter: TopicArn"),
        ("arn:aws:sns:us-east-1:123456789012:t:extra", "InvalidParameter", "Invalid parameter: TopicArn"),
        ("arn:aws:sns:us-east-1:999999999999:t", "AuthorizationError", "is not authorized to perform: SNS:Publish on resource"),
        ("arn:aws:sns:us-east-1:123456789012:other", "NotFound", "Topic does not exist"),
        ("arn:aws:sns:us-east-1:123456789012:\ud800", "NotFound", "Topic does not exist"),
    ],
)
async def test_topic_arns_that_do_not_lead_to_a_topic(given: Cloud, arn: str, code: str, message: str) -> None:
    if not arn:
        arn = " "
    error = await refusal(given, "Publish", TopicArn=arn, Message="m")
    assert error.code == code
    assert message in error.message
    assert error.status == {"InvalidParameter": 400, "AuthorizationError": 403, "NotFound": 404}[code]


# --------------------------------------------------------------------------------------------------------- Subscriptions


async def test_subscribing_again_gives_the_same_subscription(given: Cloud) -> None:
    ask: dict[str, Any] = {"TopicArn": ARN, "Protocol": "http", "Endpoint": URL, "ReturnSubscriptionArn": True}
    pending = await given.call("Subscribe", **ask)
    assert pending["SubscriptionArn"].startswith(ARN + ":")
    assert await given.call("Subscribe", **ask) == pending
    await given.call("ConfirmSubscription", TopicArn=ARN, Token=(await tokens(given))[0][0])
    ask["ReturnSubscriptionArn"] = False
    assert await given.call("Subscribe", **ask) == pending
    error = await refusal(given, "Subscribe", **ask, Attributes={"RawMessageDelivery": "true"})
    assert error.message == "Invalid parameter: Attributes Reason: Subscription already exists with different attributes"
    assert len(await tokens(given)) == 1


async def test_subscribe_is_refused_clearly(given: Cloud) -> None:
    for protocol, endpoint, message in (
        ("sqs", "arn:aws:sqs:us-east-1:123456789012:q", "not to sqs"),
        ("https", URL, "Endpoint must match the specified protocol"),
        ("http", None, "Endpoint must match the specified protocol"),
        ("smoke", "signal", "does not support this protocol string: smoke"),
    ):
        given_endpoint: dict[str, Any] = {} if endpoint is None else {"Endpoint": endpoint}
        error = await refusal(given, "Subscribe", TopicArn=ARN, Protocol=protocol, **given_endpoint)
        assert error.code == "InvalidParameter"
        assert message in error.message
    error = await refusal(
        given, "Subscribe", TopicArn=ARN, Protocol="http", Endpoint=URL, Attributes={"FilterPolicy": '{"a":["b"]}'}
    )
    assert "FilterPolicy" in error.message
    assert (await refusal(given, "Subscribe", TopicArn=ARN + "x", Protocol="http", Endpoint=URL)).code == "NotFound"
    assert await tokens(given) == []


async def test_only_the_right_and_fresh_token_confirms(given: Cloud) -> None:
    await given.call("Subscribe", TopicArn=ARN, Protocol="http", Endpoint=URL)
    token = (await tokens(given))[0][0]
    await given.call("CreateTopic", Name="other")
    for topic, wrong in (
        (ARN, token + "x"),
        (ARN, token[:-1]),
        (ARN, ""),
        (ARN, "x" * 10_000),
        (ARN, "\ud800"),
        (SCOPE.arn("sns", "other"), token),
        (SCOPE.arn("sns", "unknown"), token),
        ("nonsense", token),
    ):
        error = await refusal(given, "ConfirmSubscription", signed=False, TopicArn=topic, Token=wrong)
        assert error.message.startswith("Invalid parameter: Token"), "unsigned callers learn nothing from the error"
    given.clock.us += TOKEN_VALID_US
    error = await refusal(given, "ConfirmSubscription", signed=False, TopicArn=ARN, Token=token)
    assert error.message.startswith("Invalid parameter: Token")
    listed = (await given.call("ListSubscriptionsByTopic", TopicArn=ARN))["Subscriptions"]
    assert [one["SubscriptionArn"] for one in listed] == ["PendingConfirmation"]


async def test_asking_again_after_the_token_has_run_out_makes_a_new_one(given: Cloud) -> None:
    await given.call("Subscribe", TopicArn=ARN, Protocol="http", Endpoint=URL)
    [(old, _)] = await tokens(given)
    given.clock.us += TOKEN_VALID_US
    await given.call("Subscribe", TopicArn=ARN, Protocol="http", Endpoint=URL)
    [(new, _)] = await tokens(given)
    assert old != new
    assert (await refusal(given, "ConfirmSubscription", signed=False, TopicArn=ARN, Token=old)).code == "InvalidParameter"
    await given.call("ConfirmSubscription", signed=False, TopicArn=ARN, Token=new)
    await given.call("ConfirmSubscription", signed=False, TopicArn=ARN, Token=new)


async def test_unsubscribing_without_a_signature_needs_the_token(given: Cloud) -> None:
    arn = await confirmed(given)
    [(confirm_token, token)] = await tokens(given)
    for wrong in (arn, f"{arn}:x", f"{arn}:{confirm_token}", f"{ARN}:nobody:{token}", "x", "", ":", "\ud800:x"):
        error = await refusal(given, "Unsubscribe", signed=False, SubscriptionArn=wrong)
        assert (error.code, error.status) == ("AuthorizationError", 403)
    await given.call("Unsubscribe", signed=False, SubscriptionArn=f"{arn}:{token}")
    await given.call("Unsubscribe", signed=False, SubscriptionArn=f"{arn}:{token}")
    assert (await given.call("ListSubscriptions"))["Subscriptions"] == []
    error = await refusal(given, "ConfirmSubscription", signed=False, TopicArn=ARN, Token=confirm_token)
    assert "Token" in error.message, "an old SubscribeURL does not undo an unsubscribe"


async def test_authenticate_on_unsubscribe(given: Cloud) -> None:
    await given.call("Subscribe", TopicArn=ARN, Protocol="http", Endpoint=URL)
    [(token, out)] = await tokens(given)
    answer = await given.call("ConfirmSubscription", TopicArn=ARN, Token=token, AuthenticateOnUnsubscribe="true")
    arn = answer["SubscriptionArn"]
    assert (await refusal(given, "Unsubscribe", signed=False, SubscriptionArn=f"{arn}:{out}")).status == 403
    await given.call("Unsubscribe", SubscriptionArn=arn)
    await given.call("Unsubscribe", SubscriptionArn=arn)
    assert (await refusal(given, "GetSubscriptionAttributes", SubscriptionArn=arn)).message == "Subscription does not exist"


async def test_an_endpoint_that_left_and_came_back_is_a_new_subscription(given: Cloud) -> None:
    first = await confirmed(given)
    await given.call("Unsubscribe", SubscriptionArn=first)
    (farewell_token, _) = (await tokens(given))[0]
    second = await confirmed(given)
    assert first != second
    error = await refusal(given, "ConfirmSubscription", signed=False, TopicArn=ARN, Token=farewell_token)
    assert "newer subscription" in error.message


async def test_subscription_attributes(given: Cloud) -> None:
    arn = await confirmed(given)
    await given.call("SetSubscriptionAttributes", SubscriptionArn=arn, AttributeName="RawMessageDelivery", AttributeValue="true")
    shown = (await given.call("GetSubscriptionAttributes", SubscriptionArn=arn))["Attributes"]
    assert (shown["RawMessageDelivery"], shown["PendingConfirmation"], shown["Endpoint"]) == ("true", "false", URL)
    assert shown["ConfirmationWasAuthenticated"] == "true"
    assert "secret" not in str(shown), "tokens are for the endpoint alone"
    for name, value in (("FilterPolicy", "{}"), ("RawMessageDelivery", "perhaps"), ("Nonsense", "x")):
        error = await refusal(given, "SetSubscriptionAttributes", SubscriptionArn=arn, AttributeName=name, AttributeValue=value)
        assert error.code == "InvalidParameter"
    error = await refusal(given, "GetSubscriptionAttributes", SubscriptionArn="PendingConfirmation")
    assert "An ARN must have at least 6 elements, not 1" in error.message


# ------------------------------------------------------------------------------------------------------------ Publishing


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"Message": ""}, "Invalid parameter: Empty message"),
        ({"Message": "x" * 262_145}, "Invalid parameter: Message too long"),
        ({"Message": "m", "Subject": "a\nb"}, "Invalid parameter: Subject"),
        ({"Message": "m", "MessageStructure": "xml"}, "Invalid parameter: MessageStructure"),
        ({"Message": "m", "MessageStructure": "json"}, "Message Structure - JSON message body failed to parse"),
        ({"Message": "{}", "MessageStructure": "json"}, "Message Structure - No default entry in JSON message body"),
        ({"Message": "m", "MessageAttributes": {"a": {"DataType": "String"}}}, "non-empty value"),
        ({"Message": "m", "MessageGroupId": "g"}, "MessageGroupId"),
        ({"Message": "m", "PhoneNumber": "+15550100"}, "PhoneNumber"),
    ],
)
async def test_messages_that_are_refused(given: Cloud, params: dict[str, Any], message: str) -> None:
    error = await refusal(given, "Publish", TopicArn=ARN, **params)
    assert error.code == "InvalidParameter"
    assert message in error.message


async def test_publish_takes_target_arn_and_binary_attributes(given: Cloud) -> None:
    answer = await given.call(
        "Publish", TargetArn=ARN, Message="m", MessageAttributes={"b": {"DataType": "Binary", "BinaryValue": b"\x00\x01"}}
    )
    query = select(schema.message.c.id, schema.message.c.attributes)
    [row] = await given.database.read(lambda c: c.execute(query).all())
    assert tuple(row) == (answer["MessageId"], {"b": ["Binary", "AAE="]})
    assert "TopicArn" in (await refusal(given, "Publish", Message="m")).message


async def test_publish_batch_tells_which_entries_failed(given: Cloud) -> None:
    entries = [{"Id": "a", "Message": "1"}, {"Id": "b", "Message": ""}, {"Id": "c", "Message": "3"}]
    answer = await given.call("PublishBatch", TopicArn=ARN, PublishBatchRequestEntries=entries)
    assert [one["Id"] for one in answer["Successful"]] == ["a", "c"]
    [failed] = answer["Failed"]
    assert (failed["Id"], failed["Code"], failed["SenderFault"]) == ("b", "InvalidParameter", True)


@pytest.mark.parametrize(
    ("entries", "code"),
    [
        ([], "EmptyBatchRequest"),
        ([{"Id": str(n), "Message": "m"} for n in range(11)], "TooManyEntriesInBatchRequest"),
        ([{"Id": "a", "Message": "m"}] * 2, "BatchEntryIdsNotDistinct"),
        ([{"Id": "a b", "Message": "m"}], "InvalidBatchEntryId"),
        ([{"Id": str(n), "Message": "x" * 200_000} for n in range(2)], "BatchRequestTooLong"),
    ],
)
async def test_batches_that_are_refused(given: Cloud, entries: list[dict[str, str]], code: str) -> None:
    assert (await refusal(given, "PublishBatch", TopicArn=ARN, PublishBatchRequestEntries=entries)).code == code
    count = await given.database.read(lambda c: len(c.execute(select(schema.message.c.seq)).all()))
    assert count == 0
