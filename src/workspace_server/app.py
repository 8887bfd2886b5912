"""The web application: routes, what surrounds them, and their description."""

import asyncio

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from workspace_server import __version__
from workspace_server.api import (
    edge,
    health,
    images,
    lifecycle,
    logs,
    machines,
    registry,
    rollout,
    runtimes,
    secrets,
    workspaces,
)
from workspace_server.api.relay import relay
from workspace_server.wiring import Services

_DESCRIPTION = """
Runs teams of AI agents as **workspaces**: containers with an agent inside, created, watched and talked to here.

Answers are compact JSON. An error is `{"error": what happened, "code": its stable name, "hint": what to do}`.
Without `ADMIN_TOKEN`, requests from this machine's loopback are the owner's; agents show their workspace's token.
"""
_REFUSAL = {"description": "An error object. 400: the request; 401 and 403: who sent it; 404, 409: what it is about."}


def create_app(services: Services) -> FastAPI:
    """The application on services that are open; it neither opens nor closes anything."""
    app = FastAPIOffline(
        title="workspace-server",
        version=__version__,
        description=_DESCRIPTION,
        redirect_slashes=False,
    )
    app.state.services = services
    app.state.stopping = asyncio.Event()  # set by whoever serves it, so that answers without an end end
    edge.install(app, services.settings)
    for module in (health, workspaces, lifecycle, logs, machines, secrets, registry, runtimes, images, rollout):
        app.include_router(module.router, responses={"4XX": _REFUSAL})
    if services.upstream is not None:
        app.router.routes.append(relay(services.upstream))
    return app
