"""Tier 4: a container in its machine's own network, with an agent that is reached at a port of that machine."""

import socket
from collections.abc import Mapping
from typing import Any

from workspace_server.errors import ConflictError
from workspace_server.model.container import FULL_HOST
from workspace_server.model.names import AGENT_PORT
from workspace_server.workspaces.bridge import ENGINES_OWN_WAY

_LARGEST_PORT = 65535


def host_port(tier: int, config: Mapping[str, Any], host_gateway: str) -> int | None:
    """The port of this machine at which the agent will listen, as its config.yaml says; None for other tiers.

    Raises ConflictError ``tier_unavailable`` where the engine's machine is not this one: nobody could reach the agent.
    """
    if tier != FULL_HOST:
        return None
    if host_gateway == ENGINES_OWN_WAY:
        raise ConflictError(
            "tier 4 needs an engine on this very machine: its agents listen in the network of the engine's machine",
            code="tier_unavailable",
            hint="use tier 3, which is privileged as well, or run the server beside the engine",
        )
    a2a = config.get("a2a")
    port = a2a.get("port") if isinstance(a2a, dict) else None
    return port if isinstance(port, int) and 0 < port <= _LARGEST_PORT else AGENT_PORT


def check_free(port: int) -> None:
    """Raise ConflictError ``host_port_taken`` when something listens at that port: messages would go to a stranger."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))  # noqa: S104 - as the agent will; nothing is accepted
        except OSError as error:
            raise ConflictError(
                f"port {port} of this machine is taken, where the agent of this workspace of tier 4 would listen",
                code="host_port_taken",
                hint="stop what listens there, or give the workspace another a2a.port in its config.yaml",
            ) from error
