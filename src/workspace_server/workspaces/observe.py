"""The facts: which machines are there, compared with the rows, and what follows for those that died.

Only the backend's word that a machine ended, or is not there, is death; a backend that does not answer proves nothing.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import structlog

from workspace_server.db import Database, WorkspaceStore
from workspace_server.errors import DeadlineError, TemplateError, UnavailableError
from workspace_server.events import EventLog
from workspace_server.model.event import Event, EventType
from workspace_server.model.workspace import Failure, Workspace, WorkspaceStatus
from workspace_server.workspaces import restarts
from workspace_server.workspaces.backend import Backend, Machine
from workspace_server.workspaces.external import is_external

log = structlog.get_logger(__name__)

_S = WorkspaceStatus

SILENCE = timedelta(seconds=180)
_LONGEST_GAP = timedelta(seconds=90)
AT_ONCE = 4
"""So many are started again in one round: many that died together come back one after the other."""


class Observer:
    """Compares the backend's machines with the rows. ``stop`` and ``clear`` begin the work that a difference asks for.

    ``stop``: of a workspace that is to rest, or failed with this very machine; ``clear``: of one that is nobody's.
    ``is_worked_on``: whether something is under way on a workspace, which rests only when that has ended.
    """

    def __init__(
        self,
        *,
        database: Database,
        workspaces: WorkspaceStore,
        events: EventLog,
        backend: Backend,
        stale_after: float,
        stop: Callable[[str], None],
        clear: Callable[[str], None],
        is_worked_on: Callable[[str], bool],
    ) -> None:
        self._database = database
        self._workspaces = workspaces
        self._events = events
        self._backend = backend
        self._stale_after = timedelta(seconds=stale_after)
        self._stop = stop
        self._clear = clear
        self._is_worked_on = is_worked_on
        self._began = self._looked = datetime.now(UTC)  # nobody could call before

    async def observe(self) -> bool:
        """Compare once: mark the dead, stop what is to rest, clear what is nobody's. Whether any was marked."""
        now = datetime.now(UTC)  # before the rows are read: what comes meanwhile is held against nobody
        self._notice_gaps(now)
        # The rows first: what comes online while the engine answers is not missed in that answer.
        living = await self._workspaces.with_status(_S.ONLINE, _S.DEGRADED)
        for workspace in filter(is_external, living):
            await self._mark_stale(workspace, now)
        failed = await self._workspaces.with_status(_S.FAILED)
        resting = await self._workspaces.with_status(_S.PAUSED, _S.HIBERNATING, _S.HIBERNATED)
        try:
            machines = sorted(await self._backend.machines(), key=lambda machine: machine.generation)
        except (UnavailableError, DeadlineError) as error:
            log.warning("the machines cannot be observed", error=error.message)
            return False
        found = {machine.workspace_id: machine for machine in machines}  # the newest of each
        marked = [
            await self._compare(workspace, found.get(workspace.id), now)
            for workspace in living
            if not is_external(workspace)
        ]
        for workspace in failed:
            machine = found.get(workspace.id)
            if machine and machine.running is not False and machine.generation == workspace.generation:
                self._stop(workspace.id)
        for workspace in resting:
            if workspace.id in found or workspace.status is _S.HIBERNATING or self._is_worked_on(workspace.id):
                self._stop(workspace.id)
        await self._clear_nobodys(found)
        return any(marked)

    def _notice_gaps(self, now: datetime) -> None:
        """Nobody could call in a time that seems over: the machine slept, a clock was set, the database was away."""
        if not timedelta(0) <= now - self._looked < _LONGEST_GAP:
            self._began = now
        self._began = max(self._began, self._database.failed_at or self._began)
        self._looked = now

    async def _clear_nobodys(self, found: dict[str, Machine]) -> None:
        for workspace_id in found.keys() - dict(await self._workspaces.to_clear()).keys():
            row = await self._workspaces.get(workspace_id)
            if row is None or row.status is _S.REMOVED:
                self._clear(workspace_id)

    async def _compare(self, workspace: Workspace, machine: Machine | None, now: datetime) -> bool:
        """Whether the workspace was marked offline."""
        if machine is None or machine.running is False:
            return await self._mark_offline(workspace, f"its {self._backend.noun} does not run")
        if machine.running is None:
            return False  # nobody can say: whoever is silent may only be as cut off as the backend is
        last = max(workspace.last_heartbeat_at or self._began, self._began)
        if now - last > SILENCE:
            return await self._mark_offline(workspace, "its agent is silent")
        if machine.url and workspace.url != machine.url:
            async with self._database.write(durable=False) as tx:
                await self._workspaces.progress(tx, workspace.id, workspace.generation, url=machine.url)
        return False

    async def _mark_stale(self, workspace: Workspace, now: datetime) -> None:
        """An agent that runs elsewhere and is silent is offline until it calls again; nobody here can restart it."""
        last = max(workspace.last_heartbeat_at or workspace.created_at, self._began)
        if now - last > self._stale_after:
            await self._mark_offline(workspace, "its agent, which runs elsewhere, is silent")

    async def _mark_offline(self, workspace: Workspace, why: str) -> bool:
        async with self._database.write() as tx:
            offline = await self._workspaces.move(tx, workspace.id, _S.OFFLINE, generation=workspace.generation)
            if offline is not None:
                await self._events.record(tx, Event(type=EventType.OFFLINE, workspace_id=workspace.id, payload={}))
                log.warning("workspace offline", workspace=workspace.id, reason=why)
        return offline is not None

    async def restart_the_dead(self) -> int:
        """Want those again that died, as far as their time has come; how many."""
        begun = 0
        for workspace in await self._workspaces.with_status(_S.OFFLINE):
            if is_external(workspace):
                continue
            now = datetime.now(UTC)
            due = restarts.due_at(workspace.restarts, workspace.updated_at, now)
            if due is None:
                await self._give_up(workspace)
            elif due <= now and begun < AT_ONCE and not await self._is_below_a_paused_one(workspace):
                await self._want_again(workspace, [*restarts.recent(workspace.restarts, now), now.isoformat()])
                begun += 1
        return begun

    async def _want_again(self, workspace: Workspace, moments: list[str]) -> None:
        async with self._database.write() as tx:
            row = await self._workspaces.want(
                tx, workspace.id, anew=False, leaving=frozenset({_S.OFFLINE}), restarts=moments
            )
            if row is not None:
                payload = {"name": row.name, "tier": row.tier, "runtime": row.runtime}
                await self._events.record(tx, Event(type=EventType.PROVISIONING, workspace_id=row.id, payload=payload))
                log.info("restarting a workspace", workspace=row.id, restarts=len(moments))

    async def _is_below_a_paused_one(self, workspace: Workspace) -> bool:
        above = workspace.parent_id and await self._workspaces.get(workspace.parent_id)
        while above:
            if above.status is _S.PAUSED:
                return True
            above = above.parent_id and await self._workspaces.get(above.parent_id)
        return False

    async def _give_up(self, workspace: Workspace) -> None:
        """It died too often: it stays down, and says with which last words."""
        error = TemplateError(
            f"the {self._backend.noun} ended {restarts.LIMIT} times within {restarts.WINDOW.seconds // 60} minutes"
            f" and is not started again\n{await self._backend.last_words(workspace.id)}",
            code="crash_loop",
            hint="correct what the last lines complain of, then restart the workspace",
        )
        failure = Failure(code=error.code, message=error.message, hint=error.hint)
        async with self._database.write() as tx:
            failed = await self._workspaces.move(
                tx, workspace.id, _S.FAILED, leaving=_S.OFFLINE, failure=failure, last_sample_error=str(error)
            )
            if failed is not None:
                event = Event(type=EventType.PROVISION_FAILED, workspace_id=workspace.id, payload=error.as_dict())
                await self._events.record(tx, event)
                log.warning("workspace given up", workspace=workspace.id, code=error.code, error=error.message)
