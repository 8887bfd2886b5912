"""A port in front of another one, which a test may cut, or let fall silent."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from .server import free_port
from .tasks import background

_PIECE = 65_536


class TcpRelay:
    """The ``target`` port of this machine at another one, ``port``.

    ``cut_off`` counts the connections that it ended, ``held_up`` the pieces that it kept back.
    """

    def __init__(self, target: int) -> None:
        self.port = free_port()
        self.cut_off = 0
        self.held_up = 0
        self._target = target
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._speaks = asyncio.Event()
        self._speaks.set()

    async def up(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    async def cut(self) -> None:
        """End every connection, and refuse new ones, until ``up``."""
        assert self._server is not None
        self._server.close()
        self.cut_off += len(self._connections)
        for connection in self._connections:
            connection.cancel()
        if self._connections:
            await asyncio.wait(self._connections)

    def fall_silent(self) -> None:
        """Pass nothing on any more, as a network that loses every packet."""
        self._speaks.clear()

    def speak(self) -> None:
        """Pass on again, what was kept back first."""
        self._speaks.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            there = await asyncio.open_connection("127.0.0.1", self._target)
            try:
                out, back = self._pass_on(reader, there[1]), self._pass_on(there[0], writer)
                async with background(out) as asked, background(back) as answered:
                    await asyncio.wait([asked, answered], return_when=asyncio.FIRST_COMPLETED)
            finally:
                there[1].transport.abort()
        except (OSError, asyncio.CancelledError):
            pass  # one of the three went away, or was never there
        finally:
            writer.transport.abort()
            self._connections.discard(task)

    async def _pass_on(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while piece := await source.read(_PIECE):
            self.held_up += not self._speaks.is_set()
            await self._speaks.wait()
            sink.write(piece)
            await sink.drain()


@asynccontextmanager
async def tcp_relay(target: int) -> AsyncIterator[TcpRelay]:
    """Run a relay to a port of this machine; every connection ends with it."""
    relay = TcpRelay(target)
    await relay.up()
    try:
        yield relay
    finally:
        relay.speak()
        await relay.cut()
