"""Removing workspaces: everything below goes first, and is forgotten only when nothing is left of it."""

import pytest

from workspace_server.db import Database, TokenStore, WorkspaceStore
from workspace_server.model.workspace import WorkspaceStatus

from .conftest import Create, found

Status = WorkspaceStatus


@pytest.fixture
async def family(create: Create) -> None:
    """A root with two children, one of them with a child of its own; and somebody else."""
    await create("root")
    await create("son", parent="root")
    await create("daughter", parent="root", status=Status.ONLINE)
    await create("grandson", parent="daughter", status=Status.PAUSED)
    await create("stranger")


async def remove(database: Database, store: WorkspaceStore, workspace_id: str, *, purge: bool = False) -> list[str]:
    async with database.write() as tx:
        return await store.remove(tx, workspace_id, purge=purge)


async def clear(database: Database, store: WorkspaceStore, *workspace_ids: str) -> None:
    async with database.write() as tx:
        for workspace_id in workspace_ids:
            await store.mark_cleared(tx, workspace_id)


@pytest.mark.usefixtures("family")
async def test_removing_takes_everything_below_deepest_first(database: Database, store: WorkspaceStore) -> None:
    removed = await remove(database, store, "root")

    assert (removed[0], set(removed[1:3]), removed[3:]) == ("grandson", {"son", "daughter"}, ["root"])


@pytest.mark.usefixtures("family")
async def test_removing_takes_nothing_beside_or_above(database: Database, store: WorkspaceStore) -> None:
    await remove(database, store, "daughter")

    assert [each.id for each in await store.present()] == ["root", "son", "stranger"]


@pytest.mark.usefixtures("family")
async def test_the_direct_children_are_those_that_are_left(database: Database, store: WorkspaceStore) -> None:
    await remove(database, store, "son")

    assert [each.id for each in await store.children("root")] == ["daughter"]


@pytest.mark.usefixtures("family")
async def test_removing_twice_removes_nothing_more(database: Database, store: WorkspaceStore) -> None:
    await remove(database, store, "root")

    assert await remove(database, store, "root") == []


@pytest.mark.usefixtures("family")
async def test_what_was_removed_earlier_is_not_removed_again(database: Database, store: WorkspaceStore) -> None:
    await remove(database, store, "daughter")

    assert sorted(await remove(database, store, "root")) == ["root", "son"]


async def test_nobody_is_removed_by_an_unknown_id(database: Database, store: WorkspaceStore) -> None:
    assert await remove(database, store, "nobody") == []


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.REMOVED])
async def test_a_workspace_is_removed_from_any_status(
    database: Database, store: WorkspaceStore, create: Create, status: WorkspaceStatus
) -> None:
    await create(status=status)

    assert await remove(database, store, "w") == ["w"]


async def test_a_removed_workspace_has_no_address_and_no_task(
    database: Database, store: WorkspaceStore, create: Create
) -> None:
    await create()
    async with database.write() as tx:
        await store.touch(tx, "w", url="http://a", current_task="t", active_tasks=3)
    await remove(database, store, "w")

    workspace = await found(store)
    assert (workspace.status, workspace.url, workspace.current_task, workspace.active_tasks) == (
        Status.REMOVED,
        "",
        "",
        0,
    )


async def test_a_removed_workspace_is_to_be_cleared(database: Database, store: WorkspaceStore, create: Create) -> None:
    await create()
    await remove(database, store, "w")

    assert await store.to_clear() == [("w", False)]


async def test_a_cleared_workspace_stays_on_record(database: Database, store: WorkspaceStore, create: Create) -> None:
    await create()
    await remove(database, store, "w")
    await clear(database, store, "w")

    assert (await store.to_clear(), (await found(store)).status) == ([], Status.REMOVED)


async def test_a_purged_workspace_is_to_be_cleared_with_its_volume(
    database: Database, store: WorkspaceStore, create: Create
) -> None:
    await create()
    await remove(database, store, "w", purge=True)

    assert await store.to_clear() == [("w", True)]


async def test_a_purged_workspace_is_forgotten_once_cleared(
    database: Database, store: WorkspaceStore, create: Create
) -> None:
    await create()
    await remove(database, store, "w", purge=True)
    await clear(database, store, "w")

    assert await store.get("w") is None


async def test_a_purge_takes_up_what_was_removed_and_cleared_earlier(
    database: Database, store: WorkspaceStore, create: Create
) -> None:
    await create()
    await remove(database, store, "w")
    await clear(database, store, "w")
    removed = await remove(database, store, "w", purge=True)

    assert (removed, await store.to_clear()) == ([], [("w", True)])


@pytest.mark.usefixtures("family")
async def test_a_purge_takes_everything_below(database: Database, store: WorkspaceStore) -> None:
    await remove(database, store, "daughter")
    await remove(database, store, "root", purge=True)

    assert sorted(await store.to_clear()) == [("daughter", True), ("grandson", True), ("root", True), ("son", True)]


@pytest.mark.usefixtures("family")
async def test_a_family_may_be_forgotten_in_any_order(database: Database, store: WorkspaceStore) -> None:
    await remove(database, store, "root", purge=True)
    await clear(database, store, "root", "daughter", "grandson", "son")

    assert [each.id for each in await store.present()] == ["stranger"]


async def test_tokens_are_forgotten_with_their_workspace(
    database: Database, store: WorkspaceStore, create: Create
) -> None:
    tokens = TokenStore(database)
    await create()
    async with database.write() as tx:
        token = await tokens.issue(tx, "w")
    await remove(database, store, "w", purge=True)
    await clear(database, store, "w")

    assert await tokens.owner(token) is None


@pytest.mark.parametrize("purge", [True, False])
async def test_a_workspace_that_was_not_removed_is_never_cleared_away(
    database: Database, store: WorkspaceStore, create: Create, *, purge: bool
) -> None:
    await create("parent")
    await create(parent="parent")
    await remove(database, store, "w", purge=purge)
    await clear(database, store, "w")

    assert ([each.id for each in await store.present()], await store.to_clear()) == (["parent"], [])
