"""Messages to agents: A2A over HTTP, completed where callers left something out, answers relayed as they are."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx

from workspace_server.agents.access import may_communicate
from workspace_server.db import Database, WorkspaceStore
from workspace_server.db.schema import now
from workspace_server.errors import (
    DeadlineError,
    ForbiddenError,
    InvalidRequestError,
    NotFoundError,
    UnavailableError,
    WorkspaceServerError,
)
from workspace_server.model.workspace import EXTERNAL, Workspace, WorkspaceStatus

LARGEST_REPLY = 10 * 1024 * 1024
_CONNECT_SECONDS = 5.0
_SILENCE_SECONDS = 300.0
_AGENT_SECONDS = 1800.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What an agent answered: its status, its bytes."""

    status: int
    body: bytes


class WakingError(UnavailableError):
    """A message came for a workspace that hibernated: it is being started."""

    retry_after = 15
    """Seconds after which it may be there."""

    def __init__(self, target: Workspace) -> None:
        super().__init__(
            f"the workspace {target.name} is waking from hibernation",
            code="waking",
            hint=f"send the message again in {self.retry_after} s",
        )


@asynccontextmanager
async def open_agents_client() -> AsyncIterator[httpx.AsyncClient]:
    """The HTTP client for agents. They are reached over plain HTTP on loopback, so no certificates are loaded."""
    async with httpx.AsyncClient(trust_env=False, verify=False) as client:  # noqa: S501 - no TLS is spoken here
        yield client


class AgentProxy:
    """Forwards JSON-RPC messages to the agents of workspaces. ``machines_elsewhere``: this server published no port."""

    def __init__(
        self,
        *,
        database: Database,
        workspaces: WorkspaceStore,
        http: httpx.AsyncClient,
        wake: Callable[[str], Awaitable[None]],
        outside: httpx.AsyncClient,
        machines_elsewhere: bool,
    ) -> None:
        self._machines_elsewhere = machines_elsewhere
        self._outside = outside
        self._database = database
        self._workspaces = workspaces
        self._http = http
        self._wake = wake
        self._under_way: Counter[str] = Counter()

    def talks_to(self, workspace_id: str) -> bool:
        """Whether a message to the workspace's agent is under way: it was sent, and is not answered yet."""
        return self._under_way[workspace_id] > 0

    async def send(self, target_id: str, message: bytes, *, caller_id: str | None, seconds: float | None) -> Reply:
        """Send ``message`` to the agent of ``target_id``; ``caller_id`` None is a person.

        Raises NotFoundError, ForbiddenError, InvalidRequestError for a body that is no JSON object, UnavailableError
        when the agent is not there, DeadlineError when it is silent for too long or ``seconds`` are over.
        """
        if caller_id is not None and not await may_communicate(self._workspaces, caller_id, target_id):
            raise ForbiddenError("access denied: workspaces cannot communicate per hierarchy rules", code="not_related")
        target = await self._target(target_id)
        limit = seconds or (_AGENT_SECONDS if caller_id is not None else None)
        reply = await self._post(target, _completed(message), limit)
        if caller_id is not None and reply.status < httpx.codes.BAD_REQUEST:
            async with self._database.write() as tx:
                await self._workspaces.touch(tx, caller_id, last_outbound_at=now())
        return reply

    async def _target(self, target_id: str) -> Workspace:
        target = await self._workspaces.get(target_id)
        if target is None or target.status is WorkspaceStatus.REMOVED:
            raise NotFoundError("workspace not found", code="workspace_not_found")
        if target.status in (WorkspaceStatus.HIBERNATING, WorkspaceStatus.HIBERNATED):
            await self._wake(target.id)
            raise WakingError(target)
        if not target.url:
            raise UnavailableError(
                f"the workspace {target.name} is {target.status}: it has no agent to talk to",
                code="agent_unavailable",
                hint=f"GET /workspaces/{target.id}/provisioning says how far it is",
            )
        return target

    async def _post(self, target: Workspace, message: bytes, limit: float | None) -> Reply:
        timeout = httpx.Timeout(min(limit or _SILENCE_SECONDS, _SILENCE_SECONDS), connect=_CONNECT_SECONDS)
        # A container's agent is at a port that this server published; one elsewhere is where it may be sent to.
        http = self._outside if self._machines_elsewhere or target.runtime == EXTERNAL else self._http
        request = http.build_request(
            "POST", target.url, content=message, headers={"Content-Type": "application/json"}, timeout=timeout
        )
        self._under_way[target.id] += 1
        try:
            async with asyncio.timeout(limit):
                response = await http.send(request, stream=True)
                try:
                    return Reply(status=response.status_code, body=await _bounded(response))
                finally:
                    await response.aclose()
        except (httpx.TimeoutException, TimeoutError) as error:
            raise DeadlineError(
                f"the agent of {target.name} did not answer in time",
                code="agent_timeout",
                hint="it may be busy; try later",
            ) from error
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise UnavailableError(
                f"the agent of {target.name} cannot be reached",
                code="agent_unavailable",
                hint=f"GET /workspaces/{target.id}/provisioning and the container's log say more",
            ) from error
        finally:
            self._under_way[target.id] -= 1
            self._under_way += Counter()  # forgets those without any


async def _bounded(response: httpx.Response) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > LARGEST_REPLY:
            raise WorkspaceServerError("the agent's answer is larger than 10 MiB", code="reply_too_large")
    return bytes(body)


def _completed(message: bytes) -> bytes:
    """The message with the JSON-RPC envelope and the ``messageId`` that callers may leave out."""
    try:
        body: Any = json.loads(message)
        json.dumps(body, ensure_ascii=False, allow_nan=False).encode()  # Python reads more than JSON can say
    except (ValueError, RecursionError) as error:
        raise InvalidRequestError("invalid JSON", code="invalid_json") from error
    if not isinstance(body, dict):
        raise InvalidRequestError("invalid JSON: an object is expected", code="invalid_json")
    if "jsonrpc" not in body:
        body = {"jsonrpc": "2.0", "id": str(uuid4()), "method": body.get("method"), "params": body.get("params")}
    body.setdefault("id", str(uuid4()))
    params = body.get("params")
    inner = params.get("message") if isinstance(params, dict) else None
    if isinstance(inner, dict):
        inner.setdefault("messageId", str(uuid4()))
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
