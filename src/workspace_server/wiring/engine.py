"""Composition of what only a server with an engine has: its containers, its images, and how they are replaced."""

import asyncio
import sys
from collections.abc import Callable
from dataclasses import dataclass

from workspace_server.concurrency import TaskScope, periodic
from workspace_server.engine import Engine
from workspace_server.images import BuildBook, ImageService
from workspace_server.images.prune import Pruner
from workspace_server.images.survey import Survey
from workspace_server.model import names
from workspace_server.settings import Settings
from workspace_server.surroundings import runs_in_container
from workspace_server.wiring.ground import Ground
from workspace_server.wiring.images import image_parts
from workspace_server.wiring.links import EngineLink
from workspace_server.workspaces.bridge import Bridge
from workspace_server.workspaces.engine_backend import EngineBackend
from workspace_server.workspaces.lifecycle import Lifecycle
from workspace_server.workspaces.logs import ContainerLogs
from workspace_server.workspaces.rollout import Rollout
from workspace_server.workspaces.same_engine import SameEngine

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


class EngineSide:
    """The engine's side of a server."""

    machines_elsewhere = False

    def __init__(self, ground: Ground, link: EngineLink) -> None:
        self._ground = ground
        self._engine = link.engine
        self._bridge = Bridge()
        shared = ground.settings.database_url is not None
        self._same_engine = SameEngine(database=ground.database, engine=link.engine, shared=shared)
        self._images = image_parts(ground, link)
        self.backend = EngineBackend(
            tokens=ground.tokens,
            images=self._images.service,
            secrets=ground.secrets,
            directories=ground.directories,
            templates=ground.templates,
            engine=link.engine,
            same_engine=self._same_engine,
            instance=ground.instance,
            settings=ground.settings,
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
            logs=ContainerLogs(self._engine, self._ground.instance),
            rollout=Rollout(
                images=images.service,
                registry=images.registry,
                runtimes=self._ground.runtimes,
                engine=self._engine,
                workspaces=self._ground.store,
                lifecycle=lifecycle,
                instance=self._ground.instance,
                talks_to=talks_to,
            ),
        )


def start_engine_work(parts: EngineParts, settings: Settings, scope: TaskScope) -> None:
    """Begin what goes on by itself: pruning, and looking for newer images."""
    pruning = periodic("prune", _PRUNE_SECONDS, parts.pruner.keep_within, asyncio.Event(), at_once=False)
    scope.start(pruning, name="prune")
    if settings.auto_refresh:
        parts.rollout.watch(scope, settings.auto_refresh_seconds)
