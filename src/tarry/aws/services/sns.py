"""SNS: the operations that setting up and using a topic needs, over the embedded topics.

Codes and statuses are those of botocore's description of SNS; wordings are AWS's where a source is known (marked), with our
reason behind them.
"""

import base64
import json
from collections.abc import Awaitable, Mapping, Sequence
from functools import wraps
from typing import Any, TypeVar

from tarry.aws.call import Call, Operation, Params, Service
from tarry.aws.errors import AwsError
from tarry.core.errors import AccessDenied, InvalidRequest, LimitExceeded, NotFound, NotSupported, RequestError
from tarry.core.topics import MESSAGE_BYTES_MAX, Draft, MessageAttribute, Subscription, SubscriptionState, check_draft, structured
from tarry.embedded.topics.subscriptions import NewSubscription, Subscriptions
from tarry.embedded.topics.topics import Topics

T = TypeVar("T")

UNSIGNED = frozenset({"ConfirmSubscription", "Unsubscribe"})
BATCH_ENTRIES_MAX = 10
_BATCH_ID_CHARS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")

RETRY_POLICY: Mapping[str, Any] = {
    "minDelayTarget": 20,
    "maxDelayTarget": 600,
    "numRetries": 49,
    "numMaxDelayRetries": 36,
    "numNoDelayRetries": 0,
    "numMinDelayRetries": 3,
    "backoffFunction": "exponential",
}
"""``core.retry.SNS_HTTP`` in the words of SNS's delivery policies."""
_REQUEST_POLICY = {"headerContentType": "text/plain; charset=UTF-8"}


def sns_service(topics: Topics, subscriptions: Subscriptions) -> Service:
    """SNS over the embedded topics. Confirming and unsubscribing work unsigned, with a token."""
    front = _Topics(topics)
    members = _Subscriptions(topics, subscriptions)
    posts = _Publishing(topics)
    operations: dict[str, Operation] = {
        "CreateTopic": front.create,
        "DeleteTopic": front.delete,
        "ListTopics": front.page,
        "GetTopicAttributes": front.attributes,
        "SetTopicAttributes": front.set_attribute,
        "TagResource": front.tag,
        "UntagResource": front.untag,
        "ListTagsForResource": front.tags,
        "Subscribe": members.subscribe,
        "ConfirmSubscription": members.confirm,
        "Unsubscribe": members.unsubscribe,
        "ListSubscriptions": members.page,
        "ListSubscriptionsByTopic": members.page,
        "GetSubscriptionAttributes": members.attributes,
        "SetSubscriptionAttributes": members.set_attribute,
        "Publish": posts.publish,
        "PublishBatch": posts.publish_batch,
    }
    return Service(name="sns", operations={name: _in_sns_words(run) for name, run in operations.items()}, unsigned=UNSIGNED)


class _Topics:
    """Operations on topics."""

    def __init__(self, topics: Topics) -> None:
        self._topics = topics

    async def create(self, call: Call, params: Params) -> Mapping[str, Any]:
        if params.get("DataProtectionPolicy"):
            raise NotSupported("DataProtectionPolicy Reason: Tarry's topics do not have it; leave it out")
        topic = await self._topics.create(params["Name"], params.get("Attributes", {}), _tags(params))
        return {"TopicArn": topic.arn}

    async def delete(self, call: Call, params: Params) -> Mapping[str, Any]:
        await self._topics.delete(_topic_arn(call, params, self._topics))
        return {}

    async def page(self, call: Call, params: Params) -> Mapping[str, Any]:
        found, token = await self._topics.page(params.get("NextToken"))
        return {"Topics": [{"TopicArn": topic.arn} for topic in found], **_next(token)}

    async def attributes(self, call: Call, params: Params) -> Mapping[str, Any]:
        topic, counts = await self._topics.get(_topic_arn(call, params, self._topics))
        owner = self._topics.scope.account_id
        policy = {
            "http": {
                "defaultHealthyRetryPolicy": RETRY_POLICY,
                "disableSubscriptionOverrides": False,
                "defaultRequestPolicy": _REQUEST_POLICY,
            }
        }
        attributes = {
            "TopicArn": topic.arn,
            "Owner": owner,
            "DisplayName": topic.display_name,
            "Policy": _json(_default_policy(topic.arn, owner)),
            "EffectiveDeliveryPolicy": _json(policy),
            "SubscriptionsConfirmed": str(counts.confirmed),
            "SubscriptionsPending": str(counts.pending),
            "SubscriptionsDeleted": str(counts.deleted),
        }
        if topic.signature_version != "1":  # AWS: absent means 1 (API_GetTopicAttributes)
            attributes["SignatureVersion"] = topic.signature_version
        return {"Attributes": attributes}

    async def set_attribute(self, call: Call, params: Params) -> Mapping[str, Any]:
        arn = _topic_arn(call, params, self._topics)
        await self._topics.set_attribute(arn, params["AttributeName"], params.get("AttributeValue", ""))
        return {}

    async def tag(self, call: Call, params: Params) -> Mapping[str, Any]:
        arn = _topic_arn(call, params, self._topics, "ResourceArn")
        await _resource(self._topics.change_tags(arn, put=_tags(params)))
        return {}

    async def untag(self, call: Call, params: Params) -> Mapping[str, Any]:
        arn = _topic_arn(call, params, self._topics, "ResourceArn")
        await _resource(self._topics.change_tags(arn, remove=frozenset(params["TagKeys"])))
        return {}

    async def tags(self, call: Call, params: Params) -> Mapping[str, Any]:
        topic, _ = await _resource(self._topics.get(_topic_arn(call, params, self._topics, "ResourceArn")))
        return {"Tags": [{"Key": key, "Value": value} for key, value in topic.tags.items()]}


