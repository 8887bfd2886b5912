"""Composition of everything that knows images: what ensures them, what tells of them, what removes them."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from workspace_server.concurrency import TaskScope
from workspace_server.engine import Engine, ImageBuilder, RegistryAccess
from workspace_server.git import CheckoutStore, Resolver
from workspace_server.images import BuildBook, ImageService, image_source
from workspace_server.images.build import BuildLimits, LocalBuilds
from workspace_server.images.ledger import ImageLedger
from workspace_server.images.prune import Budget, Pruner
from workspace_server.images.pull import PullLimits, Pulls
from workspace_server.images.registry import RegistryImages
from workspace_server.images.survey import Survey
from workspace_server.images.template import TemplateFiles
from workspace_server.images.wanted import WantedBuilds
from workspace_server.settings import Settings
from workspace_server.wiring.ground import Ground
from workspace_server.wiring.links import EngineLink

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageParts:
    """The parts that know images."""

    service: ImageService
    registry: RegistryImages
    survey: Survey
    pruner: Pruner
    book: BuildBook


def image_parts(ground: Ground, link: EngineLink) -> ImageParts:
    """Everything that knows images: what ensures them, what tells of them, what removes them."""
    settings, runtimes, scope, engine = ground.settings, ground.runtimes, ground.scope, link.engine
    cache, (access, http) = settings.build_cache, link.git
    book, ledger = BuildBook(cache), ImageLedger(cache)
    resolver = Resolver(http=http, access=access, scope=scope)
    wanted = WantedBuilds(engine=engine, resolver=resolver, ledger=ledger)
    registry = RegistryImages(_pulls(settings, engine, book, scope))
    files = TemplateFiles(CheckoutStore(cache=cache, access=access, resolver=resolver))
    builds = _local_builds(settings, engine, files, book=book, ledger=ledger, scope=scope)
    builds.settle_interrupted()
    service = ImageService(
        source=image_source(settings),
        runtimes=runtimes,
        engine=engine,
        wanted=wanted,
        files=files,
        builds=builds,
        registry=registry,
        ledger=ledger,
    )
    survey = Survey(
        source=service.source,
        runtimes=runtimes,
        engine=engine,
        resolver=resolver,
        book=book,
        ledger=ledger,
        wanted=wanted,
        known_failure=service.known_failure,
        registry=registry,
    )
    pruner = Pruner(
        engine=engine,
        survey=survey,
        book=book,
        ledger=ledger,
        cache=cache,
        locks=cache / "locks",
        budget=Budget(bytes=settings.budget_mb * 1_000_000, images=settings.budget_images),
        used_by_rows=ground.store.images_in_use,
    )
    return ImageParts(service=service, registry=registry, survey=survey, pruner=pruner, book=book)


def _pulls(settings: Settings, engine: Engine, book: BuildBook, scope: TaskScope) -> Pulls:
    return Pulls(
        engine=engine,
        access=RegistryAccess.from_settings(settings),
        book=book,
        locks=settings.build_cache / "locks",
        limits=PullLimits(seconds=settings.pull_max_seconds, stall_seconds=settings.pull_stall_seconds),
        scope=scope,
    )


def _local_builds(
    settings: Settings, engine: Engine, files: TemplateFiles, *, book: BuildBook, ledger: ImageLedger, scope: TaskScope
) -> LocalBuilds:
    return LocalBuilds(
        engine=engine,
        choose_builder=_chosen_once(settings, engine),
        files=files,
        book=book,
        ledger=ledger,
        locks=settings.build_cache / "locks",
        limits=BuildLimits(
            concurrency=settings.build_concurrency,
            seconds=settings.build_max_seconds,
            stall_seconds=settings.build_stall_seconds,
        ),
        scope=scope,
    )


def _chosen_once(settings: Settings, engine: Engine) -> Callable[[], Awaitable[ImageBuilder]]:
    """The builder, chosen when the first build needs one: a server that only looks up needs no docker CLI."""
    choosing = asyncio.Lock()
    chosen: ImageBuilder | None = None

    async def choose() -> ImageBuilder:
        nonlocal chosen
        async with choosing:
            if chosen is None:
                state = settings.build_cache / "buildx"
                chosen = await ImageBuilder.choose(settings.passed_on, engine.address, state)
                log.info("local-build: builder chosen", builder=chosen.description)
            return chosen

    return choose
