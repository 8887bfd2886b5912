"""Equal calls share one piece of work, and its end."""

import asyncio

import pytest

from workspace_server.concurrency import SingleFlight, TaskScope

CALLERS = 50


class Work:
    """Work that counts how often it began, and ends when it may."""

    def __init__(self, error: Exception | None = None) -> None:
        self.begun = 0
        self.may_end = asyncio.Event()
        self.has_begun = asyncio.Event()
        self._error = error

    async def __call__(self) -> int:
        self.begun += 1
        number = self.begun
        self.has_begun.set()
        await self.may_end.wait()
        if self._error is not None:
            raise self._error
        return number


def calls(flights: SingleFlight[str, int], work: Work, number: int = CALLERS) -> list[asyncio.Task[int]]:
    return [asyncio.create_task(flights.do("key", work)) for _ in range(number)]


async def test_fifty_callers_share_one_run() -> None:
    async with TaskScope() as scope:
        work = Work()
        callers = calls(SingleFlight(scope), work)
        await work.has_begun.wait()
        work.may_end.set()

        assert (await asyncio.gather(*callers), work.begun) == ([1] * CALLERS, 1)


async def test_an_error_reaches_every_caller() -> None:
    async with TaskScope() as scope:
        error = ValueError("no")
        work = Work(error)
        callers = calls(SingleFlight(scope), work)
        work.may_end.set()

        assert await asyncio.gather(*callers, return_exceptions=True) == [error] * CALLERS


async def test_a_caller_that_goes_away_ends_nobody_elses_wait() -> None:
    async with TaskScope() as scope:
        work = Work()
        leaving, staying = calls(SingleFlight(scope), work, 2)
        await work.has_begun.wait()
        leaving.cancel()
        await asyncio.wait([leaving])
        work.may_end.set()

        assert (leaving.cancelled(), await staying, work.begun) == (True, 1, 1)


async def test_the_work_goes_on_when_every_caller_has_gone() -> None:
    async with TaskScope() as scope:
        flights: SingleFlight[str, int] = SingleFlight(scope)
        work = Work()
        [only] = calls(flights, work, 1)
        await work.has_begun.wait()
        only.cancel()
        await asyncio.wait([only])
        [next_caller] = calls(flights, work, 1)
        work.may_end.set()

        assert (await next_caller, work.begun) == (1, 1)


@pytest.mark.parametrize("error", [None, ValueError("no")], ids=["success", "failure"])
async def test_the_call_after_the_end_runs_again(error: Exception | None) -> None:
    async with TaskScope() as scope:
        flights: SingleFlight[str, int] = SingleFlight(scope)
        work = Work(error)
        work.may_end.set()
        for _ in range(2):
            await asyncio.gather(flights.do("key", work), return_exceptions=True)

        assert work.begun == 2


async def test_a_call_made_by_the_first_to_hear_of_the_end_runs_again() -> None:
    async with TaskScope() as scope:
        flights: SingleFlight[str, int] = SingleFlight(scope)
        work = Work()
        work.may_end.set()

        async def twice() -> tuple[int, int]:
            return await flights.do("key", work), await flights.do("key", work)

        assert await twice() == (1, 2)


async def test_different_work_runs_side_by_side() -> None:
    async with TaskScope() as scope:
        flights: SingleFlight[str, int] = SingleFlight(scope)
        one, other = Work(), Work()
        waiting = asyncio.gather(flights.do("one", one), flights.do("other", other))
        await one.has_begun.wait()
        await other.has_begun.wait()
        one.may_end.set()
        other.may_end.set()

        assert await waiting == [1, 1]


async def test_a_failure_that_nobody_waits_for_is_no_warning() -> None:
    async with TaskScope() as scope:
        flights: SingleFlight[str, int] = SingleFlight(scope)
        work = Work(ValueError("no"))
        work.may_end.set()
        flight = flights.start("key", work)
        await asyncio.wait([flight])

        assert flight.done()


async def test_callers_are_released_when_the_scope_ends_the_work() -> None:
    async with TaskScope() as scope:
        work = Work()
        callers = calls(SingleFlight(scope), work)
        await work.has_begun.wait()
    await asyncio.wait(callers, timeout=30)

    assert [caller.cancelled() for caller in callers] == [True] * CALLERS


async def test_callers_are_released_when_the_scope_ends_the_work_before_its_first_step() -> None:
    async with TaskScope() as scope:
        flight = SingleFlight[str, int](scope).start("key", Work())
    await asyncio.wait([flight], timeout=30)

    assert flight.cancelled()
