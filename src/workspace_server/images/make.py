"""One local build, in a straight line: fetch, check, build, verify, and only then tag."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from workspace_server.concurrency import Deadline, FileLock
from workspace_server.engine import Engine, ImageBuilder
from workspace_server.errors import SourceError, UnavailableError
from workspace_server.git import CheckoutStore
from workspace_server.git.faults import cache_translated
from workspace_server.images.identity import BuildIdentity
from workspace_server.images.ledger import ImageLedger
from workspace_server.images.lookup import same_platform
from workspace_server.images.records import BuildBook
from workspace_server.images.template import read_dockerfile
from workspace_server.images.words import build_error
from workspace_server.model.build import BuildFailure, BuildPhase, BuildRequest, BuildState
from workspace_server.model.container import ImageInfo

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildPlan:
    """What to build, and on which record to tell of it; ``no_cache`` and ``pull`` as in ``BuildWish``."""

    identity: BuildIdentity
    record_id: str
    no_cache: bool
    pull: bool


class ImageMaker:
    """Makes one image at a time for whoever holds the lock of its build id."""

    def __init__(
        self,
        *,
        engine: Engine,
        choose_builder: Callable[[], Awaitable[ImageBuilder]],
        checkouts: CheckoutStore,
        book: BuildBook,
        ledger: ImageLedger,
    ) -> None:
        self._engine = engine
        self._choose_builder = choose_builder
        self._checkouts = checkouts
        self._book = book
        self._ledger = ledger

    async def make(self, plan: BuildPlan, lock: FileLock, deadline: Deadline) -> ImageInfo:
        """The image of ``plan``, on the engine and tagged.

        Raises CommitMovedError, TemplateError, SourceError, UnavailableError and DeadlineError.
        """
        identity = plan.identity
        builder = await self._choose_builder()
        self._book.update(plan.record_id, state=BuildState.RUNNING, phase=BuildPhase.FETCH, builder=builder.description)
        checkout = await self._checkouts.checkout(identity.template, identity.commit, deadline)
        dockerfile = read_dockerfile(checkout.path, identity.template, identity.commit)
        request = BuildRequest(
            context=checkout.path,
            labels=identity.labels(dockerfile),
            platform=identity.platform,
            no_cache=plan.no_cache,
            pull=plan.pull,
        )
        self._book.update(plan.record_id, phase=BuildPhase.BUILD)
        image_id = await self._run(builder, request, plan, lock, deadline)
        self._book.update(plan.record_id, phase=BuildPhase.VERIFY)
        image = await self._verified(image_id, plan, request)
        self._ledger.note_made(image.id, identity.build_id)
        await self._engine.tag(image.id, identity.repository, identity.tag)
        await self._engine.tag(image.id, identity.repository, identity.floating_tag)
        self._book.update(plan.record_id, image_id=image.id)
        return image

    async def _run(
        self, builder: ImageBuilder, request: BuildRequest, plan: BuildPlan, lock: FileLock, deadline: Deadline
    ) -> str:
        """Run the builder, its output into the log, and return the image's id."""
        identity = plan.identity
        about = log.bind(
            runtime=identity.template.runtime,
            commit=identity.commit[:12],
            build=plan.record_id,
            build_id=identity.build_id[:12],
        )
        about.info("local-build: docker build start", builder=builder.description)
        started = time.monotonic()
        place = self._book.log_path(plan.record_id)

        def write(line: bytes) -> None:
            with cache_translated(place):
                out.write(line + b"\n")

        with self._book.open_log(plan.record_id) as out:
            outcome = await builder.build(
                request,
                deadline,
                on_step=lambda step: self._book.note_step(plan.record_id, step),
                on_log=write,
                pass_fds=(lock.fileno(),),  # a builder that outlives us keeps the lock: a successor waits for it
            )
        took = f"{time.monotonic() - started:.1f} s"
        if isinstance(outcome, BuildFailure):
            error = build_error(outcome, identity, f"/images/builds/{plan.record_id}/log", self._engine.address.url)
            about.warning(f"local-build: docker build failed ({took})", code=error.code)
            raise error
        about.info(f"local-build: docker build done ({took})", image=outcome)
        return outcome

    async def _verified(self, image_id: str, plan: BuildPlan, request: BuildRequest) -> ImageInfo:
        """Inspect what was built; only an image that is what was asked for is tagged."""
        image = await self._engine.image(image_id)
        if image is None or any(image.labels.get(name) != value for name, value in request.labels.items()):
            raise UnavailableError(
                f"local-build mode: the image of {plan.identity.template.runtime} was built, but the engine has it not",
                code="engine_error",
                hint="another program may prune images during builds; try again",
            )
        if not same_platform(image.platform, plan.identity.platform):
            raise SourceError(
                f"local-build mode: the builder made {image.platform} where {plan.identity.platform} was asked for",
                code="platform_unsupported",
                hint="install docker buildx, or set MOLECULE_IMAGE_PLATFORM to the engine's own platform",
            )
        return image
