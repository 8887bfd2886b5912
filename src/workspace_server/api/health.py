"""Routes that say whether the server is alive, and whether it can work."""

from typing import Any, assert_never

from fastapi import APIRouter, Request
from starlette.responses import Response

from workspace_server.api.access import identify, services
from workspace_server.api.wire import JsonAnswer
from workspace_server.control_plane.machines import ControlPlane
from workspace_server.errors import AuthError, WorkspaceServerError
from workspace_server.text import without_user
from workspace_server.wiring import Services
from workspace_server.wiring.control_plane import ControlPlaneParts
from workspace_server.wiring.engine import EngineParts
from workspace_server.workspaces.bridge import Bridge

router = APIRouter(tags=["health"])


@router.get("/health", summary="Is the server alive?")
async def health() -> Response:
    """Always 200 while the server runs."""
    return JsonAnswer({"status": "ok"})


@router.get("/ready", summary="Can the server provision?")
async def ready(request: Request) -> Response:
    """200, or 503 when a part that provisioning needs is broken. The parts are shown to the owner only."""
    opened = services(request)
    match opened.backend:
        case EngineParts():
            name = "docker"
            parts = [await _engine(opened.backend), await _database(opened), _gateway(opened, opened.backend.bridge)]
        case ControlPlaneParts():
            name = "control_plane"
            parts = [_control_plane(opened.backend.control_plane), await _database(opened)]
        case _:
            assert_never(opened.backend)
    working = all(part["status"] != "broken" for part in parts)
    body: dict[str, Any] = {"status": "ok" if working else "degraded"}
    if await _is_person(request):
        body |= {"instance": opened.instance, "backend": name, "image_source": opened.image_source, "parts": parts}
    return JsonAnswer(body, 200 if working else 503)


async def _engine(engine: EngineParts) -> dict[str, str]:
    try:
        await engine.same_engine.check()
        info = await engine.engine.info()
    except WorkspaceServerError as error:
        return _broken("engine", error)
    return {"name": "engine", "status": "ok", "detail": f"{info.version} at {engine.engine.address.url}"}


async def _database(opened: Services) -> dict[str, str]:
    try:
        await opened.database.ping()
    except WorkspaceServerError as error:
        return _broken("database", error)
    return {"name": "database", "status": "ok", "detail": opened.database.where}


def _control_plane(control_plane: ControlPlane) -> dict[str, str]:
    """As its last call went: it is not called for this."""
    if control_plane.trouble is not None:
        return _broken("control_plane", control_plane.trouble)
    return {"name": "control_plane", "status": "ok", "detail": control_plane.url}


def _gateway(opened: Services, bridge: Bridge) -> dict[str, str]:
    network, url = bridge.network, without_user(opened.settings.agents_url)
    if network is None:
        return {"name": "gateway_listener", "status": "waiting", "detail": "the workspace network does not exist yet"}
    if bridge.is_here and not bridge.is_told:
        hint = "stop what listens on this port there, or start this server with another PORT"
        return {"name": "gateway_listener", "status": "broken", "detail": f"not open on {network.device}", "hint": hint}
    where = network.device if bridge.is_here else "the engine's own way to this machine"
    return {"name": "gateway_listener", "status": "ok", "detail": f"{where}, {url}"}


def _broken(name: str, error: WorkspaceServerError) -> dict[str, str]:
    return {"name": name, "status": "broken", "detail": error.message, "hint": error.hint}


async def _is_person(request: Request) -> bool:
    try:
        return (await identify(request)).is_person
    except AuthError:
        return False