class _Subscriptions:
    """Operations on subscriptions."""

    def __init__(self, topics: Topics, subscriptions: Subscriptions) -> None:
        self._topics = topics
        self._subscriptions = subscriptions

    async def subscribe(self, call: Call, params: Params) -> Mapping[str, Any]:
        arn = _topic_arn(call, params, self._topics)
        new = NewSubscription(
            topic_arn=arn,
            protocol=params["Protocol"],
            endpoint=params.get("Endpoint", ""),
            principal_arn=call.caller.principal_arn if call.caller else "",
            attributes=params.get("Attributes", {}),
        )
        subscription = await self._subscriptions.subscribe(new)
        pending = subscription.state is SubscriptionState.PENDING
        # AWS: the words instead of an ARN unless ReturnSubscriptionArn is set (API_Subscribe)
        shown = "pending confirmation" if pending and not params.get("ReturnSubscriptionArn") else subscription.arn
        return {"SubscriptionArn": shown}

    async def confirm(self, call: Call, params: Params) -> Mapping[str, Any]:
        signed = call.caller is not None
        arn = _topic_arn(call, params, self._topics) if signed else params["TopicArn"]
        authenticate = params.get("AuthenticateOnUnsubscribe", "").lower() == "true"
        confirmed = await self._subscriptions.confirm(
            arn, params["Token"], authenticated=signed, authenticate_on_unsubscribe=authenticate
        )
        return {"SubscriptionArn": confirmed.arn}

    async def unsubscribe(self, call: Call, params: Params) -> Mapping[str, Any]:
        if call.caller is not None:
            await self._subscriptions.unsubscribe(_subscription_arn(params))
            return {}
        # OURS: what we hand out as UnsubscribeURL carries its token behind the ARN (see embedded.topics.envelope).
        arn, _, token = params["SubscriptionArn"].rpartition(":")
        await self._subscriptions.unsubscribe_by_token(arn, token)
        return {}

    async def page(self, call: Call, params: Params) -> Mapping[str, Any]:
        arn = _topic_arn(call, params, self._topics) if "TopicArn" in params else None
        found, token = await self._subscriptions.page(arn, params.get("NextToken"))
        return {"Subscriptions": [self._listed(subscription) for subscription in found], **_next(token)}

    async def attributes(self, call: Call, params: Params) -> Mapping[str, Any]:
        subscription = await self._subscriptions.get(_subscription_arn(params))
        policy = {
            "healthyRetryPolicy": RETRY_POLICY,
            "sicklyRetryPolicy": None,
            "throttlePolicy": None,
            "requestPolicy": _REQUEST_POLICY,
            "guaranteed": False,
        }
        return {
            "Attributes": {
                "SubscriptionArn": subscription.arn,
                "TopicArn": subscription.topic_arn,
                "Owner": self._topics.scope.account_id,
                "Protocol": subscription.protocol,
                "Endpoint": subscription.endpoint,
                "PendingConfirmation": _boolean(subscription.state is SubscriptionState.PENDING),
                "ConfirmationWasAuthenticated": _boolean(subscription.confirmation_was_authenticated),
                "RawMessageDelivery": _boolean(subscription.raw),
                "SubscriptionPrincipal": subscription.principal_arn,
                "EffectiveDeliveryPolicy": _json(policy),
            }
        }

    async def set_attribute(self, call: Call, params: Params) -> Mapping[str, Any]:
        arn = _subscription_arn(params)
        await self._subscriptions.set_attribute(arn, params["AttributeName"], params.get("AttributeValue", ""))
        return {}

    def _listed(self, subscription: Subscription) -> Mapping[str, str]:
        pending = subscription.state is SubscriptionState.PENDING
        return {
            "SubscriptionArn": "PendingConfirmation" if pending else subscription.arn,  # AWS: seen in mozilla/frost#428
            "Owner": self._topics.scope.account_id,
            "Protocol": subscription.protocol,
            "Endpoint": subscription.endpoint,
            "TopicArn": subscription.topic_arn,
        }


