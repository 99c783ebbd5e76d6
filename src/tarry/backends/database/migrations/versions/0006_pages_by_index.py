"""Whatever is asked about invocations is found by an index: pages, requests that repeat, what ended long ago."""

import hashlib
import json

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

ENDED = "state IN ('Completed', 'Expired', 'Failed', 'Stopped')"
ASKED = ("inference_id", "endpoint_id", "input_location", "body_sha256", "content_type", "accept", "custom_attributes")


def upgrade() -> None:
    op.add_column("invocation", sa.Column("same_key", sa.Text(), nullable=True))
    op.add_column("decision", sa.Column("ended_at_us", sa.BigInteger(), nullable=False, server_default="0"))
    op.execute("UPDATE decision SET ended_at_us = json_extract(outcome, '$.ended_at_us')")
    _fill_same_keys()
    op.drop_index("ix_invocation_endpoint_id_state", "invocation")
    op.drop_index("ix_invocation_inference_id", "invocation")
    _partial("ix_invocation_named", ["inference_id", "state", "received_at_us"], "inference_id IS NOT NULL")
    op.create_index("ix_invocation_of_endpoint", "invocation", ["endpoint_id", "state", "received_at_us"])
    _partial("ix_invocation_ended", ["state", "received_at_us"], ENDED)
    _partial("ix_invocation_same", ["same_key", "received_at_us"], "same_key IS NOT NULL")
    op.create_index("ix_decision_ended_at_us", "decision", ["ended_at_us"])


def _fill_same_keys() -> None:
    """A request that is repeated after the upgrade finds the one from before."""
    connection = op.get_bind()
    named = connection.execute(sa.text("SELECT seq, request FROM invocation WHERE inference_id IS NOT NULL")).all()
    for seq, request in named:
        document = json.loads(request)
        asked = json.dumps([document.get(field) for field in ASKED])
        key = hashlib.blake2b(asked.encode(), digest_size=16).hexdigest()
        connection.execute(sa.text("UPDATE invocation SET same_key = :key WHERE seq = :seq"), {"key": key, "seq": seq})


def _partial(name: str, columns: list[str], where: str) -> None:
    op.create_index(name, "invocation", columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))
