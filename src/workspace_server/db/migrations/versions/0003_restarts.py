"""Whether the next provisioning resolves the image anew, and when a workspace was restarted by itself."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the columns; what is being provisioned goes on as it was meant."""
    with op.batch_alter_table("workspaces") as table:
        table.add_column(sa.Column("resolve_anew", sa.Boolean, nullable=False, server_default=sa.true()))
        table.add_column(sa.Column("restarts", sa.JSON, nullable=False, server_default="[]"))
