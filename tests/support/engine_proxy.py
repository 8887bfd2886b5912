"""A Unix socket in front of the engine's: transparent to every client, until a test wants it otherwise."""

import asyncio
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from .engine_faults import Call, EngineFaults
from .http_relay import Relay
from .http_wire import Wire


class EngineProxy:
    """The engine at another address.

    ``calls`` has every request in order of arrival, also those on connections that were later upgraded; what is inside
    an upgraded connection is passed on unseen.
    """

    def __init__(self, engine: str, socket_path: Path) -> None:
        self.faults = EngineFaults()
        self.calls: list[Call] = []
        self.failures: list[Exception] = []  # of the proxy itself
        self._engine = engine
        self._path = socket_path
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        """The proxy's address, as ``DOCKER_HOST`` takes it."""
        return f"unix://{self._path}"

    def count(self, method: str | None, pattern: str) -> int:
        """Count the calls with this method (None: any) whose whole path matches, without the API's version."""
        return sum(call.matches(method, pattern) for call in self.calls)

    async def up(self) -> None:
        """Listen; nothing happens when it listens already."""
        if self._server is None:
            self._path.unlink(missing_ok=True)
            self._server = await asyncio.start_unix_server(self._accept, self._path)

    async def down(self, *, leave_socket: bool = False) -> None:
        """Be gone, as an engine that was stopped: every connection ends, new ones find no socket.

        With ``leave_socket``, as one that was killed: the socket's file is there and refuses connections.
        """
        if self._server is None:
            return
        self._server.close()
        self._server = None
        for connection in self._connections:
            connection.cancel()
        if self._connections:
            await asyncio.wait(self._connections)
        self._path.unlink(missing_ok=True)
        if leave_socket:
            with socket.socket(socket.AF_UNIX) as dead:
                dead.bind(str(self._path))

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        client = Wire(reader, writer)
        try:
            engine = await _connect(self._engine)
            try:
                await Relay(client, engine, self.faults, self.calls.append).serve()
            finally:
                engine.close(now=True)
        except (OSError, asyncio.CancelledError):
            pass  # one of the three went away, or was never there
        except Exception as error:  # noqa: BLE001 - raised when the proxy is left
            self.failures.append(error)
        finally:
            client.close()
            self._connections.discard(task)


@asynccontextmanager
async def engine_proxy(engine: str) -> AsyncIterator[EngineProxy]:
    """Run a proxy in front of the engine at ``unix://…`` or ``tcp://…``. Raises at the end what went wrong in it."""
    directory = Path(tempfile.mkdtemp(prefix="engine-"))  # short: a socket's path has a limit of about 100 characters
    proxy = EngineProxy(engine, directory / "engine.sock")
    try:
        await proxy.up()
        yield proxy
    finally:
        await proxy.down()
        shutil.rmtree(directory)
        if proxy.failures:
            raise ExceptionGroup("the engine proxy failed", proxy.failures)


async def _connect(address: str) -> Wire:
    kind, _, where = address.partition("://")
    if kind == "unix":
        return Wire(*await asyncio.open_unix_connection(where))
    host, _, port = where.rpartition(":")
    return Wire(*await asyncio.open_connection(host, int(port)))
