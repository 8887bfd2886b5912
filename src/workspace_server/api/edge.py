"""What holds for every request: origins of web pages, security headers, and errors in one form."""

from http import HTTPStatus

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from workspace_server.api.access import GATEWAY, LISTENER
from workspace_server.api.tenant_guard import TenantGuard, own_hosts
from workspace_server.api.wire import JsonAnswer
from workspace_server.errors import UnavailableError, WorkspaceServerError
from workspace_server.settings import Settings

log = structlog.get_logger(__name__)

_RETRY_SECONDS = 5
_HEADERS = {
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"strict-origin-when-cross-origin",
    b"permissions-policy": b"camera=(), microphone=(), geolocation=()",
    b"content-security-policy": b"default-src 'self'",
}
_DOCS = ("/docs", "/redoc")
_DOCS_POLICY = (
    b"default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:"
)


class SecurityHeaders:
    """Adds the security headers to every answer that has not its own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = dict(_HEADERS)
                if scope["path"].startswith(_DOCS):
                    headers[b"content-security-policy"] = _DOCS_POLICY
                for name, _ in message["headers"]:  # what the control plane says of its own pages counts
                    headers.pop(name, None)
                message["headers"] = [*message["headers"], *headers.items()]
            await send(message)

        await self._app(scope, receive, with_headers if scope["type"] == "http" else send)


class KnownOrigins:
    """Refuses requests of web pages from origins that are neither ours nor allowed."""

    def __init__(self, app: ASGIApp, allowed: frozenset[str]) -> None:
        self._app = app
        self._allowed = allowed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "http":
            request = Request(scope)
            origin, host = request.headers.get("origin"), request.headers.get("host", "")
            if origin and origin not in self._allowed | {f"http://{host}", f"https://{host}"}:
                await Response(status_code=403)(scope, receive, send)
                return
        await self._app(scope, receive, send)


Application = ASGIApp
"""What a listener serves."""


def from_the_gateway(app: Application) -> Application:
    """The application, told that its requests come in from the workspace network."""

    async def marked(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, LISTENER: GATEWAY}, receive, send)

    return marked


def install(app: FastAPI, settings: Settings) -> None:
    """Put the middleware around ``app`` and its error forms into it."""
    if settings.org_id is not None:  # the innermost: preflights and foreign origins are answered before
        app.add_middleware(TenantGuard, org_id=settings.org_id, hosts=own_hosts(settings))
    app.add_middleware(
        CORSMiddleware,
        allow_origins=sorted(settings.allowed_origins),
        allow_credentials=True,
        allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"],
        allow_headers=["Origin", "Content-Type", "X-Workspace-ID", "Authorization", "X-Molecule-Org-Slug"],
    )
    app.add_middleware(KnownOrigins, allowed=settings.allowed_origins)
    app.add_middleware(SecurityHeaders)
    app.add_exception_handler(WorkspaceServerError, _ours)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _unrouted)
    app.add_exception_handler(Exception, _unexpected)


async def _ours(request: Request, error: Exception) -> Response:
    if not isinstance(error, WorkspaceServerError):
        raise error
    if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:  # below, it is the caller's, who is told
        words = {"code": error.code, "error": error.message, "hint": error.hint}
        log.warning("request cannot be served", method=request.method, path=request.url.path, **words)
    answer = JsonAnswer(error.as_dict(), error.status)
    if isinstance(error, UnavailableError):
        answer.headers["retry-after"] = str(_RETRY_SECONDS)
    return answer


async def _invalid(request: Request, error: Exception) -> Response:
    """FastAPI's own complaint about a parameter, as 400."""
    hint = ""
    if isinstance(error, RequestValidationError) and error.errors():
        first = error.errors()[0]
        hint = f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
    return JsonAnswer({"error": "invalid request", "code": "invalid_request", "hint": hint}, 400)


async def _unrouted(request: Request, error: Exception) -> Response:
    """No such path, or no such method on it: the same answer for both."""
    return PlainTextResponse("404 page not found", 404)


async def _unexpected(request: Request, error: Exception) -> Response:
    """A bug of ours. The log has it; the caller gets no inside of this program."""
    log.error("request failed", method=request.method, path=request.url.path, exc_info=error)
    answer = JsonAnswer({"error": "internal error", "code": "internal", "hint": "the server's log says more"}, 500)
    answer.raw_headers += _HEADERS.items()  # the framework sends this one past every middleware
    return answer
