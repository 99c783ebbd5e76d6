"""The SQL of topics and subscriptions: plain functions of a connection, run in the database's transactions."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    RowMapping,
    Select,
    and_,
    bindparam,
    delete,
    func,
    insert,
    literal,
    select,
    update,
)

from tarry.backends.database.prepared import Prepared
from tarry.core.topics import Draft, Message, MessageAttribute, MessageKind, PushState, Subscription, SubscriptionState, Topic
from tarry.embedded.topics.schema import message, push, subscription, topic

_SUBSCRIPTION_FIELDS = tuple(f.name for f in fields(Subscription) if f.name not in {"seq", "topic_arn"})
_LIVE = subscription.c.state != literal(SubscriptionState.DELETED.value, literal_execute=True)

_TOPIC = Prepared(select(topic).where(topic.c.arn == bindparam("arn")))
_KNOWN = Prepared(select(message.c.seq).where(message.c.id == bindparam("message_id")))
_ADD_MESSAGE = Prepared(insert(message), *(column.name for column in message.c if column.name != "seq"))
_confirmed = (
    select(
        bindparam("of_message", type_=BigInteger), subscription.c.seq, literal(PushState.PENDING.value), literal(0), literal(0)
    )
    .where(subscription.c.topic_seq == bindparam("of_topic"), subscription.c.state == SubscriptionState.CONFIRMED.value)
    .order_by(subscription.c.seq)
)
_PUSH_TO_CONFIRMED = Prepared(
    insert(push).from_select(["message_seq", "subscription_seq", "state", "tries", "next_try_at_us"], _confirmed)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionCounts:
    """How many subscriptions of a topic are in which state."""

    pending: int
    confirmed: int
    deleted: int


# ---------------------------------------------------------------------------------------------------------------- Topics


def topic_by_arn(connection: Connection, arn: str) -> Topic | None:
    """The topic of this ARN, or None."""
    if not arn.isascii():  # a driver refuses to look for half a character
        return None
    row = _TOPIC.first(connection, {"arn": arn})
    return None if row is None else Topic(**row._asdict())


def insert_topic(connection: Connection, new: Topic) -> None:
    """Store a topic that is not there yet."""
    connection.execute(insert(topic).values(**_topic_values(new)))


def update_topic(connection: Connection, changed: Topic) -> None:
    """Write a topic over its row."""
    connection.execute(update(topic).where(topic.c.seq == changed.seq).values(**_topic_values(changed)))


def delete_topic(connection: Connection, gone: Topic) -> None:
    """Delete a topic with its subscriptions, messages and pushes."""
    of_topic = select(subscription.c.seq).where(subscription.c.topic_seq == gone.seq)
    connection.execute(delete(push).where(push.c.subscription_seq.in_(of_topic)))
    connection.execute(delete(message).where(message.c.topic_seq == gone.seq))
    connection.execute(delete(subscription).where(subscription.c.topic_seq == gone.seq))
    connection.execute(delete(topic).where(topic.c.seq == gone.seq))


def topics_after(connection: Connection, seq: int, limit: int) -> list[Topic]:
    """Up to ``limit`` topics created after the one of row ``seq``."""
    query = select(topic).where(topic.c.seq > seq).order_by(topic.c.seq).limit(limit)
    return [Topic(**row) for row in connection.execute(query).mappings()]


def subscription_counts(connection: Connection, topic_seq: int) -> SubscriptionCounts:
    """How many subscriptions of the topic are in which state."""
    query = select(subscription.c.state, func.count()).where(subscription.c.topic_seq == topic_seq).group_by(subscription.c.state)
    counts = {row[0]: int(row[1]) for row in connection.execute(query)}
    return SubscriptionCounts(
        pending=counts.get(SubscriptionState.PENDING, 0),
        confirmed=counts.get(SubscriptionState.CONFIRMED, 0),
        deleted=counts.get(SubscriptionState.DELETED, 0),
    )


def _topic_values(value: Topic) -> dict[str, Any]:
    return {f.name: getattr(value, f.name) for f in fields(Topic) if f.name not in {"seq", "tags"}} | {"tags": dict(value.tags)}


# --------------------------------------------------------------------------------------------------------- Subscriptions


def subscription_by_id(connection: Connection, topic_arn: str, id: str) -> Subscription | None:
    """The subscription of this id on this topic, a deleted one too, or None."""
    if not (topic_arn.isascii() and id.isascii()):
        return None
    return _one_subscription(connection, and_(topic.c.arn == topic_arn, subscription.c.id == id))


def subscription_of(connection: Connection, topic_arn: str, protocol: str, endpoint: str) -> Subscription | None:
    """The live subscription of this endpoint on this topic, or None."""
    same = and_(topic.c.arn == topic_arn, subscription.c.protocol == protocol, subscription.c.endpoint == endpoint, _LIVE)
    return _one_subscription(connection, same)


def insert_subscription(connection: Connection, new: Subscription, topic_seq: int) -> int:
    """Store a subscription; returns its row."""
    result = connection.execute(insert(subscription).values(topic_seq=topic_seq, **_subscription_values(new)))
    return int(result.inserted_primary_key[0])  # type: ignore[index]


def update_subscription(connection: Connection, changed: Subscription) -> None:
    """Write a subscription over its row."""
    values = _subscription_values(changed)
    connection.execute(update(subscription).where(subscription.c.seq == changed.seq).values(**values))


def subscriptions_after(connection: Connection, topic_arn: str | None, seq: int, limit: int) -> list[Subscription]:
    """Up to ``limit`` live subscriptions behind row ``seq``, of one topic or (None) of all."""
    query = _subscriptions().where(subscription.c.seq > seq, _LIVE).order_by(subscription.c.seq).limit(limit)
    if topic_arn is not None:
        query = query.where(topic.c.arn == topic_arn)
    return [subscription_from(row) for row in connection.execute(query).mappings()]


def drop_notifications(connection: Connection, subscription_seq: int) -> None:
    """Forget what was still to be delivered to a subscription."""
    connection.execute(delete(push).where(push.c.subscription_seq == subscription_seq, push.c.state == PushState.PENDING.value))


def subscription_from(row: RowMapping) -> Subscription:
    """A subscription from a row that has its columns and ``topic_arn``."""
    values = {name: row[name] for name in _SUBSCRIPTION_FIELDS}
    values["state"] = SubscriptionState(values["state"])
    return Subscription(**values, topic_arn=row["topic_arn"], seq=row["subscription_seq"])


def subscription_columns() -> Sequence[ColumnElement[Any]]:
    """The columns that ``subscription_from`` reads."""
    columns = [subscription.c[name] for name in _SUBSCRIPTION_FIELDS]
    return [*columns, subscription.c.seq.label("subscription_seq"), topic.c.arn.label("topic_arn")]


def _subscriptions() -> Select[Any]:
    return select(*subscription_columns()).join_from(subscription, topic)


def _one_subscription(connection: Connection, condition: ColumnElement[bool]) -> Subscription | None:
    row = connection.execute(_subscriptions().where(condition)).mappings().one_or_none()
    return None if row is None else subscription_from(row)


def _subscription_values(value: Subscription) -> dict[str, Any]:
    return {name: getattr(value, name) for name in _SUBSCRIPTION_FIELDS} | {"state": value.state.value}


# -------------------------------------------------------------------------------------------------------------- Messages


def insert_notification(connection: Connection, topic_seq: int, new: Message) -> int:
    """Store a message and one push per confirmed subscription; returns how many: 0 if its MessageId is known already."""
    if _KNOWN.first(connection, {"message_id": new.id}) is not None:
        return 0
    message_seq = insert_message(connection, topic_seq, new)
    return _PUSH_TO_CONFIRMED.run(connection, {"of_message": message_seq, "of_topic": topic_seq})


def insert_letter(connection: Connection, topic_seq: int, subscription_seq: int, new: Message) -> None:
    """Store a message for one subscription alone, and its push."""
    message_seq = insert_message(connection, topic_seq, new)
    values = {"message_seq": message_seq, "subscription_seq": subscription_seq, "state": PushState.PENDING.value}
    connection.execute(insert(push).values(**values, tries=0, next_try_at_us=0))


def insert_message(connection: Connection, topic_seq: int, new: Message) -> int:
    """Store a message; returns its row."""
    draft = new.draft
    values = {
        "id": new.id,
        "topic_seq": topic_seq,
        "kind": new.kind.value,
        "text": draft.text,
        "texts": dict(draft.texts),
        "subject": draft.subject,
        "attributes": {name: [attribute.type, attribute.value] for name, attribute in draft.attributes.items()},
        "created_at_us": new.created_at_us,
    }
    return _ADD_MESSAGE.insert(connection, values)


def message_from(row: RowMapping) -> Message:
    """A message from a row with the columns of ``message_columns``."""
    attributes = {name: MessageAttribute(type=pair[0], value=pair[1]) for name, pair in row["attributes"].items()}
    draft = Draft(text=row["text"], texts=row["texts"], subject=row["subject"], attributes=attributes)
    return Message(id=row["message_id"], kind=MessageKind(row["kind"]), created_at_us=row["message_created_at_us"], draft=draft)


def message_columns() -> Sequence[ColumnElement[Any]]:
    """The columns that ``message_from`` reads."""
    plain = [message.c.kind, message.c.text, message.c.texts, message.c.subject, message.c.attributes]
    return [*plain, message.c.id.label("message_id"), message.c.created_at_us.label("message_created_at_us")]
