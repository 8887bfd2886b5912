"""The event log: what happened to workspaces, written in the transaction of the change itself."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from workspace_server.db.backend import Notice, Topic
from workspace_server.db.database import Database, Transaction
from workspace_server.db.schema import events
from workspace_server.model.event import Event, EventType


class EventStore:
    """Rows of ``structure_events``; append-only."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def append(self, tx: Transaction, event: Event) -> None:
        """Write one event in the change's own transaction."""
        await tx.connection.execute(
            sa.insert(events).values(
                id=event.id,
                event_type=event.type,
                workspace_id=event.workspace_id,
                payload=dict(event.payload),
                created_at=event.at,
            )
        )
        tx.tell(Notice(Topic.EVENT, event.id))

    async def get(self, event_id: str) -> Event | None:
        """One event."""
        found = await self._select(events.c.id == event_id)
        return found[0] if found else None

    async def since(self, moment: datetime) -> list[Event]:
        """The events from a moment on, oldest first."""
        return await self._select(events.c.created_at >= moment)

    async def _select(self, condition: sa.ColumnElement[bool]) -> list[Event]:
        query = sa.select(events).where(condition).order_by(events.c.created_at)
        async with self._database.read() as connection:
            return [
                Event(
                    id=row.id,
                    type=EventType(row.event_type),
                    workspace_id=row.workspace_id,
                    payload=row.payload,
                    at=row.created_at,
                )
                for row in await connection.execute(query)
            ]

    async def newest(self, *, limit: int, workspace_id: str | None = None) -> list[Mapping[str, Any]]:
        """The newest events first, of all workspaces or of one."""
        query = sa.select(events).order_by(events.c.created_at.desc()).limit(limit)
        if workspace_id is not None:
            query = query.where(events.c.workspace_id == workspace_id)
        async with self._database.read() as connection:
            return [row._asdict() for row in await connection.execute(query)]
