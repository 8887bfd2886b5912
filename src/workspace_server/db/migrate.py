"""Brings a database to this program's schema, at start and under the database's own write lock."""

from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from workspace_server.db.schema import REVISION, metadata
from workspace_server.errors import SettingsError

MIGRATIONS = Path(__file__).parent / "migrations"

_OF_THE_PREDECESSOR = "schema_migrations"


async def migrate(engine: AsyncEngine, elsewhere: str) -> None:
    """Upgrade to the newest revision. ``elsewhere``: how an operator names another database.

    Raises SettingsError ``newer_schema`` for a revision that is not ours, ``foreign_database`` for the database of the
    server that this one replaces. Neither is touched.
    """
    async with engine.begin() as connection:
        await connection.run_sync(_migrate, elsewhere)


def _migrate(connection: sa.Connection, elsewhere: str) -> None:
    present = _revision(connection)
    if present == REVISION:
        return
    tables = sa.inspect(connection).get_table_names() if present is None else []
    if present is None and not tables:
        _create(connection)
        return
    if _OF_THE_PREDECESSOR in tables:
        raise SettingsError(
            f"the database is another server's: it has the table {_OF_THE_PREDECESSOR}; nothing in it was changed",
            code="foreign_database",
            hint=f"{elsewhere}, an empty one, and create the workspaces anew; or go on with the server that made it",
        )
    # Imported here: Alembic would take a quarter of the server's start-up time, and hardly any start needs it.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if present is not None and present not in known:
        raise SettingsError(
            f"the database has schema {present}, which this version does not know",
            code="newer_schema",
            hint=f"run the newer version that made it, or {elsewhere}",
        )
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _create(connection: sa.Connection) -> None:
    """Make the newest schema in an empty database, and name it the way Alembic does."""
    metadata.create_all(connection)
    version = sa.Table("alembic_version", sa.MetaData(), sa.Column("version_num", sa.String(32), primary_key=True))
    version.create(connection)
    connection.execute(sa.insert(version).values(version_num=REVISION))


def _revision(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
    return revision
