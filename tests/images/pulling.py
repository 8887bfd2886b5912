"""A registry source of one test, and what is in it."""

from dataclasses import dataclass
from typing import Any

from support.images import PackedImage, packed_image
from support.registry import Registry
from workspace_server.images import RegistrySource
from workspace_server.images.identity import PullIdentity
from workspace_server.images.source import PullPolicy
from workspace_server.model import names
from workspace_server.model.reference import RegistryPrefix


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """Where the images of ``hermes`` lie in a registry; they are removed from the engine with the test's runtime."""

    hub: Registry
    runtime: str
    host: str
    """The registry as the engine is to see it: itself, or what is in front of it."""

    @property
    def repository(self) -> str:
        return f"{self.runtime}/workspace-template-hermes"

    @property
    def reference(self) -> str:
        return f"{self.host}/{self.repository}:latest"

    def source(self, platform: str | None = None, pull: PullPolicy = PullPolicy.MISSING) -> RegistrySource:
        return RegistrySource(prefix=RegistryPrefix.parse(f"{self.host}/{self.runtime}"), platform=platform, pull=pull)

    def identity(self, platform: str | None = None) -> PullIdentity:
        return self.source(platform).identity("hermes")

    def image(self, platform: str = "linux/amd64", **of: Any) -> PackedImage:
        return packed_image({names.RUNTIME: self.runtime}, platform=platform, **of)

    async def put(self, image: PackedImage | None = None, *more: PackedImage) -> PackedImage:
        """Push an image, instead of what is there."""
        image = image or self.image()
        await self.hub.push(self.repository, image, *more)
        return image
