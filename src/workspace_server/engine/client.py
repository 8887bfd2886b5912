"""``Engine``: everything this program asks of the container engine, except building images."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from workspace_server.engine.activity import Activity
from workspace_server.engine.address import EngineAddress
from workspace_server.engine.connection import Connection, open_connection
from workspace_server.engine.containers import Containers
from workspace_server.engine.decode import engine_info
from workspace_server.engine.events import Events
from workspace_server.engine.images import Images
from workspace_server.engine.logs import Logs
from workspace_server.engine.networks import Networks
from workspace_server.engine.volumes import Volumes
from workspace_server.model.container import EngineInfo


class Engine(Containers, Logs, Images, Networks, Volumes, Events, Activity):
    """The container engine. Get one from ``open_engine``.

    Every method has a time limit unless it says otherwise, and raises this program's errors only: UnavailableError
    (``engine_unavailable``, ``engine_error``, ``no_space``), DeadlineError, and what the method itself names.
    """

    def __init__(self, connection: Connection) -> None:
        for part in (Containers, Logs, Images, Networks, Volumes, Events, Activity):
            part.__init__(self, connection)

    @property
    def address(self) -> EngineAddress:
        """Where the engine listens."""
        return self._connection.address

    async def info(self) -> EngineInfo:
        """Which engine this is."""
        return engine_info(await self._connection.call("GET", "info", operation="say what it is"))


@asynccontextmanager
async def open_engine(address: EngineAddress) -> AsyncIterator[Engine]:
    """The engine at ``address``. Opening sends nothing: the engine may be away, and may come back later."""
    async with open_connection(address) as connection:
        yield Engine(connection)
