"""Who is calling, and which callers a route lets in. Everything that is not allowed here is refused.

===============  ==============================================================================================
owner            the person whose server this is: loopback where containers cannot come from, or the owner's token
administrator    who shows ``ADMIN_TOKEN``; a member of the organisation, by the session of its browser
workspace        an agent that shows its own workspace's token
address          a request from the address that the engine gave to a workspace's running container
anyone           everybody else
===============  ==============================================================================================
"""

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address
from typing import assert_never

from fastapi import Request

from workspace_server.errors import AuthError, ForbiddenError
from workspace_server.model import names
from workspace_server.wiring import Services
from workspace_server.wiring_control_plane import ControlPlaneParts
from workspace_server.wiring_engine import EngineParts

LISTENER = "workspace_server.listener"
GATEWAY = "gateway"
"""The ASGI scope's mark of a request that came in through the workspace network's listener."""

_LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})
_READING = frozenset({"GET", "HEAD"})
_FORWARDED = ("forwarded", "via", "x-forwarded-", "x-real-ip")


class CallerKind(StrEnum):
    """The classes of callers."""

    OWNER = "owner"
    ADMIN = "admin"
    WORKSPACE = "workspace"
    ADDRESS = "address"
    ANYONE = "anyone"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is calling; ``workspace_id`` of a workspace or an address."""

    kind: CallerKind
    workspace_id: str | None = None

    @property
    def is_person(self) -> bool:
        """Whether the caller may do everything."""
        return self.kind in (CallerKind.OWNER, CallerKind.ADMIN)


def services(request: Request) -> Services:
    """The parts that a request may use."""
    opened: Services = request.app.state.services
    return opened


async def identify(request: Request) -> Caller:
    """Who is calling. Raises AuthError for a bearer token that is nobody's."""
    token = bearer(request)
    if token is not None:
        caller = await _by_token(services(request), token)
        if caller is None:
            raise AuthError("invalid token", code="invalid_token")
        return caller
    if await _is_member(request):
        return Caller(CallerKind.ADMIN)
    if _is_owner(request):
        return Caller(CallerKind.OWNER)
    claimed = request.headers.get("x-workspace-id")
    if claimed and await _is_address_of(request, claimed):
        return Caller(CallerKind.ADDRESS, claimed)
    return Caller(CallerKind.ANYONE)


async def people(request: Request) -> Caller:
    """A dependency: the owner or the administrator, nobody else."""
    return await _allowed(request, lambda caller: caller.is_person)


async def own_reads(request: Request) -> Caller:
    """A dependency: people, and the workspace that the path names."""
    own = request.path_params["workspace_id"]
    return await _allowed(
        request,
        lambda caller: caller.is_person or (caller.kind is CallerKind.WORKSPACE and caller.workspace_id == own),
    )


async def itself(request: Request) -> Caller:
    """A dependency: the workspace that the path names, by its own token, and nobody else."""
    own = request.path_params["workspace_id"]
    caller = await identify(request)
    if caller == Caller(CallerKind.WORKSPACE, own):
        return caller
    if caller.kind is CallerKind.ANYONE:
        raise AuthError("missing workspace auth token", hint="send Authorization: Bearer <the workspace's token>")
    raise ForbiddenError("only the workspace itself may do this", hint="send the workspace's own token")


async def known(request: Request) -> Caller:
    """A dependency: everybody but ``anyone``."""
    return await _allowed(request, lambda caller: caller.kind is not CallerKind.ANYONE)


async def _allowed(request: Request, may: Callable[[Caller], bool]) -> Caller:
    caller = await identify(request)
    if may(caller):
        return caller
    if caller.kind is CallerKind.ANYONE:
        raise AuthError("authentication is required", hint=_how(services(request)))
    raise ForbiddenError("a workspace may not do this", hint="this needs the owner or the administrator")


