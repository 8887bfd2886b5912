"""The server's API, as a command calls it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from workspace_server.errors import UnavailableError, WorkspaceServerError

_SECONDS = 30.0


class Client:
    """Calls one server, as its owner."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def call(self, method: str, path: str, body: Any = None, *, seconds: float = _SECONDS) -> Any:
        """The answer's JSON. Raises WorkspaceServerError in the server's own words, UnavailableError without any."""
        try:
            response = await self._http.request(method, path, json=body, timeout=seconds)
        except httpx.TransportError as error:
            raise UnavailableError(
                f"no server answers at {self._http.base_url}",
                code="server_unavailable",
                hint="start it: workspace-server serve",
            ) from error
        answer = response.json()
        if response.is_error:
            raise WorkspaceServerError(
                answer.get("error", f"the server answered {response.status_code}"),
                code=answer.get("code", "unknown"),
                hint=answer.get("hint", ""),
            )
        return answer


@asynccontextmanager
async def open_client(url: str, token: str) -> AsyncIterator[Client]:
    """A client of the server at ``url`` that shows the owner's token."""
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=url, headers=headers, trust_env=False) as http:
        yield Client(http)
