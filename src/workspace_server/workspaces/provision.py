"""From a claimed workspace to a running container whose agent has called."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import structlog

from workspace_server.concurrency import Deadline, first_of
from workspace_server.db import Database, TokenStore, WorkspaceStore
from workspace_server.engine import Engine
from workspace_server.errors import DeadlineError, NotFoundError, TemplateError, UnavailableError, WorkspaceServerError
from workspace_server.events import EventLog
from workspace_server.images import EnsuredImage, ImageService
from workspace_server.model import names
from workspace_server.model.container import ContainerFile, NetworkInfo
from workspace_server.model.event import Event, EventType
from workspace_server.model.workspace import ImageOnRow, Phase, Workspace, WorkspaceStatus
from workspace_server.settings import Settings
from workspace_server.workspaces.attempt import Attempt
from workspace_server.workspaces.container import container_spec, volume_names
from workspace_server.workspaces.environment import config_files

log = structlog.get_logger(__name__)

_LAST_LINES = 30
_URL_SECONDS = 10


class Provisioner:
    """Provisions workspaces on the engine. The order of its steps is the order in which they may fail harmlessly."""

    def __init__(
        self,
        *,
        database: Database,
        workspaces: WorkspaceStore,
        tokens: TokenStore,
        events: EventLog,
        images: ImageService,
        engine: Engine,
        instance: str,
        settings: Settings,
        expose: Callable[[NetworkInfo], Awaitable[None]],
    ) -> None:
        self._database = database
        self._workspaces = workspaces
        self._tokens = tokens
        self._events = events
        self._images = images
        self._engine = engine
        self._instance = instance
        self._settings = settings
        self._expose = expose

    async def provision(self, workspace: Workspace) -> None:
        """Make the container of a claimed workspace and wait for its agent; a failure is written to the row.

        Raises SupersededError when the workspace was removed meanwhile.
        """
        attempt = self._attempt(workspace)
        made: list[str] = []
        try:
            await self._run(attempt, made)
        except UnavailableError as error:
            if error.code != "engine_unavailable":
                await self._give_up(attempt, error, made)
            else:
                log.warning("provisioning waits for the engine", workspace=workspace.id, error=error.message)
                await attempt.wait_for_better_times(error)
        except WorkspaceServerError as error:
            await self._give_up(attempt, error, made)

    async def resume(self, workspace: Workspace) -> bool:
        """Go on where an earlier server stopped, when this generation's container runs already."""
        labels = {**names.workspace_labels(self._instance, workspace.id), names.GENERATION: str(workspace.generation)}
        running = [container for container in await self._engine.containers(labels) if container.running]
        if not running:
            return False
        attempt = self._attempt(workspace)
        try:
            with self._events.listen() as news:
                await self._started(attempt, running[0].id)
                await self._until_online(attempt, running[0].id, news)
        except WorkspaceServerError as error:
            await self._give_up(attempt, error, [])
        return True

    def _attempt(self, workspace: Workspace) -> Attempt:
        return Attempt(workspace, self._images.source.name, self._database, self._workspaces, self._events)

    async def _run(self, attempt: Attempt, made: list[str]) -> None:
        workspace = attempt.workspace
        await attempt.enter(Phase.IMAGE)
        image = await self._images.ensure(workspace.runtime, attempt.note_build)

        await attempt.enter(Phase.ENVIRONMENT, image=_on_row(image))
        template_config = await self._images.template_config(workspace.runtime, image)

        await attempt.enter(Phase.VOLUMES)
        network = await self._engine.ensure_network(names.NETWORK)
        await self._expose(network)
        made += await self._ensure_volumes(workspace)
        async with self._database.write(durable=False) as tx:
            token = await self._tokens.rotate(tx, workspace.id)

        await attempt.enter(Phase.CONTAINER)
        files = config_files(workspace, template_config, token)
        container_id = await self._create(workspace, image, network, files)

        with self._events.listen() as news:
            await attempt.enter(Phase.START)
            await self._engine.start(container_id)
            await self._started(attempt, container_id)
            await self._until_online(attempt, container_id, news)

    async def _ensure_volumes(self, workspace: Workspace) -> list[str]:
        """Make the volumes that are missing, and return those that were."""
        labels = names.workspace_labels(self._instance, workspace.id)
        present = {volume.name for volume in await self._engine.volumes(labels)}
        missing = [name for name in volume_names(workspace) if name not in present]
        for name in missing:
            await self._engine.ensure_volume(name, labels)
        return missing

    async def _create(
        self, workspace: Workspace, image: EnsuredImage, network: NetworkInfo, files: list[ContainerFile]
    ) -> str:
        """Replace the old container, if any. The files are in place before the new one runs its first instruction."""
        for old in await self._engine.containers(names.workspace_labels(self._instance, workspace.id)):
            await self._engine.remove_container(old.id)
        container_id = await self._engine.create_container(
            container_spec(workspace, image, network, self._instance, self._settings)
        )
        await self._engine.copy_files(container_id, files)
        return container_id

    async def _started(self, attempt: Attempt, container_id: str) -> None:
        """Record where the agent listens, and that its time to call began."""
        container = await self._engine.container(container_id)
        url = f"http://127.0.0.1:{container.agent_port}" if container and container.agent_port else ""
        started = attempt.workspace.container_started_at or datetime.now(UTC)
        await attempt.enter(Phase.ONLINE, url=url, container_started_at=started)
        log.info("container started", workspace=attempt.workspace.id, container=container_id[:12], url=url)

    async def _until_online(self, attempt: Attempt, container_id: str, news: "asyncio.Queue[Event]") -> None:
        """Wait for the agent's first call. Raises TemplateError when its container ends, or stays silent too long."""
        workspace = attempt.workspace
        limit = self._settings.start_limit(workspace.runtime)
        spent = (datetime.now(UTC) - (workspace.container_started_at or datetime.now(UTC))).total_seconds()
        try:
            async with Deadline(max(0.0, limit - spent)).limit("waiting for the agent"):
                exit_code = await first_of(self._online(workspace, news), self._exit(container_id))
        except DeadlineError as error:
            raise await self._silent(container_id, limit) from error
        if exit_code is not None:
            raise await self._exited(container_id, exit_code)
        await attempt.finish()
        log.info("workspace online", workspace=workspace.id, name=workspace.name)

    async def _online(self, workspace: Workspace, news: "asyncio.Queue[Event]") -> None:
        row = await self._workspaces.get(workspace.id)
        while row is not None and row.status is WorkspaceStatus.PROVISIONING:
            event = await news.get()
            if event.workspace_id == workspace.id and event.type in (EventType.ONLINE, EventType.REMOVED):
                return

    async def _exit(self, container_id: str) -> int:
        return await self._engine.wait_exit(container_id)

    async def _exited(self, container_id: str, exit_code: int) -> WorkspaceServerError:
        return TemplateError(
            f"the agent's container ended with exit code {exit_code} before the agent's first call\n"
            + await self._last_lines(container_id),
            code="agent_exited",
            hint="correct what the last lines complain of, then create the workspace again",
        )

    async def _silent(self, container_id: str, limit: float) -> WorkspaceServerError:
        """The container is stopped but kept, so that what it holds can be looked at."""
        lines = await self._last_lines(container_id)
        await self._engine.stop_container(container_id)
        return TemplateError(
            f"the container runs, but its agent did not call this server within {limit:g} s\n{lines}",
            code="agent_silent",
            hint=f"does the container reach {self._settings.agents_url}? PROVISION_TIMEOUT_SECONDS sets the limit",
        )

    async def _last_lines(self, container_id: str) -> str:
        try:
            return (await self._engine.logs_tail(container_id, _LAST_LINES)).strip() or "(it wrote nothing)"
        except (NotFoundError, UnavailableError):
            return "(its log could not be read)"

    async def _give_up(self, attempt: Attempt, error: WorkspaceServerError, made: list[str]) -> None:
        """Undo what this attempt made, by label, and say why it failed."""
        workspace = attempt.workspace
        log.warning(
            "provisioning failed", workspace=workspace.id, code=error.code, error=error.message, hint=error.hint
        )
        if error.code != "agent_silent":
            await self._undo(workspace, made)
        await attempt.fail(error)

    async def _undo(self, workspace: Workspace, made: list[str]) -> None:
        labels = {**names.workspace_labels(self._instance, workspace.id), names.GENERATION: str(workspace.generation)}
        try:
            for container in await self._engine.containers(labels):
                await self._engine.remove_container(container.id)
            for volume in made:
                await self._engine.remove_volume(volume)
        except (UnavailableError, DeadlineError) as error:
            log.warning("could not undo a provisioning yet", workspace=workspace.id, error=error.message)


def _on_row(image: EnsuredImage) -> ImageOnRow:
    return ImageOnRow(source=image.source, id=image.id, commit=image.commit, build=image.build, build_id=image.build_id)
