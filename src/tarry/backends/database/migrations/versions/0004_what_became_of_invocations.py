"""Invocations have ranks, names, a history, delays and stops.

What waits already keeps its order: every priority was 0, so the rank is the time of acceptance.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

QUEUED = "state = 'Queued'"


def upgrade() -> None:
    op.drop_index("ix_invocation_claim", "invocation")
    for column in (
        sa.Column("rank_us", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("received_at_us", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("inference_id", sa.Text(), nullable=True),
        sa.Column("claimed_at_us", sa.BigInteger(), nullable=True),
        sa.Column("due_at_us", sa.BigInteger(), nullable=True),
        sa.Column("stop_requested_at_us", sa.BigInteger(), nullable=True),
        sa.Column("redriven_as", sa.Text(), nullable=True),
    ):
        op.add_column("invocation", column)
    op.execute("UPDATE invocation SET received_at_us = json_extract(request, '$.received_at_us')")
    op.execute("UPDATE invocation SET rank_us = received_at_us, claimed_at_us = received_at_us")
    op.execute(
        "UPDATE invocation SET inference_id = json_extract(request, '$.inference_id') "
        "WHERE json_extract(request, '$.inference_id') <> id"
    )
    claimable = f"{QUEUED} AND stop_requested_at_us IS NULL"
    stopping = f"{QUEUED} AND stop_requested_at_us IS NOT NULL"
    _partial("ix_invocation_claim", ["endpoint_id", "bucket", "rank_us", "seq"], claimable)
    _partial("ix_invocation_stopping", ["stop_requested_at_us"], stopping)
    _partial("ix_invocation_due", ["due_at_us"], "state = 'Delayed'")
    _partial("ix_invocation_inference_id", ["inference_id"], "inference_id IS NOT NULL")
    op.create_table(
        "attempt",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("invocation_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("instance_id", sa.Text(), nullable=False),
        sa.Column("claimed_at_us", sa.BigInteger(), nullable=False),
        sa.Column("ended_at_us", sa.BigInteger(), nullable=False),
        sa.Column("end", sa.Text(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["invocation_id"], ["invocation.id"], name=op.f("fk_attempt_invocation_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_attempt")),
    )
    op.create_index("ix_attempt_invocation_id", "attempt", ["invocation_id"])
    op.add_column("decision", sa.Column("announced_at_us", sa.BigInteger(), nullable=True))


def _partial(name: str, columns: list[str], where: str) -> None:
    op.create_index(name, "invocation", columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))
