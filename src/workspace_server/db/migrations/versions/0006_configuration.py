"""Where a workspace's configuration comes from, what was written of it, and what its next start is to do anew."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the columns; nobody asked for anything yet."""
    with op.batch_alter_table("workspaces") as table:
        table.add_column(sa.Column("config_template", sa.Text))
        table.add_column(sa.Column("config_digest", sa.Text))
        table.add_column(sa.Column("apply_config", sa.Boolean, nullable=False, server_default=sa.false()))
        table.add_column(sa.Column("reset_session", sa.Boolean, nullable=False, server_default=sa.false()))
