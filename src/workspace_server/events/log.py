"""The event log and its listeners in this process."""

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from workspace_server.db import EventStore, Transaction
from workspace_server.model.event import Event

_BACKLOG = 256
_REMEMBERED = 4096


class EventLog:
    """Records events and hands them on. A listener that does not keep up loses the oldest, never the newest."""

    def __init__(self, store: EventStore) -> None:
        self._store = store
        self._listeners: set[asyncio.Queue[Event]] = set()
        self._sent: deque[str] = deque(maxlen=_REMEMBERED)

    async def record(self, tx: Transaction, event: Event) -> None:
        """Write the event with the change it tells of, and send it after the commit."""
        await self._store.append(tx, event)
        tx.on_commit(lambda: self._send(event))

    async def send_on(self, event_id: str) -> Event | None:
        """Send an event that another server recorded, and return it; None when it is not there."""
        event = await self._store.get(event_id)
        if event is not None:
            self._send(event)
        return event

    async def send_since(self, moment: datetime) -> None:
        """Send what was recorded from a moment on and was not sent here yet."""
        for event in await self._store.since(moment):
            self._send(event)

    @contextmanager
    def listen(self) -> Iterator[asyncio.Queue[Event]]:
        """A queue of the events from now on."""
        queue: asyncio.Queue[Event] = asyncio.Queue(_BACKLOG)
        self._listeners.add(queue)
        try:
            yield queue
        finally:
            self._listeners.discard(queue)

    def _send(self, event: Event) -> None:
        if event.id in self._sent:
            return
        self._sent.append(event.id)
        for queue in self._listeners:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(event)
