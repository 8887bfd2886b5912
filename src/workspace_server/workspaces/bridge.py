"""The workspace network as this machine sees it.

Where the network's bridge is a device of this machine, containers come in through it and never from loopback. Only
then can a listener of their own be bound to it, and loopback be trusted to be a person.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from workspace_server.model.container import NetworkInfo

_DEVICES = Path("/sys/class/net")
ENGINES_OWN_WAY = "host-gateway"
"""What the engine takes for its own machine, wherever that is."""


class Bridge:
    """Knows the present network, and tells its one follower when another takes its place."""

    def __init__(self) -> None:
        self.network: NetworkInfo | None = None
        self._follower: Callable[[NetworkInfo], Awaitable[None]] | None = None
        self._told: NetworkInfo | None = None
        self._telling = asyncio.Lock()

    @property
    def is_here(self) -> bool:
        """Whether the network's bridge is a device of this machine."""
        return self.network is not None and (_DEVICES / self.network.device).exists()

    @property
    def is_told(self) -> bool:
        """Whether whoever follows has taken the present network."""
        return self._follower is None or self._told == self.network

    async def announce(self, network: NetworkInfo) -> str:
        """The network is this one; returns, when containers on it can reach this server, what leads them to it.

        That is the network's gateway, or the engine's own word for a machine that the bridge is not on.
        """
        async with self._telling:
            self.network = network
            await self._tell()
        return network.gateway if self.is_here else ENGINES_OWN_WAY

    async def follow(self, follower: Callable[[NetworkInfo], Awaitable[None]]) -> None:
        """Call ``follower`` with the present network, if it is here, and with each that replaces it."""
        async with self._telling:
            self._follower, self._told = follower, None
            await self._tell()

    async def _tell(self) -> None:
        """Tell once of each network; one whose telling was cut off is told again."""
        if self._follower is not None and self.network is not None and self.network != self._told and self.is_here:
            await self._follower(self.network)
            self._told = self.network
