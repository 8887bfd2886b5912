"""Secrets, sealed: this module never sees a value."""

from collections.abc import Mapping

import sqlalchemy as sa

from workspace_server.db.database import Database, Transaction
from workspace_server.db.schema import global_secrets, now, workspace_secrets, workspaces
from workspace_server.model.secret import SecretInfo
from workspace_server.model.workspace import WorkspaceStatus


class SecretStore:
    """Rows of ``workspace_secrets`` and ``global_secrets``. A workspace id of None means global."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, tx: Transaction, workspace_id: str | None, key: str, sealed: bytes) -> None:
        """Set a secret, whether or not it was there."""
        changed = await tx.connection.execute(
            _update(workspace_id).where(*_is(workspace_id, key)).values(value=sealed, updated_at=now())
        )
        if not changed.rowcount:
            owner = {} if workspace_id is None else {"workspace_id": workspace_id}
            moment = now()
            row = {**owner, "key": key, "value": sealed, "created_at": moment, "updated_at": moment}
            await tx.connection.execute(sa.insert(_table(workspace_id)).values(**row))

    async def delete(self, tx: Transaction, workspace_id: str | None, key: str) -> bool:
        """Remove a secret; whether it was there."""
        removed = await tx.connection.execute(sa.delete(_table(workspace_id)).where(*_is(workspace_id, key)))
        return bool(removed.rowcount)

    async def infos(self, workspace_id: str | None) -> list[SecretInfo]:
        """The secrets of one owner, by key."""
        table = _table(workspace_id)
        query = sa.select(table.c.key, table.c.created_at, table.c.updated_at).where(*_of(workspace_id))
        async with self._database.read() as connection:
            rows = await connection.execute(query.order_by(table.c.key))
            return [
                SecretInfo(
                    key=row.key, is_global=workspace_id is None, created_at=row.created_at, updated_at=row.updated_at
                )
                for row in rows
            ]

    async def sealed(self, workspace_id: str | None) -> Mapping[str, bytes]:
        """The sealed values of one owner, by key."""
        table = _table(workspace_id)
        query = sa.select(table.c.key, table.c.value).where(*_of(workspace_id))
        async with self._database.read() as connection:
            return {row.key: row.value for row in await connection.execute(query)}

    async def owners(self) -> list[str]:
        """The workspaces that have secrets."""
        query = sa.select(workspace_secrets.c.workspace_id).distinct()
        async with self._database.read() as connection:
            return list((await connection.execute(query)).scalars())

    async def without_own(self, key: str) -> list[str]:
        """The workspaces that were not removed and have no secret of their own of that key."""
        own = sa.select(workspace_secrets.c.workspace_id).where(workspace_secrets.c.key == key)
        present = workspaces.c.status != WorkspaceStatus.REMOVED
        query = sa.select(workspaces.c.id).where(present, workspaces.c.id.not_in(own))
        async with self._database.read() as connection:
            return list((await connection.execute(query)).scalars())


def _table(workspace_id: str | None) -> sa.Table:
    return global_secrets if workspace_id is None else workspace_secrets


def _update(workspace_id: str | None) -> sa.Update:
    return sa.update(_table(workspace_id))


def _of(workspace_id: str | None) -> list[sa.ColumnElement[bool]]:
    return [] if workspace_id is None else [workspace_secrets.c.workspace_id == workspace_id]


def _is(workspace_id: str | None, key: str) -> list[sa.ColumnElement[bool]]:
    return [*_of(workspace_id), _table(workspace_id).c.key == key]
