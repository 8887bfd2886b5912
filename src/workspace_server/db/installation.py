"""The installation's id: in the database, mirrored to a file, and the label of everything made on the engine."""

from pathlib import Path
from uuid import UUID, uuid4

import sqlalchemy as sa

from workspace_server.db.database import Database
from workspace_server.db.schema import installation
from workspace_server.files import write_private


async def installation_id(database: Database, mirror: Path) -> str:
    """The id of this installation. An empty database adopts the mirror's, so a lost database loses no containers."""
    async with database.write() as tx:
        known = (await tx.connection.execute(sa.select(installation.c.id))).scalar()
        identity = known or _mirrored(mirror) or str(uuid4())
        if known is None:
            await tx.connection.execute(sa.insert(installation).values(only=1, id=identity))
    if _mirrored(mirror) != identity:
        write_private(mirror, identity + "\n")
    return identity


def _mirrored(mirror: Path) -> str | None:
    try:
        return str(UUID(mirror.read_text().strip()))
    except (FileNotFoundError, ValueError):
        return None
