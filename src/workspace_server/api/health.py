"""Routes that say whether the server is alive, and whether it can work."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from workspace_server.api.access import identify, services
from workspace_server.api.wire import JsonAnswer
from workspace_server.errors import AuthError, WorkspaceServerError
from workspace_server.text import without_user
from workspace_server.wiring import Services

router = APIRouter(tags=["health"])


@router.get("/health", summary="Is the server alive?")
async def health() -> Response:
    """Always 200 while the server runs."""
    return JsonAnswer({"status": "ok"})


@router.get("/ready", summary="Can the server provision?")
async def ready(request: Request) -> Response:
    """200, or 503 when a part that provisioning needs is broken. The parts are shown to the owner only."""
    opened = services(request)
    parts = [await _engine(opened), await _database(opened), _gateway(opened)]
    working = all(part["status"] != "broken" for part in parts)
    body: dict[str, Any] = {"status": "ok" if working else "degraded"}
    if await _is_person(request):
        source = opened.images.source.name
        body |= {"instance": opened.instance, "backend": "docker", "image_source": source, "parts": parts}
    return JsonAnswer(body, 200 if working else 503)


async def _engine(opened: Services) -> dict[str, str]:
    try:
        await opened.same_engine.check()
        info = await opened.engine.info()
    except WorkspaceServerError as error:
        return _broken("engine", error)
    return {"name": "engine", "status": "ok", "detail": f"{info.version} at {opened.engine.address.url}"}


async def _database(opened: Services) -> dict[str, str]:
    try:
        await opened.database.ping()
    except WorkspaceServerError as error:
        return _broken("database", error)
    return {"name": "database", "status": "ok", "detail": opened.database.where}


def _gateway(opened: Services) -> dict[str, str]:
    network, url = opened.bridge.network, without_user(opened.settings.agents_url)
    if network is None:
        return {"name": "gateway_listener", "status": "waiting", "detail": "the workspace network does not exist yet"}
    if opened.bridge.is_here and not opened.bridge.is_told:
        hint = "stop what listens on this port there, or start this server with another PORT"
        return {"name": "gateway_listener", "status": "broken", "detail": f"not open on {network.device}", "hint": hint}
    where = network.device if opened.bridge.is_here else "the engine's own way to this machine"
    return {"name": "gateway_listener", "status": "ok", "detail": f"{where}, {url}"}


def _broken(name: str, error: WorkspaceServerError) -> dict[str, str]:
    return {"name": name, "status": "broken", "detail": error.message, "hint": error.hint}


async def _is_person(request: Request) -> bool:
    try:
        return (await identify(request)).is_person
    except AuthError:
        return False
