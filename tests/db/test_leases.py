"""A workspace's lease: one server at a time, by the database's clock."""

import pytest
import sqlalchemy as sa

from workspace_server.db import Database, LeaseStore
from workspace_server.db.schema import leases

ONE = LeaseStore(server="one", boot="1")
OTHER = LeaseStore(server="other", boot="1")


async def take(database: Database, store: LeaseStore, workspace: str = "w") -> bool:
    async with database.write() as tx:
        return await store.take(tx, workspace)


async def renew(database: Database, store: LeaseStore, *workspaces: str) -> set[str]:
    async with database.write() as tx:
        return await store.renew(tx, workspaces)


async def pass_by(database: Database, seconds: float) -> None:
    """As if so much time had passed."""
    async with database.write() as tx:
        await tx.connection.execute(sa.update(leases).values(until=leases.c.until - seconds))


async def test_one_server_gets_a_lease(database: Database) -> None:
    assert [await take(database, ONE), await take(database, OTHER)] == [True, False]


async def test_leases_of_other_workspaces_are_free(database: Database) -> None:
    await take(database, ONE)

    assert await take(database, OTHER, "another")


async def test_a_server_may_take_its_own_lease_again(database: Database) -> None:
    assert [await take(database, ONE), await take(database, ONE)] == [True, True]


@pytest.mark.parametrize(("seconds", "free"), [(55, False), (61, True)])
async def test_a_lease_lasts_for_a_minute(database: Database, seconds: float, *, free: bool) -> None:
    await take(database, ONE)
    await pass_by(database, seconds)

    assert await take(database, OTHER) == free


async def test_a_lease_that_is_renewed_lasts_for_another_minute(database: Database) -> None:
    await take(database, ONE)
    await pass_by(database, 50)
    renewed = await renew(database, ONE, "w")
    await pass_by(database, 50)

    assert (renewed, await take(database, OTHER)) == ({"w"}, False)


async def test_a_lease_that_another_server_has_by_now_cannot_be_renewed(database: Database) -> None:
    await take(database, ONE)
    await pass_by(database, 61)
    await take(database, OTHER)

    assert await renew(database, ONE, "w") == set()


async def test_a_lease_that_is_given_back_is_free(database: Database) -> None:
    await take(database, ONE)
    async with database.write() as tx:
        await ONE.give_back(tx, ["w"])

    assert await take(database, OTHER)


async def test_nobody_gives_back_what_is_anothers(database: Database) -> None:
    await take(database, ONE)
    async with database.write() as tx:
        await OTHER.give_back(tx, ["w"])

    assert not await take(database, OTHER)


async def test_the_leases_of_a_servers_earlier_start_are_void(database: Database) -> None:
    await take(database, ONE)
    later = LeaseStore(server="one", boot="2")
    before = await take(database, later)
    async with database.write() as tx:
        await later.void_earlier(tx)

    assert (before, await take(database, later)) == (False, True)


async def test_the_leases_of_other_servers_outlast_a_servers_start(database: Database) -> None:
    await take(database, OTHER)
    async with database.write() as tx:
        await ONE.void_earlier(tx)

    assert not await take(database, ONE)
