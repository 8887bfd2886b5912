"""Registry images: pulled when they are missing or whenever they are asked for, run by id, never built."""

from collections.abc import Awaitable, Callable

import structlog

from workspace_server.images.pull import PulledImage, Pulls
from workspace_server.images.source import PullPolicy, RegistrySource

log = structlog.get_logger(__name__)


class RegistryImages:
    """The images of one registry."""

    def __init__(self, pulls: Pulls) -> None:
        self._pulls = pulls

    async def ensure(
        self, source: RegistrySource, runtime: str, on_record: Callable[[str], Awaitable[None]]
    ) -> PulledImage:
        """The image of ``runtime``, as new as the source's policy wants it; ``on_record`` as for ``Pulls.pull``.

        Raises what a pull raises; never looks anywhere else, and never runs an old image in place of one that the
        registry did not give.
        """
        identity = source.identity(runtime)
        about = log.bind(runtime=runtime, image=identity.reference)
        always = source.pull is PullPolicy.ALWAYS
        present = await self._pulls.present(identity)
        if present is not None and not always:
            about.info("registry: image found", id=present.image.id, digest=present.digest)
            return present
        reason = "always checked" if always else "no image"
        about.info("registry: image wanted", reason=reason)
        return await self._pulls.pull(identity, reason, on_record, anew=always)

    async def cancel(self, record_id: str, who: str) -> None:
        """End a pull, as ``who`` wants it. Raises NotFoundError, and ConflictError when it has ended."""
        await self._pulls.cancel(record_id, who)
