"""One local build, in a straight line: fetch, check, build, verify, and only then tag."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from workspace_server.concurrency import Deadline, FileLock
from workspace_server.engine import Engine, ImageBuilder
from workspace_server.errors import SourceError, UnavailableError, WorkspaceServerError
from workspace_server.git.faults import cache_translated
from workspace_server.images.identity import BuildIdentity
from workspace_server.images.ledger import ImageLedger
from workspace_server.images.lookup import same_platform
from workspace_server.images.preflight import FOREIGN_PATIENCE, preflight, remark
from workspace_server.images.records import BuildBook
from workspace_server.images.stall import StallClock
from workspace_server.images.template import TemplateFiles, read_dockerfile
from workspace_server.images.words import build_error, build_stalled
from workspace_server.model.build import BuildFailure, BuildPhase, BuildRequest, BuildState, BuildStep, Execution
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
        files: TemplateFiles,
        book: BuildBook,
        ledger: ImageLedger,
        stall_seconds: float,
    ) -> None:
        self._engine = engine
        self._choose_builder = choose_builder
        self._files = files
        self._book = book
        self._ledger = ledger
        self._stall_seconds = stall_seconds

    async def make(self, plan: BuildPlan, lock: FileLock, deadline: Deadline) -> ImageInfo:
        """The image of ``plan``, on the engine and tagged.

        Raises CommitMovedError, TemplateError, SourceError, UnavailableError and DeadlineError.
        """
        identity = plan.identity
        builder = await self._choose_builder()
        self._book.update(plan.record_id, state=BuildState.RUNNING, phase=BuildPhase.FETCH, builder=builder.description)
        patience = await self._preflight(builder, plan)
        checkout = await self._files.checkout(identity.template, identity.commit, deadline)
        dockerfile = read_dockerfile(checkout.path, identity.template, identity.commit)
        request = BuildRequest(
            context=checkout.path,
            labels=identity.labels(dockerfile),
            platform=identity.platform,
            no_cache=plan.no_cache,
            pull=plan.pull,
        )
        self._book.update(plan.record_id, phase=BuildPhase.BUILD)
        clock = StallClock(seconds=self._stall_seconds * patience, step_efforts=self._engine.step_efforts)
        image_id = await self._run(builder, request, plan, lock=lock, deadline=deadline, clock=clock)
        self._book.update(plan.record_id, phase=BuildPhase.VERIFY)
        image = await self._verified(image_id, plan, request)
        self._ledger.note_made(image.id, identity.build_id)
        await self._engine.tag(image.id, identity.repository, identity.tag)
        await self._engine.tag(image.id, identity.repository, identity.floating_tag)
        self._book.update(plan.record_id, image_id=image.id)
        return image

    async def _preflight(self, builder: ImageBuilder, plan: BuildPlan) -> int:
        """Whether the engine can run the platform, and how many times the usual time a step of it may be silent."""
        found = await preflight(builder, plan.identity)
        cost = remark(found, plan.identity.platform, builder.engine_platform)
        if cost is not None:
            _about(plan).warning(f"local-build: {cost}")
            self._book.say(plan.record_id, cost)
        self._book.update(plan.record_id, execution=found)
        return 1 if found is Execution.NATIVE else FOREIGN_PATIENCE

    async def _run(
        self,
        builder: ImageBuilder,
        request: BuildRequest,
        plan: BuildPlan,
        *,
        lock: FileLock,
        deadline: Deadline,
        clock: StallClock,
    ) -> str:
        """Run the builder, its output into the log, and return the image's id."""
        identity, about = plan.identity, _about(plan)

        def note(step: BuildStep) -> None:
            self._book.note_step(plan.record_id, step)
            clock.note(step)

        about.info("local-build: docker build start", builder=builder.description)
        started = time.monotonic()
        place = self._book.log_path(plan.record_id)

        def write(line: bytes) -> None:
            with cache_translated(place):
                out.write(line + b"\n")

        with self._book.open_log(plan.record_id) as out:
            building = builder.build(
                request,
                deadline,
                on_step=note,
                on_log=write,
                on_output=clock.hear,
                pass_fds=(lock.fileno(),),  # a builder that outlives us keeps the lock: a successor waits for it
            )
            outcome = await clock.over(building, lambda step: build_stalled(identity, step, clock.seconds))
        took = f"{time.monotonic() - started:.1f} s"
        if isinstance(outcome, BuildFailure):
            error = self._error(outcome, plan, builder)
            about.warning(f"local-build: docker build failed ({took})", code=error.code)
            raise error
        about.info(f"local-build: docker build done ({took})", image=outcome)
        return outcome

    def _error(self, failure: BuildFailure, plan: BuildPlan, builder: ImageBuilder) -> WorkspaceServerError:
        return build_error(
            failure,
            plan.identity,
            log=f"/images/builds/{plan.record_id}/log",
            engine=self._engine.address.url,
            engine_platform=builder.engine_platform,
        )

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


def _about(plan: BuildPlan) -> structlog.stdlib.BoundLogger:
    identity = plan.identity
    bound: structlog.stdlib.BoundLogger = log.bind(
        runtime=identity.template.runtime,
        commit=identity.commit[:12],
        build=plan.record_id,
        build_id=identity.build_id[:12],
    )
    return bound
