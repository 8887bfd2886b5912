"""A client of server-sent events that hears every piece as it is sent, and can go away in the middle."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from .server import InProcess


@dataclass(slots=True)
class Listener:
    """What it has heard, and whether it is still there."""

    heard: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    asked: bool = False

    async def receive(self) -> dict[str, Any]:
        if not self.asked:
            self.asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.body":
            self.heard.put_nowait(message["body"])

    async def next(self) -> str:
        async with asyncio.timeout(30):
            return (await self.heard.get()).decode()

    async def next_data(self) -> Any:
        return json.loads(fields(await self.next())["data"])


@asynccontextmanager
async def listening(app: InProcess, path: str) -> AsyncIterator[Listener]:
    """Call the application as a server does (httpx would wait for the end of the answer), and go away at the end."""
    listener = Listener()
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "query_string": b"follow=1",
        "headers": [(b"host", b"127.0.0.1:8080")],
        "client": ("127.0.0.1", 40_000),
        "server": ("127.0.0.1", 8080),
    }
    following = asyncio.create_task(app.app(scope, listener.receive, listener.send))
    try:
        yield listener
    finally:
        listener.gone.set()
        await asyncio.wait_for(following, 30)


def fields(event: str) -> Mapping[str, str]:
    """The fields of one event on the wire."""
    return dict(line.split(": ", 1) for line in event.strip().splitlines())
