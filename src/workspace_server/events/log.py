"""The event log and its listeners in this process."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from workspace_server.db import EventStore, Transaction
from workspace_server.model.event import Event

_BACKLOG = 256


class EventLog:
    """Records events and hands them on. A listener that does not keep up loses the oldest, never the newest."""

    def __init__(self, store: EventStore) -> None:
        self._store = store
        self._listeners: set[asyncio.Queue[Event]] = set()

    async def record(self, tx: Transaction, event: Event) -> None:
        """Write the event with the change it tells of, and send it after the commit."""
        await self._store.append(tx, event)
        tx.on_commit(lambda: self._send(event))

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
        for queue in self._listeners:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(event)
