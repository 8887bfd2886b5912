"""Workspaces as machines of a control plane, and what starts the workspaces of this database."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add the columns; no workspace has such a machine yet."""
    with op.batch_alter_table("workspaces") as table:
        table.add_column(sa.Column("instance_id", sa.Text))
        table.add_column(sa.Column("instance_generation", sa.Integer))
    op.add_column("installation", sa.Column("backend", sa.Text))
