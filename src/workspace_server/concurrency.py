"""Time, tasks and locks: the only place of the program that creates a task.

``Deadline`` travels down a call chain, ``Silence`` ends what is not heard of, ``TaskScope`` owns every task,
``SingleFlight`` lets equal work run once in this process, ``FileLock`` once on this machine. ``Changes`` wakes whoever
waits for something to change.
"""

import asyncio
import errno
import fcntl
import os
import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Generic, Self, TypeVar

import structlog

from workspace_server.errors import DeadlineError

log = structlog.get_logger(__name__)

A = TypeVar("A")
B = TypeVar("B")
K = TypeVar("K")
V = TypeVar("V")


class Deadline:
    """A moment by which an operation must end, measured by the event loop's clock."""

    __slots__ = ("_at", "_seconds")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._at = asyncio.get_running_loop().time() + seconds

    @property
    def remaining(self) -> float:
        """Seconds left, never below zero."""
        return max(0.0, self._at - asyncio.get_running_loop().time())

    @asynccontextmanager
    async def limit(self, operation: str) -> AsyncIterator[None]:
        """Run the block until the deadline; raises DeadlineError naming ``operation`` when time is up."""
        clock = asyncio.timeout_at(self._at)
        try:
            async with clock:
                yield
        except TimeoutError as error:
            if not clock.expired():
                raise  # somebody else's: a connection's, an inner clock's
            raise DeadlineError(f"{operation} took longer than {self._seconds:g} s") from error


class Silence:
    """A clock for work that tells of itself: time is up when nothing was heard for so many seconds."""

    __slots__ = ("_clock", "_seconds")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._clock: asyncio.Timeout | None = None

    def heard(self) -> None:
        """The work goes on: the time begins anew."""
        if self._clock is not None and not self._clock.expired():
            self._clock.reschedule(asyncio.get_running_loop().time() + self._seconds)

    @asynccontextmanager
    async def limit(self, operation: str) -> AsyncIterator[None]:
        """Run the block as long as it is heard of; raises DeadlineError naming ``operation`` when it is not."""
        clock = self._clock = asyncio.timeout(self._seconds)
        try:
            async with clock:
                yield
        except TimeoutError as error:
            if not clock.expired():
                raise  # somebody else's
            raise DeadlineError(f"{operation} made no progress for {self._seconds:g} s") from error
        finally:
            self._clock = None


