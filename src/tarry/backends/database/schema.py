"""The tables that everything durable lies in.

``metadata`` is shared: the embedded services add their own tables to it, so that one database, one migration history and
one transaction hold all of Tarry. Every table has an integer ``seq`` key (order of insertion, keyset pages). Entities are
a JSON document beside the columns that somebody searches by; the document alone is the truth about the rest. Times are
integer microseconds since the epoch, UTC.

Conditions of partial indexes are written out as text: SQLite uses such an index only for a query that repeats the
condition with literal values.
"""

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Integer, LargeBinary, MetaData, Table, Text, text, true

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

QUEUED = "state = 'Queued'"
"""The condition of the indexes over waiting invocations."""
CLAIMABLE = f"{QUEUED} AND stop_requested_at_us IS NULL"
"""The condition of the index that claims read."""
STOPPING = f"{QUEUED} AND stop_requested_at_us IS NOT NULL"
"""The condition of the index over waiting invocations that are to be stopped."""
DELAYED = "state = 'Delayed'"
"""The condition of the index over invocations that wait for their next attempt."""
HELD = "state IN ('Running', 'Publishing')"
"""The condition of the index over leased invocations."""
ENDED = "state IN ('Completed', 'Expired', 'Failed', 'Stopped')"
"""The condition of the index over invocations that have ended: it costs nothing before their end."""
LIVE = "status <> 'Deleted'"
"""The condition under which an endpoint's name is taken."""
WAITING = "given_up_at_us IS NULL"
"""The condition of the index over notifications that are still to be handed over."""


def sequence() -> Column[int]:
    """The ``seq`` key that every table begins with."""
    return Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True)


def entity_columns() -> tuple[Column[int], Column[str], Column[int], Column[str]]:
    """What every entity table has: order, identity, the counter of compare-and-set, the document."""
    return (
        sequence(),
        Column("id", Text, nullable=False, unique=True),
        Column("revision", BigInteger, nullable=False),
        Column("document", Text, nullable=False),
    )


def _partial(name: str, *columns: str, where: str, unique: bool = False) -> Index:
    return Index(name, *columns, unique=unique, sqlite_where=text(where), postgresql_where=text(where))


model = Table(
    "model",
    metadata,
    *entity_columns(),
    Column("name_key", Text, nullable=False),  # the name in lower case: unique, and the order of pages by name
    Column("created_at_us", BigInteger, nullable=False),
    Index("uq_model_name_key", "name_key", unique=True),
    Index("ix_model_created_at_us", "created_at_us"),
)

endpoint_config = Table(
    "endpoint_config",
    metadata,
    *entity_columns(),
    Column("name_key", Text, nullable=False),
    Column("created_at_us", BigInteger, nullable=False),
    Index("uq_endpoint_config_name_key", "name_key", unique=True),
    Index("ix_endpoint_config_created_at_us", "created_at_us"),
)

