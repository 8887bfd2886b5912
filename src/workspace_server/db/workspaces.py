"""The rows of workspaces. Every change of a status names the statuses it may leave, and acts on the row it changed."""

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from workspace_server.concurrency import Changes
from workspace_server.db.backend import Notice, Topic
from workspace_server.db.database import Database, Transaction
from workspace_server.db.schema import now, workspaces
from workspace_server.model.workspace import (
    EXTERNAL,
    Failure,
    ImageOnRow,
    Workspace,
    WorkspaceAccess,
    WorkspaceSpec,
    WorkspaceStatus,
    may_become,
)

_OF_OTHERS = frozenset({"cleared", "purge", "instance_id", "instance_generation"})
_COLUMNS = [column for column in workspaces.c if column.name not in _OF_OTHERS]

_PROVISIONED = (WorkspaceStatus.PROVISIONING, WorkspaceStatus.ONLINE, WorkspaceStatus.DEGRADED)


class WorkspaceStore:
    """Rows of ``workspaces``. ``changes`` tells of every committed change of one, by the workspace's id."""

    def __init__(self, database: Database) -> None:
        self.changes: Changes[str] = Changes()
        self._database = database

    async def get(self, workspace_id: str) -> Workspace | None:
        """One workspace, removed ones included."""
        rows = await self._select(workspaces.c.id == workspace_id)
        return rows[0] if rows else None

    async def present(self) -> list[Workspace]:
        """All workspaces that were not removed, oldest first."""
        return await self._select(workspaces.c.status != WorkspaceStatus.REMOVED)

    async def with_status(self, *statuses: WorkspaceStatus) -> list[Workspace]:
        """The workspaces in one of these statuses, oldest first."""
        return await self._select(workspaces.c.status.in_(statuses))

    async def to_clear(self) -> list[tuple[str, bool]]:
        """The removed workspaces of which something may be left on the engine: id, and whether to purge."""
        query = sa.select(workspaces.c.id, workspaces.c.purge).where(
            workspaces.c.status == WorkspaceStatus.REMOVED, workspaces.c.cleared.is_(False)
        )
        async with self._database.read() as connection:
            return [(row.id, row.purge) for row in await connection.execute(query)]

    async def images_in_use(self) -> set[str]:
        """The ids of the images that workspaces run, or would start from again."""
        present = await self.present()
        return {workspace.image.id for workspace in present if workspace.image and workspace.image.id}

    async def family(self, workspace_id: str) -> list[Workspace]:
        """A workspace and all below it, those above first; removed ones left out."""
        found = await self._select(workspaces.c.id == workspace_id, workspaces.c.status != WorkspaceStatus.REMOVED)
        for workspace in found:  # grows while it is walked
            found += await self.children(workspace.id)
        return found

    async def children(self, workspace_id: str) -> list[Workspace]:
        """The direct children that were not removed."""
        return await self._select(
            workspaces.c.parent_id == workspace_id, workspaces.c.status != WorkspaceStatus.REMOVED
        )

    async def insert(self, tx: Transaction, workspace_id: str, spec: WorkspaceSpec) -> None:
        """Record a new workspace that wants to be provisioned. The parent must exist."""
        moment = now()
        await tx.connection.execute(
            sa.insert(workspaces).values(
                id=workspace_id,
                **asdict(spec),
                status=WorkspaceStatus.PROVISIONING,
                url="",
                generation=0,
                phases={},
                cleared=False,
                purge=False,
                active_tasks=0,
                current_task="",
                uptime_seconds=0,
                last_error_rate=0.0,
                last_sample_error="",
                monthly_spend=0,
                collapsed=False,
                created_at=moment,
                updated_at=moment,
            )
        )

    async def want(
        self, tx: Transaction, workspace_id: str, *, anew: bool, leaving: frozenset[WorkspaceStatus], **changes: Any
    ) -> Workspace | None:
        """Want it provisioned, from one of these statuses or while it is already; None when it is in another.

        Whatever works on the present generation is superseded. ``anew``: with the newest image. Wishes add up: one of
        several that wants the newest image is enough. An agent that runs elsewhere is never wanted here: None.
        """
        anew_too = sa.case(
            (workspaces.c.status == WorkspaceStatus.PROVISIONING, sa.or_(workspaces.c.resolve_anew, sa.literal(anew))),
            else_=sa.literal(anew),
        )
        sources = (may_become(WorkspaceStatus.PROVISIONING) | {WorkspaceStatus.PROVISIONING}) & leaving
        return await self._update(
            tx,
            workspaces.c.id == workspace_id,
            workspaces.c.status.in_(sources),
            workspaces.c.runtime != EXTERNAL,
            status=WorkspaceStatus.PROVISIONING,
            generation=workspaces.c.generation + 1,
            resolve_anew=anew_too,
            url="",
            phases={},
            failure=None,
            last_sample_error="",
            **changes,
        )

    async def claim(
        self, tx: Transaction, workspace_id: str, generation: int, phases: Mapping[str, Any] | None = None
    ) -> Workspace | None:
        """Begin the provisioning after ``generation``; None when somebody else did, or nobody wants it any more."""
        return await self._update(
            tx,
            workspaces.c.id == workspace_id,
            workspaces.c.status == WorkspaceStatus.PROVISIONING,
            workspaces.c.generation == generation,
            generation=generation + 1,
            phases=phases or {},
            image=sa.case((workspaces.c.resolve_anew, sa.null()), else_=workspaces.c.image),
            failure=None,
            last_sample_error="",
            active_tasks=0,
            current_task="",
            container_started_at=None,
        )

    async def progress(self, tx: Transaction, workspace_id: str, generation: int, **changes: Any) -> Workspace | None:
        """Write what a provisioning learned; None when it is no longer the one that counts.

        Its agent may have called already, so the row need not be ``provisioning`` any more.
        """
        return await self._update(
            tx,
            workspaces.c.id == workspace_id,
            workspaces.c.status.in_(_PROVISIONED),
            workspaces.c.generation == generation,
            **changes,
        )

    async def move(
        self,
        tx: Transaction,
        workspace_id: str,
        target: WorkspaceStatus,
        *,
        leaving: WorkspaceStatus | None = None,
        generation: int | None = None,
        **changes: Any,
    ) -> Workspace | None:
        """Change the status, from ``leaving`` or from any that may come before ``target``; None when it is another."""
        sources = may_become(target) & ({leaving} if leaving else may_become(target))
        conditions = [workspaces.c.id == workspace_id, workspaces.c.status.in_(sources)]
        if generation is not None:
            conditions.append(workspaces.c.generation == generation)
        return await self._update(tx, *conditions, status=target, **changes)

    async def touch(self, tx: Transaction, workspace_id: str, **changes: Any) -> Workspace | None:
        """Write what an agent reported of itself; None when the workspace is unknown or removed."""
        return await self._update(
            tx, workspaces.c.id == workspace_id, workspaces.c.status != WorkspaceStatus.REMOVED, **changes
        )

    async def tell(self, tx: Transaction, workspace_id: str, failure: Failure | None) -> None:
        """Write why something goes wrong with it, or that it does not any more; also of a removed one."""
        words = (
            "" if failure is None else f"{failure.message}\nhint: {failure.hint}" if failure.hint else failure.message
        )
        await self._update(tx, workspaces.c.id == workspace_id, failure=failure, last_sample_error=words)

    async def remove(self, tx: Transaction, workspace_id: str, *, purge: bool) -> list[str]:
        """Mark a workspace and everything below it removed; the ids it removed, deepest first.

        With ``purge`` their rows and ``/workspace`` volumes are to go as well, also those removed earlier.
        """
        below = (
            sa.select(workspaces.c.id, sa.literal(0).label("depth"))
            .where(workspaces.c.id == workspace_id)
            .cte("below", recursive=True)
        )
        child = workspaces.alias("child")
        below = below.union(sa.select(child.c.id, below.c.depth + 1).join(below, child.c.parent_id == below.c.id))
        order = (await tx.connection.execute(sa.select(below.c.id).order_by(below.c.depth.desc()))).scalars().all()
        if purge:
            marked = sa.update(workspaces).where(workspaces.c.id.in_(order)).values(purge=True, cleared=False)
            await tx.connection.execute(marked)
        changed = await tx.connection.execute(
            sa.update(workspaces)
            .where(workspaces.c.id.in_(order), workspaces.c.status != WorkspaceStatus.REMOVED)
            .values(status=WorkspaceStatus.REMOVED, url="", current_task="", active_tasks=0, updated_at=now())
            .returning(workspaces.c.id)
        )
        ids = set(changed.scalars())
        for identity in ids:
            self._note(tx, identity)
        return [identity for identity in order if identity in ids]

    async def mark_cleared(self, tx: Transaction, workspace_id: str) -> None:
        """Record that nothing of a removed workspace is left on the engine; a purged one is forgotten altogether."""
        here = workspaces.c.id == workspace_id
        children = sa.update(workspaces).where(workspaces.c.parent_id == workspace_id)
        purged = sa.select(workspaces.c.id).where(here, workspaces.c.purge)
        if (await tx.connection.execute(purged)).first() is not None:
            await tx.connection.execute(children.values(parent_id=None))
            await tx.connection.execute(sa.delete(workspaces).where(here))
            self._note(tx, workspace_id)
        else:
            await tx.connection.execute(sa.update(workspaces).where(here).values(cleared=True))

    def _note(self, tx: Transaction, workspace_id: str) -> None:
        tx.on_commit(partial(self.changes.note, workspace_id))
        tx.tell(Notice(Topic.WORKSPACE, workspace_id))

    async def _select(self, *conditions: sa.ColumnElement[bool]) -> list[Workspace]:
        query = sa.select(*_COLUMNS).where(*conditions).order_by(workspaces.c.created_at, workspaces.c.id)
        async with self._database.read() as connection:
            return await _rows(connection, query)

    async def _update(self, tx: Transaction, *conditions: sa.ColumnElement[bool], **changes: Any) -> Workspace | None:
        statement = sa.update(workspaces).where(*conditions).values(updated_at=now(), **_encoded(changes))
        rows = await _rows(tx.connection, statement.returning(*_COLUMNS))
        for row in rows:
            self._note(tx, row.id)
        return rows[0] if rows else None


async def _rows(connection: AsyncConnection, statement: sa.Executable) -> list[Workspace]:
    return [_workspace(row._asdict()) for row in await connection.execute(statement)]


def _encoded(changes: Mapping[str, Any]) -> dict[str, Any]:
    return {key: asdict(value) if isinstance(value, Failure | ImageOnRow) else value for key, value in changes.items()}


def _workspace(fields: dict[str, Any]) -> Workspace:
    fields["status"] = WorkspaceStatus(fields["status"])
    fields["workspace_access"] = WorkspaceAccess(fields["workspace_access"])
    fields["image"] = ImageOnRow(**fields["image"]) if fields["image"] else None
    fields["failure"] = Failure(**fields["failure"]) if fields["failure"] else None
    return Workspace(**fields)
