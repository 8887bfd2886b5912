"""Composition of what only a server has whose workspaces are machines of a control plane."""

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog

from workspace_server.control_plane.access import Access
from workspace_server.control_plane.connection import open_control_plane_client
from workspace_server.control_plane.machines import ControlPlane
from workspace_server.db import Database, InstanceStore, TokenStore, WorkspaceStore
from workspace_server.settings import Settings
from workspace_server.workspaces.control_plane_backend import ControlPlaneBackend, Pace
from workspace_server.workspaces.lifecycle import Lifecycle
from workspace_server.workspaces.secrets import SecretService

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlPlaneParts:
    """What requests may need of a server whose workspaces are machines of a control plane."""

    control_plane: ControlPlane


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlPlaneLink:
    """The open connection to the control plane."""

    control_plane: ControlPlane


@asynccontextmanager
async def open_control_plane_link(
    settings: Settings, trust: Callable[[], ssl.SSLContext]
) -> AsyncIterator[ControlPlaneLink]:
    """Open it. The control plane may be away. Raises SettingsError for certificates that cannot be read."""
    async with open_control_plane_client(trust) as http:
        yield ControlPlaneLink(control_plane=ControlPlane(http, Access.from_settings(settings)))


class ControlPlaneSide:
    """The control plane's side of a server."""

    def __init__(
        self,
        link: ControlPlaneLink,
        *,
        settings: Settings,
        database: Database,
        store: WorkspaceStore,
        tokens: TokenStore,
        secrets: SecretService,
    ) -> None:
        self._control_plane = link.control_plane
        self.backend = ControlPlaneBackend(
            control_plane=link.control_plane,
            instances=InstanceStore(database),
            workspaces=store,
            tokens=tokens,
            secrets=secrets,
            settings=settings,
            pace=Pace(),
        )

    async def meet(self) -> None:
        """Nothing: it is not called before something is wanted of it."""

    def parts(self, lifecycle: Lifecycle, talks_to: Callable[[str], bool]) -> ControlPlaneParts:
        """What requests may need."""
        return ControlPlaneParts(control_plane=self._control_plane)
