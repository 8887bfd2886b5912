"""How a server is put together; server, commands and tests use the same door."""

from workspace_server.wiring.assembly import open_services
from workspace_server.wiring.ground import rotating_secrets
from workspace_server.wiring.services import Services

__all__ = ["Services", "open_services", "rotating_secrets"]
