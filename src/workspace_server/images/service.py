"""``ensure``: a runtime's name goes in, the id of an image on the engine comes out."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import assert_never

import structlog

from workspace_server.concurrency import Deadline
from workspace_server.engine import Engine
from workspace_server.errors import SourceError
from workspace_server.git import CheckoutStore, CommitMovedError, Resolver
from workspace_server.images.build import LocalBuilds
from workspace_server.images.identity import BuildIdentity
from workspace_server.images.lookup import Hit, Miss, look_up
from workspace_server.images.registry import RegistryImages
from workspace_server.images.source import ImageSource, LocalBuildSource, RegistrySource
from workspace_server.images.template import read_config
from workspace_server.model.container import ImageInfo
from workspace_server.runtimes import Runtimes, Template

log = structlog.get_logger(__name__)

_RESOLVE_SECONDS = 30
_FETCH_SECONDS = 600
_MOVES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsuredImage:
    """An image that is on the engine now. Commit, build id and build record: of a local build only."""

    id: str
    source: str
    platform: str | None
    commit: str | None = None
    build_id: str | None = None
    build: str | None = None


class ImageService:
    """Gets the image of a runtime onto the engine, from the one source that is configured."""

    def __init__(
        self,
        *,
        source: ImageSource,
        runtimes: Runtimes,
        engine: Engine,
        resolver: Resolver,
        checkouts: CheckoutStore,
        builds: LocalBuilds,
    ) -> None:
        self.source = source
        self._runtimes = runtimes
        self._engine = engine
        self._resolver = resolver
        self._checkouts = checkouts
        self._builds = builds
        # A commit's file never changes: the second workspace of a commit reads nothing from disk.
        self._configs: dict[tuple[str, str], bytes | None] = {}
        self._registry = RegistryImages(engine)

    async def ensure(self, runtime: str, on_build: Callable[[str], Awaitable[None]]) -> EnsuredImage:
        """The image of ``runtime``; ``on_build`` is given the id of the build record that is waited for, if any.

        Raises SourceError, TemplateError, UnavailableError or DeadlineError. No failure makes it try another source.
        """
        match self.source:
            case LocalBuildSource():
                return await self._built(self._runtimes.template(runtime), self.source, on_build)
            case RegistrySource():
                image = await self._registry.ensure(self.source, runtime)
                return EnsuredImage(id=image.id, source=self.source.name, platform=self.source.platform)
            case _:
                assert_never(self.source)

    async def template_config(self, runtime: str, image: EnsuredImage) -> bytes | None:
        """The ``config.yaml`` of the template that a local build was made from; None where there is none."""
        if image.commit is None:
            return None
        template = self._runtimes.template(runtime)
        key = (template.url.source, image.commit)
        if key not in self._configs:
            checkout = await self._checkouts.checkout(template, image.commit, Deadline(_FETCH_SECONDS))
            self._configs[key] = read_config(checkout.path, template, image.commit)
        return self._configs[key]

    async def _built(
        self, template: Template, source: LocalBuildSource, on_build: Callable[[str], Awaitable[None]]
    ) -> EnsuredImage:
        platform = source.platform or (await self._engine.info()).platform
        for _ in range(_MOVES + 1):
            commit = await self._resolver.resolve(template, Deadline(_RESOLVE_SECONDS))
            identity = BuildIdentity(template=template, commit=commit, platform=platform)
            try:
                return await self._looked_up(identity, source, on_build)
            except CommitMovedError as moved:
                log.info("the template moved during its fetch", runtime=template.runtime, was=commit, now=moved.commit)
        raise SourceError(
            f"local-build mode: {template.url} moved {_MOVES + 1} times during its fetch; the host has no old ones",
            code="git_unreachable",
            hint=f"try again, or set MOLECULE_TEMPLATE_REF_{template.runtime.upper().replace('-', '_')} to a commit",
        )

    async def _looked_up(
        self, identity: BuildIdentity, source: LocalBuildSource, on_build: Callable[[str], Awaitable[None]]
    ) -> EnsuredImage:
        record_id: str | None = None

        async def remember(build: str) -> None:
            nonlocal record_id
            record_id = build
            await on_build(build)

        found = await look_up(self._engine, identity)
        about = log.bind(
            runtime=identity.template.runtime, commit=identity.commit[:12], build_id=identity.build_id[:12]
        )
        match found:
            case Hit():
                image: ImageInfo = found.image
                about.info("local-build: image found", image=image.id)
            case Miss():
                about.info("local-build: image missing", reason=str(found))
                image = await self._builds.build(identity, found, remember)
            case _:
                assert_never(found)
        return EnsuredImage(
            id=image.id,
            source=source.name,
            platform=identity.platform,
            commit=identity.commit,
            build_id=identity.build_id,
            build=record_id,
        )
