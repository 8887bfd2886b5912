"""The files of SQLite are damaged, or their disk is full."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from support.server import eventually

from .databases import file_of
from .full import ask_for_many, filled, refusals
from .ground import Ground, Thing, open_ground
from .table import SQLITE, Trial

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.faults, pytest.mark.timeout(300)]

GARBAGE = b"\xa5"


@pytest.mark.fault_of(SQLITE, "molecule.db{suffix} ends in garbage")
@pytest.mark.parametrize("suffix", ["-wal", "-shm"])
async def test_what_was_written_last_is_damaged(row: Trial, ground: Ground, suffix: str) -> None:
    """The end of the journal is garbage, as after a power cut; or its index. Both are found out by themselves."""
    workspace = await ground.online()
    await ground.server.kill()
    with (ground.server.data / f"molecule.db{suffix}").open("ab") as file:
        row.injected += file.write(GARBAGE * 10_000) > 0
    at_worst = await ground.things()
    row.over()
    await ground.server.start()
    await ground.recovers(row, at_worst)
    assert ([*await ground.rows()], row.after) == ([workspace], [])


@pytest.mark.fault_of(SQLITE, "molecule.db damaged; then the backup")
async def test_the_database_is_damaged(row: Trial, ground: Ground) -> None:
    """The server says so, does not run, and touches nothing. With yesterday's file, today's workspaces are nobody's."""
    kept, later, backup = await a_backup(ground)
    await ground.server.stop()
    before = await ground.things()
    file_of(ground).write_bytes(GARBAGE * len(backup))
    await ground.server.start(ready=False)
    row.injected += await ground.server.ended() != 0
    assert "the database cannot be used right now" in ground.server.log.read_text()
    at_worst = await ground.things()
    assert set(at_worst) == set(before)
    await restored(ground, row, backup, at_worst, kept=kept, later=later)


@pytest.mark.fault_of(SQLITE, "molecule.db damaged under a running server; then the backup")
async def test_the_database_is_damaged_while_the_server_runs(row: Trial, ground: Ground) -> None:
    """Whoever asks is refused, and nothing on the engine is touched: rows that cannot be read are not gone."""
    kept, later, backup = await a_backup(ground)
    before = await ground.things()
    damage(file_of(ground))
    answer = await ground.server.client.post("/workspaces", json={"name": "c", "runtime": "langgraph"})
    row.injected += refusals([answer])

    def compared() -> bool:
        return "facts" in [each["work"] for each in ground.server.log_lines("periodic work failed")]

    await eventually(compared, "the rows were to be compared with the engine", 40)
    at_worst = await ground.things()
    assert set(at_worst) == set(before)
    await ground.server.kill()
    await restored(ground, row, backup, at_worst, kept=kept, later=later)


async def a_backup(ground: Ground) -> tuple[str, str, bytes]:
    """A workspace that is in the backup, one that is not, and the backup."""
    kept = await ground.online()
    await ground.server.stop()
    backup = file_of(ground).read_bytes()
    await ground.server.start()
    return kept, await ground.online("b"), backup


def damage(file: Path) -> None:
    """Garbage over every page, the first one's head excepted, behind the back of whoever has it open."""
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with file.open("r+b") as opened:
        opened.seek(100)
        opened.write(GARBAGE * (file.stat().st_size - 100))


async def restored(ground: Ground, row: Trial, backup: bytes, at_worst: list[Thing], *, kept: str, later: str) -> None:
    """The backup in the damaged files' place, and a server on it."""
    for suffix in ("-wal", "-shm"):
        file_of(ground).with_name(f"molecule.db{suffix}").unlink(missing_ok=True)
    file_of(ground).write_bytes(backup)
    ground.forgotten.add(later)
    row.over()
    await ground.server.start()
    await ground.recovers(row, at_worst)
    assert (kept in await ground.rows(), later in await ground.rows()) == (True, False)


@pytest.fixture
async def ground_with_small_data(
    row: Trial, faulty_engine: str, workspace_network: None, tmp_path: Path, small_disk: Path
) -> AsyncIterator[Ground]:
    async with open_ground(tmp_path, faulty_engine, MOLECULE_DATA_DIR=f"{small_disk}/data") as opened:
        yield opened


@pytest.mark.fault_of(SQLITE, "the disk of molecule.db full")
async def test_the_disk_of_the_database_is_full(row: Trial, ground_with_small_data: Ground, small_disk: Path) -> None:
    """The images are elsewhere: what was acknowledged in the last free bytes is provisioned, or waits."""
    ground = ground_with_small_data
    stays, goes = await ground.online(), await ground.online("b")
    with filled(small_disk):
        acknowledged = {stays, goes} | await ask_for_many(ground, row)
        deleted = await ground.server.client.delete(f"/workspaces/{goes}?purge=true")
        acknowledged -= {goes} if deleted.is_success else set()
        at_worst = await ground.things()
    row.over()
    await ground.recovers(row, at_worst, seconds=180)
    assert (set(await ground.rows()), row.after) == (acknowledged, [])
