"""Builds and pulls, each once at a time: a record from beginning to end, waiters, cancelling.

One per build id in this process. A caller that goes away stops waiting; the work goes on, and its image is kept.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Generic, TypeVar

import structlog

from workspace_server.concurrency import SingleFlight, TaskScope, first_of
from workspace_server.errors import ConflictError, UnavailableError, WorkspaceServerError
from workspace_server.images.records import BuildBook
from workspace_server.model.build import BuildState

log = structlog.get_logger(__name__)

R = TypeVar("R")


def as_it_is(failure: Exception) -> WorkspaceServerError | None:
    """What a record says of a failure: its own words, where it has any."""
    return failure if isinstance(failure, WorkspaceServerError) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job(Generic[R]):
    """What is to be done. ``work`` returns its result and how its record ends.

    ``cancelled`` makes the error of a job that somebody cancelled, from who did. ``told`` is given every failure, and
    returns what its record says of it; None when it has no words.
    """

    build_id: str
    record_id: str
    work: Callable[[], Coroutine[object, object, tuple[R, BuildState]]]
    cancelled: Callable[[str], WorkspaceServerError]
    told: Callable[[Exception], WorkspaceServerError | None] = as_it_is


@dataclass(frozen=True, slots=True, kw_only=True)
class Running(Generic[R]):
    """A build or a pull under way in this process. Await its flight through ``asyncio.shield``."""

    record_id: str
    flight: "asyncio.Future[R]"
    cancelled: "asyncio.Future[str]"
    """Who cancelled it."""


class OnceAtATime(Generic[R]):
    """The jobs of one kind that run now. ``kind`` is what an error calls one."""

    def __init__(self, kind: str, book: BuildBook, scope: TaskScope) -> None:
        self._kind = kind
        self._book = book
        self._flights: SingleFlight[str, R] = SingleFlight(scope)
        self._running: dict[str, Running[R]] = {}

    def under_way(self, build_id: str) -> Running[R] | None:
        """The job of that build id, if one runs."""
        return self._running.get(build_id)

    def start(self, job: Job[R]) -> Running[R]:
        """Begin a job of whose build id none is under way."""
        cancelled: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        flight = self._flights.start(job.build_id, lambda: self._recorded(job, cancelled))
        running = self._running[job.build_id] = Running(record_id=job.record_id, flight=flight, cancelled=cancelled)
        return running

    async def wait(self, running: Running[R], on_record: Callable[[str], Awaitable[None]]) -> R:
        """The job's result, or its error. ``on_record`` is given its record's id before the wait begins."""
        self._book.count_waiter(running.record_id, +1)
        try:
            await on_record(running.record_id)
            return await asyncio.shield(running.flight)
        finally:
            self._book.count_waiter(running.record_id, -1)

    async def cancel(self, record_id: str, who: str) -> None:
        """End a job that runs in this process, and return when it has ended; its error says ``who`` cancelled it.

        Raises NotFoundError, ConflictError.
        """
        running = self._running.get(self._book.get(record_id).build_id)
        if running is None or running.record_id != record_id:
            raise ConflictError(f"the {self._kind} {record_id} is not under way in this server", code="build_ended")
        if not running.cancelled.done():
            running.cancelled.set_result(who)
        await asyncio.wait([running.flight])

    async def _recorded(self, job: Job[R], cancelled: "asyncio.Future[str]") -> R:
        """Do the job and write how it ended, whatever way it ends."""
        error: WorkspaceServerError | None = WorkspaceServerError(
            f"the server stopped during this {self._kind}, or failed in it", code="build_interrupted"
        )
        state = BuildState.CANCELLED
        try:
            result, state = await first_of(job.work(), _cancellation(job, cancelled))
            error = None
            return result
        except Exception as failure:
            error = job.told(failure) or error
            if isinstance(failure, WorkspaceServerError) and not cancelled.done():
                state = BuildState.FAILED
            raise
        finally:
            del self._running[job.build_id]
            self._close(job.record_id, state, error)

    def _close(self, record_id: str, state: BuildState, error: WorkspaceServerError | None) -> None:
        """It ended as it did, whether or not that can be written down."""
        try:
            self._book.close(record_id, state, error=error)
        except UnavailableError as failure:
            log.warning("a build's record could not be closed", build=record_id, error=failure.message)


async def _cancellation(job: Job[R], cancelled: "asyncio.Future[str]") -> tuple[R, BuildState]:
    """Wait until somebody cancels the job, and raise that."""
    raise job.cancelled(await asyncio.shield(cancelled))
