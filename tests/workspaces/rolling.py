"""A server in registry mode whose images are pushed anew, and what its tests of roll-outs do with it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.engine import engine_address, instance_label, purge
from support.images import PackedImage, waiting_image
from support.registry import PASSWORD, USER, Registry
from support.registry_front import RegistryFront
from workspace_server.images import RegistrySource
from workspace_server.model.reference import RegistryPrefix
from workspace_server.model.workspace import Workspace

from .world import Supply, World, world

IMAGE = "molecule.image.runtime"


@dataclass(slots=True, kw_only=True)
class Stage:
    """What lasts longer than one server: the registry with what is in front of it, the data, the engine's platform."""

    hub: Registry
    front: RegistryFront
    directory: Path
    supply: Supply
    instance: str
    platform: str = "linux/amd64"
    pushed: list[PackedImage] = field(default_factory=list)

    @property
    def source(self) -> RegistrySource:
        return RegistrySource(prefix=RegistryPrefix.parse(f"{self.front.host}/team"), platform=None)

    def server(self, **variables: str) -> Any:
        """A server on the same data; a context manager."""
        pair = {"MOLECULE_REGISTRY_USER": USER, "MOLECULE_REGISTRY_TOKEN": PASSWORD}
        registry = {"MOLECULE_IMAGE_REGISTRY": str(self.source.prefix), **pair}
        cache = self.directory / "cache"
        own = Supply(cache=cache, repositories=self.supply.repositories)
        settings = {"MOLECULE_LOCAL_BUILD_CACHE": str(cache), **registry, **variables}
        return world(self.directory / "data", engine_address(), own, self.instance, **settings)

    async def push(self, runtime: str = "langgraph") -> PackedImage:
        """A new image of a runtime that differs from all before."""
        image = self.image(self.platform)
        self.pushed.append(image)
        await self.hub.push(f"team/workspace-template-{runtime}", image)
        return image

    def image(self, platform: str) -> PackedImage:
        """An image that differs from all before."""
        return waiting_image({IMAGE: f"roll-{self.instance}", "n": str(len(self.pushed))}, platform)

    def asked_for(self, runtime: str) -> int:
        """How often the registry itself was asked for the runtime's newest image, or a pull began."""
        path = f"/v2/team/workspace-template-{runtime}/manifests/latest"
        return sum(seen.path == path for seen in self.front.seen)

    async def clean(self, url: str) -> None:
        await purge(url, instance_label(self.instance))  # a container protects its image
        await purge(url, f"{IMAGE}=roll-{self.instance}")


async def come_online(here: World, workspace: str) -> Workspace:
    """What is wanted is provisioned, and its agent calls."""
    here.proxy.faults.remove(await here.begin())
    await here.call_of_agent(workspace)
    await here.settle()
    return await here.row(workspace)


async def images(here: World, *workspaces: str) -> Sequence[str]:
    """The ids of the images that their containers run."""
    return [(await here.inspected(workspace))["Image"] for workspace in workspaces]
