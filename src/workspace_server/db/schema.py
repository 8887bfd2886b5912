"""The tables, as the newest migration leaves them. A test compares the two."""

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

REVISION = "0008"
"""The newest migration: a database that names it needs no migrating."""

metadata = sa.MetaData()


class UtcDateTime(sa.types.TypeDecorator[datetime]):
    """An aware datetime in UTC; SQLite itself keeps no time zone."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """To the database."""
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: Any | None, dialect: sa.Dialect) -> datetime | None:
        """From the database."""
        return None if value is None else value.replace(tzinfo=UTC)


class Line(sa.types.TypeDecorator[str]):
    """Text that others may have written. PostgreSQL keeps no NUL in a text, so no database here does."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        """To the database."""
        return None if value is None else value.replace("\0", "\N{REPLACEMENT CHARACTER}")


# SQLite's integers are all of one size.
_Long = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def now() -> datetime:
    """The time that is written into rows."""
    return datetime.now(UTC)


installation = sa.Table(
    "installation",
    metadata,
    sa.Column("only", sa.Integer, sa.CheckConstraint('"only" = 1'), primary_key=True, autoincrement=False),
    sa.Column("id", sa.Text, nullable=False),
    # The container engine that all servers on this database use.
    sa.Column("engine", sa.Text),
    # What starts its workspaces, once there are any; nothing is said of an engine.
    sa.Column("backend", sa.Text),
)

workspaces = sa.Table(
    "workspaces",
    metadata,
    sa.Column("id", Line, primary_key=True),
    sa.Column("name", Line, nullable=False),
    sa.Column("role", Line),
    sa.Column("tier", sa.Integer, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("runtime", Line, nullable=False),
    sa.Column("model", Line),
    sa.Column("parent_id", Line, sa.ForeignKey("workspaces.id")),
    sa.Column("agent_card", sa.JSON(none_as_null=True)),
    sa.Column("url", Line, nullable=False),
    # Counts provisionings. A result of an older one than the row's is dropped: this is the fence of every write-back.
    sa.Column("generation", sa.Integer, nullable=False),
    # Whether the next provisioning looks for the newest image: not after a crash, whose image and commit are here.
    sa.Column("resolve_anew", sa.Boolean, nullable=False, server_default=sa.true()),
    # When the server restarted it by itself, of late.
    sa.Column("restarts", sa.JSON, nullable=False, server_default="[]"),
    sa.Column("image", sa.JSON(none_as_null=True)),
    sa.Column("failure", sa.JSON(none_as_null=True)),
    sa.Column("phases", sa.JSON, nullable=False),
    sa.Column("container_started_at", UtcDateTime),
    # The machine that a control plane was asked for: with which generation, and what the control plane calls it. The
    # generation is written before it is asked, the id with its answer, and both are cleared when the machine has ended.
    sa.Column("instance_id", Line),
    sa.Column("instance_generation", sa.Integer),
    # Of a removed workspace: nothing of it is left on the engine.
    sa.Column("cleared", sa.Boolean, nullable=False),
    # Of a removed workspace: its /workspace volume and this row are to go, too.
    sa.Column("purge", sa.Boolean, nullable=False),
    sa.Column("active_tasks", _Long, nullable=False),
    sa.Column("max_concurrent_tasks", _Long, nullable=False),
    sa.Column("current_task", Line, nullable=False),
    sa.Column("uptime_seconds", sa.BigInteger, nullable=False),
    sa.Column("last_error_rate", sa.Float, nullable=False),
    sa.Column("last_sample_error", Line, nullable=False),
    sa.Column("last_heartbeat_at", UtcDateTime),
    sa.Column("last_outbound_at", UtcDateTime),
    sa.Column("budget_limit", sa.BigInteger),
    sa.Column("monthly_spend", sa.BigInteger, nullable=False),
    sa.Column("workspace_dir", Line),
    sa.Column("workspace_access", sa.Text, nullable=False, server_default="none"),
    # A folder of config templates, and the sha256 of the config.yaml that was written: what differs was edited.
    sa.Column("config_template", Line),
    sa.Column("config_digest", sa.Text),
    # What the next provisioning is to do: write the whole configuration anew, forget the agent's session.
    sa.Column("apply_config", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("reset_session", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("x", sa.Float, nullable=False),
    sa.Column("y", sa.Float, nullable=False),
    sa.Column("collapsed", sa.Boolean, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("updated_at", UtcDateTime, nullable=False),
    sa.Index("workspaces_status", "status"),
    sa.Index("workspaces_parent", "parent_id"),
)

tokens = sa.Table(
    "workspace_auth_tokens",
    metadata,
    sa.Column("id", Line, primary_key=True),
    sa.Column("workspace_id", Line, sa.ForeignKey("workspaces.id", ondelete="CASCADE"), nullable=False),
    sa.Column("token_hash", sa.LargeBinary, nullable=False, unique=True),
    sa.Column("prefix", sa.Text, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("last_used_at", UtcDateTime),
    sa.Column("revoked_at", UtcDateTime),
    sa.Index("workspace_auth_tokens_workspace", "workspace_id"),
)

workspace_secrets = sa.Table(
    "workspace_secrets",
    metadata,
    sa.Column("workspace_id", Line, sa.ForeignKey("workspaces.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("key", Line, primary_key=True),
    sa.Column("value", sa.LargeBinary, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("updated_at", UtcDateTime, nullable=False),
)

global_secrets = sa.Table(
    "global_secrets",
    metadata,
    sa.Column("key", Line, primary_key=True),
    sa.Column("value", sa.LargeBinary, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("updated_at", UtcDateTime, nullable=False),
)

events = sa.Table(
    "structure_events",
    metadata,
    sa.Column("id", Line, primary_key=True),
    sa.Column("event_type", sa.Text, nullable=False),
    sa.Column("workspace_id", Line),
    sa.Column("payload", sa.JSON, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Index("structure_events_workspace", "workspace_id"),
    sa.Index("structure_events_created", "created_at"),
)

leases = sa.Table(
    "leases",
    metadata,
    sa.Column("workspace_id", Line, primary_key=True),
    sa.Column("owner", sa.Text, nullable=False),
    # Seconds since 1970 by the database's clock.
    sa.Column("until", sa.Float, nullable=False),
)
