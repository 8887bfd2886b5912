"""Composition of what only a server with an engine has: its containers, its images, and how they are replaced."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx

from workspace_server.concurrency import Deadline, TaskScope, periodic
from workspace_server.db import Database, TokenStore, WorkspaceStore
from workspace_server.engine import Engine, open_engine, resolve_address
from workspace_server.git import GitAccess, open_http_client
from workspace_server.images import BuildBook, ImageService
from workspace_server.images.prune import Pruner
from workspace_server.images.survey import Survey
from workspace_server.model import names
from workspace_server.runtimes import Runtimes
from workspace_server.settings import Settings
from workspace_server.surroundings import runs_in_container
from workspace_server.wiring_images import ImageParts, image_parts
from workspace_server.workspaces.bridge import Bridge
from workspace_server.workspaces.directories import WorkspaceDirectories
from workspace_server.workspaces.engine_backend import EngineBackend
from workspace_server.workspaces.lifecycle import Lifecycle
from workspace_server.workspaces.logs import ContainerLogs
from workspace_server.workspaces.rollout import Rollout
from workspace_server.workspaces.same_engine import SameEngine
from workspace_server.workspaces.secrets import SecretService
from workspace_server.workspaces.templates import ConfigTemplates

_ADDRESS_SECONDS = 10.0
_PRUNE_SECONDS = 6 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineParts:
    """What requests may need of a server whose workspaces are containers of an engine."""

    engine: Engine
    same_engine: SameEngine
    bridge: Bridge
    images: ImageService
    builds: BuildBook
    survey: Survey
    pruner: Pruner
    logs: ContainerLogs
    rollout: Rollout

    @property
    def containers_may_come_from_loopback(self) -> bool:
        """Whether a request over loopback might be a container's."""
        apart = sys.platform == "linux" and self.engine.address.local_socket and not runs_in_container()
        return not apart or (self.bridge.network is not None and not self.bridge.is_here)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLink:
    """The open connections: to the engine, and to Git hosts."""

    engine: Engine
    git: tuple[GitAccess, httpx.AsyncClient]


@asynccontextmanager
async def open_engine_link(settings: Settings, git: GitAccess) -> AsyncIterator[EngineLink]:
    """Open them. The engine may be away. Raises SettingsError."""
    address = await resolve_address(settings.docker_host, settings.passed_on, Deadline(_ADDRESS_SECONDS))
    async with open_engine(address) as engine, open_http_client(git) as http:
        yield EngineLink(engine=engine, git=(git, http))


class EngineSide:
    """The engine's side of a server."""

    def __init__(
        self,
        link: EngineLink,
        *,
        settings: Settings,
        runtimes: Runtimes,
        instance: str,
        database: Database,
        store: WorkspaceStore,
        tokens: TokenStore,
        secrets: SecretService,
        directories: WorkspaceDirectories,
        templates: ConfigTemplates,
        scope: TaskScope,
    ) -> None:
        self._engine = link.engine
        self._settings = settings
        self._runtimes = runtimes
        self._instance = instance
        self._store = store
        self._bridge = Bridge()
        self._same_engine = SameEngine(database=database, engine=link.engine, shared=settings.database_url is not None)
        self._images: ImageParts = image_parts(
            settings=settings, runtimes=runtimes, engine=link.engine, git=link.git, rows=store, scope=scope
        )
        self.backend = EngineBackend(
            tokens=tokens,
            images=self._images.service,
            secrets=secrets,
            directories=directories,
            templates=templates,
            engine=link.engine,
            same_engine=self._same_engine,
            instance=instance,
            settings=settings,
            expose=self._bridge.announce,
        )

    async def meet(self) -> None:
        """Make the network. Raises SettingsError ``another_engine``, UnavailableError while the engine is away."""
        await self._same_engine.check()
        await self._bridge.announce(await self._engine.ensure_network(names.NETWORK))

    def parts(self, lifecycle: Lifecycle, talks_to: Callable[[str], bool]) -> EngineParts:
        """What requests may need."""
        images = self._images
        return EngineParts(
            engine=self._engine,
            same_engine=self._same_engine,
            bridge=self._bridge,
            images=images.service,
            builds=images.book,
            survey=images.survey,
            pruner=images.pruner,
            logs=ContainerLogs(self._engine, self._instance),
            rollout=Rollout(
                images=images.service,
                registry=images.registry,
                runtimes=self._runtimes,
                engine=self._engine,
                workspaces=self._store,
                lifecycle=lifecycle,
                instance=self._instance,
                talks_to=talks_to,
            ),
        )


def start_engine_work(parts: EngineParts, settings: Settings, scope: TaskScope) -> None:
    """Begin what goes on by itself: pruning, and looking for newer images."""
    pruning = periodic("prune", _PRUNE_SECONDS, parts.pruner.keep_within, asyncio.Event(), at_once=False)
    scope.start(pruning, name="prune")
    if settings.auto_refresh:
        parts.rollout.watch(scope, settings.auto_refresh_seconds)