class _Publishing:
    """Publish and PublishBatch."""

    def __init__(self, topics: Topics) -> None:
        self._topics = topics

    async def publish(self, call: Call, params: Params) -> Mapping[str, Any]:
        if params.get("PhoneNumber"):
            raise NotSupported("PhoneNumber Reason: Tarry sends no text messages; publish to a topic")
        member = "TopicArn" if params.get("TopicArn") else "TargetArn"
        if not params.get(member):
            raise InvalidRequest("TopicArn or TargetArn Reason: no value for required parameter")
        return {"MessageId": await self._topics.publish(_topic_arn(call, params, self._topics, member), _draft(params))}

    async def publish_batch(self, call: Call, params: Params) -> Mapping[str, Any]:
        arn = _topic_arn(call, params, self._topics)
        entries: Sequence[Params] = params["PublishBatchRequestEntries"]
        _check_batch([entry["Id"] for entry in entries])
        await self._topics.get(arn)
        drafts: list[tuple[str, Draft]] = []
        failed: list[Mapping[str, Any]] = []
        for entry in entries:
            try:
                draft = _draft(entry)
                check_draft(draft)
                drafts.append((entry["Id"], draft))
            except InvalidRequest as error:
                told = _told(error)
                failed.append({"Id": entry["Id"], "Code": told.code, "Message": told.message, "SenderFault": True})
        size = sum(draft.size_bytes for _, draft in drafts)
        if size > MESSAGE_BYTES_MAX:
            raise _refusal(
                "BatchRequestTooLong",
                f"The length of all the messages in the batch is {size} bytes, more than {MESSAGE_BYTES_MAX}.",
            )
        done = [{"Id": entry_id, "MessageId": await self._topics.publish(arn, draft)} for entry_id, draft in drafts]
        return {"Successful": done, "Failed": failed}


def _draft(params: Params) -> Draft:
    for member in ("MessageDeduplicationId", "MessageGroupId"):
        if params.get(member):
            raise NotSupported(f"{member} Reason: the topic is not a FIFO topic; leave it out")
    text, texts = params["Message"], dict[str, str]()
    structure = params.get("MessageStructure")
    if structure not in (None, "", "json"):
        raise InvalidRequest(f"MessageStructure Reason: expected json or nothing, got {structure[:100]!r}")
    if structure == "json":
        text, texts = structured(text)
    attributes = {name: _attribute(value) for name, value in params.get("MessageAttributes", {}).items()}
    return Draft(text=text, texts=texts, subject=params.get("Subject"), attributes=attributes)


def _attribute(value: Params) -> MessageAttribute:
    binary: bytes | None = value.get("BinaryValue")
    text = value.get("StringValue", "") if binary is None else base64.b64encode(binary).decode()
    return MessageAttribute(type=value["DataType"], value=text)


def _check_batch(ids: Sequence[str]) -> None:
    # AWS: codes of API_PublishBatch
    if not ids:
        raise _refusal("EmptyBatchRequest", "The batch request doesn't contain any entries.")
    if len(ids) > BATCH_ENTRIES_MAX:
        raise _refusal("TooManyEntriesInBatchRequest", f"At most {BATCH_ENTRIES_MAX} entries are allowed, got {len(ids)}.")
    if len(set(ids)) < len(ids):
        raise _refusal("BatchEntryIdsNotDistinct", "Two or more batch entries in the request have the same Id.")
    if not all(0 < len(entry_id) <= 80 and _BATCH_ID_CHARS.issuperset(entry_id) for entry_id in ids):
        raise _refusal("InvalidBatchEntryId", "An Id has 1 to 80 letters, digits, hyphens and underscores.")


