"""The first schema: installation, workspaces, their tokens, events."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_time = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "installation",
        sa.Column("only", sa.Integer, sa.CheckConstraint('"only" = 1'), primary_key=True, autoincrement=False),
        sa.Column("id", sa.Text, nullable=False),
    )
    op.create_table(
        "workspaces",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("role", sa.Text),
        sa.Column("tier", sa.Integer, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("runtime", sa.Text, nullable=False),
        sa.Column("model", sa.Text),
        sa.Column("parent_id", sa.Text, sa.ForeignKey("workspaces.id")),
        sa.Column("agent_card", sa.JSON),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("image", sa.JSON),
        sa.Column("failure", sa.JSON),
        sa.Column("phases", sa.JSON, nullable=False),
        sa.Column("container_started_at", _time),
        sa.Column("cleared", sa.Boolean, nullable=False),
        sa.Column("purge", sa.Boolean, nullable=False),
        sa.Column("active_tasks", sa.Integer, nullable=False),
        sa.Column("max_concurrent_tasks", sa.Integer, nullable=False),
        sa.Column("current_task", sa.Text, nullable=False),
        sa.Column("uptime_seconds", sa.BigInteger, nullable=False),
        sa.Column("last_error_rate", sa.Float, nullable=False),
        sa.Column("last_sample_error", sa.Text, nullable=False),
        sa.Column("last_heartbeat_at", _time),
        sa.Column("last_outbound_at", _time),
        sa.Column("budget_limit", sa.BigInteger),
        sa.Column("monthly_spend", sa.BigInteger, nullable=False),
        sa.Column("x", sa.Float, nullable=False),
        sa.Column("y", sa.Float, nullable=False),
        sa.Column("collapsed", sa.Boolean, nullable=False),
        sa.Column("created_at", _time, nullable=False),
        sa.Column("updated_at", _time, nullable=False),
    )
    op.create_index("workspaces_status", "workspaces", ["status"])
    op.create_index("workspaces_parent", "workspaces", ["parent_id"])
    op.create_table(
        "workspace_auth_tokens",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("workspace_id", sa.Text, sa.ForeignKey("workspaces.id", ondelete="CASCADE"), nullable=False),
        sa.Column("token_hash", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("prefix", sa.Text, nullable=False),
        sa.Column("created_at", _time, nullable=False),
        sa.Column("last_used_at", _time),
        sa.Column("revoked_at", _time),
    )
    op.create_index("workspace_auth_tokens_workspace", "workspace_auth_tokens", ["workspace_id"])
    op.create_table(
        "structure_events",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("event_type", sa.Text, nullable=False),
        sa.Column("workspace_id", sa.Text),
        sa.Column("payload", sa.JSON, nullable=False),
        sa.Column("created_at", _time, nullable=False),
    )
    op.create_index("structure_events_workspace", "structure_events", ["workspace_id"])
    op.create_index("structure_events_created", "structure_events", ["created_at"])
