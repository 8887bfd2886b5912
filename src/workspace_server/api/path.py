"""What the paths of requests name."""

from uuid import UUID

from fastapi import Request

from workspace_server.api.access import services
from workspace_server.errors import InvalidRequestError
from workspace_server.model.workspace import Workspace


def uuid_of(workspace_id: str) -> str:
    """A workspace's id in its one spelling; raises InvalidRequestError ``invalid_workspace_id``."""
    try:
        return str(UUID(workspace_id))
    except ValueError:
        raise InvalidRequestError("invalid workspace ID", code="invalid_workspace_id") from None


async def workspace_of(request: Request, workspace_id: str) -> Workspace:
    """The workspace that a path names, removed ones included; raises InvalidRequestError and NotFoundError."""
    return await services(request).workspaces.get(uuid_of(workspace_id))
