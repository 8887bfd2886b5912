"""Events: recorded with the change, sent after it, newest kept."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.database import place_in
from workspace_server.db import Database, EventStore, open_database
from workspace_server.events import EventLog
from workspace_server.model.event import Event, EventType

BACKLOG = 256


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(await place_in(tmp_path)) as opened:
        yield opened


@pytest.fixture
def store(database: Database) -> EventStore:
    return EventStore(database)


@pytest.fixture
def log(store: EventStore) -> EventLog:
    return EventLog(store)


def event(number: int = 0) -> Event:
    return Event(type=EventType.ONLINE, workspace_id="w", payload={"n": number})


def heard(queue: "asyncio.Queue[Event]") -> list[int]:
    return [queue.get_nowait().payload["n"] for _ in range(queue.qsize())]


async def record(database: Database, log: EventLog, *numbers: int) -> None:
    async with database.write() as tx:
        for number in numbers:
            await log.record(tx, event(number))


async def test_an_event_is_recorded(database: Database, log: EventLog, store: EventStore) -> None:
    await record(database, log, 7)

    assert [row["payload"] for row in await store.newest(limit=10)] == [{"n": 7}]


async def test_a_listener_hears_an_event_whole(database: Database, log: EventLog) -> None:
    sent = event(7)
    with log.listen() as queue:
        async with database.write() as tx:
            await log.record(tx, sent)

        assert queue.get_nowait() == sent


async def test_every_listener_hears_every_event_in_order(database: Database, log: EventLog) -> None:
    with log.listen() as one, log.listen() as other:
        await record(database, log, 1, 2)
        await record(database, log, 3)

        assert (heard(one), heard(other)) == ([1, 2, 3], [1, 2, 3])


async def test_nothing_is_heard_before_the_commit(database: Database, log: EventLog) -> None:
    with log.listen() as queue:
        async with database.write() as tx:
            await log.record(tx, event())
            before = queue.qsize()

        assert (before, queue.qsize()) == (0, 1)


async def test_what_is_heard_can_be_read_by_then(database: Database, log: EventLog, store: EventStore) -> None:
    async def listener(queue: "asyncio.Queue[Event]") -> int:
        await queue.get()
        return len(await store.newest(limit=10))

    with log.listen() as queue:
        listening = asyncio.create_task(listener(queue))
        await record(database, log, 1)

        assert await listening == 1


async def test_an_undone_change_is_neither_heard_nor_recorded(
    database: Database, log: EventLog, store: EventStore
) -> None:
    async def work() -> None:
        async with database.write() as tx:
            await log.record(tx, event())
            raise ValueError("no")

    with log.listen() as queue:
        with pytest.raises(ValueError, match="no"):
            await work()

        assert (queue.qsize(), await store.newest(limit=10)) == (0, [])


async def test_a_listener_hears_only_what_comes_while_it_listens(database: Database, log: EventLog) -> None:
    await record(database, log, 1)
    with log.listen() as queue:
        await record(database, log, 2)
    await record(database, log, 3)

    assert heard(queue) == [2]


async def test_a_slow_listener_loses_the_oldest(database: Database, log: EventLog) -> None:
    with log.listen() as queue:
        await record(database, log, *range(BACKLOG + 3))

        assert heard(queue) == list(range(3, BACKLOG + 3))


async def test_a_slow_listener_costs_the_others_nothing(database: Database, log: EventLog) -> None:
    with log.listen(), log.listen() as quick:
        hearing: list[int] = []
        for first in range(0, BACKLOG * 2, BACKLOG):
            await record(database, log, *range(first, first + BACKLOG))
            hearing += heard(quick)

    assert hearing == list(range(BACKLOG * 2))


async def test_fifty_changes_at_once_are_all_heard(database: Database, log: EventLog) -> None:
    with log.listen() as queue:
        await asyncio.gather(*(record(database, log, number) for number in range(50)))

        assert sorted(heard(queue)) == list(range(50))
