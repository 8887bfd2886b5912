"""The installation's id: in the database, mirrored to a file, and the label of everything made on the engine."""

from uuid import uuid4

import sqlalchemy as sa

from workspace_server.db.database import Database
from workspace_server.db.directory import DataDirectory
from workspace_server.db.schema import installation


async def installation_id(database: Database, directory: DataDirectory) -> str:
    """The id of this installation. An empty database adopts the mirror's, so a lost database loses no containers."""
    async with database.write() as tx:
        known: str | None = (await tx.connection.execute(sa.select(installation.c.id))).scalar()
        identity = known or directory.known_instance() or str(uuid4())
        if known is None:
            await tx.connection.execute(sa.insert(installation).values(only=1, id=identity))
    directory.mirror_instance(identity)
    return identity


async def engine_of(database: Database, engine_id: str) -> str:
    """The engine that this database's servers use: the one they began with, or else this one from now on."""
    async with database.write() as tx:
        known: str | None = (await tx.connection.execute(sa.select(installation.c.engine))).scalar()
        if known is None:
            await tx.connection.execute(sa.update(installation).values(engine=engine_id))
    return known or engine_id
