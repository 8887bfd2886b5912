"""The server's API, as a command calls it."""

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from urllib.parse import quote

import httpx

from workspace_server.db.directory import DataDirectory
from workspace_server.errors import DeadlineError, UnavailableError, WorkspaceServerError
from workspace_server.settings import load_settings

_SECONDS = 60.0  # longer than the server itself waits for a Git host, and than a followed route is silent
_START = "start it: workspace-server serve"

Event = Mapping[str, Any]
"""A server-sent event: ``event``, ``data`` decoded, and ``id`` when there is one."""


class Client:
    """Calls one server, as its owner."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def text(self, path: str) -> str:
        """The answer's text. Raises like ``call``."""
        response = await self._send("GET", path)
        return response.text

    async def events(self, path: str, last: str) -> AsyncIterator[Event]:
        """The events of a route that is followed, up to the first one called ``last``.

        Raises like ``call``, the error of an event called ``error``, and UnavailableError when the server stops before.
        """
        with self._translated():
            async with self._http.stream("GET", path, timeout=_SECONDS) as response:
                if response.is_error:
                    await response.aread()
                    raise _refusal(response)
                async for event in _events(response.aiter_lines()):
                    if event["event"] == "error":
                        raise error_of(event["data"])
                    yield event
                    if event["event"] == last:
                        return
        raise UnavailableError(f"the server at {self._http.base_url} stopped", code="server_unavailable", hint=_START)

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, str] | None = None,
        seconds: float = _SECONDS,
    ) -> Any:
        """The answer's JSON. Raises WorkspaceServerError in the server's own words, UnavailableError without any."""
        response = await self._send(method, path, body, query, seconds)
        try:
            return response.json()
        except ValueError as error:
            raise WorkspaceServerError(
                f"what answers at {response.url} sent no JSON", code="unexpected_answer", hint="is it another server?"
            ) from error

    async def _send(
        self,
        method: str,
        path: str,
        body: Any = None,
        query: Mapping[str, str] | None = None,
        seconds: float = _SECONDS,
    ) -> httpx.Response:
        with self._translated():
            response = await self._http.request(method, path, json=body, params=query, timeout=seconds)
        if response.is_error:
            raise _refusal(response)
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
                hint=_START,
            ) from error


def path_of(*parts: str) -> str:
    """The path of these parts, whatever is in them: nobody's argument leads to another route."""
    return "".join(f"/{quote(part, safe='')}" for part in parts)


def error_of(answer: Mapping[str, Any]) -> WorkspaceServerError:
    """The server's error object as the error that it is."""
    return WorkspaceServerError(
        answer["error"], code=answer.get("code", "unexpected_answer"), hint=answer.get("hint", "")
    )


def _refusal(response: httpx.Response) -> WorkspaceServerError:
    try:
        return error_of(response.json())
    except (ValueError, LookupError, TypeError):
        return error_of({"error": f"the server answered {response.status_code}"})


async def _events(lines: AsyncIterator[str]) -> AsyncIterator[Event]:
    """Server-sent events as their fields, the data decoded."""
    fields: dict[str, str] = {}
    async for line in lines:
        name, colon, value = line.partition(": ")
        if colon and name:  # a comment has no name
            fields[name] = value
        elif not line and "data" in fields:
            yield {**fields, "data": json.loads(fields["data"])}
            fields = {}


@asynccontextmanager
async def open_own_client() -> AsyncIterator[Client]:
    """A client of the server that these settings start: on this machine, its port, its owner's or admin token."""
    settings = load_settings()
    admin = settings.admin_token
    token = admin.get_secret_value() if admin else DataDirectory(path=settings.data_dir).known_owner_token()
    async with open_client(f"http://127.0.0.1:{settings.port}", token, settings.org_id) as client:
        yield client


@asynccontextmanager
async def open_client(url: str, token: str | None, org_id: str | None = None) -> AsyncIterator[Client]:
    """A client of the server at ``url`` that shows ``token``, if there is one, and means that organisation's server."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    headers |= {"X-Molecule-Org-Id": org_id} if org_id else {}
    async with httpx.AsyncClient(base_url=url, headers=headers, trust_env=False) as http:
        yield Client(http)
