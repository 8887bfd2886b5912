"""What a control plane is for a tenant's server and its browsers, with faults; made from the protocol alone."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from .registry import Certificate

Answer = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as it arrived: ``target`` is path and query, undecoded; header names are in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class ControlPlaneEdge:
    """Answers by path; without an answer of its own, a path is 200 with an empty object.

    What is in ``streams`` answers a request that nobody has read yet.
    """

    url: str = ""
    seen: list[Seen] = field(default_factory=list)
    answers: dict[str, Answer] = field(default_factory=dict)
    streams: dict[str, Answer] = field(default_factory=dict)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path in self.streams:
            return await self.streams[request.path](request)
        body = await request.content.read()  # of any size: ``request.read`` has a limit
        headers: dict[str, str] = {}
        for name, value in request.headers.items():
            headers[name.lower()] = f"{headers[name.lower()]}, {value}" if name.lower() in headers else value
        self.seen.append(Seen(request.method, request.raw_path, headers, body))
        answer = self.answers.get(request.path)
        return await answer(request) if answer else web.json_response({})

    def targets(self, path: str) -> list[str]:
        """Path and query of the requests for a path, in order."""
        return [each.target for each in self.seen if each.target.partition("?")[0] == path]


def says(body: Any, status: int = 200, **options: Any) -> Answer:
    """Answer with JSON."""

    async def answer(_: web.BaseRequest) -> web.StreamResponse:
        return web.json_response(body, status=status, **options)

    return answer


def sends(body: bytes, status: int = 200, **headers: str) -> Answer:
    """Answer with these bytes."""

    async def answer(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=body, status=status, headers={k.replace("_", "-"): v for k, v in headers.items()})

    return answer


async def hangs_up(request: web.BaseRequest) -> web.StreamResponse:
    """Close the connection instead of an answer."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


def breaks_off(after: bytes) -> Answer:
    """Close the connection in the middle of the answer."""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(len(after) + 1)})
        await response.prepare(request)
        await response.write(after)
        assert request.transport is not None
        request.transport.close()
        return response

    return answer


def waits(until: asyncio.Event, then: Answer) -> Answer:
    """Answer when it is allowed to."""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        await until.wait()
        return await then(request)

    return answer


@asynccontextmanager
async def control_plane_edge(tls: Certificate | None = None) -> AsyncIterator[ControlPlaneEdge]:
    """Run a control plane on this machine."""
    edge = ControlPlaneEdge()
    context = None
    if tls is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(tls.certificate, tls.key)
    runner = web.ServerRunner(web.Server(edge.handle, handler_cancellation=True), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    edge.url = f"{'https' if tls else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield edge
    finally:
        await runner.cleanup()