def _topic_arn(call: Call, params: Params, topics: Topics, member: str = "TopicArn") -> str:
    """The topic ARN in a member, checked as far as SNS does before it looks for the topic."""
    arn: str = params[member]
    parts = arn.split(":")
    if len(parts) < 6:
        # AWS: aws-samples/amazon-rekognition-video-analyzer#41
        raise InvalidRequest(f"{member} Reason: An ARN must have at least 6 elements, not {len(parts)}")
    _, partition, service, region, account, *rest = parts
    scope = topics.scope
    if parts[0] != "arn" or (partition, service, region) != (scope.partition, "sns", scope.region) or len(rest) != 1:
        raise InvalidRequest(f"{member} Reason: expected {scope.arn('sns', '<topic>')}, got {arn[:300]!r}")
    if account != scope.account_id:
        # AWS: aws-samples/aws-marketplace-serverless-saas-integration#11
        who = call.caller.principal_arn if call.caller else "anonymous"
        raise AccessDenied(f"User: {who} is not authorized to perform: SNS:{call.operation} on resource: {arn[:300]}")
    return arn


def _subscription_arn(params: Params) -> str:
    arn: str = params["SubscriptionArn"]
    count = arn.count(":") + 1
    if count < 6:
        # AWS: crossplane-contrib/provider-upjet-aws#935
        raise InvalidRequest(f"SubscriptionArn Reason: An ARN must have at least 6 elements, not {count}")
    if count != 7:
        raise InvalidRequest(f"SubscriptionArn Reason: expected a topic's ARN, a colon and an id, got {arn[:300]!r}")
    return arn


def _in_sns_words(run: Operation) -> Operation:
    @wraps(run)
    async def told(call: Call, params: Params) -> Any:
        try:
            return await run(call, params)
        except (InvalidRequest, NotFound, AccessDenied, LimitExceeded) as error:
            raise _told(error) from error

    return told


def _told(error: RequestError) -> AwsError:
    # AWS: codes and statuses of botocore's description; "Topic does not exist" in
    # aws-solutions/automated-security-response-on-aws#41, "Message too long" in wellcomecollection/platform#1460
    if isinstance(error, NotFound):
        return _refusal("NotFound", f"{error.kind.capitalize()} does not exist", 404)
    if isinstance(error, AccessDenied):
        return _refusal("AuthorizationError", str(error), 403)
    if isinstance(error, LimitExceeded):
        return _refusal("TagLimitExceeded", str(error))
    return _refusal("InvalidParameter", f"Invalid parameter: {error}")


def _refusal(code: str, message: str, status: int = 400) -> AwsError:
    return AwsError(code=code, message=message, status=status)


async def _resource(answer: Awaitable[T]) -> T:
    """The tagging operations' own word for a topic that does not exist."""
    try:
        return await answer
    except NotFound:
        raise _refusal("ResourceNotFound", "Resource does not exist", 404) from None


def _tags(params: Params) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in params.get("Tags", ())}


def _next(token: str | None) -> Mapping[str, str]:
    return {} if token is None else {"NextToken": token}


def _boolean(value: bool) -> str:
    return "true" if value else "false"


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"))


def _default_policy(arn: str, owner: str) -> Mapping[str, Any]:
    # AWS: ids and condition of a new topic's policy (awsdocs/iam-user-guide#111). It also says what we do: the account may.
    verbs = ("GetTopicAttributes", "SetTopicAttributes", "DeleteTopic", "Subscribe", "ListSubscriptionsByTopic", "Publish")
    statement = {
        "Sid": "__default_statement_ID",
        "Effect": "Allow",
        "Principal": {"AWS": "*"},
        "Action": [f"SNS:{verb}" for verb in verbs],
        "Resource": arn,
        "Condition": {"StringEquals": {"AWS:SourceOwner": owner}},
    }
    return {"Version": "2008-10-17", "Id": "__default_policy_ID", "Statement": [statement]}
