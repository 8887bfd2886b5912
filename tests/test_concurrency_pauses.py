"""Items as they come, and a sign of life when none comes; periodic work that does not begin at once."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from workspace_server.concurrency import periodic, with_pauses

SOON, NEVER = 0.001, 3600.0


class Source:
    """Gives what it is told to give, when it is told."""

    def __init__(self) -> None:
        self.items: asyncio.Queue[str | Exception | None] = asyncio.Queue()
        self.left = asyncio.Event()

    async def __call__(self) -> AsyncGenerator[str, None]:
        try:
            while (item := await self.items.get()) is not None:
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            self.left.set()

    def give(self, *items: str | Exception | None) -> None:
        for item in items:
            self.items.put_nowait(item)


@pytest.fixture
def source() -> Source:
    return Source()


async def upcoming(found: AsyncGenerator[str | None, None]) -> str | None:
    async with asyncio.timeout(30):
        return await anext(found)


async def until_idle() -> None:
    """Let everything that can run do so."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_items_come_in_their_order_until_the_end(source: Source) -> None:
    source.give("a", "b", "c", None)

    assert [item async for item in with_pauses(source(), NEVER, asyncio.Event())] == ["a", "b", "c"]


async def test_nothing_comes_of_an_empty_source(source: Source) -> None:
    source.give(None)

    assert [item async for item in with_pauses(source(), NEVER, asyncio.Event())] == []


async def test_silence_brings_none_again_and_again(source: Source) -> None:
    found = with_pauses(source(), SOON, asyncio.Event())

    assert [await upcoming(found) for _ in range(3)] == [None, None, None]
    await found.aclose()


async def test_an_item_after_silence_is_not_lost(source: Source) -> None:
    found = with_pauses(source(), SOON, asyncio.Event())
    await upcoming(found)
    source.give("a")
    item = await upcoming(found)
    while item is None:
        item = await upcoming(found)

    assert item == "a"
    await found.aclose()


async def test_nothing_is_said_while_the_silence_is_short(source: Source) -> None:
    found = with_pauses(source(), NEVER, asyncio.Event())
    waiting = asyncio.create_task(upcoming(found))
    await until_idle()
    assert not waiting.done()
    source.give("a", None)

    assert (await waiting, [item async for item in found]) == ("a", [])


async def test_an_error_of_the_source_is_raised_after_what_came_before(source: Source) -> None:
    source.give("a", LookupError("it broke"))
    found = with_pauses(source(), NEVER, asyncio.Event())
    assert await upcoming(found) == "a"

    with pytest.raises(LookupError, match="it broke"):
        await upcoming(found)


async def test_when_it_is_stopped_no_more_is_waited_for_and_the_source_ends(source: Source) -> None:
    before, stop = asyncio.all_tasks(), asyncio.Event()
    source.give("a")
    found = with_pauses(source(), NEVER, stop)
    first = await upcoming(found)
    rest = asyncio.create_task(upcoming(found))
    await until_idle()
    stop.set()

    assert first == "a"
    with pytest.raises(StopAsyncIteration):
        await rest
    assert (source.left.is_set(), asyncio.all_tasks()) == (True, before)


async def test_what_is_stopped_already_says_nothing(source: Source) -> None:
    stop = asyncio.Event()
    stop.set()
    source.give("a")

    assert [item async for item in with_pauses(source(), NEVER, stop)] == []


async def test_leaving_during_a_pause_ends_the_source(source: Source) -> None:
    found = with_pauses(source(), SOON, asyncio.Event())
    await upcoming(found)
    await found.aclose()

    assert source.left.is_set()


async def test_leaving_during_a_pause_leaves_no_task(source: Source) -> None:
    before = asyncio.all_tasks()
    found = with_pauses(source(), SOON, asyncio.Event())
    await upcoming(found)
    await found.aclose()

    assert asyncio.all_tasks() == before


async def test_leaving_after_an_item_ends_the_source(source: Source) -> None:
    source.give("a", "b")
    found = with_pauses(source(), NEVER, asyncio.Event())
    await upcoming(found)
    await found.aclose()

    assert source.left.is_set()


async def test_a_cancelled_wait_ends_the_source_and_leaves_no_task(source: Source) -> None:
    before = asyncio.all_tasks()
    waiting = asyncio.create_task(upcoming(with_pauses(source(), NEVER, asyncio.Event())))
    await until_idle()
    waiting.cancel()
    await asyncio.wait([waiting])

    assert (waiting.cancelled(), source.left.is_set(), asyncio.all_tasks()) == (True, True, before)


@pytest.mark.parametrize(("at_once", "rounds"), [(True, 1), (False, 0)])
async def test_periodic_work_begins_at_once_or_after_the_first_wait(at_once: bool, rounds: int) -> None:  # noqa: FBT001
    began: list[None] = []

    async def work() -> None:
        began.append(None)

    task = asyncio.create_task(periodic("test", NEVER, work, asyncio.Event(), at_once=at_once))
    await until_idle()
    task.cancel()
    await asyncio.wait([task])

    assert len(began) == rounds


async def test_periodic_work_that_waits_first_begins_when_it_is_woken() -> None:
    began, wake = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        began.set()

    task = asyncio.create_task(periodic("test", NEVER, work, wake, at_once=False))
    wake.set()
    async with asyncio.timeout(30):
        await began.wait()
    task.cancel()
    await asyncio.wait([task])

    assert not wake.is_set()


async def test_periodic_work_that_waits_first_begins_after_the_time() -> None:
    began = asyncio.Event()

    async def work() -> None:
        began.set()

    task = asyncio.create_task(periodic("test", SOON, work, asyncio.Event(), at_once=False))
    async with asyncio.timeout(30):
        await began.wait()
    task.cancel()
    await asyncio.wait([task])

    assert task.cancelled()
