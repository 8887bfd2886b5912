"""What an agent finds under ``/configs``: written from where it comes from, or kept as somebody edited it."""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from workspace_server.engine import Engine
from workspace_server.errors import UnavailableError
from workspace_server.images import EnsuredImage
from workspace_server.model import names
from workspace_server.model.container import ContainerFile
from workspace_server.model.workspace import Workspace
from workspace_server.workspaces.environment import (
    CONFIG_PATH,
    Origin,
    effective_config,
    parse_config,
    repository_of,
    yaml_of,
)
from workspace_server.workspaces.templates import CONFIG, ConfigTemplates, origin_of

log = structlog.get_logger(__name__)

_FILE = f"{CONFIG_PATH}/{CONFIG}"
_EDITED = Origin(where="the container", hint=f"correct {_FILE} there, or restart the workspace with rebuild_config")


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """``config`` is config.yaml, parsed; ``files`` are to be written; ``digest`` is what was written of config.yaml."""

    config: Mapping[str, Any]
    files: Sequence[ContainerFile]
    digest: str | None


class Configurations:
    """Decides what of a configuration is written at a start. What somebody edited stays, unless it was asked for."""

    def __init__(self, engine: Engine, templates: ConfigTemplates, instance: str) -> None:
        self._engine = engine
        self._templates = templates
        self._instance = instance

    async def of(self, workspace: Workspace, image: EnsuredImage, repository_config: bytes | None) -> Configuration:
        """The configuration of the next container. Nothing of the present one is touched.

        It comes from the config template, else from the repository that the image was built from, else it is made up.
        Raises TemplateError for a config.yaml that cannot be used.
        """
        present = await self._present(workspace, image)
        if present is not None and _digest(present) != workspace.config_digest:
            config = await asyncio.to_thread(parse_config, present, _EDITED)
            return Configuration(config=config, files=(), digest=workspace.config_digest)
        # In a thread: what a template brings along may take a while to read.
        return await asyncio.to_thread(self._written, workspace, repository_config, everything=present is None)

    def _written(self, workspace: Workspace, repository_config: bytes | None, *, everything: bool) -> Configuration:
        files: Sequence[ContainerFile] = ()
        source, origin = repository_config, repository_of(workspace)
        if workspace.config_template is not None:
            files = self._templates.files(workspace.config_template)
            source = next(file.content for file in files if file.path == _FILE)
            origin = origin_of(workspace.config_template)
        config = effective_config(workspace, source, origin)
        own = ContainerFile(path=_FILE, content=yaml_of(config))
        others = [file for file in files if file.path != _FILE] if everything else []
        return Configuration(config=config, files=[*others, own], digest=_digest(own.content))

    async def _present(self, workspace: Workspace, image: EnsuredImage) -> bytes | None:
        """The config.yaml that is there; None where there is none yet, or it is to be written anew in any case."""
        if workspace.config_digest is None or workspace.apply_config:
            return None
        labels = names.workspace_labels(self._instance, workspace.id)
        agents = [each for each in await self._engine.containers(labels) if names.GENERATION in each.labels]
        if agents and (found := await self._in_container(agents[0].id)) is not None:
            return found
        volume = names.config_volume(workspace.id)
        if volume not in {each.name for each in await self._engine.volumes(labels)}:
            return None
        # Labelled as the workspace's own, so that whoever clears that away takes along what a killed server left.
        return await self._engine.read_file_of_volume(volume, CONFIG, image_id=image.id, labels=labels)

    async def _in_container(self, container_id: str) -> bytes | None:
        """Its config.yaml; None as well where it is being removed, which the engine calls an error of its own."""
        try:
            return await self._engine.read_file(container_id, _FILE)
        except UnavailableError as error:
            if error.code != "engine_error":
                raise
            log.info("a container's configuration is read from its volume", container=container_id[:12])
            return None


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
