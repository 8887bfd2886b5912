"""``ensure``: a runtime's name goes in, the id of an image on the engine comes out."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import assert_never

import structlog

from workspace_server.engine import Engine
from workspace_server.errors import ConflictError, SourceError, WorkspaceServerError
from workspace_server.git import CommitMovedError
from workspace_server.images.build import BuildWish, LocalBuilds
from workspace_server.images.identity import BuildIdentity
from workspace_server.images.ledger import ImageLedger
from workspace_server.images.lookup import Hit, Miss, look_up
from workspace_server.images.pull import PulledImage
from workspace_server.images.registry import RegistryImages
from workspace_server.images.source import ImageSource, LocalBuildSource, RegistrySource
from workspace_server.images.template import TemplateFiles
from workspace_server.images.wanted import WantedBuild, WantedBuilds
from workspace_server.model import names
from workspace_server.model.container import ImageInfo
from workspace_server.model.workspace import ImageOnRow
from workspace_server.runtimes import Runtimes, Template

log = structlog.get_logger(__name__)

_MOVES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsuredImage:
    """An image that is on the engine now. Commit, build id and time: of a local build only; digest: of a registry's.

    ``build`` is the record of the build or pull that was waited for. ``stale``: the Git host was not asked, so there
    may be a newer commit.
    """

    id: str
    source: str
    platform: str | None
    digest: str | None = None
    commit: str | None = None
    build_id: str | None = None
    build: str | None = None
    built_at: datetime | None = None
    stale: bool = False


class ImageService:
    """Gets the image of a runtime onto the engine, from the one source that is configured."""

    def __init__(
        self,
        *,
        source: ImageSource,
        runtimes: Runtimes,
        engine: Engine,
        wanted: WantedBuilds,
        files: TemplateFiles,
        builds: LocalBuilds,
        registry: RegistryImages,
        ledger: ImageLedger,
    ) -> None:
        self.source = source
        self._runtimes = runtimes
        self._engine = engine
        self._wanted = wanted
        self._files = files
        self._builds = builds
        self._ledger = ledger
        self._registry = registry

    async def ensure(self, runtime: str, on_build: Callable[[str], Awaitable[None]]) -> EnsuredImage:
        """The image of ``runtime``; ``on_build`` is given the id of the build or pull that is waited for, if any.

        Raises SourceError, TemplateError, UnavailableError or DeadlineError, and InvalidRequestError for a runtime that
        is not in the table any more. No failure makes it try another source.
        """
        runtime = self._runtimes.check(runtime)
        match self.source:
            case LocalBuildSource():
                return await self._built(self._runtimes.template(runtime), self.source, on_build)
            case RegistrySource():
                return _pulled(self.source, await self._registry.ensure(self.source, runtime, on_build))
            case _:
                assert_never(self.source)

    async def ensure_again(
        self, runtime: str, known: ImageOnRow, on_build: Callable[[str], Awaitable[None]]
    ) -> EnsuredImage:
        """The image that a workspace ran before, without a look-up: a crash at night needs no Git host.

        One that is gone is built again from the same commit, or pulled again by its digest. Raises like ``ensure``.
        """
        runtime = self._runtimes.check(runtime)
        present = await self._engine.image(known.id) if known.id else None
        if present is not None:
            self._ledger.touch(present.id)
            return _as_before(known, present)
        match self.source:
            case LocalBuildSource() if known.commit and known.platform:
                template = self._runtimes.template(runtime)
                identity = BuildIdentity(template=template, commit=known.commit, platform=known.platform)
                return await self._looked_up(WantedBuild(identity=identity, stale=known.stale), self.source, on_build)
            case RegistrySource() if known.digest:
                found = await self._registry.ensure_digest(self.source, runtime, known.digest, on_build)
                return _pulled(self.source, found)
            case _:
                return await self.ensure(runtime, on_build)

    async def refresh(self, runtime: str) -> EnsuredImage:
        """The newest image of a runtime, whatever is here: pulled in any case, or built where its template moved.

        The id of a build that made it for this call is its ``build``. Raises like ``ensure``.
        """
        match self.source:
            case LocalBuildSource():
                return await self._built(self._runtimes.template(runtime), self.source, _nobody)
            case RegistrySource():
                return _pulled(self.source, await self._registry.renew(self.source, runtime, _nobody))
            case _:
                assert_never(self.source)

    async def built_here(self) -> set[str]:
        """The runtimes of which builds of this cache made an image that is on the engine. Raises UnavailableError."""
        images = await self._engine.images({names.MANAGED: "true"})
        return {image.labels.get(names.RUNTIME, "") for image in images if self._ledger.find(image.id) is not None}

    async def begin_build(self, runtime: str, wish: BuildWish) -> str | ImageInfo:
        """Build the newest commit of ``runtime`` ahead of need: the build record's id, or the image that is there.

        Raises ConflictError in registry mode, what the look-up of the commit raises, and TemplateError when the build
        failed a while ago and is not forced.
        """
        match self.source:
            case LocalBuildSource():
                identity = (await self._wanted.of(self._runtimes.template(runtime), self.source)).identity
                found = await self._look_up(identity)
                if isinstance(found, Hit) and not wish.force:
                    return found.image
                return self._builds.begin(identity, "forced" if wish.force else str(found), wish).record_id
            case RegistrySource():
                raise ConflictError("images come from a registry here: nothing is built", code="not_built_here")
            case _:
                assert_never(self.source)

    async def cancel_build(self, record_id: str, who: str) -> None:
        """End a build or pull, as ``who`` wants it, and return when it has ended.

        Raises NotFoundError, and ConflictError when it has ended already.
        """
        match self.source:
            case LocalBuildSource():
                await self._builds.cancel(record_id, who)
            case RegistrySource():
                await self._registry.cancel(record_id, who)
            case _:
                assert_never(self.source)

    def known_failure(self, build_id: str) -> WorkspaceServerError | None:
        """Why that build is not tried again for a while; None when it is built on demand."""
        return self._builds.known_failure(build_id)

    async def template_config(self, runtime: str, image: EnsuredImage) -> bytes | None:
        """The ``config.yaml`` of the template that a local build was made from; None where there is none."""
        if image.commit is None:
            return None
        return await self._files.config(self._runtimes.template(runtime), image.commit)

    async def _built(
        self, template: Template, source: LocalBuildSource, on_build: Callable[[str], Awaitable[None]]
    ) -> EnsuredImage:
        for _ in range(_MOVES + 1):
            wanted = await self._wanted.of(template, source)
            try:
                return await self._looked_up(wanted, source, on_build)
            except CommitMovedError as moved:
                about = log.bind(runtime=template.runtime, was=wanted.identity.commit, now=moved.commit)
                about.info("the template moved during its fetch")
        raise SourceError(
            f"local-build mode: the template of {template.runtime}, {template.url}, moved {_MOVES + 1} times during its"
            " fetch, and its host hands out no older commits",
            code="commit_moved",
            hint=f"try again, or set MOLECULE_TEMPLATE_REF_{template.runtime.upper().replace('-', '_')} to a commit",
        )

    async def _look_up(self, identity: BuildIdentity) -> Hit | Miss:
        """Look for the image in order to use it. One that is being pruned at this moment is none."""
        found = await look_up(self._engine, self._ledger, identity, self._builds.was_built)
        if isinstance(found, Hit) and not self._ledger.touch(found.image.id):
            return Miss(reason="image was removed", detail=found.image.id)
        return found

    async def _looked_up(
        self, wanted: WantedBuild, source: LocalBuildSource, on_build: Callable[[str], Awaitable[None]]
    ) -> EnsuredImage:
        identity = wanted.identity
        record_id: str | None = None

        async def remember(build: str) -> None:
            nonlocal record_id
            record_id = build
            await on_build(build)

        found = await self._look_up(identity)
        about = log.bind(
            runtime=identity.template.runtime, commit=identity.commit[:12], build_id=identity.build_id[:12]
        )
        match found:
            case Hit():
                image: ImageInfo = found.image
                about.info("local-build: image found", image=image.id, stale=wanted.stale)
                if f"{identity.repository}:{identity.tag}" not in image.tags:  # killed before it was tagged, or moved
                    await self._engine.tag(image.id, identity.repository, identity.tag)
            case Miss():
                about.info("local-build: image missing", reason=str(found))
                image = await self._builds.build(identity, found, remember)
            case _:
                assert_never(found)
        made = self._ledger.find(image.id)
        return EnsuredImage(
            id=image.id,
            source=source.name,
            platform=identity.platform,
            commit=identity.commit,
            build_id=identity.build_id,
            build=record_id,
            built_at=made.made_at if made else None,
            stale=wanted.stale,
        )


async def _nobody(_record: str) -> None:
    """Nobody wants to know which build or pull is waited for."""


def _pulled(source: RegistrySource, found: PulledImage) -> EnsuredImage:
    return EnsuredImage(
        id=found.image.id, source=source.name, platform=source.platform, digest=found.digest, build=found.record
    )


def _as_before(known: ImageOnRow, present: ImageInfo) -> EnsuredImage:
    return EnsuredImage(
        id=present.id,
        source=known.source,
        platform=known.platform,
        digest=known.digest,
        commit=known.commit,
        build_id=known.build_id,
        build=known.build,
        built_at=datetime.fromisoformat(known.built_at) if known.built_at else None,
        stale=known.stale,
    )
