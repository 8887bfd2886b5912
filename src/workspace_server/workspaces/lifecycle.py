"""Restart, pause and resume, hibernate and wake: each writes the wish, and wakes the reconciler."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from workspace_server.db import Database, Transaction, WorkspaceStore
from workspace_server.errors import ConflictError, NotFoundError
from workspace_server.events import EventLog
from workspace_server.model.event import Event, EventType
from workspace_server.model.workspace import Workspace, WorkspaceStatus
from workspace_server.workspaces.external import is_external, refuse_external
from workspace_server.workspaces.templates import ConfigTemplate, ConfigTemplates, unknown_template

_S = WorkspaceStatus

_BY_A_PERSON = frozenset(_S) - {_S.REMOVED}
_WITH_NEW_SECRETS = frozenset({_S.PROVISIONING, _S.ONLINE, _S.DEGRADED, _S.OFFLINE, _S.FAILED})
MOVABLE = frozenset({_S.PROVISIONING, _S.ONLINE, _S.DEGRADED, _S.OFFLINE})
"""The statuses of workspaces that run, or are about to: those that may move to a newer image."""
_PAUSABLE = frozenset(_S) - {_S.REMOVED, _S.PAUSED}
_HIBERNATABLE = frozenset({_S.ONLINE, _S.DEGRADED})
_HIBERNATES = frozenset({_S.HIBERNATING, _S.HIBERNATED})


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartWish:
    """What a restart is to do anew. By itself it keeps what was edited, and the agent's session.

    ``template``: apply that config template; ``apply_template``: the one that is called like the workspace, or goes
    with its runtime; ``rebuild_config``: the organization's of that name, or whatever a new workspace would get.
    """

    template: str = ""
    apply_template: bool = False
    rebuild_config: bool = False
    reset_session: bool = False


_AS_IT_IS = RestartWish()


class Lifecycle:
    """What people, and the server itself, want of workspaces that are there."""

    def __init__(
        self,
        *,
        database: Database,
        workspaces: WorkspaceStore,
        events: EventLog,
        templates: ConfigTemplates,
        wake: Callable[[], None],
        look: Callable[[], None],
    ) -> None:
        self._templates = templates
        self._database = database
        self._workspaces = workspaces
        self._events = events
        self._wake = wake
        self._look = look

    async def restart(self, workspace_id: str, wish: RestartWish = _AS_IT_IS) -> str:
        """Provision it again, with the newest image; what its configuration is made from, "" when it is kept.

        Raises NotFoundError, ConflictError below a paused workspace, and InvalidRequestError for an unknown template.
        """
        row = await self._present(workspace_id)
        refuse_external(row)
        template = await asyncio.to_thread(self._chosen, wish, row)
        changes: dict[str, Any] = {"reset_session": True} if wish.reset_session else {}
        if template is not None:
            changes |= {"config_template": template.folder, "apply_config": True}
        elif wish.rebuild_config:
            changes |= {"apply_config": True}
        async with self._database.write() as tx:
            await self._check_above(await self._present(workspace_id))
            await self._want(tx, workspace_id, anew=True, leaving=_BY_A_PERSON, **changes)
        self._wake()
        return template.folder if template is not None else "rebuilt" if wish.rebuild_config else ""

    def _chosen(self, wish: RestartWish, row: Workspace) -> ConfigTemplate | None:
        """The template that a restart applies."""
        if wish.template:
            found = self._templates.find(wish.template)
            if found is None:
                raise unknown_template(wish.template, self._templates.folders())
            return found
        named = self._templates.named(row.name) if wish.apply_template else None
        rebuilt = self._templates.of_organization(row.name) if wish.rebuild_config else None
        of_runtime = self._templates.of_runtime(row.runtime) if wish.apply_template else None
        return named or rebuilt or of_runtime

    async def restart_with_secrets(self, workspace_ids: Iterable[str]) -> None:
        """Provision those that run, or should, with the image they have: their secrets changed."""
        async with self._database.write() as tx:
            for workspace_id in workspace_ids:
                await self._want(tx, workspace_id, anew=False, leaving=_WITH_NEW_SECRETS)
        self._wake()

    async def move(self, workspace_id: str, *, force: bool) -> bool:
        """Provision it with the newest image, if it runs or should; whether that is wanted now.

        One that works, or is being provisioned, stays as it is unless ``force``.
        """
        leaving = MOVABLE if force else MOVABLE - {_S.PROVISIONING}
        async with self._database.write() as tx:
            row = await self._workspaces.get(workspace_id)
            if row is None or (row.active_tasks and not force):
                return False
            moved = await self._want(tx, workspace_id, anew=True, leaving=leaving)
        self._wake()
        return moved is not None

    async def pause(self, workspace_id: str) -> int:
        """Stop it and all below it; their files stay. How many were not paused yet. Raises NotFoundError."""
        async with self._database.write() as tx:
            family = await self._workspaces.family(workspace_id)
            if not family or family[0].status not in _PAUSABLE:
                raise NotFoundError("workspace not found or already paused", code="not_pausable")
            refuse_external(family[0])
            stoppable = [row for row in family if not is_external(row)]
            paused = [row for row in stoppable if await self._stop(tx, row, _S.PAUSED)]
            for row in paused:
                payload = {"name": row.name}
                await self._events.record(tx, Event(type=EventType.PAUSED, workspace_id=row.id, payload=payload))
        self._look()
        return len(paused)

    async def resume(self, workspace_id: str) -> int:
        """Provision it and all paused ones below it, with the images they had. Raises NotFoundError, ConflictError."""
        async with self._database.write() as tx:
            family = await self._workspaces.family(workspace_id)
            if not family or family[0].status is not _S.PAUSED:
                raise NotFoundError("workspace not found or not paused", code="not_paused")
            await self._check_above(family[0])
            paused = [row.id for row in family if row.status is _S.PAUSED]
            for each in paused:
                await self._want(tx, each, anew=False, leaving=frozenset({_S.PAUSED}))
        self._wake()
        return len(paused)

    async def hibernate(self, workspace_id: str, *, force: bool) -> None:
        """Stop it until a message comes. Raises NotFoundError, and TasksError while it works and is not forced."""
        async with self._database.write() as tx:
            row = await self._workspaces.get(workspace_id)
            if row is None or row.status not in _HIBERNATABLE:
                words = "workspace not found or not in a hibernatable state (must be online or degraded)"
                raise NotFoundError(words, code="not_hibernatable")
            refuse_external(row)
            if row.active_tasks and not force:
                raise TasksError(row.active_tasks)
            await self._stop(tx, row, _S.HIBERNATING)
            payload = {"name": row.name, "tier": row.tier}
            await self._events.record(tx, Event(type=EventType.HIBERNATED, workspace_id=row.id, payload=payload))
        self._look()

    async def awake(self, workspace_id: str) -> None:
        """Provision one that hibernates, with the image it had; nothing for any other."""
        async with self._database.write() as tx:
            woken = await self._want(tx, workspace_id, anew=False, leaving=_HIBERNATES)
        if woken is not None:
            self._wake()

    async def _present(self, workspace_id: str) -> Workspace:
        row = await self._workspaces.get(workspace_id)
        if row is None or row.status is _S.REMOVED:
            raise NotFoundError("workspace not found", code="workspace_not_found")
        return row

    async def _check_above(self, row: Workspace) -> None:
        above = row.parent_id and await self._workspaces.get(row.parent_id)
        while above:
            if above.status is _S.PAUSED:
                raise ConflictError(
                    f'parent workspace "{above.name}" is paused — resume it first',
                    code="parent_paused",
                    hint=f"POST /workspaces/{above.id}/resume",
                )
            above = above.parent_id and await self._workspaces.get(above.parent_id)

    async def _want(
        self, tx: Transaction, workspace_id: str, *, anew: bool, leaving: frozenset[WorkspaceStatus], **changes: Any
    ) -> Workspace | None:
        row = await self._workspaces.want(tx, workspace_id, anew=anew, leaving=leaving, restarts=[], **changes)
        if row is not None:
            payload = {"name": row.name, "tier": row.tier, "runtime": row.runtime}
            await self._events.record(tx, Event(type=EventType.PROVISIONING, workspace_id=row.id, payload=payload))
        return row

    async def _stop(self, tx: Transaction, row: Workspace, target: WorkspaceStatus) -> bool:
        return await self._workspaces.move(tx, row.id, target, url="", current_task="", active_tasks=0) is not None


class TasksError(ConflictError):
    """A workspace was to hibernate while its agent works."""

    def __init__(self, active_tasks: int) -> None:
        super().__init__(
            "workspace has active tasks; use ?force=true to terminate them",
            code="active_tasks",
            hint="wait for them, or repeat with ?force=true",
        )
        self.active_tasks = active_tasks
