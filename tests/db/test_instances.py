"""The machines that rows remember: written before they are asked for, and fenced by their generation."""

import pytest

from workspace_server.db import Database, Instance, InstanceStore, WorkspaceStore
from workspace_server.model.workspace import WorkspaceSpec, WorkspaceStatus


@pytest.fixture
async def instances(database: Database) -> InstanceStore:
    store = WorkspaceStore(database)
    async with database.write() as tx:
        for identity in ("w", "v"):
            await store.insert(tx, identity, WorkspaceSpec(name="a", runtime="langgraph", tier=2))
    return InstanceStore(database)


async def expect(database: Database, instances: InstanceStore, generation: int, workspace: str = "w") -> bool:
    async with database.write() as tx:
        return await instances.expect(tx, workspace, generation)


def machine(generation: int, identity: str | None = None) -> Instance:
    return Instance(workspace_id="w", status=WorkspaceStatus.PROVISIONING, generation=generation, id=identity)


async def test_a_workspace_has_no_machine_at_first(instances: InstanceStore) -> None:
    assert (await instances.of("w"), await instances.all()) == (None, [])


async def test_a_machine_is_there_before_its_name_is_known(database: Database, instances: InstanceStore) -> None:
    assert await expect(database, instances, 3)
    assert await instances.of("w") == machine(3)

    await instances.confirm(machine(3), "i-1")
    assert await instances.of("w") == machine(3, "i-1")


async def test_no_second_machine_is_expected_beside_another(database: Database, instances: InstanceStore) -> None:
    assert await expect(database, instances, 3)

    assert not await expect(database, instances, 4)
    assert await instances.of("w") == machine(3)


async def test_a_machine_that_ended_is_forgotten(database: Database, instances: InstanceStore) -> None:
    await expect(database, instances, 3)
    await instances.confirm(machine(3), "i-1")
    await instances.forget(machine(3, "i-1"))

    assert await instances.of("w") is None
    assert await expect(database, instances, 4)


async def test_what_comes_late_changes_nothing_of_the_next_machine(
    database: Database, instances: InstanceStore
) -> None:
    await expect(database, instances, 3)
    await instances.forget(machine(3))
    await expect(database, instances, 5)
    await instances.confirm(machine(3), "i-of-3")
    await instances.forget(machine(3, "i-of-3"))

    assert await instances.of("w") == machine(5)


async def test_a_machine_belongs_to_one_workspace(database: Database, instances: InstanceStore) -> None:
    await expect(database, instances, 3)
    await expect(database, instances, 7, "v")
    await instances.forget(machine(3))

    assert [(each.workspace_id, each.generation) for each in await instances.all()] == [("v", 7)]


async def test_a_removed_workspace_still_has_its_machine(database: Database, instances: InstanceStore) -> None:
    await expect(database, instances, 3)
    async with database.write() as tx:
        await WorkspaceStore(database).remove(tx, "w", purge=True)

    (left,) = await instances.all()
    assert (left.workspace_id, left.status, left.generation) == ("w", WorkspaceStatus.REMOVED, 3)
