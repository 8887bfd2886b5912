"""The event log: what happened to workspaces, written in the transaction of the change itself."""

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import sqlalchemy as sa

from workspace_server.db.database import Database, Transaction
from workspace_server.db.schema import events
from workspace_server.model.event import Event


class EventStore:
    """Rows of ``structure_events``; append-only."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def append(self, tx: Transaction, event: Event) -> None:
        """Write one event in the change's own transaction."""
        await tx.connection.execute(
            sa.insert(events).values(
                id=str(uuid4()),
                event_type=event.type,
                workspace_id=event.workspace_id,
                payload=dict(event.payload),
                created_at=event.at,
            )
        )

    async def newest(self, *, limit: int, workspace_id: str | None = None) -> list[Mapping[str, Any]]:
        """The newest events first, of all workspaces or of one."""
        query = sa.select(events).order_by(events.c.created_at.desc()).limit(limit)
        if workspace_id is not None:
            query = query.where(events.c.workspace_id == workspace_id)
        async with self._database.read() as connection:
            return [row._asdict() for row in await connection.execute(query)]
