"""Which directory of this machine a workspace has as its /workspace, and what it may do with it."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0003"


def upgrade() -> None:
    """Add the columns; the workspaces that there are have a volume."""
    with op.batch_alter_table("workspaces") as table:
        table.add_column(sa.Column("workspace_dir", sa.Text))
        table.add_column(sa.Column("workspace_access", sa.Text, nullable=False, server_default="none"))
