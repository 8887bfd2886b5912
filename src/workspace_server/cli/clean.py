"""Removing everything that one installation made on the engine."""

from workspace_server.db.directory import DataDirectory, open_data_directory
from workspace_server.engine import Engine
from workspace_server.errors import ConflictError
from workspace_server.images import BuildBook
from workspace_server.model import names
from workspace_server.model.build import BuildState
from workspace_server.settings import Settings

_ALL = 10_000


async def remove_everything(engine: Engine, settings: Settings, *, keep_network: bool) -> list[str]:
    """Remove the installation's containers and volumes by label, and the images its cache's builds made.

    Returns what is left because somebody else uses it. Raises SettingsError while a server uses the data directory.
    """
    left: list[str] = []
    with open_data_directory(settings.data_dir) as directory:
        left += await _remove_by_label(engine, directory)
    # Also of builds that did not end well: a server that was killed may have left an image and told nobody.
    records = BuildBook(settings.build_cache).newest(limit=_ALL)
    for build_id in sorted({record.build_id for record in records if record.state is not BuildState.HIT}):
        for image in await engine.images({names.BUILD_ID: build_id}):
            try:
                await engine.remove_image(image.id, force=True)
            except ConflictError:
                left.append(image.id)
    if not keep_network and not await engine.remove_network(names.NETWORK):
        left.append(f"network {names.NETWORK}")
    return left


async def _remove_by_label(engine: Engine, directory: DataDirectory) -> list[str]:
    instance = directory.known_instance()
    if instance is None:
        return []
    labels = names.installation_labels(instance)
    for container in await engine.containers(labels):
        await engine.remove_container(container.id)
    for volume in await engine.volumes(labels):
        await engine.remove_volume(volume.name)
    containers = [container.name for container in await engine.containers(labels)]
    return containers + [volume.name for volume in await engine.volumes(labels)]
