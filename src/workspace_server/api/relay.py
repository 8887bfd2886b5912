"""Passing on what browsers want from the control plane: sign-in, organisations, billing; streams in both directions."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from workspace_server.api.access import shows_our_token
from workspace_server.concurrency import Deadline, first_of
from workspace_server.control_plane.upstream import (
    LARGEST_BODY,
    Upstream,
    answer_headers,
    is_passed_on,
    request_headers,
)
from workspace_server.errors import DeadlineError, InvalidRequestError, SourceError

log = structlog.get_logger(__name__)

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_SECONDS = 120.0


def relay(upstream: Upstream) -> Route:
    """The route of ``/cp/``. It is the control plane's API, not a part of this one's description."""
    return Route("/cp/{path:path}", Relay(upstream), methods=_METHODS, include_in_schema=False)


class Relay:
    """The application behind ``/cp/``: the paths that are passed on, and 404 for the others."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request, until it is answered or its sender is gone.

        Raises SourceError ``control_plane_unavailable``, InvalidRequestError ``body_too_large``, DeadlineError.
        """
        if not is_passed_on(scope["raw_path"]):
            await Response(status_code=404)(scope, receive, send)
            return
        exchange = _Exchange(Request(scope, receive), receive, send)
        await first_of(exchange.run(self._upstream), exchange.sender_is_gone())


class _Exchange:
    """One request and its answer."""

    def __init__(self, request: Request, receive: Receive, send: Send) -> None:
        self._request = request
        self._receive = receive
        self._send = send
        self._body_is_read = asyncio.Event()
        self._answering = False

    async def run(self, upstream: Upstream) -> None:
        """Pass the request on, and its answer back. One that breaks off later than its status is broken off here."""
        try:
            async with Deadline(_SECONDS).limit("a call of the control plane"):
                await self._pass_on(upstream)
        except ClientDisconnect:
            return
        except (httpx.TransportError, SourceError, DeadlineError) as error:
            if not self._answering:
                raise
            log.warning("an answer of the control plane was cut off", path=self._request.url.path, why=_why(error))

    async def sender_is_gone(self) -> None:
        """Wait until the sender hangs up. Before its request is read, reading it tells."""
        await self._body_is_read.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def _pass_on(self, upstream: Upstream) -> None:
        request = self._request
        query = request.scope["query_string"]
        target = request.scope["raw_path"] + (b"?" + query if query else b"")
        headers = request_headers(
            request.headers.raw,
            peer=request.client.host if request.client else "unknown",
            authorization=not await shows_our_token(request),
        )
        async with upstream.asked(request.method, target, headers, self._body()) as response:
            await self._answer(response)

    def _body(self) -> AsyncIterator[bytes] | None:
        length = int(self._request.headers.get("content-length", "0"))
        if length > LARGEST_BODY:
            raise _request_too_large()
        if length or "transfer-encoding" in self._request.headers:
            return self._pieces()
        self._body_is_read.set()
        return None

    async def _pieces(self) -> AsyncIterator[bytes]:
        size = 0
        async for piece in self._request.stream():
            size += len(piece)
            if size > LARGEST_BODY:
                raise _request_too_large()
            yield piece
        self._body_is_read.set()

    async def _answer(self, response: httpx.Response) -> None:
        if int(response.headers.get("content-length", "0")) > LARGEST_BODY:
            raise _answer_too_large()
        self._answering = True
        start = {"status": response.status_code, "headers": answer_headers(response.headers.raw)}
        await self._send({"type": "http.response.start", **start})
        size = 0
        async for piece in response.aiter_raw():
            size += len(piece)
            if size > LARGEST_BODY:
                raise _answer_too_large()
            await self._send({"type": "http.response.body", "body": piece, "more_body": True})
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})


def _request_too_large() -> InvalidRequestError:
    return InvalidRequestError("the request body is larger than 10 MiB", code="body_too_large")


def _answer_too_large() -> SourceError:
    return SourceError("the control plane's answer is larger than 10 MiB", code="reply_too_large")


def _why(error: httpx.TransportError | SourceError | DeadlineError) -> str:
    return "the connection broke" if isinstance(error, httpx.TransportError) else error.message
