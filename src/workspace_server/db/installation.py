"""The installation: its id, in the database and mirrored to a file, and what its workspaces run on."""

from uuid import uuid4

import sqlalchemy as sa

from workspace_server.db.database import Database
from workspace_server.db.directory import DataDirectory
from workspace_server.db.schema import installation, workspaces
from workspace_server.errors import SettingsError
from workspace_server.model.workspace import EXTERNAL, WorkspaceStatus

_ENGINE = "engine"
_OF_ORG = "control plane of "


async def installation_id(database: Database, directory: DataDirectory) -> str:
    """The id of this installation. An empty database adopts the mirror's, so a lost database loses no containers."""
    async with database.write() as tx:
        known: str | None = (await tx.connection.execute(sa.select(installation.c.id))).scalar()
        identity = known or directory.known_instance() or str(uuid4())
        if known is None:
            await tx.connection.execute(sa.insert(installation).values(only=1, id=identity))
    directory.mirror_instance(identity)
    return identity


def wanted_backend(org_id: str | None) -> str:
    """What starts workspaces: an engine, or the control plane for an organisation."""
    return _ENGINE if org_id is None else f"{_OF_ORG}{org_id}"


async def same_backend(database: Database, wanted: str) -> None:
    """Write down what starts this database's workspaces from now on.

    Raises SettingsError ``another_backend`` while there are some that something else started: nobody would end them.
    """
    something_left = sa.or_(workspaces.c.status != WorkspaceStatus.REMOVED, workspaces.c.cleared.is_(False))
    async with database.write() as tx:
        known = (await tx.connection.execute(sa.select(installation.c.backend))).scalar() or _ENGINE
        if known == wanted:
            return
        there = sa.select(workspaces.c.id).where(workspaces.c.runtime != EXTERNAL, something_left).limit(1)
        if (await tx.connection.execute(there)).first() is not None:
            raise _another_backend(known, wanted)
        await tx.connection.execute(sa.update(installation).values(backend=wanted))


def _another_backend(known: str, wanted: str) -> SettingsError:
    was = "unset MOLECULE_ORG_ID" if known == _ENGINE else f"set MOLECULE_ORG_ID={known.removeprefix(_OF_ORG)}"
    return SettingsError(
        f"the workspaces of this database were started by the {known}, and this server would start them by the"
        f" {wanted}: nobody would look after those that run",
        code="another_backend",
        hint=f"{was}, as it was; or do that, remove the workspaces, and switch then; or use another database",
    )


async def engine_of(database: Database, engine_id: str) -> str:
    """The engine that this database's servers use: the one they began with, or else this one from now on."""
    async with database.write() as tx:
        known: str | None = (await tx.connection.execute(sa.select(installation.c.engine))).scalar()
        if known is None:
            await tx.connection.execute(sa.update(installation).values(engine=engine_id))
    return known or engine_id
