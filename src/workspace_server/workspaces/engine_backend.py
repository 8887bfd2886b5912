"""Workspaces as containers of the engine."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import TypeVar

from workspace_server.concurrency import both
from workspace_server.db import TokenStore
from workspace_server.engine import Engine
from workspace_server.engine.events import EventAction
from workspace_server.errors import ConflictError
from workspace_server.images import EnsuredImage, ImageService
from workspace_server.model import names
from workspace_server.model.container import ContainerFile, ContainerInfo, ContainerSpec, NetworkInfo
from workspace_server.model.workspace import ImageOnRow, Phase, Workspace, WorkspaceAccess
from workspace_server.settings import Settings
from workspace_server.workspaces.attempt import Attempt, SupersededError
from workspace_server.workspaces.backend import Machine, Start
from workspace_server.workspaces.configuration import Configuration, Configurations
from workspace_server.workspaces.container import container_spec, volume_names
from workspace_server.workspaces.directories import WorkspaceDirectories
from workspace_server.workspaces.environment import check_required, environment, token_file
from workspace_server.workspaces.host_network import check_free, host_port
from workspace_server.workspaces.logs import last_words
from workspace_server.workspaces.same_engine import SameEngine
from workspace_server.workspaces.secrets import SecretService
from workspace_server.workspaces.templates import ConfigTemplates

T = TypeVar("T")

_RELEASE_SECONDS = 1.0
_DEATHS = frozenset({EventAction.CONNECTED, EventAction.DIE, EventAction.OOM, EventAction.DESTROY})


class EngineBackend:
    """The backend that is a container engine. The order of its steps is the order in which they may fail harmlessly."""

    noun = "container"
    longest_pause = 300.0  # each try may build an image
    phases = (Phase.IMAGE, Phase.ENVIRONMENT, Phase.VOLUMES, Phase.CONTAINER, Phase.START, Phase.ONLINE)

    def __init__(
        self,
        *,
        tokens: TokenStore,
        images: ImageService,
        secrets: SecretService,
        directories: WorkspaceDirectories,
        templates: ConfigTemplates,
        engine: Engine,
        same_engine: SameEngine,
        instance: str,
        settings: Settings,
        expose: Callable[[NetworkInfo], Awaitable[str]],
    ) -> None:
        self._tokens = tokens
        self._images = images
        self._secrets = secrets
        self._directories = directories
        self._configurations = Configurations(engine, templates, instance)
        self._engine = engine
        self._same_engine = same_engine
        self._instance = instance
        self._settings = settings
        self._expose = expose
        self._ended: set[str] = set()  # by the engine's word; its list says for some moments more that they run

    @property
    def image_source(self) -> str:
        """A registry, or a local build."""
        return self._images.source.name

    async def check(self) -> None:
        """Raise SettingsError ``another_engine``, UnavailableError while engine or database are away."""
        await self._same_engine.check()

    async def prepare(self, attempt: Attempt) -> Start:
        """The image, the environment, and what is written of the configuration."""
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
        return partial(self._start, attempt, image, variables, configuration)

    async def _start(
        self,
        attempt: Attempt,
        image: EnsuredImage,
        variables: Mapping[str, str],
        configuration: Configuration,
    ) -> Machine:
        """From the volumes to a container that runs. What is written of it delays nothing that may overlap."""
        workspace = attempt.workspace
        network, _ = await both(self._engine.ensure_network(names.NETWORK), attempt.enter(Phase.VOLUMES))
        host_gateway = await self._expose(network)
        port = host_port(workspace.tier, configuration.config, host_gateway)
        await self._ensure_volumes(attempt)

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
        container = await self._engine.container(container_id)
        return Machine(
            id=container_id,
            workspace_id=workspace.id,
            generation=workspace.generation,
            running=True,
            url=_url(container),
        )

    async def _ensure_volumes(self, attempt: Attempt) -> None:
        """Make the volumes that are missing."""
        workspace = attempt.workspace
        labels = names.workspace_labels(self._instance, workspace.id)
        present = {volume.name for volume in await self._engine.volumes(labels)}
        for name in volume_names(workspace):
            if name not in present:
                attempt.made.append(name)
                await _to_its_end(self._engine.ensure_volume(name, labels))

    async def _clear_for(self, workspace: Workspace) -> None:
        """Remove the old container, if any; and its agent's session, when that is to be forgotten."""
        labels = names.workspace_labels(self._instance, workspace.id)
        await self.stop(workspace)
        session = names.session_volume(workspace.id)
        if workspace.reset_session and session in volume_names(workspace):
            await self._engine.remove_volume(session)
            await _to_its_end(self._engine.ensure_volume(session, labels))

    async def _create(self, spec: ContainerSpec, files: list[ContainerFile]) -> str:
        """The new container. The files are in place before it runs its first instruction."""
        try:
            container_id = await _to_its_end(self._engine.create_container(spec))
        except ConflictError as error:
            if error.code != "container_name_taken" or await self._engine.container(spec.name) is not None:
                raise
            await asyncio.sleep(_RELEASE_SECONDS)  # the old one is gone from the list, and its name is not free yet
            container_id = await _to_its_end(self._engine.create_container(spec))
        await self._engine.copy_files(container_id, files)
        return container_id

    async def undo(self, attempt: Attempt) -> None:
        """Remove the container of its generation, what helped to make it, and the volumes that were not there."""
        labels = names.workspace_labels(self._instance, attempt.workspace.id)
        for container in await self._engine.containers(labels):
            if _generation(container) in (0, attempt.workspace.generation):
                await self._engine.remove_container(container.id)
        for volume in await self._engine.volumes(labels):
            if volume.name in attempt.made:
                await self._engine.remove_volume(volume.name)

    async def running(self, workspace: Workspace) -> Machine | None:
        """The container of exactly this generation, if it runs."""
        found = await self._engine.containers(self._of_generation(workspace))
        machines = [self._machine(container) for container in found]
        return next((machine for machine in machines if machine.running), None)

    async def machines(self) -> Sequence[Machine]:
        """Every container of a workspace of this installation."""
        found = await self._engine.containers(names.installation_labels(self._instance))
        return [self._machine(container) for container in found if names.WORKSPACE_ID in container.labels]

    async def watch(self, notice: Callable[[], None]) -> None:
        """Call ``notice`` when a container of this installation dies, and whenever something may have been missed."""
        async for event in self._engine.events(labels=names.installation_labels(self._instance)):
            match event.action:
                case EventAction.DIE:
                    self._ended.add(event.container_id)
                case EventAction.START | EventAction.DESTROY:
                    self._ended.discard(event.container_id)
                case EventAction.CONNECTED:
                    self._ended.clear()
            if event.action in _DEATHS:
                notice()

    async def wait_end(self, machine: Machine) -> str:
        """Wait until the container ends; with which exit code."""
        return f"with exit code {await self._engine.wait_exit(machine.id)}"

    async def halt(self, workspace: Workspace) -> None:
        """Stop the container, and keep it."""
        for container in await self._engine.containers(self._of_generation(workspace)):
            await self._engine.stop_container(container.id)

    async def stop(self, workspace: Workspace) -> None:
        """Remove its containers; its volumes stay. Raises SupersededError: another server has begun a later one."""
        containers = await self._engine.containers(names.workspace_labels(self._instance, workspace.id))
        if any(_generation(container) > workspace.generation for container in containers):
            raise SupersededError
        for container in containers:
            await self._engine.remove_container(container.id)

    async def clear(self, workspace_id: str, *, purge: bool) -> None:
        """Remove its containers and volumes, by label; that of its files only when purged.

        A container that never ran may have come too late: a server that died had asked for it, and its volumes were
        gone by then. So the engine made others, which have no label and nothing in them.
        """
        labels = names.workspace_labels(self._instance, workspace_id)
        containers = await self._engine.containers(labels)
        for container in containers:
            await self._engine.remove_container(container.id)
        kept = set() if purge else {names.workspace_volume(workspace_id)}
        volumes = [volume for volume in await self._engine.volumes(labels) if volume.name not in kept]
        if any(not container.running and container.exit_code is None for container in containers):
            own = names.workspace_volumes(workspace_id)
            volumes += [each for each in await self._engine.volumes({}) if each.name in own and not each.labels]
        for volume in volumes:
            await self._engine.remove_volume(volume.name)

    async def last_words(self, workspace_id: str) -> str:
        """The last lines of its container."""
        return await last_words(self._engine, names.container_name(workspace_id))

    def _machine(self, container: ContainerInfo) -> Machine:
        return Machine(
            id=container.id,
            workspace_id=container.labels[names.WORKSPACE_ID],
            generation=_generation(container),
            running=container.running and container.id not in self._ended,
            url=_url(container),
        )

    def _of_generation(self, workspace: Workspace) -> Mapping[str, str]:
        return {
            **names.workspace_labels(self._instance, workspace.id),
            names.GENERATION: str(workspace.generation),
        }


def _generation(container: ContainerInfo) -> int:
    """Of the provisioning that made it; 0: it only helps to copy files, and never runs."""
    return int(container.labels.get(names.GENERATION, "0"))


def _url(container: ContainerInfo | None) -> str | None:
    return f"http://127.0.0.1:{container.agent_port}" if container and container.agent_port else None


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
