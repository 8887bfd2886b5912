"""Rows of workspaces: what is recorded, and which write-backs still count."""

import asyncio
from dataclasses import asdict
from datetime import UTC, datetime, timedelta, timezone

import pytest

from workspace_server.db import Database, WorkspaceStore
from workspace_server.model.workspace import TRANSITIONS, Failure, ImageOnRow, WorkspaceStatus

from .conftest import Create, found, spec

Status = WorkspaceStatus
CLAIMS = 50
RUNNING = {Status.PROVISIONING, Status.ONLINE, Status.DEGRADED}


async def claim(database: Database, store: WorkspaceStore, generation: int = 0) -> bool:
    async with database.write() as tx:
        return await store.claim(tx, "w", generation) is not None


async def progress(database: Database, store: WorkspaceStore, generation: int, **changes: object) -> bool:
    async with database.write() as tx:
        return await store.progress(tx, "w", generation, **changes) is not None


async def move(database: Database, store: WorkspaceStore, target: WorkspaceStatus, **options: object) -> bool:
    async with database.write() as tx:
        return await store.move(tx, "w", target, **options) is not None


async def test_a_new_workspace_is_what_was_asked_for(database: Database, store: WorkspaceStore, create: Create) -> None:
    wanted = spec(name="b", role="r", model="m", parent_id=await create("p"), budget_limit=5, x=1.5, y=-2.5)
    async with database.write() as tx:
        await store.insert(tx, "w", wanted)

    recorded = await found(store)
    assert {name: getattr(recorded, name) for name in asdict(wanted)} == asdict(wanted)


async def test_a_new_workspace_wants_to_be_provisioned(store: WorkspaceStore, create: Create) -> None:
    workspace = await found(store, await create())

    assert (workspace.status, workspace.generation, workspace.image, workspace.failure) == (
        Status.PROVISIONING,
        0,
        None,
        None,
    )


async def test_an_unknown_workspace_is_none(store: WorkspaceStore) -> None:
    assert await store.get("nobody") is None


async def test_times_are_utc_wherever_they_were_taken(
    database: Database, store: WorkspaceStore, create: Create
) -> None:
    await create()
    moment = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=timezone(timedelta(hours=9)))
    async with database.write() as tx:
        await store.touch(tx, "w", last_heartbeat_at=moment)

    read = (await found(store)).last_heartbeat_at
    assert read is not None
    assert (read, read.tzinfo) == (moment, UTC)


async def test_image_and_failure_come_back_as_they_were(
    database: Database, store: WorkspaceStore, create: Create
) -> None:
    await create()
    image = ImageOnRow(source="local-build", id="sha256:1", commit="c", build="b", build_id="i")
    failure = Failure(code="build_failed", message="step 2 of 3", hint="see the log")
    await progress(database, store, 0, image=image, failure=failure)

    workspace = await found(store)
    assert (workspace.image, workspace.failure) == (image, failure)


async def test_a_claim_begins_the_next_generation(database: Database, store: WorkspaceStore, create: Create) -> None:
    await create()
    await progress(database, store, 0, failure=Failure(code="c", message="m"), phases={"image": 1})
    async with database.write() as tx:
        claimed = await store.claim(tx, "w", 0)

    assert claimed is not None
    assert (claimed.generation, claimed.failure, claimed.phases, claimed.image) == (1, None, {}, None)


async def test_a_claim_forgets_the_tasks_of_the_container_before(
    database: Database, store: WorkspaceStore, create: Create
) -> None:
    await create()
    async with database.write() as tx:
        await store.touch(tx, "w", active_tasks=2, current_task="x")
        claimed = await store.claim(tx, "w", 0)

    assert claimed is not None
    assert (claimed.active_tasks, claimed.current_task) == (0, "")


async def test_of_fifty_claims_one_succeeds(database: Database, store: WorkspaceStore, create: Create) -> None:
    await create()

    assert (await asyncio.gather(*(claim(database, store) for _ in range(CLAIMS)))).count(True) == 1


@pytest.mark.parametrize("generation", [-1, 1, 2])
async def test_a_claim_of_another_generation_is_refused(
    database: Database, store: WorkspaceStore, create: Create, generation: int
) -> None:
    await create()

    assert not await claim(database, store, generation)


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.PROVISIONING])
async def test_nobody_claims_what_does_not_want_to_be_provisioned(
    database: Database, store: WorkspaceStore, create: Create, status: WorkspaceStatus
) -> None:
    await create(status=status)

    assert not await claim(database, store)


