"""A task's end is waited for, whoever is in a hurry."""

import asyncio

import pytest

from workspace_server.concurrency import until_ended


async def test_it_returns_when_the_task_has_ended_however_it_did() -> None:
    async def fails() -> None:
        raise ValueError

    task = asyncio.create_task(fails())
    await until_ended(task)

    assert isinstance(task.exception(), ValueError)


async def test_a_cancel_waits_for_the_task_and_leaves_it_alone() -> None:
    may_end = asyncio.Event()
    task = asyncio.create_task(may_end.wait())
    waiting = asyncio.create_task(until_ended(task))  # type: ignore[arg-type] # its result is nobody's
    for _ in range(3):
        await asyncio.sleep(0)
        waiting.cancel()
    await asyncio.sleep(0)
    before = waiting.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    assert (before, task.result()) == (False, True)
