"""The decision between registry and local build, made once, as a value that every caller must match."""

import platform
import sys
from dataclasses import dataclass, replace
from enum import StrEnum

from workspace_server.images.identity import PullIdentity
from workspace_server.model.reference import RegistryPrefix
from workspace_server.settings import Settings

_LOCAL_DEFAULT_PLATFORM = "linux/amd64"  # local must mimic production


class PullPolicy(StrEnum):
    """When an image is pulled."""

    MISSING = "missing"
    ALWAYS = "always"


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrySource:
    """Images are pulled from ``prefix``. ``platform`` None: whatever the engine prefers."""

    prefix: RegistryPrefix
    platform: str | None
    pull: PullPolicy = PullPolicy.MISSING
    name: str = "registry"

    def identity(self, runtime: str, digest: str | None = None) -> PullIdentity:
        """What is pulled for a runtime: the newest image, or the one of a digest."""
        newest = PullIdentity(runtime=runtime, reference=self.prefix.image(runtime), platform=self.platform)
        return replace(newest, reference=f"{newest.repository}@{digest}") if digest else newest


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalBuildSource:
    """Images are built from the templates' source. ``platform`` None: the engine's own."""

    platform: str | None
    name: str = "local-build"


ImageSource = RegistrySource | LocalBuildSource


def image_source(settings: Settings) -> ImageSource:
    """Decide by ``MOLECULE_IMAGE_REGISTRY``: a prefix means registry, nothing means local build."""
    wanted = settings.image_platform
    if settings.image_registry is None:
        return LocalBuildSource(platform=_LOCAL_DEFAULT_PLATFORM if wanted is None else wanted or None)
    if wanted is None and sys.platform == "darwin" and platform.machine() == "arm64":
        wanted = "linux/amd64"
    return RegistrySource(prefix=settings.image_registry, platform=wanted or None, pull=PullPolicy(settings.image_pull))
