"""Local builds, each build id once: the lock, looking again behind it, a place among the builds, failures remembered.

One build per build id in this process by ``OnceAtATime``, on this machine by a file lock.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog
from structlog.contextvars import bound_contextvars

from workspace_server.concurrency import Deadline, FileLock, TaskScope
from workspace_server.engine import Engine, ImageBuilder
from workspace_server.errors import DeadlineError, UnavailableError, WorkspaceServerError
from workspace_server.files import private_folder
from workspace_server.git import CommitMovedError
from workspace_server.git.faults import cache_translated
from workspace_server.images.identity import BuildIdentity
from workspace_server.images.ledger import ImageLedger
from workspace_server.images.lookup import Miss, find
from workspace_server.images.make import BuildPlan, ImageMaker
from workspace_server.images.memory import FailureMemory
from workspace_server.images.once import Job, OnceAtATime, Running
from workspace_server.images.records import BuildBook
from workspace_server.images.release import see_it_end
from workspace_server.images.template import TemplateFiles
from workspace_server.images.words import build_cancelled, too_long
from workspace_server.model.build import BuildState, BuildWait
from workspace_server.model.container import ImageInfo

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildLimits:
    """How many builds run at once, how many seconds one may take, and how many a step of one may stall."""

    concurrency: int
    seconds: int
    stall_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildWish:
    """What a person may ask of a build.

    ``force``: although the image is there; ``no_cache``: use no cached layer; ``pull``: look base images up anew.
    """

    force: bool = False
    no_cache: bool = False
    pull: bool = False


_ORDINARY = BuildWish()


class LocalBuilds:
    """Makes images from templates, each build id once."""

    def __init__(
        self,
        *,
        engine: Engine,
        choose_builder: Callable[[], Awaitable[ImageBuilder]],
        files: TemplateFiles,
        book: BuildBook,
        ledger: ImageLedger,
        locks: Path,
        limits: BuildLimits,
        scope: TaskScope,
    ) -> None:
        self._engine = engine
        self._maker = ImageMaker(
            engine=engine,
            choose_builder=choose_builder,
            files=files,
            book=book,
            ledger=ledger,
            stall_seconds=limits.stall_seconds,
        )
        self._book = book
        self._ledger = ledger
        self._locks = locks
        self._limits = limits
        self._places = asyncio.Semaphore(limits.concurrency)
        self._jobs: OnceAtATime[ImageInfo] = OnceAtATime("build", book, scope)
        self._memory = FailureMemory()

    async def build(
        self, identity: BuildIdentity, miss: Miss, on_record: Callable[[str], Awaitable[None]]
    ) -> ImageInfo:
        """The image of ``identity``, by a new build or by one that is under way.

        ``on_record`` is given the build record's id before the wait begins. Raises the build's own error, one of
        TemplateError, SourceError, UnavailableError and DeadlineError.
        """
        return await self._jobs.wait(self.begin(identity, str(miss)), on_record)

    def begin(self, identity: BuildIdentity, reason: str, wish: BuildWish = _ORDINARY) -> Running[ImageInfo]:
        """Start a build, or join the equal one that is under way. A forced one forgets that it failed before.

        Raises TemplateError when it failed a while ago and is not forced, UnavailableError when the cache is unusable.
        """
        build_id = identity.build_id
        running = self._jobs.under_way(build_id)
        if running is not None:
            return running
        if wish.force:
            self._memory.forget(build_id)
        elif (failed := self.known_failure(build_id)) is not None:
            raise failed
        record_id = self._book.open(identity, reason).id
        return self._jobs.start(
            Job(
                build_id=build_id,
                record_id=record_id,
                work=lambda: self._bound(identity, record_id, wish),
                cancelled=lambda who: build_cancelled(identity, self._book.get(record_id).where, who),
                told=lambda failure: self._failed(identity, record_id, failure),
            )
        )

    async def cancel(self, record_id: str, who: str) -> None:
        """End a build that runs in this process; its error says ``who`` cancelled it.

        Returns when it has ended, on the engine as well as far as that can be seen.

        Raises NotFoundError, ConflictError.
        """
        await self._jobs.cancel(record_id, who)
        if (step := self._book.get(record_id).step) is not None:
            await see_it_end(self._engine, step)

    def was_built(self, build_id: str) -> bool:
        """Whether a build of that id is on record to have ended well."""
        return self._book.has_made(build_id)

    def known_failure(self, build_id: str) -> WorkspaceServerError | None:
        """What ``begin`` raises at once for that build, which failed a while ago; None when it would build."""
        return self._memory.recall(build_id)

    def settle_interrupted(self) -> None:
        """Close the records of builds whose server died. One that another server runs holds its lock."""
        for record in self._book.interrupted():
            if not FileLock.is_held(self._lock_path(record.build_id)):
                try:
                    self._book.interrupt(record)
                except UnavailableError as error:
                    log.warning("a build's record could not be closed", build=record.id, error=error.message)

    def _lock_path(self, build_id: str) -> Path:
        return lock_path(self._locks, build_id)

    def _failed(self, identity: BuildIdentity, record_id: str, failure: Exception) -> WorkspaceServerError | None:
        """Say and remember a failure; what the build's record says of it."""
        if isinstance(failure, CommitMovedError):
            words = f"the template moved to {failure.commit[:12]}, and its host has this commit no longer"
            return WorkspaceServerError(words, code="commit_moved")
        if not isinstance(failure, WorkspaceServerError):
            return None
        about = log.bind(runtime=identity.template.runtime, build=record_id, build_id=identity.build_id[:12])
        about.warning("local-build: failed", code=failure.code, error=failure.message, hint=failure.hint)
        self._memory.remember(identity.build_id, failure)
        return failure

    async def _bound(self, identity: BuildIdentity, record_id: str, wish: BuildWish) -> tuple[ImageInfo, BuildState]:
        """The build, whose log lines name it; those of the fetch, too."""
        with bound_contextvars(build=record_id, build_id=identity.build_id[:12]):
            return await self._once(identity, record_id, wish)

    async def _once(self, identity: BuildIdentity, record_id: str, wish: BuildWish) -> tuple[ImageInfo, BuildState]:
        """Take the lock of the build id and look again: another process may have built what we waited for."""
        self._book.note_wait(record_id, BuildWait.LOCK)
        async with held(self._lock_path(identity.build_id)) as lock:
            self._book.note_wait(record_id, None)
            if not wish.force:
                image = await find(self._engine, self._ledger, identity)
                if image is not None and self._ledger.touch(image.id):
                    self._book.update(record_id, image_id=image.id)
                    return image, BuildState.HIT
            self._book.note_wait(record_id, BuildWait.PLACE)
            async with self._places:
                self._book.note_wait(record_id, None)
                plan = BuildPlan(identity=identity, record_id=record_id, no_cache=wish.no_cache, pull=wish.pull)
                deadline = Deadline(self._limits.seconds)
                try:
                    return await self._maker.make(plan, lock, deadline), BuildState.SUCCEEDED
                except DeadlineError as error:
                    if deadline.remaining:
                        raise  # a shorter limit of something inside
                    step = self._book.get(record_id).where
                    raise too_long(identity, step, self._limits.seconds) from error


@asynccontextmanager
async def held(path: Path) -> AsyncIterator[FileLock]:
    """Hold a lock in the folder of locks. Raises UnavailableError when that folder cannot be used."""
    async with AsyncExitStack() as stack:
        with cache_translated(path.parent):
            private_folder(path.parent)
            lock = await stack.enter_async_context(FileLock(path))
        yield lock


def lock_path(locks: Path, build_id: str) -> Path:
    """The lock of a build id: whoever makes or removes its image holds it."""
    return locks / f"{build_id}.lock"
