"""Deadlines, scopes of tasks, races, and work that is not broken off."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from structlog.testing import capture_logs

from workspace_server.concurrency import Deadline, TaskScope, first_of, unbroken
from workspace_server.errors import DeadlineError

NEVER = 3600.0


async def forever() -> None:
    await asyncio.Event().wait()


async def fail_with(error: Exception) -> None:
    raise error


def undo_into(undone: list[int]) -> Callable[[int], Awaitable[None]]:
    async def undo(result: int) -> None:
        undone.append(result)

    return undo


async def test_a_deadline_that_passes_names_the_operation_and_the_limit() -> None:
    with pytest.raises(DeadlineError) as caught:
        async with Deadline(0.01).limit("the look-up"):
            await forever()

    assert (caught.value.message, caught.value.code) == ("the look-up took longer than 0.01 s", "deadline_exceeded")


async def test_one_deadline_limits_all_its_operations_together() -> None:
    deadline = Deadline(0.01)
    with pytest.raises(DeadlineError):
        async with deadline.limit("the first"):
            await forever()

    with pytest.raises(DeadlineError, match="the second"):
        async with deadline.limit("the second"):
            await forever()


async def test_a_block_that_ends_in_time_is_left_alone() -> None:
    async with Deadline(NEVER).limit("the look-up"):
        result = 1

    assert result == 1


async def test_somebody_elses_time_out_is_not_the_deadlines() -> None:
    with pytest.raises(TimeoutError, match="the connection"):
        async with Deadline(NEVER).limit("the look-up"):
            await fail_with(TimeoutError("the connection"))


async def test_the_deadline_of_an_inner_operation_keeps_its_name() -> None:
    with pytest.raises(DeadlineError, match="the inner"):
        async with Deadline(NEVER).limit("the outer"), Deadline(0.01).limit("the inner"):
            await forever()


async def test_no_time_remains_after_a_deadline_and_never_less() -> None:
    assert Deadline(-1).remaining == 0.0


async def test_what_remains_is_at_most_what_was_given() -> None:
    assert 0 < Deadline(NEVER).remaining <= NEVER


async def test_a_scope_ends_its_tasks_and_waits_for_their_clean_up() -> None:
    steps: list[str] = []
    began = asyncio.Event()

    async def work() -> None:
        try:
            began.set()
            await forever()
        finally:
            await asyncio.sleep(0)
            steps.append("cleaned up")

    async with TaskScope() as scope:
        scope.start(work(), name="work")
        await began.wait()

    assert steps == ["cleaned up"]


async def test_a_scope_ends_the_task_that_a_dying_task_starts() -> None:
    late: list[asyncio.Task[None]] = []
    began = asyncio.Event()

    async def work(scope: TaskScope) -> None:
        try:
            began.set()
            await forever()
        finally:
            late.append(scope.start(forever(), name="late"))

    async with TaskScope() as scope:
        scope.start(work(scope), name="work")
        await began.wait()

    assert [task.cancelled() for task in late] == [True]


async def test_a_scope_ends_its_tasks_when_its_block_fails() -> None:
    tasks: list[asyncio.Task[None]] = []

    async def fail() -> None:
        async with TaskScope() as scope:
            tasks.append(scope.start(forever(), name="work"))
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await fail()

    assert [task.cancelled() for task in tasks] == [True]


async def test_a_task_that_fails_is_logged_with_its_name() -> None:
    error = ValueError("no")
    with capture_logs() as logs:
        async with TaskScope() as scope:
            await asyncio.wait([scope.start(fail_with(error), name="the look-out")])

    assert logs == [{"event": "task failed", "task": "the look-out", "exc_info": error, "log_level": "error"}]


async def test_a_task_that_fails_leaves_its_siblings_alone() -> None:
    go_on = asyncio.Event()

    async def sibling() -> None:
        await go_on.wait()

    with capture_logs():
        async with TaskScope() as scope:
            other = scope.start(sibling(), name="sibling")
            await asyncio.wait([scope.start(fail_with(ValueError()), name="failing")])
            go_on.set()
            await asyncio.wait([other])

    assert (other.cancelled(), other.exception()) == (False, None)


async def test_the_first_to_end_wins() -> None:
    async def quick() -> str:
        return "quick"

    async def slow() -> str:
        await forever()
        return "slow"

    assert await first_of(slow(), quick()) == "quick"


async def test_the_losers_of_a_race_have_ended_when_it_is_over() -> None:
    steps: list[str] = []

    async def slow() -> None:
        try:
            await forever()
        finally:
            await asyncio.sleep(0)
            steps.append("ended")

    await first_of(asyncio.sleep(0), slow())

    assert steps == ["ended"]


async def test_the_first_to_fail_ends_the_race() -> None:
    with pytest.raises(ValueError, match="no"):
        await first_of(forever(), fail_with(ValueError("no")))


async def test_a_race_that_is_cancelled_ends_its_contenders() -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        try:
            began.set()
            await forever()
        finally:
            ended.set()

    race = asyncio.create_task(first_of(work(), forever()))
    await began.wait()
    race.cancel()
    await asyncio.wait([race])

    assert (race.cancelled(), ended.is_set()) == (True, True)


async def test_unbroken_work_gives_its_result() -> None:
    undone: list[int] = []

    assert (await unbroken(asyncio.sleep(0, 1), undo=undo_into(undone)), undone) == (1, [])


async def test_unbroken_work_that_fails_raises_its_error() -> None:
    with pytest.raises(ValueError, match="no"):
        await unbroken(fail_with(ValueError("no")), undo=undo_into([]))


async def test_a_cancel_lets_unbroken_work_end_and_has_it_undone() -> None:
    undone: list[int] = []
    began, may_end = asyncio.Event(), asyncio.Event()

    async def work() -> int:
        began.set()
        await may_end.wait()
        return 1

    task = asyncio.create_task(unbroken(work(), undo=undo_into(undone)))
    await began.wait()
    task.cancel()
    await asyncio.sleep(0)
    may_end.set()
    await asyncio.wait([task])

    assert (task.cancelled(), undone) == (True, [1])


async def test_a_cancel_of_unbroken_work_that_fails_undoes_nothing() -> None:
    undone: list[int] = []
    began, may_end = asyncio.Event(), asyncio.Event()

    async def work() -> int:
        began.set()
        await may_end.wait()
        raise ValueError("no")

    task = asyncio.create_task(unbroken(work(), undo=undo_into(undone)))
    await began.wait()
    task.cancel()
    await asyncio.sleep(0)
    may_end.set()
    await asyncio.wait([task])

    assert (task.cancelled(), undone) == (True, [])
