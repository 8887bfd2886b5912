"""Several servers on one database: who works on a workspace, and the engine that all of them use."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Make the table, and widen what SQLite keeps in any width."""
    op.create_table(
        "leases",
        sa.Column("workspace_id", sa.Text, primary_key=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("until", sa.Float, nullable=False),
    )
    op.add_column("installation", sa.Column("engine", sa.Text))
    if op.get_bind().dialect.name == "postgresql":
        for column in ("active_tasks", "max_concurrent_tasks"):
            op.alter_column("workspaces", column, type_=sa.BigInteger)
