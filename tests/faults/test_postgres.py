"""PostgreSQL dies, its disk is full, somebody locks its table, or the way to it is cut."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from support.postgres import Postgres, postgres
from support.tcp_relay import TcpRelay, tcp_relay

from .databases import EVERYBODY, Database, locked_table, postgresql
from .full import ask_for_many, filled, refusals
from .ground import Ground, open_ground
from .table import POSTGRESQL, Trial
from .test_engine_stops import under_load

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.faults, pytest.mark.timeout(300)]

_PATIENCE = 90.0  # seconds: longer than the server has for a statement


@pytest.fixture
def own(row: Trial) -> Iterator[Postgres]:
    """A cluster that may be killed and filled."""
    with postgres(disk="256m") as cluster:
        yield cluster


@pytest.fixture
async def ground_on_own(
    own: Postgres, faulty_engine: str, workspace_network: None, tmp_path: Path
) -> AsyncIterator[Ground]:
    async with open_ground(tmp_path, faulty_engine, **postgresql(own.url()).settings) as opened:
        yield opened


@pytest.fixture
async def way(row: Trial, database: Database) -> AsyncIterator[TcpRelay]:
    """What is between the server and its database."""
    async with tcp_relay(port_of(database)) as relay:
        yield relay


@pytest.fixture
async def ground_behind(
    way: TcpRelay, database: Database, faulty_engine: str, workspace_network: None, tmp_path: Path
) -> AsyncIterator[Ground]:
    url = database.settings["DATABASE_URL"].replace(f":{port_of(database)}/", f":{way.port}/")
    async with open_ground(tmp_path, faulty_engine, **postgresql(url).settings) as opened:
        yield opened


def port_of(database: Database) -> int:
    port = urlsplit(database.settings["DATABASE_URL"]).port
    assert port
    return port


@pytest.mark.fault_of(POSTGRESQL, "killed and started under load")
async def test_the_server_dies_under_load(row: Trial, own: Postgres, ground_on_own: Ground) -> None:
    """``kill -9`` of all its processes; a container that dies meanwhile is found dead afterwards."""
    ground = ground_on_own
    dies = await ground.online("dies")
    wanted = {dies} | await under_load(ground)
    container = (await ground.container(dies))["Id"]
    own.kill()
    row.injected += await refused(ground)
    await ground.engine.call("POST", f"/containers/{container}/kill")
    at_worst = await ground.things()
    own.start()
    row.over()
    await ground.recovers(row, at_worst, seconds=180)
    assert (set(await ground.rows()), row.after) == (wanted, [])


@pytest.mark.fault_of(POSTGRESQL, "its disk full")
async def test_its_disk_is_full(row: Trial, own: Postgres, ground_on_own: Ground) -> None:
    ground = ground_on_own
    stays, goes = await ground.online(), await ground.online("b")
    with filled(own.data):
        wanted = {stays, goes} | await ask_for_many(ground, row)
        deleted = await ground.server.client.delete(f"/workspaces/{goes}?purge=true")
        wanted -= {goes} if deleted.is_success else set()
        at_worst = await ground.things()
    row.over()
    await ground.recovers(row, at_worst, seconds=180)
    assert (set(await ground.rows()), row.after) == (wanted, [])


@pytest.mark.fault_of(POSTGRESQL, "the table of workspaces locked for longer than the time-out")
async def test_a_table_is_locked(row: Trial, database: Database, ground: Ground) -> None:
    """As by ``VACUUM FULL``: nobody can read it either."""
    stays, coming = await ground.online(), await ground.create("b")
    async with locked_table(database.settings["DATABASE_URL"], EVERYBODY):
        answers = await asyncio.gather(
            ground.server.client.get("/workspaces"),
            ground.server.client.post(f"/workspaces/{stays}/restart"),
            ground.server.client.delete(f"/workspaces/{coming}?purge=true"),
        )
        row.injected += refusals(answers)
    at_worst = await ground.things()
    row.over()
    await ground.recovers(row, at_worst)
    assert (row.injected, set(await ground.rows()), row.after) == (3, {stays, coming}, [])


@pytest.mark.fault_of(POSTGRESQL, "every connection to it cut under load")
async def test_the_way_to_it_is_cut(row: Trial, way: TcpRelay, ground_behind: Ground) -> None:
    ground = ground_behind
    wanted = await under_load(ground)
    await way.cut()
    assert await refused(ground)
    row.injected += way.cut_off
    at_worst = await ground.things()
    await way.up()
    row.over()
    await ground.recovers(row, at_worst, seconds=180)
    assert (set(await ground.rows()), row.after) == (wanted, [])


@pytest.mark.fault_of(POSTGRESQL, "the way to it silent under load")
async def test_the_way_to_it_is_silent(row: Trial, way: TcpRelay, ground_behind: Ground) -> None:
    """A network that loses every packet ends no connection: only time-outs tell. What was acknowledged is done."""
    ground = ground_behind
    wanted = await under_load(ground)
    way.fall_silent()
    assert await refused(ground)
    row.injected += way.held_up
    at_worst = await ground.things()
    way.speak()
    row.over()
    await ground.recovers(row, at_worst, seconds=180)
    assert (set(await ground.rows()), row.after) == (wanted, [])


async def refused(ground: Ground) -> int:
    """Requests are refused, the server lives, and its readiness names the database: how many requests were."""
    answers = await asyncio.gather(
        ground.server.client.post("/workspaces", json={"name": "no", "runtime": "langgraph"}, timeout=_PATIENCE),
        ground.server.client.get("/workspaces", timeout=_PATIENCE),
    )
    assert (await ground.server.client.get("/health", timeout=_PATIENCE)).status_code == 200
    ready = await ground.server.client.get("/ready", timeout=_PATIENCE)
    broken = [part["name"] for part in ready.json()["parts"] if part["status"] == "broken"]
    assert (ready.status_code, broken) == (503, ["database"])
    return refusals(answers)
