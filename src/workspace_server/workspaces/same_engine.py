"""All servers on one database use one container engine: else each would take the other's containers for lost."""

from workspace_server.db import Database
from workspace_server.db.installation import engine_of
from workspace_server.engine import Engine
from workspace_server.errors import SettingsError


class SameEngine:
    """Compares this server's engine with the database's, once the engine is there. ``shared``: others may use both."""

    def __init__(self, *, database: Database, engine: Engine, shared: bool) -> None:
        self._database = database
        self._engine = engine
        self._is_certain = not shared

    async def check(self) -> None:
        """Raise SettingsError ``another_engine``, UnavailableError while engine or database are away."""
        if self._is_certain:
            return
        here = (await self._engine.info()).id
        if await engine_of(self._database, here) != here:
            raise SettingsError(
                f"the workspaces of this database run on another engine than the one at {self._engine.address.url}",
                code="another_engine",
                hint="give this server the engine of the others (DOCKER_HOST), or a database of its own (DATABASE_URL);"
                " if the engine was replaced: UPDATE installation SET engine = NULL",
            )
        self._is_certain = True