def _how(opened: Services) -> str:
    if opened.members is not None:
        return "sign in, and call from a page of this server; or send Authorization: Bearer <token>"
    if opened.settings.admin_token is not None:
        return "send Authorization: Bearer <ADMIN_TOKEN>"
    return "call from this machine, or send Authorization: Bearer <the content of owner_token in the data directory>"


def bearer(request: Request) -> str | None:
    """The bearer token of a request, if it has one."""
    header = request.headers.get("authorization", "")
    return header.removeprefix("Bearer ").strip() if header.startswith("Bearer ") else None


async def shows_our_token(request: Request) -> bool:
    """Whether a token of this server is in the request's Authorization, whatever scheme it is shown by."""
    for header in request.headers.getlist("authorization"):
        for shown in (header.strip(), *header.split(maxsplit=1)[1:]):
            if await _by_token(services(request), shown.strip()) is not None:
                return True
    return False


async def _by_token(opened: Services, token: str) -> Caller | None:
    admin = opened.settings.admin_token
    if admin is not None and _equal(token, admin.get_secret_value()):
        return Caller(CallerKind.ADMIN)
    if _equal(token, opened.owner_token):
        return Caller(CallerKind.OWNER)
    owner = await opened.tokens.owner(token)
    return None if owner is None else Caller(CallerKind.WORKSPACE, owner)


def _equal(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())


async def _is_member(request: Request) -> bool:
    """Whether the request comes from a page of this server, in the browser of a member of its organisation."""
    members = services(request).members
    cookies = b"; ".join(value for name, value in request.headers.raw if name == b"cookie")
    return members is not None and cookies != b"" and _from_own_page(request) and await members.has(cookies)


def _from_own_page(request: Request) -> bool:
    """Whether no other page than this server's own can have sent it: a browser shows its cookies for anybody.

    Reading may come from a browser that does not say, as old ones do; changing may not.
    """
    headers, reads = request.headers, request.method in _READING
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    host = headers.get("host", "")
    if origin is not None and origin not in (f"http://{host}", f"https://{host}"):
        return False
    if site is not None:
        return site == "same-origin" or (site == "none" and reads)
    return origin is not None or reads


def _is_owner(request: Request) -> bool:
    """Whether the request comes from this machine's loopback, by a person, and through nobody else."""
    opened = services(request)
    if opened.settings.admin_token is not None or opened.owner_needs_token:
        return False
    if request.scope.get(LISTENER) == GATEWAY or not _from_loopback(request):
        return False
    headers = request.headers
    origin = headers.get("origin")
    return (
        _host_name(headers.get("host", "")) in _LOCAL_HOSTS
        and (origin is None or origin in opened.settings.allowed_origins or _same_origin(request, origin))
        and headers.get("sec-fetch-site") != "cross-site"
        and not any(name.startswith(_FORWARDED) for name in headers)
    )


def _from_loopback(request: Request) -> bool:
    return request.client is not None and ip_address(request.client.host).is_loopback


def _host_name(host: str) -> str:
    name, _, port = host.rpartition(":")
    return name if name and port.isdigit() else host


def _same_origin(request: Request, origin: str) -> bool:
    return origin == f"{request.url.scheme}://{request.headers.get('host', '')}"


async def _is_address_of(request: Request, workspace_id: str) -> bool:
    """Whether the peer's address is the one that the engine gave to the workspace's running container."""
    opened = services(request)
    # Where there is an administrator, one listener serves everybody, containers too.
    expected = request.scope.get(LISTENER) == GATEWAY or opened.settings.admin_token is not None
    if request.client is None or not expected:
        return False
    match opened.backend:
        case EngineParts(engine=engine):
            containers = await engine.containers(names.workspace_labels(opened.instance, workspace_id))
            return any(container.running and request.client.host in container.addresses for container in containers)
        case ControlPlaneParts():
            return False  # nothing here gives addresses to machines
        case _:
            assert_never(opened.backend)
