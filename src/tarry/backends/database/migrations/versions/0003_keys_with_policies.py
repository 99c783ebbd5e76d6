"""Keys can be inactive and have a policy."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("access_key", sa.Column("active", sa.Boolean(), nullable=False, server_default=sa.true()))
    op.add_column("access_key", sa.Column("policy", sa.Text(), nullable=True))
