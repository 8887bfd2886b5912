"""Registry images: pulled when they are missing, run by id."""

from workspace_server.concurrency import Deadline
from workspace_server.engine import Engine
from workspace_server.errors import SourceError
from workspace_server.images.lookup import same_platform
from workspace_server.images.source import RegistrySource
from workspace_server.model.container import ImageInfo

_PULL_SECONDS = 3600


class RegistryImages:
    """Gets the images of one registry onto the engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def ensure(self, source: RegistrySource, runtime: str) -> ImageInfo:
        """The image of ``runtime``, pulled when missing. Raises SourceError; never looks anywhere else."""
        reference = source.prefix.image(runtime)
        present = await self._engine.image(reference)
        if present is not None and (source.platform is None or same_platform(present.platform, source.platform)):
            return present
        async with Deadline(_PULL_SECONDS).limit(f"pulling {reference}"):
            await self._engine.pull(reference, source.platform)
        pulled = await self._engine.image(reference)
        if pulled is None:
            raise SourceError(
                f"the image {reference} is not on the engine although its pull ended well",
                code="image_not_found",
                hint="another program may prune images; try again",
            )
        return pulled
