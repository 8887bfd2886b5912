"""Which build the next workspace of a runtime needs at this moment: of which commit, for which platform."""

from dataclasses import dataclass
from datetime import datetime

from workspace_server.concurrency import Deadline
from workspace_server.engine import Engine
from workspace_server.git import Resolver
from workspace_server.images.identity import BuildIdentity
from workspace_server.images.ledger import ImageLedger
from workspace_server.images.source import LocalBuildSource
from workspace_server.images.words import nothing_offline
from workspace_server.model import names
from workspace_server.model.container import ImageInfo
from workspace_server.runtimes import Template

_RESOLVE_SECONDS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedBuild:
    """What to look for, or to build. ``stale``: the Git host was not asked, so there may be a newer commit."""

    identity: BuildIdentity
    stale: bool = False


class WantedBuilds:
    """Says which build is wanted: by the template's repository, or offline by what was built last."""

    def __init__(self, *, engine: Engine, resolver: Resolver, ledger: ImageLedger) -> None:
        self._engine = engine
        self._resolver = resolver
        self._ledger = ledger

    async def of(self, template: Template, source: LocalBuildSource) -> WantedBuild:
        """What a create of now needs.

        Raises what the look-up of the template's commit raises; SourceError ``git_offline`` when nobody may be asked
        and nothing was built before; UnavailableError for the engine.
        """
        platform = await self.platform(source)
        if self._resolver.may_ask(template):
            commit = await self._resolver.resolve(template, Deadline(_RESOLVE_SECONDS))
            return WantedBuild(identity=BuildIdentity(template=template, commit=commit, platform=platform))
        newest = await self._newest(template, platform)
        if newest is None:
            raise nothing_offline(template, platform)
        commit = newest.labels[names.COMMIT]
        return WantedBuild(identity=BuildIdentity(template=template, commit=commit, platform=platform), stale=True)

    async def platform(self, source: LocalBuildSource) -> str:
        """The platform of this source's builds: the configured one, else the engine's own."""
        return source.platform or (await self._engine.info()).platform

    async def _newest(self, template: Template, platform: str) -> ImageInfo | None:
        """The image that was built last from this source for this platform."""
        labels = {names.SOURCE: template.url.source, names.PLATFORM: platform, names.RUNTIME: template.runtime}
        made: list[tuple[datetime, ImageInfo]] = []
        for image in await self._engine.images(labels):
            known = self._ledger.find(image.id)
            if known is not None and known.build_id == image.labels.get(names.BUILD_ID):
                made.append((known.made_at, image))
        return max(made, key=lambda each: each[0])[1] if made else None
