"""A stop says which operation asked for it. Of stops from before nobody knows."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("invocation", sa.Column("stop_cause", sa.Text(), nullable=True))
