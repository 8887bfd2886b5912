"""What other servers on this database do is told here to whoever waits for it."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import structlog

from workspace_server.db import Database, WorkspaceStore
from workspace_server.db.backend import Notice, Topic
from workspace_server.errors import UnavailableError
from workspace_server.events import EventLog
from workspace_server.model.event import EventType

log = structlog.get_logger(__name__)

_WISHES = frozenset({EventType.PROVISIONING, EventType.REMOVED, EventType.PAUSED, EventType.HIBERNATED})
_CLOCKS_DIFFER = timedelta(seconds=60)


class OtherServers:
    """Passes on what they tell: changed rows, events, and wishes that the server which works on them did not hear."""

    def __init__(
        self, *, database: Database, workspaces: WorkspaceStore, events: EventLog, wake: Callable[[], None]
    ) -> None:
        self._database = database
        self._workspaces = workspaces
        self._events = events
        self._wake = wake

    async def follow(self) -> None:
        """Pass on until nobody is there to tell: never, where there may be other servers."""
        complete_until, behind = datetime.now(UTC), False
        async for notice in self._database.hear():
            try:
                if notice is None or behind:
                    await self._catch_up(complete_until - _CLOCKS_DIFFER)
                else:
                    await self._pass_on(notice)
            except UnavailableError as error:  # the next notice, whichever it is, makes up for it
                log.warning("could not read what another server wrote", code=error.code, error=error.message)
                behind = True
            else:
                complete_until, behind = datetime.now(UTC), False

    async def _pass_on(self, notice: Notice) -> None:
        match notice.topic:
            case Topic.WORKSPACE:
                self._workspaces.changes.note(notice.key)
            case Topic.EVENT:
                event = await self._events.send_on(notice.key)
                if event is not None and event.type in _WISHES:
                    self._wake()

    async def _catch_up(self, moment: datetime) -> None:
        await self._events.send_since(moment)
        self._workspaces.changes.note_all()
        self._wake()
