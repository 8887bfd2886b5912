"""Somebody else has the database locked."""

import asyncio
from collections.abc import Callable

import pytest

from support.tasks import background

from .databases import Database
from .full import refusals
from .ground import Ground
from .table import Trial
from .test_kill import Deed, do

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.faults, pytest.mark.timeout(300)]


async def test_the_database_is_locked(ground: Ground, database: Database, trial: Callable[[str, str], Trial]) -> None:
    """Longer than the server waits: whoever asks is told to come again, and what was wanted is done afterwards."""
    row = trial("database", "locked for longer than its time-out")
    stays = await ground.online()
    coming = await ground.create("b")
    async with database.locked(ground):
        answers = await asyncio.gather(
            ground.server.client.post("/workspaces", json={"name": "c", "runtime": "langgraph"}),
            ground.server.client.post(f"/workspaces/{stays}/restart"),
            ground.server.client.delete(f"/workspaces/{coming}?purge=true"),
        )
        at_worst = await ground.things()
    row.injected += refusals(answers)
    row.over()
    await ground.recovers(row, at_worst)
    assert (row.injected, set(await ground.rows()), row.after) == (3, {stays, coming}, [])


@pytest.mark.parametrize("deed", ["create", "restart", "delete"])
async def test_killed_while_it_waits_for_the_database(
    ground: Ground, database: Database, trial: Callable[[str, str], Trial], deed: Deed
) -> None:
    """Nobody was told that it is done, and it is not done by half."""
    row = trial("kill -9", f"{deed}: waits for the database")
    workspace = await ground.online()
    async with database.locked(ground):
        async with background(do(ground, deed, workspace)) as asked:
            await ground.server.call("GET", "/workspaces")
            assert not asked.done()
            await ground.server.kill()
            row.hit()
        at_worst = await ground.things()
    row.over()
    await ground.server.start()
    await ground.recovers(row, at_worst)
    assert ([*await ground.rows()], row.after) == ([workspace], [])
