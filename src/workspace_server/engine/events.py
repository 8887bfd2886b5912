"""What happens to containers, as the engine tells it, across its restarts."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import structlog

from workspace_server.engine.connection import Connection, json_lines, label_filter
from workspace_server.errors import WorkspaceServerError
from workspace_server.model.names import MANAGED

log = structlog.get_logger(__name__)

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0


class EventAction(StrEnum):
    """What happened."""

    CONNECTED = "connected"
    """The stream begins, or begins again after a gap: events may be missing before this one, so look at everything."""
    CREATE = "create"
    START = "start"
    OOM = "oom"
    DIE = "die"
    DESTROY = "destroy"
    PAUSE = "pause"
    UNPAUSE = "unpause"


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineEvent:
    """One event. ``at`` is the engine's time in seconds since the epoch; it can be given back as ``since``."""

    action: EventAction
    container_id: str = ""
    container_name: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    exit_code: int | None = None
    at: float = 0.0


class Events:
    """What ``Engine`` tells about containers."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def events(
        self, since: float | None = None, *, labels: Mapping[str, str] | None = None
    ) -> AsyncGenerator[EngineEvent, None]:
        """Events of containers that carry ``labels`` (default: every managed one), for ever.

        Begins with ``CONNECTED`` when the stream stands: a look at the containers after it misses nothing. When the
        engine goes away the stream is opened again as soon as it is back, from the last event on, and begins with
        ``CONNECTED`` again: a restarted engine has forgotten what it did before. Never raises for the engine's sake.
        """
        position = None if since is None else int(since * 1_000_000_000)
        pause = _FIRST_PAUSE
        while True:
            try:
                async for event, nanoseconds in self._once(position, labels or {MANAGED: "true"}):
                    yield event
                    position, pause = nanoseconds or position, _FIRST_PAUSE
            except WorkspaceServerError as error:
                reason = error.message
            else:
                reason = "the engine ended them"
            if pause == _FIRST_PAUSE:  # said once, not at every try while it is away
                log.warning("engine events interrupted", reason=reason)
            await asyncio.sleep(pause)  # nothing tells when an engine is back
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _once(
        self, position: int | None, labels: Mapping[str, str]
    ) -> AsyncGenerator[tuple[EngineEvent, int | None], None]:
        """One connection's events, each with the moment (ns) of its own, until the connection ends."""
        filters = {"type": ["container"], "event": [action for action in EventAction if action != "connected"]}
        params: dict[str, Any] = {"filters": filters | label_filter(labels)}
        if position is not None:
            # The engine includes the moment itself: one nanosecond later is the first that is news.
            params["since"] = "{}.{:09}".format(*divmod(position + 1, 1_000_000_000))
        stream = self._connection.stream("GET", "events", operation="listen to its events", params=params)
        async with stream as body:
            yield EngineEvent(action=EventAction.CONNECTED), None
            async for message in json_lines(body.iter_any()):
                event = _event(message)
                if event is not None:
                    yield event, message["timeNano"]


def _event(message: Mapping[str, Any]) -> EngineEvent | None:
    try:
        action = EventAction(message["Action"])
    except ValueError:
        return None
    attributes = dict(message["Actor"]["Attributes"])
    code = attributes.pop("exitCode", None)
    return EngineEvent(
        action=action,
        container_id=message["Actor"]["ID"],
        container_name=attributes.pop("name", ""),
        labels=attributes,
        exit_code=None if code is None else int(code),
        at=message["timeNano"] / 1_000_000_000,
    )
