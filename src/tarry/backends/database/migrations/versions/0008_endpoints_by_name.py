"""Every endpoint that has had a name is found by an index; the one there was holds those alone that have it now."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_endpoint_name_key", "endpoint", ["name_key"])
