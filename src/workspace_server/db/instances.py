"""The machines of a control plane, as the rows of their workspaces remember them: nobody else lists them."""

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from workspace_server.db.database import Database, Transaction
from workspace_server.db.schema import workspaces
from workspace_server.model.workspace import WorkspaceStatus

_HERE = (workspaces.c.id, workspaces.c.status, workspaces.c.instance_generation, workspaces.c.instance_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """A machine that was asked for. ``id`` is the control plane's name for it; None: its answer never came."""

    workspace_id: str
    status: WorkspaceStatus
    generation: int
    id: str | None


class InstanceStore:
    """The columns ``instance_…`` of workspaces. A machine is written down before it is asked for."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of(self, workspace_id: str) -> Instance | None:
        """The machine of a workspace."""
        found = await self._select(workspaces.c.id == workspace_id)
        return found[0] if found else None

    async def all(self) -> Sequence[Instance]:
        """Every machine that may be there."""
        return await self._select()

    async def expect(self, tx: Transaction, workspace_id: str, generation: int) -> bool:
        """Write down that a machine of this generation is about to be asked for. Not while there may be another."""
        written = await tx.connection.execute(
            sa.update(workspaces)
            .where(workspaces.c.id == workspace_id, workspaces.c.instance_generation.is_(None))
            .values(instance_generation=generation, instance_id=None)
        )
        return written.rowcount == 1

    async def confirm(self, instance: Instance, instance_id: str) -> None:
        """Write down what the control plane calls a machine that was asked for."""
        await self._change(instance, instance_id=instance_id)

    async def forget(self, instance: Instance) -> None:
        """The machine is not there any more, or was never made."""
        await self._change(instance, instance_id=None, instance_generation=None)

    async def _change(self, instance: Instance, **values: object) -> None:
        here = (workspaces.c.id == instance.workspace_id, workspaces.c.instance_generation == instance.generation)
        async with self._database.write() as tx:
            await tx.connection.execute(sa.update(workspaces).where(*here).values(**values))

    async def _select(self, *conditions: sa.ColumnElement[bool]) -> Sequence[Instance]:
        query = sa.select(*_HERE).where(workspaces.c.instance_generation.is_not(None), *conditions)
        async with self._database.read() as connection:
            rows = (await connection.execute(query.order_by(workspaces.c.id))).all()
        return [
            Instance(workspace_id=row[0], status=WorkspaceStatus(row[1]), generation=row[2], id=row[3]) for row in rows
        ]
