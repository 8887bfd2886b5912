"""Transactions: all or nothing, one writer, effects after the commit."""

import asyncio
from pathlib import Path

import pytest
import sqlalchemy as sa

from workspace_server.db import Database, WorkspaceStore, open_database
from workspace_server.db import database as module
from workspace_server.db.schema import workspaces
from workspace_server.errors import UnavailableError

from .conftest import Create, found, spec

WRITERS = 50
MOMENTS = 400


async def names(database: Database) -> list[str]:
    async with database.read() as connection:
        return list((await connection.execute(sa.select(workspaces.c.name))).scalars())


async def increment(database: Database, *, durable: bool = True) -> None:
    """Read and write in one transaction: a lost update shows in the sum."""
    async with database.write(durable=durable) as tx:
        tasks = (await tx.connection.execute(sa.select(workspaces.c.active_tasks))).scalar_one()
        await asyncio.sleep(0)
        await tx.connection.execute(sa.update(workspaces).values(active_tasks=tasks + 1))


async def test_what_is_written_is_there(database: Database, store: WorkspaceStore) -> None:
    async with database.write() as tx:
        await store.insert(tx, "w", spec(name="b"))

    assert await names(database) == ["b"]


async def test_a_failure_in_its_block_undoes_the_transaction(database: Database, store: WorkspaceStore) -> None:
    async def work() -> None:
        async with database.write() as tx:
            await store.insert(tx, "w", spec())
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await work()

    assert await names(database) == []


async def test_a_cancel_at_any_moment_leaves_the_database_unlocked(database: Database, store: WorkspaceStore) -> None:
    async with database.write() as tx:
        await store.insert(tx, "w", spec())

    async def work() -> None:
        async with database.write(durable=False) as tx:
            await store.touch(tx, "w", current_task="x")

    kept = []  # what an exception holds may hold the statement that was cancelled
    for passes in range(MOMENTS):
        task = asyncio.create_task(work())
        for _ in range(passes):
            await asyncio.sleep(0)
        task.cancel()
        kept += await asyncio.gather(task, return_exceptions=True)
        async with database.write() as tx:
            await store.touch(tx, "w", current_task="y")


async def test_a_cancel_in_its_block_undoes_the_transaction(database: Database, store: WorkspaceStore) -> None:
    written = asyncio.Event()

    async def work() -> None:
        async with database.write() as tx:
            await store.insert(tx, "w", spec())
            written.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await written.wait()
    task.cancel()
    await asyncio.wait([task])

    assert await names(database) == []


async def test_a_transaction_is_not_seen_before_its_commit(database: Database, store: WorkspaceStore) -> None:
    async with database.write() as tx:
        await store.insert(tx, "w", spec())
        before = await names(database)

    assert (before, await names(database)) == ([], ["a"])


async def test_a_reader_keeps_one_view_while_others_write(database: Database, create: Create) -> None:
    query = sa.select(sa.func.count()).select_from(workspaces)
    async with database.read() as connection:
        before = (await connection.execute(query)).scalar()
        await create()
        after = (await connection.execute(query)).scalar()

    assert (before, after) == (0, 0)


async def test_effects_wait_for_the_commit(database: Database, store: WorkspaceStore) -> None:
    effects: list[str] = []
    async with database.write() as tx:
        tx.on_commit(lambda: effects.append("sent"))
        await store.insert(tx, "w", spec())
        before = list(effects)

    assert (before, effects) == ([], ["sent"])


async def test_effects_come_in_order(database: Database) -> None:
    effects: list[int] = []
    async with database.write() as tx:
        for number in range(3):
            tx.on_commit(lambda number=number: effects.append(number))

    assert effects == [0, 1, 2]


async def test_an_effect_sees_what_was_written(database: Database, store: WorkspaceStore) -> None:
    looks: list[asyncio.Task[list[str]]] = []
    async with database.write() as tx:
        tx.on_commit(lambda: looks.append(asyncio.create_task(names(database))))
        await store.insert(tx, "w", spec())

    assert await looks[0] == ["a"]


async def test_what_was_undone_has_no_effects(database: Database) -> None:
    effects: list[str] = []

    async def work() -> None:
        async with database.write() as tx:
            tx.on_commit(lambda: effects.append("sent"))
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await work()

    assert effects == []


@pytest.mark.parametrize("durable", [True, False])
async def test_fifty_writers_lose_nothing(
    database: Database, store: WorkspaceStore, create: Create, *, durable: bool
) -> None:
    await create()
    await asyncio.gather(*(increment(database, durable=durable) for _ in range(WRITERS)))

    assert (await found(store)).active_tasks == WRITERS


async def test_writers_of_two_kinds_lose_nothing(database: Database, store: WorkspaceStore, create: Create) -> None:
    await create()
    await asyncio.gather(*(increment(database, durable=number % 2 == 0) for number in range(WRITERS)))

    assert (await found(store)).active_tasks == WRITERS


async def test_writers_through_two_openings_lose_nothing(database: Database, create: Create, place: Path | str) -> None:
    await create()
    async with open_database(place) as other:
        await asyncio.gather(*(increment(one) for one in (database, other) for _ in range(WRITERS // 2)))

    assert (await found(WorkspaceStore(database))).active_tasks == WRITERS


async def test_writers_that_are_cancelled_leave_a_database_that_works(
    database: Database, store: WorkspaceStore, create: Create
) -> None:
    await create()
    done = 0

    async def work() -> None:
        nonlocal done
        await increment(database)
        done += 1

    tasks = [asyncio.create_task(work()) for _ in range(WRITERS)]
    while done < 5:  # cancel others at each commit: some of them have the write lock, some wait for it
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        tasks.pop().cancel()
        tasks = [task for task in tasks if not task.done()]
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    await increment(database)

    # A cancel in the very commit leaves open whether it happened; whatever returned did.
    assert (await found(store)).active_tasks >= done + 1


async def test_who_waits_too_long_to_write_is_told_so_and_others_go_on(
    database: Database, create: Create, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_TURN_SECONDS", 0.05)
    assert database.failed_at is None
    async with database.write():
        with pytest.raises(UnavailableError) as caught:
            async with database.write():
                pass
    assert (caught.value.code, await create()) == ("database_unavailable", "w")
    assert database.failed_at is not None


async def test_readers_go_on_while_somebody_writes(database: Database, create: Create) -> None:
    await create()
    async with database.write():
        counts = await asyncio.gather(*(names(database) for _ in range(20)))

    assert counts == [["a"]] * 20


async def test_a_workspace_needs_a_parent_that_exists(database: Database, store: WorkspaceStore) -> None:
    with pytest.raises(sa.exc.IntegrityError, match=r"(?i)foreign key"):
        async with database.write() as tx:
            await store.insert(tx, "w", spec(parent_id="nobody"))


async def test_an_open_database_answers(database: Database) -> None:
    await database.ping()
