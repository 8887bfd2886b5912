"""Two that run at once: both results, or the error of one after the other has ended."""

import asyncio

import pytest

from workspace_server.concurrency import both


async def test_both_results_come_back_in_order_of_the_arguments() -> None:
    ready = asyncio.Event()

    async def slow() -> str:
        await ready.wait()
        return "slow"

    async def quick() -> int:
        ready.set()
        return 1

    assert await both(slow(), quick()) == ("slow", 1)


@pytest.mark.parametrize("first", [True, False])
async def test_an_error_of_one_ends_the_other_before_it_is_raised(*, first: bool) -> None:
    ended = False

    async def endless() -> None:
        nonlocal ended
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended = True

    async def failing() -> None:
        raise ValueError("no")

    pair = (failing(), endless()) if first else (endless(), failing())
    with pytest.raises(ValueError, match="no"):
        await both(*pair)

    assert ended


async def test_a_cancel_ends_both() -> None:
    ended = []

    async def endless(name: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(name)

    task = asyncio.ensure_future(both(endless("a"), endless("b")))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert sorted(ended) == ["a", "b"]
