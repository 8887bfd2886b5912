"""A local build, from a commit to an image on the engine: lock, look again, fetch, build, verify, tag.

One build per build id: in this process by ``SingleFlight``, on this machine by a file lock. A caller that goes away
stops waiting; the build goes on and is kept.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import structlog

from workspace_server.concurrency import Deadline, FileLock, SingleFlight, TaskScope
from workspace_server.engine import Engine, ImageBuilder
from workspace_server.errors import DeadlineError, SourceError, UnavailableError, WorkspaceServerError
from workspace_server.git import CheckoutStore
from workspace_server.images.identity import BuildIdentity
from workspace_server.images.lookup import Hit, Miss, look_up, same_platform
from workspace_server.images.records import BuildBook
from workspace_server.images.template import read_dockerfile
from workspace_server.images.words import build_error, no_space, too_long
from workspace_server.model.build import BuildFailure, BuildPhase, BuildRequest, BuildState, BuildStep
from workspace_server.model.container import ImageInfo

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildLimits:
    """How many builds run at once, and how many seconds one may take."""

    concurrency: int
    seconds: int


class LocalBuilds:
    """Makes images from templates, each build id once."""

    def __init__(
        self,
        *,
        engine: Engine,
        choose_builder: Callable[[], Awaitable[ImageBuilder]],
        checkouts: CheckoutStore,
        book: BuildBook,
        locks: Path,
        limits: BuildLimits,
        scope: TaskScope,
    ) -> None:
        self._engine = engine
        self._choose_builder = choose_builder
        self._checkouts = checkouts
        self._book = book
        self._locks = locks
        self._limits = limits
        self._places = asyncio.Semaphore(limits.concurrency)
        self._flights: SingleFlight[str, ImageInfo] = SingleFlight(scope)
        self._running: dict[str, str] = {}

    async def build(
        self, identity: BuildIdentity, miss: Miss, on_record: Callable[[str], Awaitable[None]]
    ) -> ImageInfo:
        """The image of ``identity``, by a new build or by one that is under way.

        ``on_record`` is given the build record's id before the wait begins. Raises the build's own error, one of
        TemplateError, SourceError, UnavailableError and DeadlineError.
        """
        build_id = identity.build_id
        record_id = self._running.get(build_id)
        if record_id is None:
            record_id = self._running[build_id] = self._book.open(identity, str(miss)).id
        flight = self._flights.start(build_id, lambda: self._recorded(identity, record_id))
        self._book.count_waiter(record_id, +1)
        try:
            await on_record(record_id)
            return await asyncio.shield(flight)
        finally:
            self._book.count_waiter(record_id, -1)

    def settle_interrupted(self) -> None:
        """Close the records of builds whose server died. One that another server runs holds its lock."""
        for record in self._book.interrupted():
            if not FileLock.is_held(self._lock_path(record.build_id)):
                self._book.interrupt(record)

    def _lock_path(self, build_id: str) -> Path:
        return self._locks / f"{build_id}.lock"

    async def _recorded(self, identity: BuildIdentity, record_id: str) -> ImageInfo:
        """Run the build and write how it ended, whatever way it ends."""
        error: WorkspaceServerError | None = WorkspaceServerError(
            "the server stopped during this build, or failed in it", code="build_interrupted"
        )
        state = BuildState.CANCELLED
        try:
            image, state = await self._once(identity, record_id)
            error = None
            return image
        except WorkspaceServerError as failure:
            state, error = BuildState.FAILED, failure
            raise
        finally:
            del self._running[identity.build_id]
            self._book.close(record_id, state, error=error)

    async def _once(self, identity: BuildIdentity, record_id: str) -> tuple[ImageInfo, BuildState]:
        """Take the lock of the build id and look again: another process may have built what we waited for."""
        self._locks.mkdir(parents=True, exist_ok=True, mode=0o700)
        async with FileLock(self._lock_path(identity.build_id)) as lock:
            match await look_up(self._engine, identity):
                case Hit(image=image):
                    return image, BuildState.HIT
            async with self._places:
                deadline = Deadline(self._limits.seconds)
                try:
                    return await self._make(identity, record_id, lock, deadline), BuildState.SUCCEEDED
                except DeadlineError as error:
                    step = self._book.get(record_id).where
                    raise too_long(identity, step, self._limits.seconds) from error

    async def _make(self, identity: BuildIdentity, record_id: str, lock: FileLock, deadline: Deadline) -> ImageInfo:
        builder = await self._choose_builder()
        self._book.update(record_id, state=BuildState.RUNNING, phase=BuildPhase.FETCH, builder=builder.description)
        checkout = await self._checkouts.checkout(identity.template, identity.commit, deadline)
        dockerfile = read_dockerfile(checkout.path, identity.template, identity.commit)
        request = BuildRequest(context=checkout.path, labels=identity.labels(dockerfile), platform=identity.platform)
        self._book.update(record_id, phase=BuildPhase.BUILD)
        image_id = await self._run_builder(
            builder, request, identity=identity, record_id=record_id, lock=lock, deadline=deadline
        )
        self._book.update(record_id, phase=BuildPhase.VERIFY)
        image = await self._verified(image_id, identity, request)
        await self._engine.tag(image.id, identity.repository, identity.tag)
        await self._engine.tag(image.id, identity.repository, identity.floating_tag)
        self._book.update(record_id, image_id=image.id)
        return image

    async def _run_builder(
        self,
        builder: ImageBuilder,
        request: BuildRequest,
        *,
        identity: BuildIdentity,
        record_id: str,
        lock: FileLock,
        deadline: Deadline,
    ) -> str:
        about = log.bind(
            runtime=identity.template.runtime,
            commit=identity.commit[:12],
            build=record_id,
            build_id=identity.build_id[:12],
        )
        about.info("local-build: docker build start", builder=builder.description)
        started = time.monotonic()

        def note(step: BuildStep) -> None:
            self._book.note_step(record_id, step)

        with self._book.open_log(record_id) as out:
            outcome = await builder.build(
                request,
                deadline,
                on_step=note,
                on_log=lambda line: _append(out, line),
                pass_fds=(lock.fileno(),),  # a builder that outlives us keeps the lock: a successor waits for it
            )
        took = f"{time.monotonic() - started:.1f} s"
        if isinstance(outcome, BuildFailure):
            error = build_error(outcome, identity, f"/images/builds/{record_id}/log")
            about.warning(f"local-build: docker build failed ({took})", code=error.code)
            raise error
        about.info(f"local-build: docker build done ({took})", image=outcome)
        return outcome

    async def _verified(self, image_id: str, identity: BuildIdentity, request: BuildRequest) -> ImageInfo:
        """Inspect what was built; only an image that is what was asked for is tagged."""
        image = await self._engine.image(image_id)
        if image is None or any(image.labels.get(name) != value for name, value in request.labels.items()):
            raise UnavailableError(
                f"local-build mode: the image of {identity.template.runtime} was built, but the engine has it not",
                code="engine_unavailable",
                hint="another program may prune images during builds; try again",
            )
        if not same_platform(image.platform, identity.platform):
            raise SourceError(
                f"local-build mode: the builder made {image.platform} where {identity.platform} was asked for",
                code="platform_unsupported",
                hint="install docker buildx, or set MOLECULE_IMAGE_PLATFORM to the engine's own platform",
            )
        return image


def _append(out: BinaryIO, line: bytes) -> None:
    try:
        out.write(line)
    except OSError as error:
        raise no_space("the build log's directory") from error
