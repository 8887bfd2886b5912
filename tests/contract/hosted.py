"""A server as a process of its own, on a control plane whose machines run agents."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from support.control_plane import ControlPlane, variables
from support.database import settings_in
from support.server import LIVE, NO_ENGINE, ServerProcess

from .stands import HEADERS


@asynccontextmanager
async def hosted_server(directory: Path, served: ControlPlane, **settings: str) -> AsyncIterator[ServerProcess]:
    """No engine is anywhere near it."""
    server = ServerProcess(directory, NO_ENGINE, await settings_in(directory))
    server.environment |= {**variables(served, server.url), "MOLECULE_BIND": "127.0.0.1", **settings}
    server.environment |= {"MOLECULE_LOG_FORMAT": "json"}
    server.client.headers.update(HEADERS)
    LIVE.append(server)
    try:
        await server.start()
        yield server
    finally:
        LIVE.remove(server)
        await server.close()