class TaskScope:
    """A parent for background tasks: leaving the scope cancels them and waits until they ended.

    A task that fails is logged with its name; it never takes its siblings along.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[object, object, None], *, name: str) -> asyncio.Task[None]:
        """Start ``work`` as a task of this scope."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("task failed", task=task.get_name(), exc_info=error)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        while self._tasks:
            tasks = list(self._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


async def first_of(*contenders: Coroutine[object, object, V]) -> V:
    """The result of whichever ends first; the others are cancelled, and have ended when this returns or raises."""
    tasks = [asyncio.create_task(contender) for contender in contenders]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return next(task for task in tasks if task in done).result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def both(one: Coroutine[object, object, A], other: Coroutine[object, object, B]) -> tuple[A, B]:
    """The results of two that run at once. An error of either cancels the other, which has ended when it is raised."""
    first, second = asyncio.create_task(one), asyncio.create_task(other)
    try:
        done, _ = await asyncio.wait((first, second), return_when=asyncio.FIRST_EXCEPTION)
        for task in (first, second):
            if task in done:
                task.result()
        return first.result(), second.result()
    finally:
        for task in (first, second):
            task.cancel()
        await asyncio.gather(first, second, return_exceptions=True)


async def until_ended(task: asyncio.Task[None]) -> None:
    """Wait until a task has ended, whatever became of it. A cancel of the one that waits is raised after that."""
    cancelled = False
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError


async def with_pauses(
    items: AsyncGenerator[V, None], seconds: float, stop: asyncio.Event
) -> AsyncGenerator[V | None, None]:
    """The items as they come until ``stop`` is set, and None whenever none came for ``seconds``.

    Left early, it closes ``items``.
    """
    stopped, upcoming = asyncio.create_task(stop.wait()), asyncio.create_task(_next(items))
    try:
        while not stop.is_set():
            done, _ = await asyncio.wait({upcoming, stopped}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                yield None
            elif upcoming in done:
                if not (found := upcoming.result()):
                    return
                yield found[0]
                upcoming = asyncio.create_task(_next(items))
    finally:
        stopped.cancel()
        upcoming.cancel()
        await asyncio.gather(stopped, upcoming, return_exceptions=True)
        await items.aclose()


async def _next(items: AsyncIterator[V]) -> list[V]:
    """The next item, or nothing at the end."""
    async for item in items:
        return [item]
    return []


async def unbroken(work: Coroutine[object, object, V], *, undo: Callable[[V], Awaitable[None]]) -> V:
    """The result of work that no cancel may break off half-way: a cancel waits for its end, and has it undone."""
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled() and task.exception() is None:
            await undo(task.result())
        raise


class SingleFlight(Generic[K, V]):
    """Equal calls share one piece of work.

    The work belongs to ``scope``, not to its first caller: a caller that goes away stops waiting, the work goes on
    for the others.
    """

    def __init__(self, scope: TaskScope) -> None:
        self._scope = scope
        self._flights: dict[K, asyncio.Future[V]] = {}

    def start(self, key: K, work: Callable[[], Awaitable[V]]) -> "asyncio.Future[V]":
        """The flight of ``key``, begun now unless it is under way. Await it through ``asyncio.shield``."""
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = asyncio.get_running_loop().create_future()
            # Whoever waits gets the error; with nobody waiting it is not "never retrieved".
            flight.add_done_callback(lambda done: done.cancelled() or done.exception())
            task = self._scope.start(self._fly(key, work, flight), name=f"single-flight {key}")
            task.add_done_callback(lambda _: self._abandon(key, flight))
        return flight

    async def do(self, key: K, work: Callable[[], Awaitable[V]]) -> V:
        """The result of ``work``, or of an equal call that is under way. Raises what the work raises."""
        return await asyncio.shield(self.start(key, work))

    async def _fly(self, key: K, work: Callable[[], Awaitable[V]], flight: asyncio.Future[V]) -> None:
        try:
            result = await work()
        except asyncio.CancelledError:
            flight.cancel()
            raise
        except BaseException as error:  # noqa: BLE001 - handed to the waiters, all of them
            flight.set_exception(error)
        else:
            flight.set_result(result)
        finally:
            del self._flights[key]

    def _abandon(self, key: K, flight: asyncio.Future[V]) -> None:
        """A task that was cancelled before its first step could not say so itself."""
        if not flight.done():
            flight.cancel()
            del self._flights[key]


class Changes(Generic[K]):
    """Wakes whoever waits for a change of what has a key. It tells nothing more: listeners look for themselves."""

    def __init__(self) -> None:
        self._bells: dict[K, set[asyncio.Event]] = {}

    def note(self, key: K) -> None:
        """What has that key changed."""
        for bell in self._bells.get(key, ()):
            bell.set()

    def note_all(self) -> None:
        """Whatever anybody waits for may have changed."""
        for key in self._bells:
            self.note(key)

    @contextmanager
    def listen(self, key: K) -> Iterator[asyncio.Event]:
        """An event that every change sets. Clear it, then look, then wait: no change is missed."""
        bell = asyncio.Event()
        self._bells.setdefault(key, set()).add(bell)
        try:
            yield bell
        finally:
            self._bells[key].discard(bell)
            if not self._bells[key]:
                del self._bells[key]


async def periodic(
    name: str,
    seconds: float,
    work: Callable[[], Awaitable[None]],
    wake: asyncio.Event,
    *,
    at_once: bool = True,
    jitter: float = 0.0,
) -> None:
    """Call ``work`` whenever ``wake`` is set and at least every ``seconds``, for ever; the first time ``at_once``.

    ``jitter`` is the share by which the pauses vary, so that what began together does not come back together.
    The one place where a broad ``except`` is right: a round that fails is logged, and the next one comes.
    """
    while True:
        if at_once:
            try:
                await work()
            except Exception:
                log.exception("periodic work failed", work=name)
        at_once = True
        with suppress(TimeoutError):
            pause = seconds * random.uniform(1 - jitter, 1 + jitter)  # noqa: S311 - no secret
            async with asyncio.timeout(pause):
                await wake.wait()
        wake.clear()


class FileLock:
    """An advisory lock on a file, held by one process of this machine at a time and released when it dies.

    ``async with FileLock(path) as lock`` waits without blocking the loop. ``lock.fileno()`` may be inherited by a
    child, which then holds the lock as long as it lives.
    """

    POLL_SECONDS = 0.05

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1

    def fileno(self) -> int:
        """The descriptor that holds the lock."""
        return self._fd

    async def __aenter__(self) -> Self:
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            while not self._try():  # noqa: ASYNC110 - a lock of another process sets no event here
                await asyncio.sleep(self.POLL_SECONDS)
        except BaseException:
            os.close(self._fd)
            raise
        return self

    @classmethod
    def is_held(cls, path: Path) -> bool:
        """Whether some process holds the lock at this moment. What is no lock, such as a link, is held by nobody."""
        probe = cls(path)
        try:
            probe._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ELOOP):
                return False
            raise
        try:
            return not probe._try()
        finally:
            os.close(probe._fd)

    def _try(self) -> bool:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        os.close(self._fd)
