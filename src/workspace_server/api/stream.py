"""Server-sent events."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Query, Request
from starlette.responses import StreamingResponse

from workspace_server.api.wire import plain
from workspace_server.concurrency import with_pauses

_KEEP_ALIVE_SECONDS = 15.0

Follow = Annotated[bool, Query(description="`1`: server-sent events instead, until there is nothing more to tell.")]
"""The query parameter of a route that can be followed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSentEvent:
    """One event; ``data`` is JSON."""

    event: str
    data: Any
    id: int | None = None

    def encode(self) -> bytes:
        """The event's lines on the wire."""
        identity = "" if self.id is None else f"id: {self.id}\n"
        body = json.dumps(plain(self.data), separators=(",", ":"), ensure_ascii=False)
        return f"{identity}event: {self.event}\ndata: {body}\n\n".encode()


def event_stream(request: Request, events: AsyncGenerator[ServerSentEvent, None]) -> StreamingResponse:
    """A response that sends ``events`` as they come, and a comment whenever 15 s passed without one.

    It ends with the events, and when the server stops: that need not wait for whoever listens.
    """
    return StreamingResponse(
        _kept_alive(events, request.app.state.stopping),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
    )


async def _kept_alive(
    events: AsyncGenerator[ServerSentEvent, None], stop: asyncio.Event
) -> AsyncGenerator[bytes, None]:
    async with aclosing(with_pauses(events, _KEEP_ALIVE_SECONDS, stop)) as paused:
        async for event in paused:
            yield b": still here\n\n" if event is None else event.encode()
