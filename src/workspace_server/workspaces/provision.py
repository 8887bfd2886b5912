"""From a claimed workspace to a running container whose agent has called."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager, nullcontext
from datetime import UTC, datetime
from typing import Final, TypeVar

import structlog

from workspace_server.concurrency import Deadline, both, first_of
from workspace_server.db import Database, TokenStore, WorkspaceStore
from workspace_server.engine import Engine
from workspace_server.errors import DeadlineError, TemplateError, UnavailableError, WorkspaceServerError
from workspace_server.events import EventLog
from workspace_server.images import EnsuredImage, ImageService
from workspace_server.model import names
from workspace_server.model.container import ContainerFile, ContainerSpec, NetworkInfo
from workspace_server.model.event import Event, EventType
from workspace_server.model.workspace import ImageOnRow, Phase, Workspace, WorkspaceAccess, WorkspaceStatus
from workspace_server.settings import Settings
from workspace_server.text import without_user
from workspace_server.workspaces.attempt import Attempt
from workspace_server.workspaces.configuration import Configuration, Configurations
from workspace_server.workspaces.container import container_spec, volume_names
from workspace_server.workspaces.directories import WorkspaceDirectories
from workspace_server.workspaces.environment import check_required, environment, token_file
from workspace_server.workspaces.host_network import check_free, host_port
from workspace_server.workspaces.logs import last_words
from workspace_server.workspaces.secrets import SecretService
from workspace_server.workspaces.templates import ConfigTemplates

log = structlog.get_logger(__name__)

T = TypeVar("T")

_GRACE_SECONDS = 60.0
_RESTARTS_AT_ONCE = 4
_SILENT: Final = "agent_silent"
_ENDS_THE_WAIT = frozenset({EventType.ONLINE, EventType.REMOVED, EventType.PROVISIONING, EventType.PAUSED})
_PASSING = frozenset({"engine_unavailable", "database_unavailable"})
"""What is away comes back: a wish that needs it waits."""


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
        secrets: SecretService,
        directories: WorkspaceDirectories,
        templates: ConfigTemplates,
        engine: Engine,
        instance: str,
        settings: Settings,
        expose: Callable[[NetworkInfo], Awaitable[str]],
    ) -> None:
        self._database = database
        self._workspaces = workspaces
        self._tokens = tokens
        self._events = events
        self._images = images
        self._secrets = secrets
        self._directories = directories
        self._configurations = Configurations(engine, templates, instance)
        self._engine = engine
        self._instance = instance
        self._settings = settings
        self._expose = expose
        # Many that are restarted together, by a secret of all or a reboot, come one after the other.
        self._turns = asyncio.Semaphore(_RESTARTS_AT_ONCE)

    async def provision(self, workspace: Workspace) -> None:
        """Make the container of a claimed workspace and wait for its agent; a failure is written to the row.

        Raises SupersededError when the workspace was removed meanwhile.
        """
        attempt = self._attempt(workspace)
        made: list[str] = []
        async with self._settled(attempt, made):
            await self._run(attempt, made)

    async def resume(self, workspace: Workspace) -> bool:
        """Go on where an earlier server stopped, when this generation's container runs already."""
        labels = {**names.workspace_labels(self._instance, workspace.id), names.GENERATION: str(workspace.generation)}
        attempt = self._attempt(workspace)
        async with self._patient(attempt):
            running = [container for container in await self._engine.containers(labels) if container.running]
            if not running:
                return False
            async with self._settled(attempt, []):
                with self._events.listen() as news:
                    await self._started(attempt, running[0].id)
                    await self._until_online(attempt, running[0].id, news, grace=_GRACE_SECONDS)
        return True

    @asynccontextmanager
    async def _settled(self, attempt: Attempt, made: list[str]) -> AsyncIterator[None]:
        """A block whose failure is written to the row, for good unless it is a passing one."""
        async with self._patient(attempt):
            try:
                yield
            except WorkspaceServerError as error:
                if error.code in _PASSING:
                    raise
                await self._give_up(attempt, error, made)

    @asynccontextmanager
    async def _patient(self, attempt: Attempt) -> AsyncIterator[None]:
        """A block that leaves a wish a wish when what it needs is away."""
        try:
            yield
        except UnavailableError as error:
            if error.code not in _PASSING:
                raise
            words = {"code": error.code, "error": error.message, "hint": error.hint}
            log.warning("provisioning waits", workspace=attempt.workspace.id, **words)
            await attempt.wait_for_better_times(error)

    def _attempt(self, workspace: Workspace) -> Attempt:
        return Attempt(workspace, self._images.source.name, self._database, self._workspaces, self._events)

    async def _run(self, attempt: Attempt, made: list[str]) -> None:
        workspace = attempt.workspace
        if workspace.resolve_anew or workspace.image is None:
            image = await self._images.ensure(workspace.runtime, attempt.note_build)
        else:
            image = await self._images.ensure_again(workspace.runtime, workspace.image, attempt.note_build)

        template_config, _ = await both(
            self._images.template_config(workspace.runtime, image),
            attempt.enter(Phase.ENVIRONMENT, image=_on_row(image)),
        )
        configuration = await self._configurations.of(attempt.workspace, image, template_config)
        secrets = await self._secrets.environment(workspace.id)
        variables = environment(workspace, self._settings.agents_url, secrets)
        check_required(configuration.config, variables)
        if workspace.workspace_dir is not None and workspace.workspace_access is not WorkspaceAccess.NONE:
            await asyncio.to_thread(self._directories.check, workspace.workspace_dir)  # it may be a link by now

        with self._events.listen() as news:
            async with self._turns if workspace.generation > 1 else nullcontext():
                container_id = await self._start(attempt, image, variables, configuration, made)
            await self._until_online(attempt, container_id, news)

    async def _start(
        self,
        attempt: Attempt,
        image: EnsuredImage,
        variables: Mapping[str, str],
        configuration: Configuration,
        made: list[str],
    ) -> str:
        """From the volumes to a container that runs; its id. What is written of it delays nothing that may overlap."""
        workspace = attempt.workspace
        network, _ = await both(self._engine.ensure_network(names.NETWORK), attempt.enter(Phase.VOLUMES))
        host_gateway = await self._expose(network)
        port = host_port(workspace.tier, configuration.config, host_gateway)
        await self._ensure_volumes(workspace, made)

        token = await attempt.enter_with(Phase.CONTAINER, lambda tx: self._tokens.rotate(tx, workspace.id))
        spec = container_spec(
            workspace,
            image,
            variables,
            host_gateway=host_gateway,
            instance=self._instance,
            settings=self._settings,
            host_port=port,
        )
        await self._clear_for(workspace)
        if port is not None:
            check_free(port)
        container_id = await self._create(spec, [*configuration.files, token_file(token)])

        done = {"config_digest": configuration.digest, "apply_config": False, "reset_session": False}
        await both(self._engine.start(container_id), attempt.enter(Phase.START, **done))
        await self._started(attempt, container_id)
        return container_id

    async def _ensure_volumes(self, workspace: Workspace, made: list[str]) -> None:
        """Make the volumes that are missing, and add each to ``made``."""
        labels = names.workspace_labels(self._instance, workspace.id)
        present = {volume.name for volume in await self._engine.volumes(labels)}
        for name in volume_names(workspace):
            if name not in present:
                made.append(name)
                await _to_its_end(self._engine.ensure_volume(name, labels))

    async def _clear_for(self, workspace: Workspace) -> None:
        """Remove the old container, if any; and its agent's session, when that is to be forgotten."""
        labels = names.workspace_labels(self._instance, workspace.id)
        for old in await self._engine.containers(labels):
            await self._engine.remove_container(old.id)
        session = names.session_volume(workspace.id)
        if workspace.reset_session and session in volume_names(workspace):
            await self._engine.remove_volume(session)
            await _to_its_end(self._engine.ensure_volume(session, labels))

    async def _create(self, spec: ContainerSpec, files: list[ContainerFile]) -> str:
        """The new container. The files are in place before it runs its first instruction."""
        container_id = await _to_its_end(self._engine.create_container(spec))
        await self._engine.copy_files(container_id, files)
        return container_id

    async def _started(self, attempt: Attempt, container_id: str) -> None:
        """Record where the agent listens, and that its time to call began."""
        container = await self._engine.container(container_id)
        url = f"http://127.0.0.1:{container.agent_port}" if container and container.agent_port else ""
        started = attempt.workspace.container_started_at or datetime.now(UTC)
        cleared = {} if attempt.workspace.failure is None else {"failure": None, "last_sample_error": ""}
        await attempt.enter(Phase.ONLINE, url=url, container_started_at=started, **cleared)
        log.info("container started", workspace=attempt.workspace.id, container=container_id[:12], url=url)

    async def _until_online(
        self, attempt: Attempt, container_id: str, news: "asyncio.Queue[Event]", *, grace: float = 0.0
    ) -> None:
        """Wait for the agent's first call. Raises TemplateError when its container ends, or stays silent too long.

        ``grace`` is how long it may take at least: nobody could call while there was no server.
        """
        workspace = attempt.workspace
        limit = self._settings.start_limit(workspace.runtime)
        spent = (datetime.now(UTC) - (workspace.container_started_at or datetime.now(UTC))).total_seconds()
        failure: TemplateError | None = None
        try:
            async with Deadline(max(limit - spent, min(limit, grace))).limit("waiting for the agent"):
                exit_code = await first_of(self._online(workspace, news), self._exit(container_id))
            if exit_code is not None:
                failure = await self._exited(container_id, exit_code)
        except DeadlineError:
            failure = await self._silent(container_id, limit)
        if failure is not None and await self._still_waits(workspace):  # a call while we looked counts
            if failure.code == _SILENT:
                await self._engine.stop_container(container_id)  # and keep it, for whoever wants to look inside
            raise failure
        await attempt.finish()
        log.info("workspace online", workspace=workspace.id, name=workspace.name)

    async def _online(self, workspace: Workspace, news: "asyncio.Queue[Event]") -> None:
        row = await self._workspaces.get(workspace.id)
        while row is not None and row.status is WorkspaceStatus.PROVISIONING:
            event = await news.get()
            if event.workspace_id == workspace.id and event.type in _ENDS_THE_WAIT:
                return

    async def _still_waits(self, workspace: Workspace) -> bool:
        row = await self._workspaces.get(workspace.id)
        return row is not None and row.status is WorkspaceStatus.PROVISIONING

    async def _exit(self, container_id: str) -> int:
        return await self._engine.wait_exit(container_id)

    async def _exited(self, container_id: str, exit_code: int) -> TemplateError:
        return TemplateError(
            f"the agent's container ended with exit code {exit_code} before the agent's first call\n"
            + await last_words(self._engine, container_id),
            code="agent_exited",
            hint="correct what the last lines complain of, then create the workspace again",
        )

    async def _silent(self, container_id: str, limit: float) -> TemplateError:
        lines, url = await last_words(self._engine, container_id), without_user(self._settings.agents_url)
        return TemplateError(
            f"the container runs, but its agent did not call this server within {limit:g} s\n{lines}",
            code=_SILENT,
            hint=f"does the container reach {url}? PROVISION_TIMEOUT_SECONDS sets the limit",
        )

    async def _give_up(self, attempt: Attempt, error: WorkspaceServerError, made: list[str]) -> None:
        """Undo what this attempt made, by label, and say why it failed."""
        workspace = attempt.workspace
        words = {"code": error.code, "error": error.message, "hint": error.hint}
        log.warning("provisioning failed", workspace=workspace.id, runtime=workspace.runtime, **words)
        if error.code != _SILENT:
            await self._undo(workspace, made)
        await attempt.fail(error)

    async def _undo(self, workspace: Workspace, made: list[str]) -> None:
        labels = {**names.workspace_labels(self._instance, workspace.id), names.GENERATION: str(workspace.generation)}
        try:
            for container in await self._engine.containers(labels):
                await self._engine.remove_container(container.id)
            for volume in await self._engine.volumes(names.workspace_labels(self._instance, workspace.id)):
                if volume.name in made:
                    await self._engine.remove_volume(volume.name)
        except WorkspaceServerError as error:  # whatever it is, the failure that led here is the one to tell of
            log.warning("could not undo a provisioning", workspace=workspace.id, error=error.message)


async def _to_its_end(call: Coroutine[object, object, T]) -> T:
    """A call that makes something, which nothing takes back once it was sent: a cancel waits until it has ended.

    So whoever clears up after us finds what it made.
    """
    ended = asyncio.Event()

    async def whole() -> T:
        try:
            return await call
        finally:
            ended.set()

    try:
        return await asyncio.shield(whole())
    except asyncio.CancelledError:
        await ended.wait()
        raise


def _on_row(image: EnsuredImage) -> ImageOnRow:
    return ImageOnRow(
        source=image.source,
        id=image.id,
        digest=image.digest,
        commit=image.commit,
        build=image.build,
        build_id=image.build_id,
        platform=image.platform,
        built_at=image.built_at.isoformat() if image.built_at else None,
        stale=image.stale,
    )
