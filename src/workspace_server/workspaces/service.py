"""What people do with workspaces: each use case checks, writes the wish, and wakes the reconciler."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from workspace_server.db import Database, TokenStore, WorkspaceStore
from workspace_server.errors import ConflictError, InvalidRequestError, NotFoundError
from workspace_server.events import EventLog
from workspace_server.model.event import Event, EventType
from workspace_server.model.workspace import Workspace, WorkspaceSpec, WorkspaceStatus
from workspace_server.workspaces.external import Connected, refuse_external
from workspace_server.workspaces.secrets import SecretService

_OF_THE_CONTAINER = frozenset({"runtime", "tier"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """What a removal did: how many workspaces below the named one went with it."""

    cascade_deleted: int
    purged: bool


class WorkspaceService:
    """Create, read and remove workspaces."""

    def __init__(
        self,
        *,
        database: Database,
        workspaces: WorkspaceStore,
        tokens: TokenStore,
        events: EventLog,
        secrets: SecretService,
        wake: Callable[[], None],
    ) -> None:
        self._database = database
        self._workspaces = workspaces
        self._tokens = tokens
        self._events = events
        self._secrets = secrets
        self._wake = wake

    async def create(self, spec: WorkspaceSpec, *, secrets: Mapping[str, str] | None = None) -> str:
        """Record a workspace that wants to run, and return its id.

        Raises InvalidRequestError for an unknown parent and for secrets that may not be.
        """
        secrets = secrets or {}
        self._secrets.check(secrets)
        workspace_id = str(uuid4())
        provisioning = Event(
            type=EventType.PROVISIONING,
            workspace_id=workspace_id,
            payload={
                "name": spec.name,
                "tier": spec.tier,
                "runtime": spec.runtime,
                "parent_id": spec.parent_id,
                "x": spec.x,
                "y": spec.y,
            },
        )
        async with self._database.write() as tx:
            await self._check_parent(spec.parent_id)  # in the transaction: nobody removes it between check and insert
            await self._workspaces.insert(tx, workspace_id, spec)
            await self._secrets.put_all(tx, workspace_id, secrets)
            await self._events.record(tx, provisioning)
        self._wake()
        return workspace_id

    async def connect(self, spec: WorkspaceSpec, url: str) -> Connected:
        """Record a workspace whose agent runs elsewhere: at a URL that was checked, or, with "", at one it will name.

        Raises InvalidRequestError for an unknown parent.
        """
        workspace_id = str(uuid4())
        status, told = (
            (WorkspaceStatus.ONLINE, EventType.ONLINE)
            if url
            else (WorkspaceStatus.AWAITING_AGENT, EventType.AWAITING_AGENT)
        )
        payload = {"name": spec.name, "external": True}
        async with self._database.write() as tx:
            await self._check_parent(spec.parent_id)
            await self._workspaces.insert(tx, workspace_id, spec)
            await self._events.record(
                tx, Event(type=EventType.PROVISIONING, workspace_id=workspace_id, payload=payload)
            )
            await self._workspaces.move(tx, workspace_id, status, leaving=WorkspaceStatus.PROVISIONING, url=url)
            await self._events.record(tx, Event(type=told, workspace_id=workspace_id, payload=payload))
            token = None if url else await self._tokens.issue(tx, workspace_id)
        return Connected(id=workspace_id, status=status, token=token)

    async def _check_parent(self, parent_id: str | None) -> None:
        if parent_id is None:
            return
        parent = await self._workspaces.get(parent_id)
        if parent is None or parent.status is WorkspaceStatus.REMOVED:
            raise InvalidRequestError(f"there is no parent workspace {parent_id[:40]}", code="unknown_parent")

    async def get(self, workspace_id: str) -> Workspace:
        """One workspace, removed ones included; raises NotFoundError."""
        workspace = await self._workspaces.get(workspace_id)
        if workspace is None:
            raise NotFoundError("workspace not found", code="workspace_not_found")
        return workspace

    async def change(self, workspace_id: str, changes: Mapping[str, Any]) -> bool:
        """Change fields that were checked; whether the container was made with another value of one of them.

        Raises NotFoundError, and InvalidRequestError for a parent that is none or is below it.
        """
        async with self._database.write() as tx:
            row = await self.get(workspace_id)
            if row.status is WorkspaceStatus.REMOVED:
                raise NotFoundError("workspace not found", code="workspace_not_found")
            if "runtime" in changes:
                refuse_external(row)
            if "parent_id" in changes:
                await self._check_above(workspace_id, changes["parent_id"])
            changed = {field for field, value in changes.items() if getattr(row, field) != value}
            # Another runtime has another image: the present one says nothing any more.
            image = {"image": None} if "runtime" in changed else {}
            await self._workspaces.touch(tx, workspace_id, **changes, **image)
        return bool(_OF_THE_CONTAINER & changed) or "workspace_dir" in changes

    async def _check_above(self, workspace_id: str, parent_id: str | None) -> None:
        await self._check_parent(parent_id)
        above = parent_id
        while above is not None:
            if above == workspace_id:
                raise InvalidRequestError("a workspace cannot be below itself", code="parent_cycle")
            row = await self._workspaces.get(above)
            above = row.parent_id if row else None

    async def present(self) -> list[Workspace]:
        """All workspaces that were not removed, oldest first."""
        return await self._workspaces.present()

    async def remove(self, workspace_id: str, *, confirmed: bool, purge: bool) -> Removal:
        """Remove a workspace and all below it; unknown ones are removed already.

        With ``purge`` their ``/workspace`` volumes and rows go, too. Raises ConflictError ``confirmation_required``
        when there are children and nobody confirmed.
        """
        async with self._database.write() as tx:
            children = await self._workspaces.children(workspace_id)
            if children and not confirmed:
                raise ChildrenError(children)
            removed = await self._workspaces.remove(tx, workspace_id, purge=purge)
            for identity in removed:
                await self._tokens.revoke_all(tx, identity)
                payload = {"cascade_deleted": len(removed) - 1} if identity == workspace_id else {}
                await self._events.record(tx, Event(type=EventType.REMOVED, workspace_id=identity, payload=payload))
        self._wake()
        return Removal(cascade_deleted=len(set(removed) - {workspace_id}), purged=purge)


class ChildrenError(ConflictError):
    """A removal that would take children along and was not confirmed."""

    def __init__(self, children: list[Workspace]) -> None:
        super().__init__(
            "this workspace has children that would be removed with it",
            code="confirmation_required",
            hint="repeat with ?confirm=true",
        )
        self.children = children
