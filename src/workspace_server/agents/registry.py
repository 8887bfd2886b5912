"""What agents report of themselves, and what follows from it for their workspace's status."""

from dataclasses import dataclass
from typing import Any

from workspace_server.agents.outbound import Outbound
from workspace_server.db import Database, TokenStore, Transaction, WorkspaceStore
from workspace_server.db.schema import now
from workspace_server.errors import AuthError
from workspace_server.events import EventLog
from workspace_server.model.event import Event, EventType
from workspace_server.model.workspace import EXTERNAL, Phase, Workspace, WorkspaceStatus
from workspace_server.workspaces.progress import Phases

_DEGRADED_FROM = 0.5
_RECOVERED_BELOW = 0.1
_LARGEST_SPEND = 10**12
_WEDGED = "wedged"

_COMES_ONLINE = frozenset(
    {
        WorkspaceStatus.PROVISIONING,
        WorkspaceStatus.OFFLINE,
        WorkspaceStatus.DEGRADED,
        WorkspaceStatus.FAILED,
        WorkspaceStatus.AWAITING_AGENT,
    }
)
"""The statuses that an agent's register ends: it is there, so its workspace is online."""

_OF_THE_NEW_ONE = frozenset({Phase.CONTAINER, Phase.START})
"""The phases from which on no agent of an earlier container can call: its token is void."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """What an agent says every thirty seconds."""

    error_rate: float = 0.0
    sample_error: str = ""
    active_tasks: int = 0
    uptime_seconds: int = 0
    current_task: str = ""
    monthly_spend: int = 0
    runtime_state: str = ""


class AgentRegistry:
    """Takes the calls of agents. Who calls has been checked before; these methods decide what follows.

    ``machines_elsewhere``: this server published no agent's port, and no agent was given a token at its start.
    """

    def __init__(
        self,
        *,
        database: Database,
        workspaces: WorkspaceStore,
        tokens: TokenStore,
        events: EventLog,
        outbound: Outbound,
        machines_elsewhere: bool,
    ) -> None:
        self._outbound = outbound
        self._machines_elsewhere = machines_elsewhere
        self._database = database
        self._workspaces = workspaces
        self._tokens = tokens
        self._events = events

    async def register(self, workspace_id: str, agent_card: Any, url: str = "") -> str | None:
        """An agent is there: its workspace is online. Returns a token when the workspace had none.

        ``url`` counts of agents elsewhere only: of a container this server knows where it published the port.
        Raises InvalidRequestError for one where no agent may be.
        """
        async with self._database.write() as tx:
            row = await self._workspaces.touch(tx, workspace_id, agent_card=agent_card, last_heartbeat_at=now())
            if row is None:
                raise AuthError("this workspace is not here any more", code="unknown_workspace")
            if url and self._names_its_url(row):
                url = self._outbound.check(url)
                row = await self._workspaces.touch(tx, workspace_id, url=url) or row
            if row.status in _COMES_ONLINE and not _is_of_an_earlier_container(row):
                row = await self._come_online(tx, row, {"url": row.url, "agent_card": agent_card})
            await self._events.record(
                tx,
                Event(type=EventType.AGENT_CARD_UPDATED, workspace_id=workspace_id, payload={"agent_card": agent_card}),
            )
            return None if await self._tokens.has_live(workspace_id) else await self._tokens.issue(tx, workspace_id)

    def _names_its_url(self, row: Workspace) -> bool:
        return row.runtime == EXTERNAL or (self._machines_elsewhere and not _is_of_an_earlier_container(row))

    async def awaits_first_call(self, workspace_id: str) -> bool:
        """Whether a machine was asked for whose agent has no token yet, and nothing else that would prove who it is."""
        row = await self._workspaces.get(workspace_id) if self._machines_elsewhere else None
        awaited = row is not None and row.status is WorkspaceStatus.PROVISIONING and row.runtime != EXTERNAL
        return awaited and row is not None and not _is_of_an_earlier_container(row)

    async def heartbeat(self, workspace_id: str, beat: Heartbeat) -> None:
        """An agent is alive: its figures are kept, and its workspace's status follows."""
        changes: dict[str, Any] = {
            "last_error_rate": beat.error_rate,
            "active_tasks": beat.active_tasks,
            "uptime_seconds": beat.uptime_seconds,
            "current_task": beat.current_task,
            "last_heartbeat_at": now(),
        }
        if beat.monthly_spend:
            changes["monthly_spend"] = max(0, min(beat.monthly_spend, _LARGEST_SPEND))
        async with self._database.write() as tx:
            row = await self._workspaces.touch(tx, workspace_id, **changes)
            if row is None:
                return
            if row.failure is None:  # why its provisioning failed, or what it waits for, stays
                await self._workspaces.touch(tx, workspace_id, last_sample_error=beat.sample_error)
            await self._follow(tx, row, beat)

    async def _follow(self, tx: Transaction, row: Workspace, beat: Heartbeat) -> None:
        match row.status:
            case WorkspaceStatus.PROVISIONING if not _is_of_an_earlier_container(row):
                await self._come_online(tx, row, {"recovered_from": "provisioning"})
            case WorkspaceStatus.OFFLINE:
                await self._come_online(tx, row, {})
            case WorkspaceStatus.ONLINE if beat.runtime_state == _WEDGED:
                await self._degrade(tx, row, {"runtime_state": _WEDGED, "sample_error": beat.sample_error})
            case WorkspaceStatus.ONLINE if beat.error_rate >= _DEGRADED_FROM:
                await self._degrade(tx, row, {"error_rate": beat.error_rate, "sample_error": beat.sample_error})
            case WorkspaceStatus.DEGRADED if beat.error_rate < _RECOVERED_BELOW and not beat.runtime_state:
                await self._come_online(tx, row, {})
            case _:
                pass

    async def _come_online(self, tx: Transaction, row: Workspace, payload: dict[str, Any]) -> Workspace:
        changes: dict[str, Any] = {"failure": None}
        if row.failure is not None:
            changes["last_sample_error"] = ""
        if row.status is WorkspaceStatus.PROVISIONING:
            phases = Phases(row.phases)
            phases.complete()
            # What was wished for its start is done, also where the server died before it could write that down.
            changes |= {"phases": phases.as_json(), "apply_config": False, "reset_session": False}
        online = await self._workspaces.move(
            tx, row.id, WorkspaceStatus.ONLINE, leaving=row.status, generation=row.generation, **changes
        )
        await self._events.record(tx, Event(type=EventType.ONLINE, workspace_id=row.id, payload=payload))
        return online or row

    async def _degrade(self, tx: Transaction, row: Workspace, payload: dict[str, Any]) -> None:
        await self._workspaces.move(tx, row.id, WorkspaceStatus.DEGRADED, leaving=row.status)
        await self._events.record(tx, Event(type=EventType.DEGRADED, workspace_id=row.id, payload=payload))


def _is_of_an_earlier_container(row: Workspace) -> bool:
    """Whether an agent that calls now runs in a container that is about to be replaced, or should have been.

    Its token is valid until the phase in which the new container's is made. A provisioning that failed before that
    left the container as it was: what the agent says of it is no word about what was wanted since.
    """
    wanted = (WorkspaceStatus.PROVISIONING, WorkspaceStatus.FAILED)
    return row.status in wanted and row.phases.keys().isdisjoint(_OF_THE_NEW_ONE)
