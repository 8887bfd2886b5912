"""Every part of a running server, as those find it who need one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from workspace_server.agents import AgentProxy, AgentRegistry, Outbound
from workspace_server.control_plane.members import Members
from workspace_server.control_plane.upstream import Upstream
from workspace_server.db import Database, TokenStore, WorkspaceStore
from workspace_server.errors import ConflictError
from workspace_server.images import BuildBook
from workspace_server.model.workspace import Phase
from workspace_server.runtimes import Runtimes
from workspace_server.settings import Settings
from workspace_server.surroundings import runs_in_container
from workspace_server.wiring.control_plane import ControlPlaneParts
from workspace_server.wiring.engine import EngineParts
from workspace_server.workspaces import WorkspaceService
from workspace_server.workspaces.bootstrap import Bootstraps
from workspace_server.workspaces.directories import WorkspaceDirectories
from workspace_server.workspaces.lifecycle import Lifecycle
from workspace_server.workspaces.secrets import SecretService
from workspace_server.workspaces.templates import ConfigTemplates


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Every part that a request may need. ``owner_token`` is the plaintext of the file in the data directory.

    ``backend``: what there is besides, because of what starts the workspaces; whoever needs any of it asks which it is.
    """

    settings: Settings
    instance: str
    owner_token: str
    database: Database
    backend: EngineParts | ControlPlaneParts
    image_source: str
    phases: Sequence[Phase]
    runtimes: Runtimes
    workspaces: WorkspaceService
    lifecycle: Lifecycle
    bootstraps: Bootstraps
    directories: WorkspaceDirectories
    templates: ConfigTemplates
    secrets: SecretService
    store: WorkspaceStore
    tokens: TokenStore
    registry: AgentRegistry
    proxy: AgentProxy
    outbound: Outbound
    members: Members | None
    upstream: Upstream | None

    @property
    def builds(self) -> BuildBook | None:
        """The builds of images; None where none are made."""
        return self.backend.builds if isinstance(self.backend, EngineParts) else None

    @property
    def on_engine(self) -> EngineParts:
        """What there is because of an engine. Raises ConflictError ``no_engine_here`` where there is none."""
        match self.backend:
            case EngineParts():
                return self.backend
            case ControlPlaneParts():
                raise ConflictError(
                    "workspaces are machines of the control plane here: this server has no engine, no images, no logs",
                    code="no_engine_here",
                    hint="GET /workspaces/{id}/console shows what a machine writes; GET /runtimes what can be started",
                )
            case _:
                assert_never(self.backend)

    @property
    def owner_needs_token(self) -> bool:
        """Whether loopback is no proof of ownership, because containers might arrive from it as well."""
        if self.settings.owner_proof == "required":
            return True
        match self.backend:
            case EngineParts():
                return self.backend.containers_may_come_from_loopback
            case ControlPlaneParts():
                return runs_in_container()
            case _:
                assert_never(self.backend)
