"""Registry images: pulled when they are missing or whenever they are asked for, run by id, never built."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from workspace_server.concurrency import Deadline
from workspace_server.errors import WorkspaceServerError
from workspace_server.images.pull import PulledImage, Pulls
from workspace_server.images.source import PullPolicy, RegistrySource

log = structlog.get_logger(__name__)

_ASK_SECONDS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A runtime's image on the engine, the digest of what the registry has now, and why no workspace can have one.

    Either is None where there is none, the digest also where the registry did not say. Without a ``reason`` the next
    workspace has its image.
    """

    present: PulledImage | None
    published: str | None
    reason: WorkspaceServerError | None


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """What a registry has now of a runtime, by its digest, and that image when it is the one that is run here."""

    digest: str
    here: PulledImage | None


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

    async def ensure_digest(
        self, source: RegistrySource, runtime: str, digest: str, on_record: Callable[[str], Awaitable[None]]
    ) -> PulledImage:
        """The image of ``runtime`` that has this digest, and no newer one. Raises what a pull raises."""
        identity = source.identity(runtime, digest)
        return await self._pulls.present(identity) or await self._pulls.pull(
            identity, "image was removed", on_record, anew=False
        )

    async def renew(
        self, source: RegistrySource, runtime: str, on_record: Callable[[str], Awaitable[None]]
    ) -> PulledImage:
        """The image that the registry has now, whatever is here. Raises what a pull raises."""
        return await self._pulls.pull(source.identity(runtime), "refresh", on_record, anew=True)

    async def news(self, source: RegistrySource, runtime: str) -> News:
        """Ask the registry itself for what is newest, and the engine whether that is here.

        Raises SourceError as a pull does, and UnavailableError for the engine.
        """
        identity = source.identity(runtime)
        digest = await self._pulls.newest_digest(identity)
        tagged = await self._pulls.present(identity)
        newest = await self._pulls.present(source.identity(runtime, digest))
        is_here = tagged is not None and newest is not None and tagged.image.id == newest.image.id
        return News(digest=digest, here=newest if is_here else None)

    async def has(self, source: RegistrySource, runtime: str) -> bool:
        """Whether the engine has an image of the runtime from there, however old. Raises UnavailableError."""
        return await self._pulls.present(source.identity(runtime)) is not None

    async def standing(self, source: RegistrySource, runtime: str) -> Standing:
        """Ask the engine, and through it the registry, at this moment. Raises UnavailableError for the engine."""
        identity = source.identity(runtime)
        present = await self._pulls.present(identity)
        try:
            async with Deadline(_ASK_SECONDS).limit(f"asking the registry for {identity.reference}"):
                return Standing(present=present, published=await self._pulls.published(identity), reason=None)
        except WorkspaceServerError as error:
            needed = present is None or source.pull is PullPolicy.ALWAYS
            return Standing(present=present, published=None, reason=error if needed else None)

    async def cancel(self, record_id: str, who: str) -> None:
        """End a pull, as ``who`` wants it. Raises NotFoundError, and ConflictError when it has ended."""
        await self._pulls.cancel(record_id, who)
