"""What images there are, and what the next workspace of a runtime would find. Asks; changes nothing."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar, assert_never

from workspace_server.concurrency import Deadline
from workspace_server.engine import Engine
from workspace_server.errors import WorkspaceServerError
from workspace_server.git import Resolver
from workspace_server.images.identity import BuildIdentity
from workspace_server.images.ledger import ImageLedger, MadeImage
from workspace_server.images.lookup import Hit, Miss, look_up, same_platform
from workspace_server.images.records import BuildBook
from workspace_server.images.registry import RegistryImages
from workspace_server.images.source import ImageSource, LocalBuildSource, RegistrySource
from workspace_server.images.wanted import WantedBuilds
from workspace_server.images.words import nothing_offline
from workspace_server.model import names
from workspace_server.model.build import BuildState
from workspace_server.model.container import ImageInfo
from workspace_server.runtimes import Runtimes, Template

T = TypeVar("T")

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
class RegistryImage:
    """An image of a registry on the engine, and the workspaces that use it."""

    image: ImageInfo
    tag: str
    digest: str | None
    in_use_by: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeInfo:
    """A runtime: where its images come from, whether one can be had now, and if not, why.

    ``head`` is what the source has now: a commit of the template, or a digest in the registry. ``stale``: there is a
    newer one than the image's, or may be, because nobody could ask.
    """

    name: str
    source: str
    template: str | None
    head: str | None = None
    image: LocalImage | RegistryImage | None = None
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _OnEngine:
    """What the engine says: the images that were built here, and the platform that the next one would be built for."""

    images: list[LocalImage]
    platform: str


class Survey:
    """Answers questions about images. ``known_failure`` tells why a build id is not built again for a while."""

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
        known_failure: Callable[[str], WorkspaceServerError | None],
        registry: RegistryImages,
    ) -> None:
        self._source = source
        self._runtimes = runtimes
        self._engine = engine
        self._resolver = resolver
        self._book = book
        self._ledger = ledger
        self._wanted = wanted
        self._known_failure = known_failure
        self._registry = registry

    async def images(self) -> list[LocalImage]:
        """The images that builds of this cache made, newest first. Raises UnavailableError."""
        images, users = await asyncio.gather(self._engine.images({names.MANAGED: "true"}), self._users())
        found = [
            LocalImage(image=image, made=made, in_use_by=tuple(sorted(users.get(image.id, ()))))
            for image in images
            if (made := self._ledger.find(image.id)) is not None
        ]
        return sorted(found, key=lambda image: image.made.made_at, reverse=True)

    async def runtimes(self) -> list[RuntimeInfo]:
        """Every runtime. The engine and the templates' hosts or the registry are asked now, for half a minute at most.

        Whoever does not answer is a reason why a runtime cannot be provisioned, never a failure of the whole.
        """
        match self._source:
            case LocalBuildSource():
                templates = [self._runtimes.template(name) for name in self._runtimes.names]
                on_engine, heads = await asyncio.gather(
                    _or_error(self._on_engine(self._source)),
                    asyncio.gather(*(_or_error(self._head(each)) for each in templates)),
                )
                return [self._local(each, head, on_engine) for each, head in zip(templates, heads, strict=True)]
            case RegistrySource():
                source, users = self._source, await _or_error(self._users())
                if isinstance(users, WorkspaceServerError):
                    return [_nothing(name, source, users) for name in self._runtimes.names]
                return list(await asyncio.gather(*(self._pulled(name, source, users) for name in self._runtimes.names)))
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

    async def _head(self, template: Template) -> str | None:
        """The newest commit of a template; None when its host may not be asked."""
        if not self._resolver.may_ask(template):
            return None
        return await self._resolver.resolve(template, Deadline(_SECONDS))

    async def _on_engine(self, source: LocalBuildSource) -> _OnEngine:
        images, platform = await asyncio.gather(self.images(), self._wanted.platform(source))
        return _OnEngine(images=images, platform=platform)

    def _local(
        self, template: Template, head: str | WorkspaceServerError | None, on_engine: _OnEngine | WorkspaceServerError
    ) -> RuntimeInfo:
        """What is known of a runtime that is built here. With the engine away, nothing else is a reason."""
        image: LocalImage | None = None
        if isinstance(on_engine, WorkspaceServerError):
            reason: WorkspaceServerError | None = on_engine
        else:
            image = _newest(template, on_engine.platform, on_engine.images)
            reason = self._reason(template, head, image, on_engine)
        return RuntimeInfo(
            name=template.runtime,
            source=self._source.name,
            template=str(template.url),
            head=head if isinstance(head, str) else None,
            image=image,
            stale=not self._resolver.may_ask(template),
            reason=reason,
        )

    def _reason(
        self,
        template: Template,
        head: str | WorkspaceServerError | None,
        image: LocalImage | None,
        on_engine: _OnEngine,
    ) -> WorkspaceServerError | None:
        """Why the engine, which is there, gets no image of the runtime now."""
        if isinstance(head, WorkspaceServerError):
            return head
        if head is None:
            return None if image else nothing_offline(template, on_engine.platform)
        identity = BuildIdentity(template=template, commit=head, platform=on_engine.platform)
        is_here = any(
            each.made.build_id == each.label(names.BUILD_ID) == identity.build_id
            and same_platform(each.image.platform, identity.platform)
            for each in on_engine.images
        )
        return None if is_here else self._known_failure(identity.build_id)

    async def _pulled(self, name: str, source: RegistrySource, users: Mapping[str, set[str]]) -> RuntimeInfo:
        standing = await _or_error(self._registry.standing(source, name))
        if isinstance(standing, WorkspaceServerError):
            return _nothing(name, source, standing)
        image = None
        if (present := standing.present) is not None:
            image = RegistryImage(
                image=present.image,
                tag=source.prefix.image(name),
                digest=present.digest,
                in_use_by=tuple(sorted(users.get(present.image.id, ()))),
            )
        return RuntimeInfo(
            name=name,
            source=source.name,
            template=None,
            head=standing.published,
            image=image,
            stale=image is not None and image.digest != standing.published,
            reason=standing.reason,
        )

    async def _users(self) -> Mapping[str, set[str]]:
        """The workspaces that use an image, by the image's id."""
        users: dict[str, set[str]] = {}
        for container in await self._engine.containers({names.MANAGED: "true"}):
            workspace = container.labels.get(names.WORKSPACE_ID, container.name)
            users.setdefault(container.image_id, set()).add(workspace)
        return users

    def _estimate(self, runtime: str) -> float | None:
        """How long the runtime's last build took."""
        last = (record for record in self._book.newest(runtime=runtime) if record.state is BuildState.SUCCEEDED)
        return next((round(record.seconds) for record in last), None)


async def _or_error(asked: Coroutine[object, object, T]) -> T | WorkspaceServerError:
    try:
        return await asked
    except WorkspaceServerError as error:
        return error


def _nothing(name: str, source: RegistrySource, reason: WorkspaceServerError) -> RuntimeInfo:
    return RuntimeInfo(name=name, source=source.name, template=None, reason=reason)


def _newest(template: Template, platform: str, images: list[LocalImage]) -> LocalImage | None:
    wanted = template.runtime, template.url.source, platform
    labels = (names.RUNTIME, names.SOURCE, names.PLATFORM)
    return next((image for image in images if tuple(map(image.label, labels)) == wanted), None)
