"""What one generation reaches is written to the row for as long as it still counts."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import sqlalchemy as sa

from support.database import is_postgresql
from workspace_server.db import Database, EventStore, TokenStore, Transaction, WorkspaceStore
from workspace_server.errors import TemplateError, UnavailableError
from workspace_server.events import EventLog
from workspace_server.model.event import Event, EventType
from workspace_server.model.workspace import Failure, ImageOnRow, Phase, Workspace, WorkspaceSpec, WorkspaceStatus
from workspace_server.workspaces.attempt import Attempt, SupersededError

ERROR = TemplateError("it failed", code="build_failed", hint="repair it")
AWAY = UnavailableError("the engine is away", code="engine_unavailable", hint="start it")


@pytest.fixture
async def claimed(database: Database, store: WorkspaceStore) -> Workspace:
    async with database.write() as tx:
        await store.insert(tx, "w", WorkspaceSpec(name="Ada", runtime="hermes", tier=2))
        workspace = await store.claim(tx, "w", 0)
    assert workspace is not None
    return workspace


@pytest.fixture
def attempt(claimed: Workspace, database: Database, store: WorkspaceStore, events: EventLog) -> Attempt:
    return Attempt(claimed, "local-build", database, store, events)


Overtake = Callable[[], Awaitable[None]]


@pytest.fixture(params=["removed", "newer"])
def overtaken(request: pytest.FixtureRequest, database: Database, store: WorkspaceStore) -> Overtake:
    """Somebody removes the workspace, or begins a newer generation."""

    async def overtake() -> None:
        async with database.write() as tx:
            if request.param == "removed":
                await store.remove(tx, "w", purge=False)
            else:
                await store.claim(tx, "w", 1)

    return overtake


async def the_row(store: WorkspaceStore) -> Workspace:
    row = await store.get("w")
    assert row is not None
    return row


async def test_a_phase_is_written_with_what_else_changed(attempt: Attempt, store: WorkspaceStore) -> None:
    await attempt.enter(Phase.IMAGE)
    await attempt.enter(Phase.START, url="http://127.0.0.1:1")

    row = await the_row(store)
    assert (row.url, {name: phase["state"] for name, phase in row.phases.items()}) == (
        "http://127.0.0.1:1",
        {"image": "done", "start": "running"},
    )


async def test_a_build_is_on_the_row_while_it_is_waited_for(attempt: Attempt, store: WorkspaceStore) -> None:
    await attempt.note_build("01J")

    assert (await the_row(store)).image == ImageOnRow(source="local-build", build="01J")


async def test_a_failure_is_written_for_good_and_told_of(
    attempt: Attempt, store: WorkspaceStore, events: EventLog, database: Database
) -> None:
    await attempt.enter(Phase.IMAGE)
    with events.listen() as news:
        await attempt.fail(ERROR)
        told = news.get_nowait()

    row = await the_row(store)
    assert (row.status, row.failure, row.last_sample_error, row.phases["image"]["state"]) == (
        WorkspaceStatus.FAILED,
        Failure(code="build_failed", message="it failed", hint="repair it"),
        "it failed\nhint: repair it",
        "failed",
    )
    assert (told.type, told.payload) == (EventType.PROVISION_FAILED, ERROR.as_dict())
    assert len(await EventStore(database).newest(limit=9)) == 1


async def test_a_wait_is_written_and_the_wish_stays(attempt: Attempt, store: WorkspaceStore) -> None:
    await attempt.wait_for_better_times(AWAY)

    row = await the_row(store)
    assert (row.status, row.failure) == (
        WorkspaceStatus.PROVISIONING,
        Failure(code="engine_unavailable", message="the engine is away", hint="start it"),
    )


async def test_a_workspace_that_came_online_is_written_to_as_well(
    attempt: Attempt, database: Database, store: WorkspaceStore
) -> None:
    async with database.write() as tx:
        await store.move(tx, "w", WorkspaceStatus.ONLINE)
    await attempt.enter(Phase.ONLINE, url="http://127.0.0.1:1")

    assert (await the_row(store)).url == "http://127.0.0.1:1"


@pytest.mark.parametrize("path", [["online"], ["online", "offline"], ["online", "degraded"]], ids="-".join)
async def test_a_failure_that_comes_after_the_agents_call_is_dropped(
    attempt: Attempt, database: Database, store: WorkspaceStore, path: list[str]
) -> None:
    for status in path:
        async with database.write() as tx:
            assert await store.move(tx, "w", WorkspaceStatus(status))
    before = await the_row(store)
    await attempt.fail(ERROR)

    assert (await the_row(store), await EventStore(database).newest(limit=9)) == (before, [])


@pytest.mark.parametrize(
    "write",
    [
        lambda attempt: attempt.enter(Phase.START, url="http://127.0.0.1:1"),
        lambda attempt: attempt.finish(),
        lambda attempt: attempt.note_build("01J"),
        lambda attempt: attempt.wait_for_better_times(AWAY),
    ],
    ids=["enter", "finish", "note_build", "wait"],
)
async def test_an_attempt_that_was_overtaken_is_told_so_and_writes_nothing(
    attempt: Attempt, store: WorkspaceStore, overtaken: Overtake, write: Callable[[Attempt], Awaitable[Any]]
) -> None:
    await overtaken()
    before = await the_row(store)

    with pytest.raises(SupersededError):
        await write(attempt)

    assert await the_row(store) == before


async def test_a_failure_of_an_attempt_that_was_overtaken_is_dropped(
    attempt: Attempt, store: WorkspaceStore, database: Database, overtaken: Overtake
) -> None:
    await overtaken()
    before = await the_row(store)
    await attempt.fail(ERROR)

    assert (await the_row(store), await EventStore(database).newest(limit=9)) == (before, [])


async def test_what_only_counts_for_the_present_attempt_is_not_done_for_another(
    attempt: Attempt, tokens: TokenStore, overtaken: Overtake
) -> None:
    await overtaken()

    with pytest.raises(SupersededError):
        await attempt.enter_with(Phase.CONTAINER, lambda tx: tokens.issue(tx, "w"))
    assert not await tokens.has_live("w")


async def test_what_counts_is_changed_with_the_phase(
    attempt: Attempt, store: WorkspaceStore, tokens: TokenStore
) -> None:
    token = await attempt.enter_with(Phase.CONTAINER, lambda tx: tokens.issue(tx, "w"))

    assert (await tokens.owner(token), list((await the_row(store)).phases)) == ("w", ["container"])


async def test_what_counts_is_on_the_disk_before_anything_is_made_of_it(attempt: Attempt) -> None:
    """A container with a token that its database forgot when it died would never be known again."""

    ask, on = ("SHOW synchronous_commit", "on") if is_postgresql() else ("PRAGMA synchronous", 2)

    async def synchronous(tx: Transaction) -> object:
        return (await tx.connection.execute(sa.text(ask))).scalar()

    assert await attempt.enter_with(Phase.CONTAINER, synchronous) == on


async def test_a_cancel_in_the_middle_of_a_write_leaves_the_database_usable(
    attempt: Attempt, store: WorkspaceStore
) -> None:
    for steps in range(60):
        writing = asyncio.create_task(attempt.enter(Phase.IMAGE, url=f"http://127.0.0.1:{steps}"))
        for _ in range(steps):
            await asyncio.sleep(0)
        writing.cancel()
        await asyncio.wait([writing])

    await attempt.enter(Phase.START, url="http://127.0.0.1:9999")
    assert (await the_row(store)).url == "http://127.0.0.1:9999"


async def test_a_listener_hears_of_a_change_after_its_commit_only(database: Database, events: EventLog) -> None:
    event = Event(type=EventType.ONLINE, workspace_id="w", payload={})
    with events.listen() as news:
        async with database.write() as tx:
            await events.record(tx, event)
            before = news.qsize()

        assert (before, news.get_nowait()) == (0, event)


@pytest.mark.parametrize("phase", [Phase.START, Phase.ONLINE])
async def test_once_the_agent_has_called_no_phase_is_written_as_running(
    attempt: Attempt, database: Database, store: WorkspaceStore, phase: Phase
) -> None:
    """Whoever would end the phase may die before: nobody takes up what is online."""
    await attempt.enter(Phase.CONTAINER)
    async with database.write() as tx:
        await store.move(tx, "w", WorkspaceStatus.ONLINE)
    await attempt.enter(phase)

    phases = (await the_row(store)).phases
    assert {entry["state"] for entry in phases.values()} == {"done"}
    assert Phase.ONLINE in phases
