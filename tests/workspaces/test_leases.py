"""Two servers on one database and one engine: one of them works on a workspace, and the other goes on when it dies."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import sqlalchemy as sa

from support.postgres import Postgres
from support.server import eventually
from workspace_server.concurrency import Deadline
from workspace_server.db.schema import leases
from workspace_server.model.event import Event, EventType
from workspace_server.model.workspace import WorkspaceStatus

from .world import Supply, World, world

pytestmark = pytest.mark.engine


@pytest.fixture
async def servers(  # noqa: PLR0917 - fixtures
    tmp_path: Path, engine_url: str, supply: Supply, instance: str, workspace_network: None, postgres_url: str
) -> AsyncIterator[tuple[World, World]]:
    """Two servers, each with a data directory of its own. They hear each other."""
    async with AsyncExitStack() as stack:
        opened = [
            await stack.enter_async_context(
                world(tmp_path / name, engine_url, supply, instance, place=postgres_url, MOLECULE_DATA_DIR=f"/{name}")
            )
            for name in ("one", "other")
        ]
        for each in opened:
            each.scope.start(each.others.follow(), name="other servers")
        yield opened[0], opened[1]


async def pass_by(here: World, seconds: float) -> None:
    """As if so much time had passed, by the database's clock."""
    async with here.database.write() as tx:
        await tx.connection.execute(sa.update(leases).values(until=leases.c.until - seconds))


async def test_only_one_server_works_on_a_workspace(servers: tuple[World, World]) -> None:
    one, other = servers
    workspace = await one.create()
    await one.begin()
    await other.fulfil()

    assert ((await other.row(workspace)).generation, other.proxy.count("GET", "/containers/json")) == (1, 0)


async def test_a_server_goes_on_where_another_one_died(servers: tuple[World, World]) -> None:
    """Its lease lapses, and the container that it started is waited for."""
    one, other = servers
    workspace = await one.create()
    await one.begin()
    container = (await one.inspected(workspace))["Id"]
    await pass_by(one, 61)
    await other.begin()
    other.proxy.faults.clear()
    await other.call_of_agent(workspace)
    await other.settle()

    assert ((await other.row(workspace)).status, (await other.inspected(workspace))["Id"]) == (
        WorkspaceStatus.ONLINE,
        container,
    )


async def test_a_server_that_lost_its_lease_stops_working(servers: tuple[World, World]) -> None:
    one, other = servers
    workspace = await one.create()
    await one.begin()
    await pass_by(one, 61)
    await other.begin()
    await one.leases.renew()
    await one.settle()

    assert (await other.row(workspace)).status is WorkspaceStatus.PROVISIONING
    assert list(other.reconciler._working) == [workspace]


async def test_a_lease_that_is_renewed_is_kept(servers: tuple[World, World]) -> None:
    one, other = servers
    await one.create()
    await one.begin()
    for _ in range(3):
        await pass_by(one, 30)
        await one.leases.renew()
    await other.fulfil()

    assert (len(one.reconciler._working), other.proxy.count("GET", "/containers/json")) == (1, 0)


async def test_a_server_that_ends_leaves_its_work_to_the_other_at_once(servers: tuple[World, World]) -> None:
    one, other = servers
    workspace = await one.create()
    await one.begin()
    for task in one.reconciler._working.values():
        task.cancel()
    await one.settle()
    await one.leases.close()
    await other.begin()

    assert list(other.reconciler._working) == [workspace]


async def test_an_agent_may_call_any_server(servers: tuple[World, World]) -> None:
    """The one that provisions its workspace hears of it."""
    one, other = servers
    workspace = await one.waiting_for_agent()
    await other.call_of_agent(workspace)
    await one.settle()

    assert (await one.row(workspace)).phases["online"]["state"] == "done"


async def test_an_event_of_one_server_reaches_the_listeners_of_the_other_once(servers: tuple[World, World]) -> None:
    one, other = servers
    with other.events.listen() as news:
        workspace = await one.create()
        async with Deadline(10).limit("hearing"):
            first = await news.get()
        await other.events.send_since(first.at)

        assert (first.type, first.workspace_id, news.qsize()) == (EventType.PROVISIONING, workspace, 0)


async def test_what_was_missed_is_made_up_for(
    servers: tuple[World, World], cluster: Postgres, postgres_url: str
) -> None:
    """An event that is committed while nobody can listen reaches the other server when it listens again."""
    one, other = servers
    name = postgres_url.rpartition("/")[2]
    with other.events.listen() as news:
        await one.create()
        async with Deadline(20).limit("hearing"):
            await news.get()
        missed = Event(type=EventType.ONLINE, workspace_id="w", payload={})
        async with cluster.connected() as outside:
            await outside.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
            ending = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = $1 AND query ~ $2"
            assert await outside.fetch(ending, name, "^(LISTEN|SELECT 1$)")
            async with one.database.write() as tx:
                await one.events.record(tx, missed)
            await outside.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        async with Deadline(20).limit("catching up"):
            heard = await news.get()

        assert (heard, news.qsize()) == (missed, 0)


async def test_a_wish_written_at_one_server_wakes_the_other(servers: tuple[World, World]) -> None:
    one, other = servers
    with other.events.listen() as news:
        await one.create()
        async with Deadline(20).limit("hearing"):
            await news.get()  # it listens by now, and has caught up
        other.reconciler._wishes.clear()
        await one.create()

        await eventually(other.reconciler._wishes.is_set, "the other is awake", 10)