endpoint = Table(
    "endpoint",
    metadata,
    *entity_columns(),
    Column("name_key", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("created_at_us", BigInteger, nullable=False),
    Column("modified_at_us", BigInteger, nullable=False),
    _partial("uq_endpoint_name_key", "name_key", where=LIVE, unique=True),
    Index("ix_endpoint_name_key", "name_key"),  # those that have had the name, too
    Index("ix_endpoint_status", "status"),
    Index("ix_endpoint_created_at_us", "created_at_us"),
)

deployment = Table(
    "deployment",
    metadata,
    *entity_columns(),
    Column("endpoint_id", Text, nullable=False),
    Column("state", Text, nullable=False),
    Index("ix_deployment_endpoint_id_state", "endpoint_id", "state"),
    Index("ix_deployment_state", "state"),
)

routing = Table("routing", metadata, *entity_columns())

route = Table(
    "route",  # a Routing, one row a bucket: what a claim reads
    metadata,
    sequence(),
    Column("endpoint_id", Text, nullable=False),
    Column("bucket", Integer, nullable=False),
    Column("deployment_id", Text, nullable=False),
    Column("variant_name", Text, nullable=False),
    Index("uq_route_endpoint_id_bucket", "endpoint_id", "bucket", unique=True),
    Index("ix_route_owner", "endpoint_id", "deployment_id", "variant_name", "bucket"),
)

instance = Table(
    "instance",
    metadata,
    *entity_columns(),
    Column("endpoint_id", Text, nullable=False),
    Column("deployment_id", Text, nullable=False),
    Column("state", Text, nullable=False),
    Index("ix_instance_endpoint_id_state", "endpoint_id", "state"),
    Index("ix_instance_deployment_id_state", "deployment_id", "state"),
    Index("ix_instance_state", "state"),
)

tag_set = Table("tag_set", metadata, *entity_columns())

invocation = Table(
    "invocation",
    metadata,
    sequence(),
    Column("id", Text, nullable=False, unique=True),
    Column("endpoint_id", Text, nullable=False),
    Column("bucket", Integer, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("rank_us", BigInteger, nullable=False),  # core.invocation.rank_us: what is claimed first
    Column("received_at_us", BigInteger, nullable=False),
    Column("inference_id", Text),  # where the caller gave one
    Column("same_key", Text),  # core.invocation.same_key
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("lost_attempts", Integer, nullable=False),
    Column("expires_at_us", BigInteger, nullable=False),
    Column("lease_token", Text),
    Column("lease_owner", Text),
    Column("lease_epoch", BigInteger),
    Column("lease_expires_at_us", BigInteger),  # 0: void
    Column("claimed_at_us", BigInteger),
    Column("due_at_us", BigInteger),  # of Delayed ones
    Column("stop_requested_at_us", BigInteger),
    Column("stop_cause", Text),  # core.history.StopCause
    Column("redriven_as", Text),  # the invocation that asks the same again
    Column("request", Text, nullable=False),  # the Invocation as a JSON document
    _partial("ix_invocation_claim", "endpoint_id", "bucket", "rank_us", "seq", where=CLAIMABLE),
    _partial("ix_invocation_stopping", "stop_requested_at_us", where=STOPPING),
    _partial("ix_invocation_due", "due_at_us", where=DELAYED),
    _partial("ix_invocation_named", "inference_id", "state", "received_at_us", where="inference_id IS NOT NULL"),
    _partial("ix_invocation_expiry", "expires_at_us", where=f"{QUEUED} AND attempts = 0"),
    _partial("ix_invocation_lost", "lost_attempts", where=f"{QUEUED} AND lost_attempts > 0"),
    _partial("ix_invocation_lease", "lease_expires_at_us", where=HELD),
    _partial("ix_invocation_owner", "lease_owner", where=HELD),
    _partial("ix_invocation_same", "same_key", "received_at_us", where="same_key IS NOT NULL"),
    _partial("ix_invocation_ended", "state", "received_at_us", where=ENDED),
    Index("ix_invocation_of_endpoint", "endpoint_id", "state", "received_at_us"),
)

invocation_body = Table(
    "invocation_body",  # inline bodies, kept until the invocation has Completed: what has failed can be asked again
    metadata,
    sequence(),
    Column("invocation_id", Text, ForeignKey("invocation.id", ondelete="CASCADE"), nullable=False, unique=True),
    Column("body", LargeBinary, nullable=False),
)

attempt = Table(
    "attempt",  # those that decided nothing; the one that did is in the decision
    metadata,
    sequence(),
    Column("invocation_id", Text, ForeignKey("invocation.id", ondelete="CASCADE"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("instance_id", Text, nullable=False),
    Column("claimed_at_us", BigInteger, nullable=False),
    Column("ended_at_us", BigInteger, nullable=False),
    Column("end", Text, nullable=False),
    Column("status", Integer),
    Column("reason", Text),
    Index("ix_attempt_invocation_id", "invocation_id"),
)

decision = Table(
    "decision",
    metadata,
    sequence(),
    Column("invocation_id", Text, ForeignKey("invocation.id", ondelete="CASCADE"), nullable=False, unique=True),
    Column("outcome", Text, nullable=False),
    Column("ended_at_us", BigInteger, nullable=False),  # that of the outcome: by the clock, so it may go back
    Column("staged", Text),  # these three are emptied when the invocation has ended
    Column("inline", LargeBinary),
    Column("notification", Text),
    Column("announced_at_us", BigInteger),  # when the topic took the notification
    Index("ix_decision_ended_at_us", "ended_at_us"),
)

backlog = Table(
    "backlog",  # how many invocations of an endpoint are Queued; kept in step by every transaction that changes it
    metadata,
    sequence(),
    Column("endpoint_id", Text, nullable=False, unique=True),
    Column("queued", BigInteger, nullable=False),
)

outbox = Table(
    "outbox",
    metadata,
    sequence(),
    Column("id", Text, nullable=False, unique=True),
    Column("topic_arn", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("due_at_us", BigInteger, nullable=False),
    Column("error", Text),
    Column("given_up_at_us", BigInteger),
    _partial("ix_outbox_due_at_us", "due_at_us", where=WAITING),
)

access_key = Table(
    "access_key",
    metadata,
    sequence(),
    Column("id", Text, nullable=False, unique=True),
    Column("secret", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("principal_arn", Text, nullable=False),
    Column("created_at_us", BigInteger, nullable=False),
    Column("active", Boolean, nullable=False, server_default=true()),
    Column("policy", Text, nullable=True),  # as it was given; none: everything is allowed
    Column("instance_id", Text, nullable=True),  # of the instance that it was made for
)

counter = Table(
    "counter",  # numbers that only ever go up, such as the epoch
    metadata,
    sequence(),
    Column("name", Text, nullable=False, unique=True),
    Column("value", BigInteger, nullable=False),
)
