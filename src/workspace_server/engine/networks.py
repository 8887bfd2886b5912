"""The workspace network on the engine."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from workspace_server.engine.connection import SLOW, Connection
from workspace_server.engine.decode import network_info
from workspace_server.errors import ConflictError, InvalidRequestError, NotFoundError, UnavailableError
from workspace_server.model.container import NetworkInfo


class Networks:
    """What ``Engine`` can do with networks. Every method raises UnavailableError and DeadlineError, too."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        # The engine takes several networks of one name when they are created at once, whatever it is asked.
        self._creating = asyncio.Lock()

    async def network(self, name: str) -> NetworkInfo | None:
        """The network of exactly that name, the oldest if there are several; None when there is none."""
        found = await self._named(name)
        return network_info(found[0]) if found else None

    async def ensure_network(self, name: str) -> NetworkInfo:
        """The bridge network of that name, created when missing. It is shared: it gets no label, nobody removes it.

        Another process may have created one in the same moment. Then everybody uses the oldest, and the one who made
        a younger one removes it.
        """
        async with self._creating:
            found = await self._named(name)
            if not found:
                made = await self._create(name)
                found = await self._named(name)
                if made is not None and found and found[0]["Id"] != made:
                    await self._remove(made, name)
        if not found:
            raise UnavailableError(
                f"the network {name} vanished while it was created",
                code="engine_error",
                hint="another program may remove networks; try again",
            )
        return network_info(found[0])

    async def remove_network(self, name: str) -> bool:
        """Remove the network unless something uses it; whether it is gone."""
        found = await self.network(name)
        if found is not None:
            try:
                await self._remove(found.id, name)
            except InvalidRequestError:  # the engine answers 403 while containers are on it
                return False
        return True

    async def _named(self, name: str) -> list[Mapping[str, Any]]:
        """The networks of that name, oldest first. The engine's own filter takes parts of names, too."""
        listed = await self._connection.call(
            "GET", "networks", operation=f"look for the network {name}", params={"filters": {"name": [name]}}
        )
        found = [network for network in listed if network["Name"] == name]
        return sorted(found, key=lambda network: (network["Created"], network["Id"]))

    async def _create(self, name: str) -> str | None:
        """The new network's id; None when somebody else was faster."""
        try:
            created = await self._connection.call(
                "POST",
                "networks/create",
                operation=f"create the network {name}",
                body={"Name": name, "Driver": "bridge", "CheckDuplicate": True},
                limit=SLOW,
            )
        except ConflictError:
            return None
        return str(created["Id"])

    async def _remove(self, network_id: str, name: str) -> None:
        with suppress(NotFoundError):
            await self._connection.call(
                "DELETE", f"networks/{network_id}", operation=f"remove the network {name}", limit=SLOW
            )
