"""The event log on disk."""

from datetime import UTC, datetime, timedelta

import pytest

from workspace_server.db import Database, EventStore
from workspace_server.model.event import Event, EventType

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


@pytest.fixture
def events(database: Database) -> EventStore:
    return EventStore(database)


def event(minute: int = 0, workspace_id: str = "w", **payload: object) -> Event:
    return Event(type=EventType.ONLINE, workspace_id=workspace_id, payload=payload, at=NOON + timedelta(minutes=minute))


async def append(database: Database, events: EventStore, *added: Event) -> None:
    async with database.write() as tx:
        for each in added:
            await events.append(tx, each)


async def test_an_event_comes_back_as_it_was(database: Database, events: EventStore) -> None:
    await append(database, events, event(name="é", nested={"a": [1, None]}))

    [row] = await events.newest(limit=10)
    assert (row["event_type"], row["workspace_id"], row["payload"], row["created_at"]) == (
        "WORKSPACE_ONLINE",
        "w",
        {"name": "é", "nested": {"a": [1, None]}},
        NOON,
    )


async def test_the_newest_come_first(database: Database, events: EventStore) -> None:
    await append(database, events, *(event(minute, n=minute) for minute in (2, 0, 1)))

    assert [row["payload"]["n"] for row in await events.newest(limit=10)] == [2, 1, 0]


async def test_no_more_come_than_asked_for(database: Database, events: EventStore) -> None:
    await append(database, events, *(event(minute, n=minute) for minute in range(5)))

    assert [row["payload"]["n"] for row in await events.newest(limit=2)] == [4, 3]


async def test_one_workspaces_events_are_its_own(database: Database, events: EventStore) -> None:
    await append(database, events, event(workspace_id="a"), event(workspace_id="b"))

    assert [row["workspace_id"] for row in await events.newest(limit=10, workspace_id="a")] == ["a"]


async def test_an_event_of_an_undone_change_is_not_there(database: Database, events: EventStore) -> None:
    async def work() -> None:
        async with database.write() as tx:
            await events.append(tx, event())
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await work()

    assert await events.newest(limit=10) == []


@pytest.mark.parametrize("kind", EventType)
async def test_every_kind_of_event_can_be_written(database: Database, events: EventStore, kind: EventType) -> None:
    await append(database, events, Event(type=kind, workspace_id="w", payload={}))

    assert [row["event_type"] for row in await events.newest(limit=10)] == [kind.value]
