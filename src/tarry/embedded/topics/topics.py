"""Topics and publishing: everything is durable when it returns, and everything but a publish may be repeated freely."""

from collections.abc import Mapping
from dataclasses import replace

from sqlalchemy import Connection

from tarry.backends.database.transactions import Database
from tarry.core.errors import InvalidRequest, LimitExceeded, NotFound
from tarry.core.names import Scope
from tarry.core.topics import Draft, Message, MessageKind, Topic, check_draft, check_tags, check_topic_name
from tarry.embedded.topics import rows
from tarry.embedded.topics.pages import PAGE_SIZE, page_of, position
from tarry.embedded.topics.rows import SubscriptionCounts
from tarry.ports import CHANNEL_PUSHES, Clock, Ids, Wakeups

TAGS_MAX = 50  # OURS: API_TagResource advises against more, and has TagLimitExceeded without naming its limit


class Topics:
    """The topics of this account and region."""

    def __init__(self, database: Database, *, scope: Scope, clock: Clock, ids: Ids, wakeups: Wakeups) -> None:
        self.scope = scope
        self._database = database
        self._clock = clock
        self._ids = ids
        self._wakeups = wakeups

    async def create(self, name: str, attributes: Mapping[str, str], tags: Mapping[str, str]) -> Topic:
        """Create a topic, or find the one of this name (case matters) if nothing that is asked for contradicts it.

        Errors: InvalidRequest (the name, an attribute, or a topic with other attributes or tags), LimitExceeded (tags).
        """
        check_topic_name(name)
        _check_tags(tags)
        now_us = self._clock.now_us()
        wanted = Topic(name=name, arn=self.scope.arn("sns", name), created_at_us=now_us, tags=dict(tags))
        for key, value in attributes.items():
            wanted = wanted.with_attribute(key, value)
        return await self._database.write(lambda connection: _create(connection, wanted, attributes))

    async def delete(self, arn: str) -> None:
        """Delete a topic with its subscriptions and everything not delivered yet. Unknown ones are no error, as on AWS."""

        def run(connection: Connection) -> None:
            topic = rows.topic_by_arn(connection, arn)
            if topic is not None:
                rows.delete_topic(connection, topic)

        await self._database.write(run)

    async def get(self, arn: str) -> tuple[Topic, SubscriptionCounts]:
        """A topic and the number of its subscriptions. Errors: NotFound."""

        def run(connection: Connection) -> tuple[Topic, SubscriptionCounts]:
            topic = existing(connection, arn)
            return topic, rows.subscription_counts(connection, topic.seq)

        return await self._database.read(run)

    async def page(self, token: str | None) -> tuple[list[Topic], str | None]:
        """One page of topics in order of creation. Errors: InvalidRequest for a token that is not ours."""
        after = position(token)
        return page_of(await self._database.read(lambda connection: rows.topics_after(connection, after, PAGE_SIZE + 1)))

    async def set_attribute(self, arn: str, name: str, value: str) -> None:
        """Change one attribute. Errors: NotFound, InvalidRequest, NotSupported."""

        def run(connection: Connection) -> None:
            rows.update_topic(connection, existing(connection, arn).with_attribute(name, value))

        await self._database.write(run)

    async def change_tags(self, arn: str, *, put: Mapping[str, str] | None = None, remove: frozenset[str] = frozenset()) -> None:
        """Set and remove tags. Errors: NotFound, InvalidRequest, LimitExceeded."""

        def run(connection: Connection) -> None:
            topic = existing(connection, arn)
            tags = {key: value for key, value in {**topic.tags, **(put or {})}.items() if key not in remove}
            _check_tags(tags)
            rows.update_topic(connection, replace(topic, tags=tags))

        await self._database.write(run)

    async def publish(self, arn: str, draft: Draft, *, message_id: str | None = None) -> str:
        """Hand a message to all confirmed subscribers; returns its MessageId.

        One transaction stores the message and one push per subscriber: after a crash either all will be delivered, or the
        caller was told of no success. A ``message_id`` that is known already changes nothing. Errors: NotFound, InvalidRequest.
        """
        check_draft(draft)
        message = Message(
            id=message_id or self._ids.time_ordered_uuid(),
            kind=MessageKind.NOTIFICATION,
            created_at_us=self._clock.now_us(),
            draft=draft,
        )

        def run(connection: Connection) -> int:
            return rows.insert_notification(connection, existing(connection, arn).seq, message)

        def hint(pushes: int) -> None:
            if pushes:
                self._wakeups.notify(CHANNEL_PUSHES)

        await self._database.write(run, after=hint)
        return message.id


def existing(connection: Connection, arn: str) -> Topic:
    """The topic of this ARN. Raises NotFound."""
    topic = rows.topic_by_arn(connection, arn)
    if topic is None:
        raise NotFound("topic", arn)
    return topic


def _create(connection: Connection, wanted: Topic, attributes: Mapping[str, str]) -> Topic:
    known = rows.topic_by_arn(connection, wanted.arn)
    if known is None:
        rows.insert_topic(connection, wanted)
        return existing(connection, wanted.arn)
    changed = known
    for key, value in attributes.items():
        changed = changed.with_attribute(key, value)
    if changed != known:
        raise InvalidRequest("Attributes Reason: Topic already exists with different attributes")
    if wanted.tags and dict(wanted.tags) != dict(known.tags):
        raise InvalidRequest("Tags Reason: Topic already exists with different tags")
    return known


def _check_tags(tags: Mapping[str, str]) -> None:
    if len(tags) > TAGS_MAX:
        raise LimitExceeded(f"A topic may have {TAGS_MAX} tags; this would make it {len(tags)}.")
    check_tags(tags)
