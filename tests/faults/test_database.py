"""SQLite is locked by somebody else, or its files are damaged."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from support.tasks import background

from .ground import Ground
from .table import Trial
from .test_kill import do

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.faults, pytest.mark.usefixtures("only_sqlite")]


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Nobody else can write."""
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


def database(ground: Ground) -> Path:
    return ground.server.data / "molecule.db"


async def test_the_database_is_locked(ground: Ground, trial: Callable[[str, str], Trial]) -> None:
    """Longer than the server waits: whoever asks is told to come again, and what was wanted is done afterwards."""
    row = trial("database", "locked for longer than its time-out")
    stays = await ground.online()
    coming = await ground.create("b")
    with locked(database(ground)):
        answers = await asyncio.gather(
            ground.server.client.post("/workspaces", json={"name": "c", "runtime": "langgraph"}),
            ground.server.client.post(f"/workspaces/{stays}/restart"),
            ground.server.client.delete(f"/workspaces/{coming}?purge=true"),
        )
        at_worst = await ground.things()
    told = [(each.status_code, each.json()["code"], "retry-after" in each.headers) for each in answers]
    row.injected = told.count((503, "database_unavailable", True))
    row.over()
    await ground.recovers(row, at_worst)
    assert (row.injected, set(await ground.rows()), row.after) == (3, {stays, coming}, [])


@pytest.mark.parametrize("deed", ["create", "restart", "delete"])
async def test_killed_while_it_waits_for_the_database(
    ground: Ground, trial: Callable[[str, str], Trial], deed: str
) -> None:
    """Nobody was told that it is done, and it is not done by half."""
    row = trial("kill -9", f"{deed}: waits for the database")
    workspace = await ground.online()
    with locked(database(ground)):
        async with background(do(ground, deed, workspace)) as asked:  # type: ignore[arg-type] # a deed
            await ground.server.call("GET", "/workspaces")
            assert not asked.done()
            await ground.server.kill()
            row.hit()
        at_worst = await ground.things()
    row.over()
    await ground.server.start()
    await ground.recovers(row, at_worst)
    assert ([*await ground.rows()], row.after) == ([workspace], [])


@pytest.mark.parametrize("suffix", ["-wal", "-shm"])
async def test_what_was_written_last_is_damaged(
    ground: Ground, trial: Callable[[str, str], Trial], suffix: str
) -> None:
    """The end of the journal is garbage, as after a power cut; or its index. Both are found out by themselves."""
    row = trial("database", f"molecule.db{suffix} ends in garbage")
    workspace = await ground.online()
    await ground.server.kill()
    with (ground.server.data / f"molecule.db{suffix}").open("ab") as file:
        row.injected += file.write(b"\xa5" * 10_000) > 0
    at_worst = await ground.things()
    row.over()
    await ground.server.start()
    await ground.recovers(row, at_worst)
    assert ([*await ground.rows()], row.after) == ([workspace], [])


async def test_the_database_is_damaged(ground: Ground, trial: Callable[[str, str], Trial]) -> None:
    """The server says so, does not run, and touches nothing. With yesterday's file, today's workspaces are nobody's."""
    row = trial("database", "molecule.db damaged; then the backup")
    kept = await ground.online()
    await ground.server.stop()
    backup = database(ground).read_bytes()
    await ground.server.start()
    later = await ground.online("b")
    await ground.server.stop()
    before = await ground.things()
    database(ground).write_bytes(b"\xa5" * len(backup))
    await ground.server.start(ready=False)
    row.injected += await ground.server.ended() != 0
    assert "the database cannot be used right now" in ground.server.log.read_text()
    at_worst = await ground.things()
    assert set(at_worst) == set(before)
    database(ground).write_bytes(backup)
    ground.forgotten.add(later)
    row.over()
    await ground.server.start()
    await ground.recovers(row, at_worst)
    assert (kept in await ground.rows(), later in await ground.rows()) == (True, False)
