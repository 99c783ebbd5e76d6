"""The first schema: entities, the invocation queue, outbox, keys; buckets and topics."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:  # noqa: PLR0915 - a list of tables is long
    op.create_table(
        "access_key",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("principal_arn", sa.Text(), nullable=False),
        sa.Column("created_at_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_access_key")),
        sa.UniqueConstraint("id", name=op.f("uq_access_key_id")),
    )
    op.create_table(
        "backlog",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("endpoint_id", sa.Text(), nullable=False),
        sa.Column("queued", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_backlog")),
        sa.UniqueConstraint("endpoint_id", name=op.f("uq_backlog_endpoint_id")),
    )
    op.create_table(
        "bucket",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_bucket")),
        sa.UniqueConstraint("name", name=op.f("uq_bucket_name")),
    )
    op.create_table(
        "counter",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_counter")),
        sa.UniqueConstraint("name", name=op.f("uq_counter_name")),
    )
    op.create_table(
        "deployment",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("endpoint_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_deployment")),
        sa.UniqueConstraint("id", name=op.f("uq_deployment_id")),
    )
    op.create_index("ix_deployment_endpoint_id_state", "deployment", ["endpoint_id", "state"], unique=False)
    op.create_index("ix_deployment_state", "deployment", ["state"], unique=False)
    op.create_table(
        "endpoint",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("name_key", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("created_at_us", sa.BigInteger(), nullable=False),
        sa.Column("modified_at_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_endpoint")),
        sa.UniqueConstraint("id", name=op.f("uq_endpoint_id")),
    )
    op.create_index("ix_endpoint_created_at_us", "endpoint", ["created_at_us"], unique=False)
    op.create_index("ix_endpoint_status", "endpoint", ["status"], unique=False)
    op.create_index(
        "uq_endpoint_name_key",
        "endpoint",
        ["name_key"],
        unique=True,
        sqlite_where=sa.text("status <> 'Deleted'"),
        postgresql_where=sa.text("status <> 'Deleted'"),
    )
    op.create_table(
        "endpoint_config",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("name_key", sa.Text(), nullable=False),
        sa.Column("created_at_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_endpoint_config")),
        sa.UniqueConstraint("id", name=op.f("uq_endpoint_config_id")),
    )
    op.create_index("ix_endpoint_config_created_at_us", "endpoint_config", ["created_at_us"], unique=False)
    op.create_index("uq_endpoint_config_name_key", "endpoint_config", ["name_key"], unique=True)
    op.create_table(
        "garbage_blob",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("blob_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_garbage_blob")),
        sa.UniqueConstraint("blob_id", name=op.f("uq_garbage_blob_blob_id")),
    )
    op.create_table(
        "instance",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("endpoint_id", sa.Text(), nullable=False),
        sa.Column("deployment_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_instance")),
        sa.UniqueConstraint("id", name=op.f("uq_instance_id")),
    )
    op.create_index("ix_instance_deployment_id_state", "instance", ["deployment_id", "state"], unique=False)
    op.create_index("ix_instance_endpoint_id_state", "instance", ["endpoint_id", "state"], unique=False)
    op.create_index("ix_instance_state", "instance", ["state"], unique=False)
    op.create_table(
        "invocation",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("endpoint_id", sa.Text(), nullable=False),
        sa.Column("bucket", sa.Integer(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("lost_attempts", sa.Integer(), nullable=False),
        sa.Column("expires_at_us", sa.BigInteger(), nullable=False),
        sa.Column("lease_token", sa.Text(), nullable=True),
        sa.Column("lease_owner", sa.Text(), nullable=True),
        sa.Column("lease_epoch", sa.BigInteger(), nullable=True),
        sa.Column("lease_expires_at_us", sa.BigInteger(), nullable=True),
        sa.Column("request", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_invocation")),
        sa.UniqueConstraint("id", name=op.f("uq_invocation_id")),
    )
    op.create_index(
        "ix_invocation_claim",
        "invocation",
        ["endpoint_id", "bucket", "priority", "seq"],
        unique=False,
        sqlite_where=sa.text("state = 'Queued'"),
        postgresql_where=sa.text("state = 'Queued'"),
    )
    op.create_index("ix_invocation_endpoint_id_state", "invocation", ["endpoint_id", "state"], unique=False)
    op.create_index(
        "ix_invocation_expiry",
        "invocation",
        ["expires_at_us"],
        unique=False,
        sqlite_where=sa.text("state = 'Queued' AND attempts = 0"),
        postgresql_where=sa.text("state = 'Queued' AND attempts = 0"),
    )
    op.create_index(
        "ix_invocation_lease",
        "invocation",
        ["lease_expires_at_us"],
        unique=False,
        sqlite_where=sa.text("state IN ('Running', 'Publishing')"),
        postgresql_where=sa.text("state IN ('Running', 'Publishing')"),
    )
    op.create_index(
        "ix_invocation_lost",
        "invocation",
        ["lost_attempts"],
        unique=False,
        sqlite_where=sa.text("state = 'Queued' AND lost_attempts > 0"),
        postgresql_where=sa.text("state = 'Queued' AND lost_attempts > 0"),
    )
    op.create_index(
        "ix_invocation_owner",
        "invocation",
        ["lease_owner"],
        unique=False,
        sqlite_where=sa.text("state IN ('Running', 'Publishing')"),
        postgresql_where=sa.text("state IN ('Running', 'Publishing')"),
    )
    op.create_table(
        "model",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("name_key", sa.Text(), nullable=False),
        sa.Column("created_at_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_model")),
        sa.UniqueConstraint("id", name=op.f("uq_model_id")),
    )
    op.create_index("ix_model_created_at_us", "model", ["created_at_us"], unique=False)
    op.create_index("uq_model_name_key", "model", ["name_key"], unique=True)
    op.create_table(
        "outbox",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("topic_arn", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("due_at_us", sa.BigInteger(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("given_up_at_us", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_outbox")),
        sa.UniqueConstraint("id", name=op.f("uq_outbox_id")),
    )
    op.create_index(
        "ix_outbox_due_at_us",
        "outbox",
        ["due_at_us"],
        unique=False,
        sqlite_where=sa.text("given_up_at_us IS NULL"),
        postgresql_where=sa.text("given_up_at_us IS NULL"),
    )
    op.create_table(
        "route",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("endpoint_id", sa.Text(), nullable=False),
        sa.Column("bucket", sa.Integer(), nullable=False),
        sa.Column("deployment_id", sa.Text(), nullable=False),
        sa.Column("variant_name", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_route")),
    )
    op.create_index("ix_route_owner", "route", ["endpoint_id", "deployment_id", "variant_name", "bucket"], unique=False)
    op.create_index("uq_route_endpoint_id_bucket", "route", ["endpoint_id", "bucket"], unique=True)
    op.create_table(
        "routing",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_routing")),
        sa.UniqueConstraint("id", name=op.f("uq_routing_id")),
    )
    op.create_table(
        "staged_blob",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("blob_id", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("md5", sa.Text(), nullable=False),
        sa.Column("staged_at_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_staged_blob")),
        sa.UniqueConstraint("blob_id", name=op.f("uq_staged_blob_blob_id")),
    )
    op.create_index("ix_staged_blob_staged_at_us", "staged_blob", ["staged_at_us"], unique=False)
    op.create_table(
        "tag_set",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_tag_set")),
        sa.UniqueConstraint("id", name=op.f("uq_tag_set_id")),
    )
    op.create_table(
        "topic",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("arn", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("display_name", sa.Text(), nullable=False),
        sa.Column("signature_version", sa.Text(), nullable=False),
        sa.Column("tags", sa.JSON(), nullable=False),
        sa.Column("created_at_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_topic")),
        sa.UniqueConstraint("arn", name=op.f("uq_topic_arn")),
    )
    op.create_table(
        "decision",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("invocation_id", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("staged", sa.Text(), nullable=True),
        sa.Column("inline", sa.LargeBinary(), nullable=True),
        sa.Column("notification", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["invocation_id"], ["invocation.id"], name=op.f("fk_decision_invocation_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_decision")),
        sa.UniqueConstraint("invocation_id", name=op.f("uq_decision_invocation_id")),
    )
    op.create_table(
        "invocation_body",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("invocation_id", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["invocation_id"], ["invocation.id"], name=op.f("fk_invocation_body_invocation_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_invocation_body")),
        sa.UniqueConstraint("invocation_id", name=op.f("uq_invocation_body_invocation_id")),
    )
    op.create_table(
        "message",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("topic_seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("texts", sa.JSON(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=True),
        sa.Column("attributes", sa.JSON(), nullable=False),
        sa.Column("created_at_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["topic_seq"], ["topic.seq"], name=op.f("fk_message_topic_seq")),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_message")),
        sa.UniqueConstraint("id", name=op.f("uq_message_id")),
    )
    op.create_index(op.f("ix_message_created_at_us"), "message", ["created_at_us"], unique=False)
    op.create_index(op.f("ix_message_topic_seq"), "message", ["topic_seq"], unique=False)
    op.create_table(
        "stored_object",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("bucket_seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("etag", sa.Text(), nullable=False),
        sa.Column("modified_at_us", sa.BigInteger(), nullable=False),
        sa.Column("headers", sa.JSON(), nullable=False),
        sa.Column("checksums", sa.JSON(), nullable=False),
        sa.Column("checksum_type", sa.Text(), nullable=True),
        sa.Column("part_count", sa.Integer(), nullable=True),
        sa.Column("blob_id", sa.Text(), nullable=True),
        sa.Column("parts", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(["bucket_seq"], ["bucket.seq"], name=op.f("fk_stored_object_bucket_seq")),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_stored_object")),
        sa.UniqueConstraint("blob_id", name=op.f("uq_stored_object_blob_id")),
    )
    op.create_index("uq_stored_object_bucket_seq_key", "stored_object", ["bucket_seq", "key"], unique=True)
    op.create_table(
        "subscription",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("topic_seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("protocol", sa.Text(), nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("token_expires_at_us", sa.BigInteger(), nullable=False),
        sa.Column("unsubscribe_token", sa.Text(), nullable=False),
        sa.Column("principal_arn", sa.Text(), nullable=False),
        sa.Column("raw", sa.Boolean(), nullable=False),
        sa.Column("confirmation_was_authenticated", sa.Boolean(), nullable=False),
        sa.Column("authenticate_on_unsubscribe", sa.Boolean(), nullable=False),
        sa.Column("created_at_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["topic_seq"], ["topic.seq"], name=op.f("fk_subscription_topic_seq")),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_subscription")),
        sa.UniqueConstraint("id", name=op.f("uq_subscription_id")),
    )
    op.create_index("ix_subscription_state_token_expires_at_us", "subscription", ["state", "token_expires_at_us"], unique=False)
    op.create_index(
        "uq_subscription_topic_seq_protocol_endpoint",
        "subscription",
        ["topic_seq", "protocol", "endpoint"],
        unique=True,
        sqlite_where=sa.text("state <> 'Deleted'"),
        postgresql_where=sa.text("state <> 'Deleted'"),
    )
    op.create_table(
        "upload",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("bucket_seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("initiated_at_us", sa.BigInteger(), nullable=False),
        sa.Column("headers", sa.JSON(), nullable=False),
        sa.Column("checksum_algorithm", sa.Text(), nullable=True),
        sa.Column("checksum_type", sa.Text(), nullable=True),
        sa.Column("completed_at_us", sa.BigInteger(), nullable=True),
        sa.Column("completed_parts", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("completed_object", sa.JSON(none_as_null=True), nullable=True),
        sa.ForeignKeyConstraint(["bucket_seq"], ["bucket.seq"], name=op.f("fk_upload_bucket_seq")),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_upload")),
        sa.UniqueConstraint("id", name=op.f("uq_upload_id")),
    )
    op.create_index("ix_upload_bucket_seq_key_seq", "upload", ["bucket_seq", "key", "seq"], unique=False)
    op.create_index("ix_upload_completed_at_us", "upload", ["completed_at_us"], unique=False)
    op.create_table(
        "push",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("message_seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("subscription_seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("next_try_at_us", sa.BigInteger(), nullable=False),
        sa.Column("ended_at_us", sa.BigInteger(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["message_seq"], ["message.seq"], name=op.f("fk_push_message_seq")),
        sa.ForeignKeyConstraint(["subscription_seq"], ["subscription.seq"], name=op.f("fk_push_subscription_seq")),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_push")),
    )
    op.create_index(op.f("ix_push_ended_at_us"), "push", ["ended_at_us"], unique=False)
    op.create_index(op.f("ix_push_message_seq"), "push", ["message_seq"], unique=False)
    op.create_index(op.f("ix_push_subscription_seq"), "push", ["subscription_seq"], unique=False)
    op.create_index(
        "ix_push_undelivered",
        "push",
        ["subscription_seq", "next_try_at_us"],
        unique=False,
        sqlite_where=sa.text("state = 'Pending'"),
        postgresql_where=sa.text("state = 'Pending'"),
    )
    op.create_table(
        "upload_part",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("upload_seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("etag", sa.Text(), nullable=False),
        sa.Column("modified_at_us", sa.BigInteger(), nullable=False),
        sa.Column("checksums", sa.JSON(), nullable=False),
        sa.Column("blob_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["upload_seq"], ["upload.seq"], name=op.f("fk_upload_part_upload_seq")),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_upload_part")),
        sa.UniqueConstraint("blob_id", name=op.f("uq_upload_part_blob_id")),
    )
    op.create_index("uq_upload_part_upload_seq_number", "upload_part", ["upload_seq", "number"], unique=True)
