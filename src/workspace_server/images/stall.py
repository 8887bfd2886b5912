"""The stall clock: it ends a build whose step is silent, and in which the engine shows no work.

It runs only while a step of the Dockerfile runs. Fetching, pulling a base image, exporting, unpacking and verifying are
silent, and healthy. Silence alone proves nothing either: builders cut off long output, and a compiler may say nothing
for an hour. So the engine is asked as well, twice, half the limit apart.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import TypeVar

import structlog

from workspace_server.concurrency import first_of
from workspace_server.engine import Effort, Efforts
from workspace_server.errors import WorkspaceServerError
from workspace_server.model.build import BuildStep

log = structlog.get_logger(__name__)

V = TypeVar("V")

# What an idle program consumes: timers that wake it up, the network's own chatter. A download of 20 kB/s takes 0.1 % of
# a CPU, so that time alone would not tell it from one that hangs.
_IDLE_CPU_SHARE = 0.01
_IDLE_BYTES_PER_SECOND = 1024


class StallClock:
    """One build's. ``step_efforts`` asks the engine, given the container of the step where the builder tells it."""

    def __init__(self, *, seconds: float, step_efforts: Callable[[str | None], Awaitable[Efforts | None]]) -> None:
        self.seconds = seconds
        self._step_efforts = step_efforts
        self._open: dict[tuple[int, str], BuildStep] = {}
        self._step_runs = asyncio.Event()
        self._container: str | None = None
        self._heard = 0.0

    @property
    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def hear(self, container: str | None) -> None:
        """The builder printed something, while its step ran in ``container``, if it tells."""
        self._heard, self._container = self._now, container

    def note(self, step: BuildStep) -> None:
        """A step of the Dockerfile began or ended."""
        self._heard = self._now
        if step.seconds is not None or step.failed:
            self._open.pop((step.n, step.name), None)
        elif not step.name.upper().startswith("FROM "):
            self._open[step.n, step.name] = step
        self._step_runs.set() if self._open else self._step_runs.clear()

    async def over(self, work: Coroutine[object, object, V], error: Callable[[BuildStep], Exception]) -> V:
        """The result of ``work``; when a step of it stalls, it is cancelled, and ``error`` of that step raised."""
        return await first_of(work, self._raise(error))

    async def _raise(self, error: Callable[[BuildStep], Exception]) -> V:
        raise error(await self._stalled())

    async def _stalled(self) -> BuildStep:
        """Wait until a step has stalled, and return it."""
        while True:
            await self._silent_for(self.seconds / 2)
            began, heard = self._now, self._heard
            before = await self._ask()
            await asyncio.sleep(began + self.seconds / 2 - self._now)
            if heard != self._heard or not self._open:
                continue
            after = await self._ask()
            if heard != self._heard or not self._open:
                continue
            if not _is_work(before, after, self._now - began):
                return list(self._open.values())[-1]
            self._heard = self._now

    async def _silent_for(self, seconds: float) -> None:
        """Wait until a step runs and nothing was heard for so long."""
        while True:
            await self._step_runs.wait()
            if (left := self._heard + seconds - self._now) <= 0:
                return
            await asyncio.sleep(left)

    async def _ask(self) -> Efforts | None:
        """None: work of the engine's own. An engine that cannot be asked proves nothing, and the build goes on."""
        try:
            return await self._step_efforts(self._container)
        except WorkspaceServerError as error:
            log.warning("the engine did not say whether a silent build works", code=error.code, error=error.message)
            return None


def _is_work(before: Efforts | None, after: Efforts | None, seconds: float) -> bool:
    """Whether something was consumed, or began or ended, between two looks."""
    if before is None or after is None or before.keys() - after.keys():
        return True
    return any(_is_at_work(before.get(each, Effort()), effort, seconds) for each, effort in after.items())


def _is_at_work(before: Effort, after: Effort, seconds: float) -> bool:
    cpu_share = (after.cpu_seconds - before.cpu_seconds) / seconds
    bytes_per_second = (after.network_bytes - before.network_bytes) / seconds
    return cpu_share >= _IDLE_CPU_SHARE or bytes_per_second >= _IDLE_BYTES_PER_SECOND
