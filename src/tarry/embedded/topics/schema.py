"""Where topics keep what they must not lose.

A message is stored once, and one push row per subscriber says how far its delivery is. Pushes name their subscription, so
that a retry goes to where the subscription points now; what is unsubscribed keeps its row until its farewell is delivered.
"""

from sqlalchemy import JSON, BigInteger, Boolean, Column, ForeignKey, Index, Integer, Table, Text, text

from tarry.backends.database.schema import metadata, sequence

NOT_DELETED = "state <> 'Deleted'"
"""The condition under which an endpoint of a topic is taken."""
UNDELIVERED = "state = 'Pending'"
"""The condition of the index over pushes that are still to be made."""

topic = Table(
    "topic",
    metadata,
    sequence(),
    Column("arn", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("display_name", Text, nullable=False),
    Column("signature_version", Text, nullable=False),
    Column("tags", JSON, nullable=False),
    Column("created_at_us", BigInteger, nullable=False),
)

subscription = Table(
    "subscription",
    metadata,
    sequence(),
    Column("id", Text, nullable=False, unique=True),
    Column("topic_seq", ForeignKey("topic.seq"), nullable=False),
    Column("protocol", Text, nullable=False),
    Column("endpoint", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("token", Text, nullable=False),
    Column("token_expires_at_us", BigInteger, nullable=False),
    Column("unsubscribe_token", Text, nullable=False),
    Column("principal_arn", Text, nullable=False),
    Column("raw", Boolean, nullable=False),
    Column("confirmation_was_authenticated", Boolean, nullable=False),
    Column("authenticate_on_unsubscribe", Boolean, nullable=False),
    Column("created_at_us", BigInteger, nullable=False),
    Index(
        "uq_subscription_topic_seq_protocol_endpoint",
        "topic_seq",
        "protocol",
        "endpoint",
        unique=True,
        sqlite_where=text(NOT_DELETED),
        postgresql_where=text(NOT_DELETED),
    ),
    Index("ix_subscription_state_token_expires_at_us", "state", "token_expires_at_us"),
)

message = Table(
    "message",
    metadata,
    sequence(),
    Column("id", Text, nullable=False, unique=True),  # the MessageId: a repeat is known by it
    Column("topic_seq", ForeignKey("topic.seq"), nullable=False, index=True),
    Column("kind", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("texts", JSON, nullable=False),
    Column("subject", Text),
    Column("attributes", JSON, nullable=False),
    Column("created_at_us", BigInteger, nullable=False, index=True),
)

push = Table(
    "push",
    metadata,
    sequence(),
    Column("message_seq", ForeignKey("message.seq"), nullable=False, index=True),
    Column("subscription_seq", ForeignKey("subscription.seq"), nullable=False, index=True),
    Column("state", Text, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("next_try_at_us", BigInteger, nullable=False),
    Column("ended_at_us", BigInteger, index=True),
    Column("last_error", Text),
    Index(
        "ix_push_undelivered",
        "subscription_seq",
        "next_try_at_us",
        sqlite_where=text(UNDELIVERED),
        postgresql_where=text(UNDELIVERED),
    ),
)