async def test_progress_of_the_present_generation_is_written(
    database: Database, store: WorkspaceStore, create: Create
) -> None:
    await create()
    await claim(database, store)

    assert (await progress(database, store, 1, url="http://a"), (await found(store)).url) == (True, "http://a")


async def test_a_late_result_is_dropped(database: Database, store: WorkspaceStore, create: Create) -> None:
    await create()
    await claim(database, store)
    await claim(database, store, 1)

    assert (await progress(database, store, 1, url="late"), (await found(store)).url) == (False, "")


@pytest.mark.parametrize("status", Status)
async def test_progress_counts_while_the_workspace_runs_or_is_about_to(
    database: Database, store: WorkspaceStore, create: Create, status: WorkspaceStatus
) -> None:
    await create(status=status)

    assert await progress(database, store, 0, url="http://a") == (status in RUNNING)


@pytest.mark.parametrize("source", Status)
async def test_a_status_moves_only_as_the_table_says(
    database: Database, store: WorkspaceStore, create: Create, source: WorkspaceStatus
) -> None:
    reached = {}
    for target in Status:
        await create(target, status=source)
        async with database.write() as tx:
            await store.move(tx, target, target)
        reached[target] = (await found(store, target)).status

    assert reached == {target: target if target in TRANSITIONS[source] else source for target in Status}


@pytest.mark.parametrize("leaving", Status)
async def test_a_move_from_one_status_leaves_all_others_alone(
    database: Database, store: WorkspaceStore, create: Create, leaving: WorkspaceStatus
) -> None:
    await create(status=Status.DEGRADED)
    moved = await move(database, store, Status.OFFLINE, leaving=leaving)

    assert moved == (leaving is Status.DEGRADED)


@pytest.mark.parametrize(("generation", "moves"), [(None, True), (1, True), (0, False), (2, False)])
async def test_a_move_of_one_generation_leaves_all_others_alone(
    database: Database, store: WorkspaceStore, create: Create, generation: int | None, *, moves: bool
) -> None:
    await create()
    await claim(database, store)

    assert await move(database, store, Status.ONLINE, generation=generation) == moves


async def test_of_many_that_move_a_workspace_at_once_one_succeeds(
    database: Database, store: WorkspaceStore, create: Create
) -> None:
    await create()
    targets = [Status.ONLINE, Status.FAILED, Status.PAUSED, Status.AWAITING_AGENT] * 5
    moves = (move(database, store, target, leaving=Status.PROVISIONING) for target in targets)

    assert (await asyncio.gather(*moves)).count(True) == 1


async def test_a_move_writes_its_changes_with_the_status(
    database: Database, store: WorkspaceStore, create: Create
) -> None:
    await create()
    failure = Failure(code="build_failed", message="no")
    await move(database, store, Status.FAILED, failure=failure, last_sample_error="no")

    workspace = await found(store)
    assert (workspace.status, workspace.failure, workspace.last_sample_error) == (Status.FAILED, failure, "no")


async def test_a_move_that_is_refused_writes_nothing(database: Database, store: WorkspaceStore, create: Create) -> None:
    before = await found(store, await create(status=Status.PAUSED))
    await move(database, store, Status.ONLINE, url="http://a")

    assert await found(store) == before


@pytest.mark.parametrize("status", Status)
async def test_an_agents_report_is_written_until_its_workspace_is_removed(
    database: Database, store: WorkspaceStore, create: Create, status: WorkspaceStatus
) -> None:
    await create(status=status)
    async with database.write() as tx:
        written = await store.touch(tx, "w", active_tasks=3)

    assert (written is not None) == (status is not Status.REMOVED)


async def test_a_change_moves_the_time_of_the_last_one(
    database: Database, store: WorkspaceStore, create: Create
) -> None:
    before = await found(store, await create())
    async with database.write() as tx:
        after = await store.touch(tx, "w", active_tasks=3)

    assert after is not None
    assert (after.updated_at > before.updated_at, after.created_at) == (True, before.created_at)


async def test_workspaces_are_listed_by_status_oldest_first(store: WorkspaceStore, create: Create) -> None:
    for workspace_id, status in [
        ("b", Status.ONLINE),
        ("a", Status.FAILED),
        ("c", Status.ONLINE),
        ("d", Status.PAUSED),
    ]:
        await create(workspace_id, status=status)

    assert [each.id for each in await store.with_status(Status.ONLINE, Status.FAILED)] == ["b", "a", "c"]


async def test_removed_workspaces_are_not_present(store: WorkspaceStore, create: Create) -> None:
    await create("a")
    await create("b", status=Status.REMOVED)

    assert [each.id for each in await store.present()] == ["a"]
