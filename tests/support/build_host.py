"""A server that the steps of a build can call: it counts builds where nobody can pretend, and holds them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import IPv4Network

from aiohttp import web

from .engine import engine
from .gate import Gate


class BuildHost:
    """``calls`` has the path of every call, in order of arrival, as in ``calls.count("/langgraph")``; ``bodies`` what
    was sent with it.
    """

    def __init__(self) -> None:
        self.url = ""  # without a slash at its end
        self.calls: list[str] = []
        self.bodies: list[bytes] = []
        self._gates: dict[str, Gate] = {}

    def hold(self, path: str) -> Gate:
        """Let every call to this path wait for its answer until the gate is released."""
        return self._gates.setdefault(path, Gate())

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer any call with 200."""
        self.calls.append(request.path)
        self.bodies.append(await request.content.read())
        if request.path in self._gates:
            await self._gates[request.path].wait()
        return web.Response(text="go on\n")


@asynccontextmanager
async def build_host(address: str) -> AsyncIterator[BuildHost]:
    """Serve on the gateway of the engine's default network, where builds and containers reach it.

    The engine must be on this machine.
    """
    async with engine(address) as api:
        network = await api.get("/networks/bridge")
    config = network["IPAM"]["Config"][0]
    # An engine that chose the addresses itself may leave the gateway out: it is the first of the subnet.
    gateway = config.get("Gateway") or str(next(IPv4Network(config["Subnet"]).hosts()))
    host = BuildHost()
    runner = web.ServerRunner(web.Server(host.answer, handler_cancellation=True), shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, gateway, 0).start()
        host.url = f"http://{gateway}:{runner.addresses[0][1]}"
        yield host
    finally:
        for gate in host._gates.values():
            gate.release()
        await runner.cleanup()
