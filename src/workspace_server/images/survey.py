"""What images there are, and what the next workspace of a runtime would find. Asks; changes nothing."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, assert_never

from workspace_server.concurrency import Deadline
from workspace_server.engine import Engine
from workspace_server.errors import WorkspaceServerError
from workspace_server.git import Resolver
from workspace_server.images.ledger import ImageLedger, MadeImage
from workspace_server.images.lookup import Hit, Miss, look_up
from workspace_server.images.records import BuildBook
from workspace_server.images.source import ImageSource, LocalBuildSource, RegistrySource
from workspace_server.images.wanted import WantedBuilds
from workspace_server.images.words import nothing_offline
from workspace_server.model import names
from workspace_server.model.build import BuildState
from workspace_server.model.container import ImageInfo
from workspace_server.runtimes import Runtimes, Template

_SECONDS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalImage:
    """An image that was built here, and the workspaces that use it."""

    image: ImageInfo
    made: MadeImage
    in_use_by: tuple[str, ...]

    @property
    def tag(self) -> str:
        """Its tag that names the commit, else any tag, else its id."""
        exact = [tag for tag in self.image.tags if not tag.rsplit(":", 1)[1].startswith("latest")]
        return next(iter([*exact, *self.image.tags, self.image.id]))

    def label(self, name: str) -> str:
        """One of its labels, empty when it has none of that name."""
        return self.image.labels.get(name, "")


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeInfo:
    """A runtime: where its images come from, whether one can be had now, and if not, why.

    ``stale``: its repository was not asked, so there may be a newer commit than the image's.
    """

    name: str
    source: str
    template: str | None
    head: str | None = None
    image: LocalImage | None = None
    stale: bool = False
    reason: WorkspaceServerError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Whether the next workspace finds its image; of a miss the reason, of a hit the image and when it was built."""

    runtime: str
    found: Hit | Miss
    stale: bool
    built_at: datetime | None
    build_id: str
    parts: Mapping[str, Any]
    estimate_seconds: float | None


class Survey:
    """Answers questions about images."""

    def __init__(
        self,
        *,
        source: ImageSource,
        runtimes: Runtimes,
        engine: Engine,
        resolver: Resolver,
        book: BuildBook,
        ledger: ImageLedger,
        wanted: WantedBuilds,
    ) -> None:
        self._source = source
        self._runtimes = runtimes
        self._engine = engine
        self._resolver = resolver
        self._book = book
        self._ledger = ledger
        self._wanted = wanted

    async def images(self) -> list[LocalImage]:
        """The images that builds of this cache made, newest first. Raises UnavailableError."""
        images, containers = await asyncio.gather(
            self._engine.images({names.MANAGED: "true"}), self._engine.containers({names.MANAGED: "true"})
        )
        users: dict[str, set[str]] = {}
        for container in containers:
            workspace = container.labels.get(names.WORKSPACE_ID, container.name)
            users.setdefault(container.image_id, set()).add(workspace)
        found = [
            LocalImage(image=image, made=made, in_use_by=tuple(sorted(users.get(image.id, ()))))
            for image in images
            if (made := self._ledger.find(image.id)) is not None
        ]
        return sorted(found, key=lambda image: image.made.made_at, reverse=True)

    async def runtimes(self) -> list[RuntimeInfo]:
        """Every runtime; the templates' hosts are asked now, side by side. Raises UnavailableError for the engine."""
        match self._source:
            case LocalBuildSource():
                images = await self.images()
                platform = await self._wanted.platform(self._source)
                asked = (self._local(name, platform, images) for name in self._runtimes.names)
                return list(await asyncio.gather(*asked))
            case RegistrySource():
                return [
                    RuntimeInfo(name=name, source=self._source.name, template=None) for name in self._runtimes.names
                ]
            case _:
                assert_never(self._source)

    async def explain(self, runtime: str, source: LocalBuildSource) -> Explanation:
        """Look up the image as a create would. Raises what the look-up of the template's commit raises."""
        wanted = await self._wanted.of(self._runtimes.template(runtime), source)
        identity = wanted.identity
        found = await look_up(self._engine, self._ledger, identity, self._book.has_made)
        made = self._ledger.find(found.image.id) if isinstance(found, Hit) else None
        return Explanation(
            runtime=runtime,
            found=found,
            stale=wanted.stale,
            built_at=made.made_at if made else None,
            build_id=identity.build_id,
            parts=identity.parts,
            estimate_seconds=None if isinstance(found, Hit) else self._estimate(runtime),
        )

    async def _local(self, name: str, platform: str, images: list[LocalImage]) -> RuntimeInfo:
        template = self._runtimes.template(name)
        head, image = None, _newest(template, platform, images)
        reason: WorkspaceServerError | None = None
        may_ask = self._resolver.may_ask(template)
        try:
            if may_ask:
                head = await self._resolver.resolve(template, Deadline(_SECONDS))
            elif image is None:
                reason = nothing_offline(template, platform)
        except WorkspaceServerError as error:
            reason = error
        return RuntimeInfo(
            name=name,
            source=self._source.name,
            template=str(template.url),
            head=head,
            image=image,
            stale=not may_ask,
            reason=reason,
        )

    def _estimate(self, runtime: str) -> float | None:
        """How long the runtime's last build took."""
        last = (record for record in self._book.newest(runtime=runtime) if record.state is BuildState.SUCCEEDED)
        return next((round(record.seconds) for record in last), None)


def _newest(template: Template, platform: str, images: list[LocalImage]) -> LocalImage | None:
    wanted = template.runtime, template.url.source, platform
    labels = (names.RUNTIME, names.SOURCE, names.PLATFORM)
    return next((image for image in images if tuple(map(image.label, labels)) == wanted), None)
