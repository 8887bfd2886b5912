"""Servers on PostgreSQL: two of them on one database and one engine, one that dies, and a database that goes away."""

import asyncio
import contextlib
import secrets
import signal
from dataclasses import dataclass

import pytest

from support.engine import Engine
from support.engine_proxy import EngineProxy
from support.git_server import GitServer
from support.postgres import ENCRYPTION_KEY, Postgres, postgres
from support.server import NO_ENGINE, ServerProcess, eventually

from .site import LANGGRAPH, Serve, Site, quick_agent

pytestmark = [pytest.mark.engine, pytest.mark.slow]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two servers; a proxy is between ``one`` and the engine. Each is seen with a site of its own."""

    one: Site
    other: Site
    database: str


@pytest.fixture
async def settings(git_host: GitServer, postgres_url: str) -> dict[str, str]:
    return {
        "MOLECULE_LOCAL_TEMPLATE_REPO_PREFIX": git_host.repo_prefix,
        "DATABASE_URL": postgres_url,
        "SECRETS_ENCRYPTION_KEY": ENCRYPTION_KEY,
        "REDIS_URL": "redis://nowhere",
    }


@pytest.fixture
async def pair(serve: Serve, git_host: GitServer, api: Engine, proxy: EngineProxy, settings: dict[str, str]) -> Pair:
    one, other = await serve(behind=proxy.address, **settings), await serve(**settings)
    mark = secrets.token_hex(8)
    sites = [Site(server=server, git=git_host, engine=api, mark=mark) for server in (one, other)]
    return Pair(one=sites[0], other=sites[1], database=settings["DATABASE_URL"].rpartition("/")[2])


async def test_two_servers_on_one_database_are_one_installation(pair: Pair) -> None:
    """What one is told the other knows, and does: secrets, restart, removal; a provisioning is followed at either."""
    one, other = pair.one.server, pair.other.server
    await pair.one.template(LANGGRAPH, quick_agent())
    assert one.instance == other.instance
    await other.call("PUT", "/settings/secrets", {"key": "A_KEY", "value": "of all"})
    workspace = await one.create(LANGGRAPH)
    async with other.client.stream("GET", f"/workspaces/{workspace}/provisioning?follow=1") as followed:
        told = [line async for line in followed.aiter_lines() if line.startswith("data:")]
    assert '"status":"online"' in told[-1]
    assert "A_KEY=of all" in (await pair.one.container(workspace))["Config"]["Env"]
    await other.call("POST", f"/workspaces/{workspace}/restart")
    assert (await one.until(workspace, "online"))["generation"] > 1
    assert await pair.other.say(workspace, "hello") == "echo: hello"
    await one.call("DELETE", f"/workspaces/{workspace}?purge=true")
    await pair.one.is_gone(workspace)
    assert len(one.log_lines("REDIS_URL is ignored: what it was for is in the database")) == 1


async def test_a_server_that_is_killed_is_taken_over(pair: Pair, proxy: EngineProxy, cluster: Postgres) -> None:
    await pair.other.server.stop()  # so that it is the one that works on the workspace
    await pair.one.template(LANGGRAPH, quick_agent())
    hold = proxy.faults.hold("POST", r"/containers/[^/]+/start")
    workspace = await pair.one.server.create(LANGGRAPH)
    await asyncio.wait_for(hold.arrived.wait(), 60)
    await pair.other.server.start()
    await pair.one.server.kill()
    async with cluster.connected(pair.database) as connection:
        owners = await connection.fetch("SELECT count(*) FROM leases")
        await connection.execute("UPDATE leases SET until = until - 60")  # as if a minute had passed
    view = await pair.other.server.until(workspace, "online")
    assert (owners[0][0], view["generation"], len(await pair.other.containers(workspace))) == (1, 2, 1)


async def test_a_server_that_is_killed_goes_on_at_once_when_it_starts_again(pair: Pair, proxy: EngineProxy) -> None:
    """Its own leases do not keep it waiting."""
    await pair.other.server.stop()
    await pair.one.template(LANGGRAPH, quick_agent())
    hold = proxy.faults.hold("POST", r"/containers/[^/]+/start")
    workspace = await pair.one.server.create(LANGGRAPH)
    await asyncio.wait_for(hold.arrived.wait(), 60)
    await pair.one.server.kill()
    proxy.faults.clear()
    await pair.one.server.start()
    assert (await pair.one.server.until(workspace, "online", 30))["generation"] == 2


async def ended(server: ServerProcess) -> str:
    """Start a server that refuses to, and return its last words."""
    with pytest.raises(AssertionError, match="the server ended"):
        await server.start()
    with contextlib.suppress(AssertionError):  # it ended with a code of its own
        await server.stop()
    return server.log.read_text()


@pytest.fixture
async def alone(serve: Serve, settings: dict[str, str]) -> ServerProcess:
    """One server that has run and been stopped."""
    server = await serve(**settings)
    await server.stop()
    return server


async def test_a_server_with_another_engine_is_refused(
    alone: ServerProcess, cluster: Postgres, settings: dict[str, str]
) -> None:
    async with cluster.connected(settings["DATABASE_URL"].rpartition("/")[2]) as connection:
        known = await connection.fetchval("SELECT engine FROM installation")
        await connection.execute("UPDATE installation SET engine = 'another'")

    assert known
    assert "the workspaces of this database run on another engine" in await ended(alone)


async def test_the_database_of_the_server_this_one_replaces_is_refused(alone: ServerProcess, cluster: Postgres) -> None:
    async with cluster.database() as name:
        async with cluster.connected(name) as connection:
            await connection.execute("CREATE TABLE schema_migrations (filename TEXT)")
        alone.environment["DATABASE_URL"] = cluster.url(name)

        assert "the database is another server's: it has the table schema_migrations" in await ended(alone)


async def test_an_engine_that_is_away_at_the_start_is_waited_for_and_told_of(
    serve: Serve, git_host: GitServer, api: Engine, proxy: EngineProxy, settings: dict[str, str]
) -> None:
    await proxy.down()
    server = await serve(behind=proxy.address, **settings)
    await Site(server=server, git=git_host, engine=api).template(LANGGRAPH, quick_agent())
    workspace = await server.create(LANGGRAPH)

    async def told() -> bool:
        view = await server.view(workspace)
        return (view["status"], (view["error"] or {}).get("code")) == ("provisioning", "engine_unavailable")

    await eventually(told, "the row says what it waits for")
    await proxy.up()
    assert (await server.until(workspace, "online"))["error"] is None


async def test_requests_wait_for_the_database_and_nothing_acknowledged_is_lost(
    serve: Serve, git_host: GitServer, api: Engine, settings: dict[str, str]
) -> None:
    with postgres() as own:
        server = await serve(**settings | {"DATABASE_URL": own.url()})
        site = Site(server=server, git=git_host, engine=api)
        await site.template(LANGGRAPH, quick_agent())
        before = await server.create(LANGGRAPH)
        await server.until(before, "online")
        own.stop(signal.SIGQUIT)
        refused = await server.client.post("/workspaces", json={"name": "b", "runtime": LANGGRAPH})
        health = await server.client.get("/health")
        ready = await server.client.get("/ready")
        assert (refused.status_code, refused.json()["code"]) == (503, "database_unavailable")
        assert int(refused.headers["retry-after"]) > 0
        assert (health.status_code, ready.status_code) == (200, 503)
        await api.call("POST", f"/containers/{(await site.container(before))['Id']}/kill")
        own.start()
        assert [each["id"] for each in await server.call("GET", "/workspaces")] == [before]

        async def again() -> bool:
            view = await server.view(before)
            return view["status"] == "online" and view["generation"] > 1

        await eventually(again, "the workspace that died meanwhile runs again", 60)
        await server.close()
        server.engine = NO_ENGINE  # all is removed while its database is there
