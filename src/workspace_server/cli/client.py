"""The server's API, as a command calls it."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import httpx

from workspace_server.db.directory import DataDirectory
from workspace_server.errors import DeadlineError, UnavailableError, WorkspaceServerError
from workspace_server.settings import load_settings

_SECONDS = 60.0  # longer than the server itself waits for a Git host


class Client:
    """Calls one server, as its owner."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def text(self, path: str) -> str:
        """The answer's text. Raises like ``call``."""
        response = await self._send("GET", path)
        return response.text

    async def lines(self, path: str) -> AsyncIterator[str]:
        """The lines of a followed log, as they are written, until it ends. Raises like ``call``."""
        with self._translated():
            async with self._http.stream("GET", path, timeout=None) as response:
                if response.is_error:
                    await response.aread()
                    raise _error(response)
                event = ""
                async for line in response.aiter_lines():
                    if line.startswith("event: "):
                        event = line.removeprefix("event: ")
                    elif line.startswith("data: ") and event == "line":
                        yield json.loads(line.removeprefix("data: "))["text"]

    async def call(self, method: str, path: str, body: Any = None, *, seconds: float = _SECONDS) -> Any:
        """The answer's JSON. Raises WorkspaceServerError in the server's own words, UnavailableError without any."""
        response = await self._send(method, path, body, seconds)
        try:
            return response.json()
        except ValueError as error:
            raise WorkspaceServerError(
                f"what answers at {response.url} sent no JSON", code="unexpected_answer", hint="is it another server?"
            ) from error

    async def _send(self, method: str, path: str, body: Any = None, seconds: float = _SECONDS) -> httpx.Response:
        with self._translated():
            response = await self._http.request(method, path, json=body, timeout=seconds)
        if response.is_error:
            raise _error(response)
        return response

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except httpx.ReadTimeout as error:
            raise DeadlineError(f"the server at {self._http.base_url} did not answer in time") from error
        except httpx.TransportError as error:
            raise UnavailableError(
                f"no server answers at {self._http.base_url}",
                code="server_unavailable",
                hint="start it: workspace-server serve",
            ) from error


def _error(response: httpx.Response) -> WorkspaceServerError:
    try:
        answer = response.json()
    except ValueError:
        answer = {}
    return WorkspaceServerError(
        answer.get("error", f"the server answered {response.status_code}"),
        code=answer.get("code", "unexpected_answer"),
        hint=answer.get("hint", ""),
    )


@asynccontextmanager
async def open_own_client() -> AsyncIterator[Client]:
    """A client of the server that these settings start: on this machine, its port, its owner's or admin token."""
    settings = load_settings()
    admin = settings.admin_token
    token = admin.get_secret_value() if admin else DataDirectory(path=settings.data_dir).known_owner_token()
    async with open_client(f"http://127.0.0.1:{settings.port}", token) as client:
        yield client


@asynccontextmanager
async def open_client(url: str, token: str | None) -> AsyncIterator[Client]:
    """A client of the server at ``url`` that shows ``token``, if there is one."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with httpx.AsyncClient(base_url=url, headers=headers, trust_env=False) as http:
        yield Client(http)
