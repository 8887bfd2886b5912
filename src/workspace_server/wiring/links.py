"""The connection to what starts workspaces: a container engine, or a control plane. Here it is chosen."""

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import httpx

from workspace_server.concurrency import Deadline
from workspace_server.control_plane.access import Access
from workspace_server.control_plane.connection import open_control_plane_client
from workspace_server.control_plane.machines import ControlPlane
from workspace_server.engine import Engine, open_engine, resolve_address
from workspace_server.git import GitAccess, open_http_client
from workspace_server.settings import Settings

_ADDRESS_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLink:
    """The open connections: to the engine, and to Git hosts."""

    engine: Engine
    git: tuple[GitAccess, httpx.AsyncClient]


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlPlaneLink:
    """The open connection to the control plane."""

    control_plane: ControlPlane


def open_link(
    settings: Settings, git: GitAccess, trust: Callable[[], ssl.SSLContext]
) -> AbstractAsyncContextManager[EngineLink] | AbstractAsyncContextManager[ControlPlaneLink]:
    """The one choice of what starts workspaces. With a control plane, no engine is ever looked for.

    Either may be away. Raises SettingsError for an address or certificates that cannot be used.
    """
    return _open_engine(settings, git) if settings.org_id is None else _open_control_plane(settings, trust)


@asynccontextmanager
async def _open_engine(settings: Settings, git: GitAccess) -> AsyncIterator[EngineLink]:
    address = await resolve_address(settings.docker_host, settings.passed_on, Deadline(_ADDRESS_SECONDS))
    async with open_engine(address) as engine, open_http_client(git) as http:
        yield EngineLink(engine=engine, git=(git, http))


@asynccontextmanager
async def _open_control_plane(
    settings: Settings, trust: Callable[[], ssl.SSLContext]
) -> AsyncIterator[ControlPlaneLink]:
    async with open_control_plane_client(trust) as http:
        yield ControlPlaneLink(control_plane=ControlPlane(http, Access.from_settings(settings)))
