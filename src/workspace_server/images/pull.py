"""Pulls, each image once at a time: the lock, looking again behind it, clocks of their own, what came.

One pull per image in this process by ``OnceAtATime``, on this machine by a file lock.
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from workspace_server.concurrency import Deadline, FileLock, Silence, TaskScope
from workspace_server.engine import Credentials, Engine, PullProgress, RegistryAccess
from workspace_server.engine.registry_faults import RateLimitedError, wrong_platform
from workspace_server.errors import DeadlineError, SourceError, WorkspaceServerError
from workspace_server.git.faults import cache_translated
from workspace_server.images.build import lock_path
from workspace_server.images.identity import PullIdentity
from workspace_server.images.layers import Layers
from workspace_server.images.lookup import same_platform
from workspace_server.images.manifest import newest_digest
from workspace_server.images.once import Job, OnceAtATime, Running
from workspace_server.images.rate_limit import seconds_to_wait
from workspace_server.images.records import BuildBook
from workspace_server.images.words import pull_cancelled, pull_stalled, pull_too_long
from workspace_server.model.build import BuildPhase, BuildState, BuildWait
from workspace_server.model.container import ImageInfo

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PullLimits:
    """How many seconds a pull may take, and for how many of them it may make no progress."""

    seconds: int
    stall_seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PulledImage:
    """An image of a registry, on the engine now; its digest there when the engine knows it; the record of its pull."""

    image: ImageInfo
    digest: str | None
    record: str | None = None


class Pulls:
    """Gets images from their registry onto the engine."""

    def __init__(
        self,
        *,
        engine: Engine,
        access: RegistryAccess,
        book: BuildBook,
        locks: Path,
        limits: PullLimits,
        scope: TaskScope,
    ) -> None:
        self._engine = engine
        self._access = access
        self._book = book
        self._locks = locks
        self._limits = limits
        self._jobs: OnceAtATime[PulledImage] = OnceAtATime("pull", book, scope)

    async def present(self, identity: PullIdentity) -> PulledImage | None:
        """The image when it is on the engine, and for the wanted platform."""
        image = await self._engine.image(identity.reference)
        if image is None or not _fits(image, identity):
            return None
        return PulledImage(image=image, digest=_digest(image, identity))

    async def published(self, identity: PullIdentity) -> str:
        """The digest of what the registry has now. Raises SourceError as ``pull`` does, also for another platform."""
        credentials = await self._access.credentials(identity.host)
        found = await self._engine.published(identity.reference, credentials)
        if identity.platform and not any(same_platform(each, identity.platform) for each in found.platforms):
            raise wrong_platform(identity.reference, identity.platform, f"it is for {', '.join(found.platforms)}")
        return found.digest

    async def newest_digest(self, identity: PullIdentity) -> str:
        """The same, asked of the registry itself, which counts it as no pull: for who asks on a timer."""
        return await newest_digest(identity, self._access)

    async def pull(
        self, identity: PullIdentity, reason: str, on_record: Callable[[str], Awaitable[None]], *, anew: bool
    ) -> PulledImage:
        """The image, by a new pull or by one that is under way.

        ``anew`` asks the registry even when the image is there. ``on_record`` is given the record's id before the wait
        begins. Raises SourceError, UnavailableError, DeadlineError, and ConflictError when somebody cancels the pull.
        """
        running = self._jobs.under_way(identity.build_id) or self._begin(identity, reason, anew=anew)
        return await self._jobs.wait(running, on_record)

    async def cancel(self, record_id: str, who: str) -> None:
        """End a pull that runs in this process, and return when it has ended; its error says ``who`` cancelled it.

        Raises NotFoundError, ConflictError.
        """
        await self._jobs.cancel(record_id, who)

    def _begin(self, identity: PullIdentity, reason: str, *, anew: bool) -> Running[PulledImage]:
        record_id = self._book.open_pull(identity, reason).id
        return self._jobs.start(
            Job(
                build_id=identity.build_id,
                record_id=record_id,
                work=lambda: self._once(identity, record_id, anew=anew),
                cancelled=lambda who: pull_cancelled(identity, self._book.get(record_id).where, who),
            )
        )

    async def _once(self, identity: PullIdentity, record_id: str, *, anew: bool) -> tuple[PulledImage, BuildState]:
        """Take the lock and look again: another process may have pulled what we waited for."""
        with cache_translated(self._locks):
            self._locks.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._book.note_wait(record_id, BuildWait.LOCK)
        async with FileLock(lock_path(self._locks, identity.build_id)):
            self._book.note_wait(record_id, None)
            before = await self.present(identity)
            pulled = before if before and not anew else await self._pulled(identity, record_id)
        self._book.update(record_id, image_id=pulled.image.id, digest=pulled.digest)
        was_there = before is not None and before.image.id == pulled.image.id
        found = PulledImage(image=pulled.image, digest=pulled.digest, record=record_id)
        return found, BuildState.HIT if was_there else BuildState.SUCCEEDED

    async def _pulled(self, identity: PullIdentity, record_id: str) -> PulledImage:
        """Pull, and look at what came: only an image for the wanted platform is one."""
        self._book.update(record_id, state=BuildState.RUNNING, phase=BuildPhase.PULL)
        credentials = await self._access.credentials(identity.host)
        about = log.bind(runtime=identity.runtime, image=identity.reference, build=record_id)
        about.info("registry: pull start", credentials=credentials.origin)
        started = time.monotonic()
        try:
            digest = await self._transferred(identity, record_id, credentials)
            self._book.update(record_id, phase=BuildPhase.VERIFY)
            image = await self._verified(identity, digest)
        except WorkspaceServerError as error:
            about.warning(f"registry: pull failed ({time.monotonic() - started:.1f} s)", code=error.code)
            raise
        about.info(f"registry: pull done ({time.monotonic() - started:.1f} s)", id=image.id, digest=digest)
        return PulledImage(image=image, digest=digest or _digest(image, identity))

    async def _transferred(self, identity: PullIdentity, record_id: str, credentials: Credentials) -> str | None:
        """``_transfer``; of a registry that is asked too often, with the time to wait."""
        try:
            return await self._transfer(identity, record_id, credentials)
        except RateLimitedError as error:
            if error.seconds is None and (seconds := await seconds_to_wait(identity, self._access)) is not None:
                raise error.until(seconds) from error
            raise

    async def _transfer(self, identity: PullIdentity, record_id: str, credentials: Credentials) -> str | None:
        """Let the engine pull, its progress into the record and its log, and return the digest it tells."""
        deadline, silence = Deadline(self._limits.seconds), Silence(self._limits.stall_seconds)
        what = f"pulling {identity.reference}"
        place = self._book.log_path(record_id)

        def write(line: bytes) -> None:
            with cache_translated(place):
                out.write(line + b"\n")

        with self._book.open_log(record_id) as out:
            layers = Layers(write)

            def hear(progress: PullProgress) -> None:
                silence.heard()
                for step in layers.feed(progress):
                    self._book.note_step(record_id, step)

            try:
                async with deadline.limit(what), silence.limit(what):
                    return await self._engine.pull(identity.reference, identity.platform, credentials, hear)
            except DeadlineError as error:
                where = self._book.get(record_id).where
                if deadline.remaining:
                    raise pull_stalled(identity, where, self._limits.stall_seconds) from error
                raise pull_too_long(identity, where, self._limits.seconds) from error

    async def _verified(self, identity: PullIdentity, digest: str | None) -> ImageInfo:
        """What was pulled, by its digest where that is known: the tag may be another pull's by now."""
        image = await self._engine.image(f"{identity.repository}@{digest}" if digest else identity.reference)
        if image is None:
            raise SourceError(
                f"the image {identity.reference} is not on the engine although its pull ended well",
                code="image_not_found",
                hint="another program may prune images; try again",
            )
        if not _fits(image, identity):
            raise wrong_platform(identity.reference, identity.platform or "", f"it is for {image.platform}")
        return image


def _fits(image: ImageInfo, identity: PullIdentity) -> bool:
    return identity.platform is None or same_platform(image.platform, identity.platform)


def _digest(image: ImageInfo, identity: PullIdentity) -> str | None:
    """What the registry called the image: the digest that was asked for, else the last that the engine has of there."""
    asked = identity.reference.partition("@")[2]
    ours = [each.partition("@")[2] for each in image.digests if each.startswith(f"{identity.repository}@")]
    return asked or (ours[-1] if ours else None)
