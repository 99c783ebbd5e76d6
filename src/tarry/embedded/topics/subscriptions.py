"""Subscriptions: nobody gets messages who has not said yes, and everybody can say no.

The yes is a token that only the endpoint itself was sent; the no is a token in every message that it gets. Both work
without a signature and are compared in constant time; a token begins with its subscription's id, which finds the row.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hmac import compare_digest

from sqlalchemy import Connection

from tarry.backends.database.transactions import Database
from tarry.core.errors import AccessDenied, InvalidRequest, NotFound
from tarry.core.topics import (
    TOKEN_VALID_US,
    Draft,
    Message,
    MessageKind,
    Subscription,
    SubscriptionState,
    Topic,
    check_endpoint,
)
from tarry.embedded.topics import rows
from tarry.embedded.topics.pages import PAGE_SIZE, page_of, position
from tarry.embedded.topics.topics import existing
from tarry.ports import CHANNEL_PUSHES, Clock, Ids, Wakeups

_ID_HEX_CHARS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSubscription:
    """What Subscribe asks for."""

    topic_arn: str
    protocol: str
    endpoint: str
    principal_arn: str
    attributes: Mapping[str, str] = field(default_factory=dict)


class Subscriptions:
    """The subscriptions of all topics."""

    def __init__(self, database: Database, *, clock: Clock, ids: Ids, wakeups: Wakeups) -> None:
        self._database = database
        self._clock = clock
        self._ids = ids
        self._wakeups = wakeups

    async def subscribe(self, new: NewSubscription) -> Subscription:
        """Subscribe an endpoint: pending until its owner confirms; the request to do so is sent, and tried again.

        An endpoint that has subscribed to the topic already gets the same subscription; while that is pending, another
        request for confirmation. Errors: NotFound (topic), InvalidRequest, NotSupported.
        """
        check_endpoint(new.protocol, new.endpoint)
        now_us = self._clock.now_us()
        new_id = self._ids.uuid()
        fresh = Subscription(
            id=new_id,
            topic_arn=new.topic_arn,
            protocol=new.protocol,
            endpoint=new.endpoint,
            state=SubscriptionState.PENDING,
            token=_id_hex(new_id) + self._ids.token(),
            token_expires_at_us=now_us + TOKEN_VALID_US,
            unsubscribe_token=self._ids.token(),
            principal_arn=new.principal_arn,
            created_at_us=now_us,
        )
        for name, value in new.attributes.items():
            fresh = fresh.with_attribute(name, value)
        letter = self._letter(MessageKind.SUBSCRIPTION_CONFIRMATION, _welcome(new.topic_arn))
        return await self._database.write(
            lambda connection: _subscribe(connection, fresh, new.attributes, letter), after=self._hint
        )

    async def confirm(
        self, topic_arn: str, token: str, *, authenticated: bool, authenticate_on_unsubscribe: bool = False
    ) -> Subscription:
        """Confirm the subscription that the token was sent for; repeats change nothing.

        ``authenticate_on_unsubscribe`` counts only with ``authenticated``. Errors: NotFound (topic; only if authenticated),
        InvalidRequest (the token is unknown, too old, or of a subscription that was replaced).
        """
        now_us = self._clock.now_us()

        def run(connection: Connection) -> Subscription:
            if authenticated:
                existing(connection, topic_arn)
            found = _by_token(connection, topic_arn, token)
            if found is None or found.token_expires_at_us <= now_us:
                raise InvalidRequest("Token Reason: it is unknown or no longer valid; subscribe again to get another one")
            if found.state is SubscriptionState.CONFIRMED:
                return found
            if found.state is SubscriptionState.DELETED and rows.subscription_of(
                connection, topic_arn, found.protocol, found.endpoint
            ):
                raise InvalidRequest("Token Reason: the endpoint has a newer subscription to this topic")
            confirmed = replace(
                found.moved_to(SubscriptionState.CONFIRMED),
                confirmation_was_authenticated=authenticated,
                authenticate_on_unsubscribe=authenticated and authenticate_on_unsubscribe,
            )
            rows.update_subscription(connection, confirmed)
            return confirmed

        return await self._database.write(run)

    async def unsubscribe(self, arn: str) -> None:
        """End a subscription for a signed caller; one that does not exist is no error, as on AWS."""
        await self._end(arn, None)

    async def unsubscribe_by_token(self, arn: str, token: str) -> None:
        """End a subscription for whoever has the token of its UnsubscribeURL; repeats change nothing.

        Errors: AccessDenied, in the same words whether the subscription or the token is wrong, or a signature is needed.
        """
        await self._end(arn, token)

    async def get(self, arn: str) -> Subscription:
        """A subscription that has not been ended. Errors: NotFound."""
        return await self._database.read(lambda connection: _live(connection, arn))

    async def set_attribute(self, arn: str, name: str, value: str) -> None:
        """Change one attribute, for messages not delivered yet too. Errors: NotFound, InvalidRequest, NotSupported."""

        def run(connection: Connection) -> None:
            rows.update_subscription(connection, _live(connection, arn).with_attribute(name, value))

        await self._database.write(run)

    async def page(self, topic_arn: str | None, token: str | None) -> tuple[list[Subscription], str | None]:
        """One page of subscriptions, oldest first, of one topic or of all. Errors: NotFound (topic), InvalidRequest (token)."""
        after = position(token)

        def run(connection: Connection) -> list[Subscription]:
            if topic_arn is not None:
                existing(connection, topic_arn)
            return rows.subscriptions_after(connection, topic_arn, after, PAGE_SIZE + 1)

        return page_of(await self._database.read(run))

    async def _end(self, arn: str, unsubscribe_token: str | None) -> None:
        now_us = self._clock.now_us()
        letter = self._letter(MessageKind.UNSUBSCRIBE_CONFIRMATION, _farewell(arn))
        secret = self._ids.token()

        def run(connection: Connection) -> None:
            found = _by_arn(connection, arn)
            if unsubscribe_token is not None:
                _check_unsubscribe(found, unsubscribe_token)
            if found is None or found.state is SubscriptionState.DELETED:
                return
            was_confirmed = found.state is SubscriptionState.CONFIRMED
            ended = replace(
                found.moved_to(SubscriptionState.DELETED),
                token=_id_hex(found.id) + secret,  # OURS: an old SubscribeURL must not undo an unsubscribe
                token_expires_at_us=now_us + TOKEN_VALID_US if was_confirmed else now_us,
            )
            rows.update_subscription(connection, ended)
            rows.drop_notifications(connection, found.seq)
            if was_confirmed:
                # AWS: the endpoint is told, and the message can bring the subscription back (http-unsubscribe-confirmation-json)
                rows.insert_letter(connection, existing(connection, found.topic_arn).seq, found.seq, letter)

        await self._database.write(run, after=self._hint)

    def _letter(self, kind: MessageKind, text: str) -> Message:
        return Message(id=self._ids.uuid(), kind=kind, created_at_us=self._clock.now_us(), draft=Draft(text=text))

    def _hint(self, _: object) -> None:
        self._wakeups.notify(CHANNEL_PUSHES)


def _welcome(topic_arn: str) -> str:
    # AWS: the text of sns/latest/dg/http-subscription-confirmation-json.html
    return (
        f"You have chosen to subscribe to the topic {topic_arn}.\n"
        "To confirm the subscription, visit the SubscribeURL included in this message."
    )


def _farewell(arn: str) -> str:
    # AWS: the text of sns/latest/dg/http-unsubscribe-confirmation-json.html
    return (
        f"You have chosen to deactivate subscription {arn}.\n"
        "To cancel this operation and restore the subscription, visit the SubscribeURL included in this message."
    )


def _subscribe(connection: Connection, fresh: Subscription, attributes: Mapping[str, str], letter: Message) -> Subscription:
    topic: Topic = existing(connection, fresh.topic_arn)
    known = rows.subscription_of(connection, fresh.topic_arn, fresh.protocol, fresh.endpoint)
    if known is None:
        seq = rows.insert_subscription(connection, fresh, topic.seq)
        rows.insert_letter(connection, topic.seq, seq, letter)
        return replace(fresh, seq=seq)
    changed = known
    for name, value in attributes.items():
        changed = changed.with_attribute(name, value)
    if known.state is SubscriptionState.CONFIRMED:
        if changed != known:
            raise InvalidRequest("Attributes Reason: Subscription already exists with different attributes")
        return known
    if known.token_expires_at_us <= fresh.created_at_us:
        changed = replace(changed, token=_id_hex(known.id) + fresh.token[_ID_HEX_CHARS:])
    changed = replace(changed, token_expires_at_us=fresh.token_expires_at_us)
    rows.update_subscription(connection, changed)
    rows.insert_letter(connection, topic.seq, known.seq, letter)
    return changed


def _check_unsubscribe(found: Subscription | None, token: str) -> None:
    valid = found is not None and compare_digest(found.unsubscribe_token.encode(), token.encode(errors="replace"))
    if not valid or found is None or found.authenticate_on_unsubscribe:
        raise AccessDenied("This UnsubscribeURL is not valid. Unsubscribe with a signed request instead.")


def _by_token(connection: Connection, topic_arn: str, token: str) -> Subscription | None:
    compact = token[:_ID_HEX_CHARS]
    named = "-".join((compact[:8], compact[8:12], compact[12:16], compact[16:20], compact[20:]))
    found = rows.subscription_by_id(connection, topic_arn, named)
    if found is None or not compare_digest(found.token.encode(), token.encode(errors="replace")):
        return None
    return found


def _by_arn(connection: Connection, arn: str) -> Subscription | None:
    topic_arn, _, name = arn.rpartition(":")
    return rows.subscription_by_id(connection, topic_arn, name)


def _live(connection: Connection, arn: str) -> Subscription:
    found = _by_arn(connection, arn)
    if found is None or found.state is SubscriptionState.DELETED:
        raise NotFound("subscription", arn)
    return found


def _id_hex(id: str) -> str:
    return id.replace("-", "")
