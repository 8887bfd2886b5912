"""Work that comes again: by the clock, when woken, and after a failure."""

import asyncio
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from workspace_server.concurrency import TaskScope, periodic

NEVER = 3600.0


class Rounds:
    """Work that counts its rounds, and can be waited for."""

    def __init__(self, on_round: Callable[[int], object] = int) -> None:
        self.number = 0
        self._on_round = on_round
        self._began = asyncio.Condition()

    async def __call__(self) -> None:
        async with self._began:
            self.number += 1
            self._began.notify_all()
        self._on_round(self.number)

    async def reached(self, number: int) -> None:
        async with asyncio.timeout(30), self._began:
            await self._began.wait_for(lambda: self.number >= number)


async def test_periodic_work_comes_again_by_itself() -> None:
    rounds = Rounds()
    async with TaskScope() as scope:
        scope.start(periodic("count", 0.001, rounds, asyncio.Event()), name="count")
        await rounds.reached(3)


async def test_periodic_work_comes_at_once_when_woken() -> None:
    rounds, wake = Rounds(), asyncio.Event()
    async with TaskScope() as scope:
        scope.start(periodic("count", NEVER, rounds, wake), name="count")
        await rounds.reached(1)
        wake.set()
        await rounds.reached(2)


async def test_a_wake_during_a_round_is_not_lost() -> None:
    wake = asyncio.Event()
    rounds = Rounds(lambda number: wake.set() if number == 1 else None)
    async with TaskScope() as scope:
        scope.start(periodic("count", NEVER, rounds, wake), name="count")
        await rounds.reached(2)


async def test_periodic_work_survives_a_round_that_fails_and_logs_it() -> None:
    def fail_first(number: int) -> None:
        if number == 1:
            raise ValueError("no")

    rounds = Rounds(fail_first)
    with capture_logs() as logs:
        async with TaskScope() as scope:
            scope.start(periodic("count", 0.001, rounds, asyncio.Event()), name="count")
            await rounds.reached(2)

    assert [(entry["event"], entry["work"]) for entry in logs] == [("periodic work failed", "count")]


async def test_pauses_vary_by_the_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    bounds: list[tuple[float, float]] = []

    def chosen(least: float, most: float) -> float:
        bounds.append((least, most))
        return 0.0 if len(bounds) == 1 else NEVER

    monkeypatch.setattr("workspace_server.concurrency.random.uniform", chosen)
    rounds = Rounds()
    async with TaskScope() as scope:
        scope.start(periodic("count", NEVER, rounds, asyncio.Event(), jitter=0.25), name="count")
        await rounds.reached(2)

    assert bounds[0] == (0.75, 1.25)
