"""Workspaces move to the newest images of their runtimes: when a person asks, and when the registry has a newer one.

Nothing here touches a container: a workspace is *wanted* with the newest image, and the reconciler replaces its
container when that image is there.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, assert_never

import structlog

from workspace_server.concurrency import TaskScope, periodic
from workspace_server.db import WorkspaceStore
from workspace_server.engine import Engine
from workspace_server.errors import UnavailableError, WorkspaceServerError
from workspace_server.images import EnsuredImage, ImageService, LocalBuildSource, RegistrySource
from workspace_server.images.registry import RegistryImages
from workspace_server.model import names
from workspace_server.model.container import ContainerInfo
from workspace_server.model.workspace import Workspace, WorkspaceStatus
from workspace_server.runtimes import Runtimes
from workspace_server.workspaces.lifecycle import MOVABLE, Lifecycle

log = structlog.get_logger(__name__)

_JITTER = 0.1
_BUSY: Final = "busy"
_PROVISIONING: Final = "provisioning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refreshed:
    """What a refresh did: runtimes whose image was pulled, built or ``failed`` and why; containers that are recreated.

    ``left``: containers with an older image that are left for later, and why.
    """

    pulled: Sequence[str]
    built: Sequence[str]
    failed: Mapping[str, WorkspaceServerError]
    recreated: Sequence[str] = field(default_factory=list)
    left: Mapping[str, str] = field(default_factory=dict)


class InterruptedRefreshError(WorkspaceServerError):
    """Which containers there are cannot be told, so none was recreated. ``done`` is what was done before."""

    def __init__(self, cause: WorkspaceServerError, done: Refreshed) -> None:
        super().__init__(cause.message, code=cause.code, hint=cause.hint)
        self.done = done


class Rollout:
    """Refreshes images, and moves workspaces to them.

    ``talks_to`` says whether a message to a workspace is under way: its agent counts it as a task a little later.
    """

    def __init__(
        self,
        *,
        images: ImageService,
        registry: RegistryImages,
        runtimes: Runtimes,
        engine: Engine,
        workspaces: WorkspaceStore,
        lifecycle: Lifecycle,
        instance: str,
        talks_to: Callable[[str], bool],
    ) -> None:
        self._images = images
        self._registry = registry
        self._runtimes = runtimes
        self._engine = engine
        self._workspaces = workspaces
        self._lifecycle = lifecycle
        self._instance = instance
        self._talks_to = talks_to
        self._complaints: dict[str, str] = {}

    async def refresh(self, runtime: str | None, *, recreate: bool, force: bool) -> Refreshed:
        """Get the newest image of one runtime or of all, and move the workspaces that run an older one.

        A runtime that fails takes no other along. A workspace that is busy or being provisioned is left for later
        unless ``force``. Raises InvalidRequestError for an unknown runtime, InterruptedRefreshError.
        """
        try:
            wanted = [self._runtimes.check(runtime)] if runtime else await self._refreshable()
        except UnavailableError as error:
            raise InterruptedRefreshError(error, Refreshed(pulled=[], built=[], failed={})) from error
        outcomes = dict(zip(wanted, await asyncio.gather(*map(self._refreshed, wanted)), strict=True))
        images = {name: image for name, image in outcomes.items() if isinstance(image, EnsuredImage)}
        failed = {name: error for name, error in outcomes.items() if isinstance(error, WorkspaceServerError)}
        match self._images.source:
            case RegistrySource():
                done = Refreshed(pulled=list(images), built=[], failed=failed)
            case LocalBuildSource():
                built = [name for name, image in images.items() if image.build is not None]
                done = Refreshed(pulled=[], built=built, failed=failed)
            case _:
                assert_never(self._images.source)
        if not recreate:
            return done
        try:
            recreated, left = await self._move({name: image.id for name, image in images.items()}, force=force)
        except WorkspaceServerError as error:
            raise InterruptedRefreshError(error, done) from error
        return Refreshed(pulled=done.pulled, built=done.built, failed=failed, recreated=recreated, left=left)

    def watch(self, scope: TaskScope, seconds: float) -> None:
        """Look for newer images in the registry, each runtime by itself, at about every so many seconds, for ever."""
        match self._images.source:
            case RegistrySource() as source:
                for name in self._runtimes.names:
                    look = periodic(
                        f"watch {name}", seconds, partial(self.look, name, source), asyncio.Event(), jitter=_JITTER
                    )
                    scope.start(look, name=f"watch {name}")
                log.info("image watcher: started", registry=str(source.prefix), seconds=seconds)
            case LocalBuildSource():
                log.info("image watcher: not started, images are built from source here", setting="IMAGE_AUTO_REFRESH")
            case _:
                assert_never(self._images.source)

    async def look(self, runtime: str, source: RegistrySource) -> None:
        """Look once: pull what is newer than what is here, and move the workspaces that came from a registry.

        What is here is the engine's word, not a memory of ours: a restart forgets nothing, and an image that could not
        be pulled is as new as before the next time. A failure is logged, once.
        """
        try:
            used = [row for row in await self._workspaces.with_status(*MOVABLE) if _is_from(source, row, runtime)]
            if not used and not await self._registry.has(source, runtime):
                return
            news = await self._registry.news(source, runtime)
            if news.here is None:
                log.info("image watcher: a newer image", runtime=runtime, digest=news.digest)
                newest = (await self._images.refresh(runtime)).id
            else:
                newest = news.here.image.id
            await self._move({runtime: newest}, force=False, source=source)
        except WorkspaceServerError as error:
            if self._complaints.get(runtime) != error.message:
                log.warning("image watcher: failed", runtime=runtime, code=error.code, error=error.message)
            self._complaints[runtime] = error.message
        else:
            self._complaints.pop(runtime, None)

    async def _refreshable(self) -> Sequence[str]:
        """With a registry every runtime; of local builds those that somebody uses, or used: nobody waits for others."""
        match self._images.source:
            case RegistrySource():
                return self._runtimes.names
            case LocalBuildSource():
                used = {row.runtime for row in await self._workspaces.present()} | await self._images.built_here()
                return [name for name in self._runtimes.names if name in used]
            case _:
                assert_never(self._images.source)

    async def _refreshed(self, runtime: str) -> EnsuredImage | WorkspaceServerError:
        try:
            return await self._images.refresh(runtime)
        except WorkspaceServerError as error:
            log.warning("refresh: failed", runtime=runtime, code=error.code, error=error.message)
            return error

    async def _move(
        self, images: Mapping[str, str], *, force: bool, source: RegistrySource | None = None
    ) -> tuple[list[str], dict[str, str]]:
        """Want those with an older image than their runtime's of ``images`` anew; with ``source``, only those from it.

        The containers that are recreated, and those that are left and why. Raises UnavailableError for the engine.
        """
        recreated: list[str] = []
        left: dict[str, str] = {}
        containers = await self._containers()
        for row in await self._workspaces.with_status(*MOVABLE):
            newest = images.get(row.runtime)
            if newest is None or _runs(row, containers.get(row.id)) == newest:
                continue
            if source is not None and not _is_from(source, row, row.runtime):
                continue
            name, why = names.container_name(row.id), None if force else self._why_later(row)
            if why is None and await self._lifecycle.move(row.id, force=force):
                recreated.append(name)
                log.info("workspace moves to a newer image", workspace=row.id, runtime=row.runtime, image=newest)
            else:
                left[name] = why or _BUSY
                log.debug("workspace keeps its image for now", workspace=row.id, runtime=row.runtime, reason=left[name])
        return recreated, left

    async def _containers(self) -> Mapping[str, ContainerInfo]:
        """The containers of this installation's workspaces, by the workspace's id."""
        found = await self._engine.containers(names.installation_labels(self._instance))
        return {each.labels[names.WORKSPACE_ID]: each for each in found if names.GENERATION in each.labels}

    def _why_later(self, row: Workspace) -> str | None:
        """Why it is not even tried to move it. Tasks are counted by ``Lifecycle.move``, while nobody changes them."""
        if row.status is WorkspaceStatus.PROVISIONING:
            return _PROVISIONING
        return _BUSY if self._talks_to(row.id) else None


def _runs(row: Workspace, container: ContainerInfo | None) -> str | None:
    """The id of the image that a workspace runs; of one that is being provisioned, the one that it will run."""
    if container is not None and row.status is not WorkspaceStatus.PROVISIONING:
        return container.image_id
    return None if row.image is None else row.image.id


def _is_from(source: RegistrySource, row: Workspace, runtime: str) -> bool:
    return row.runtime == runtime and row.image is not None and row.image.source == source.name
