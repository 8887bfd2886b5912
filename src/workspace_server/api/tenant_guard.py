"""A hosted tenant answers what is meant for it, and is not there for everything else.

Requests reach a tenant through a router that all tenants share. The guard keeps what was sent to another one from
being answered here; who may do what is decided behind it, as everywhere.
"""

import hmac
from collections.abc import Iterable

import httpx
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from workspace_server.settings import Settings

_EXEMPT = frozenset({"/health", "/metrics", "/registry/register", "/registry/heartbeat"})
_EXEMPT_BELOW = "/cp/"


class TenantGuard:
    """Answers 404, and nothing more, to requests that name another organisation than ours, or none."""

    def __init__(self, app: ASGIApp, org_id: str, hosts: frozenset[str]) -> None:
        self._app = app
        self._org_id = org_id
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "lifespan" or _is_exempt(scope["path"]) or self._is_meant(Headers(scope=scope)):
            await self._app(scope, receive, send)
        else:
            await Response(status_code=404)(scope, receive, send)

    def _is_meant(self, headers: Headers) -> bool:
        named = headers.getlist("x-molecule-org-id")
        if named:
            return len(named) == 1 and _equal(named[0], self._org_id)
        return any(_equal(state, self._org_id) for state in _states(headers)) or self._is_own_page(headers)

    def _is_own_page(self, headers: Headers) -> bool:
        """Whether a page that came from one of our own addresses asks, as browsers tell it.

        The name alone is no proof: a foreign page may have any name lead here. It must be one that we are known by.
        """
        host = headers.get("host", "").lower()
        if host not in self._hosts:
            return False
        if "sec-fetch-site" in headers:
            return headers["sec-fetch-site"] == "same-origin"
        origin, referer = headers.get("origin"), headers.get("referer", "")
        own = (f"http://{host}", f"https://{host}")
        return origin.lower() in own if origin else any(f"{referer}/".lower().startswith(f"{each}/") for each in own)


def own_hosts(settings: Settings) -> frozenset[str]:
    """The hosts, with their ports unless it is the scheme's, that people and agents know this server by."""
    urls = (settings.platform_url, settings.external_platform_url)
    return frozenset(httpx.URL(url).netloc.decode().lower() for url in urls if url)


def _is_exempt(path: str) -> bool:
    return path in _EXEMPT or path.startswith(_EXEMPT_BELOW)


def _states(headers: Headers) -> Iterable[str]:
    """What the router says of a request that it sent here: the state in its replay header."""
    for header in headers.getlist("fly-replay-src"):
        for part in header.split(";"):
            name, _, value = part.strip().partition("=")
            if name == "state":
                yield value


def _equal(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())
