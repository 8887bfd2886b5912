"""No space left: for the cache, for the data, for the engine. With room again, all goes on."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from support.private_engine import PrivateEngine
from support.server import eventually

from .databases import Database
from .full import ask_for_many, filled
from .ground import Ground, open_ground
from .table import Trial
from .test_engine_misbehaves import settled

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.faults, pytest.mark.timeout(600)]


@pytest.fixture
async def ground_on_small_disk(
    faulty_engine: str, workspace_network: None, tmp_path: Path, small_disk: Path, database: Database
) -> AsyncIterator[Ground]:
    places = {"MOLECULE_LOCAL_BUILD_CACHE": f"{small_disk}/cache", "MOLECULE_DATA_DIR": f"{small_disk}/data"}
    async with open_ground(tmp_path, faulty_engine, **places, **database.settings) as opened:
        yield opened


async def test_the_disk_of_cache_and_data_is_full(
    ground_on_small_disk: Ground, small_disk: Path, trial: Callable[[str, str], Trial]
) -> None:
    """Whatever is refused says so with a code; what was acknowledged is done when there is room."""
    ground, row = ground_on_small_disk, trial("disk full", "cache and data")
    stays, goes = await ground.online(), await ground.online("b")
    await ground.move_template()
    with filled(small_disk):
        acknowledged = {stays, goes} | await ask_for_many(ground, row)
        deleted = await ground.server.client.delete(f"/workspaces/{goes}?purge=true")
        restarted = await ground.server.client.post(f"/workspaces/{stays}/restart")
        assert {deleted.status_code, restarted.status_code} <= {200, 503}
        acknowledged -= {goes} if deleted.is_success else set()
        at_worst = await ground.things()
    for workspace in acknowledged:
        await settled(ground, workspace)
        view = await ground.server.view(workspace)
        if view["status"] == "failed":
            row.injected += view["error"]["code"] == "no_space"
            await ground.server.call("POST", f"/workspaces/{workspace}/restart")
    row.over()
    await ground.recovers(row, at_worst, seconds=180)
    assert (set(await ground.rows()), row.after) == (acknowledged, [])


async def test_the_cache_is_full(  # noqa: PLR0917 - fixtures
    faulty_engine: str,
    workspace_network: None,
    tmp_path: Path,
    small_disk: Path,
    database: Database,
    trial: Callable[[str, str], Trial],
) -> None:
    places = {"MOLECULE_LOCAL_BUILD_CACHE": f"{small_disk}/cache"}
    async with open_ground(tmp_path, faulty_engine, **places, **database.settings) as ground:
        row = trial("disk full", "cache")
        await ground.online()
        await ground.move_template()
        with filled(small_disk):
            workspace = await ground.create("b")
            row.injected += await eventually_failed(ground, workspace) == "no_space"
            at_worst = await ground.things()
        row.over()
        await ground.server.call("POST", f"/workspaces/{workspace}/restart")
        await ground.recovers(row, at_worst)
        assert (len(await ground.rows()), row.after) == (2, [])


async def test_the_engines_disk_is_full(
    ground: Ground, own_engine: PrivateEngine, trial: Callable[[str, str], Trial]
) -> None:
    row = trial("disk full", "engine")
    stays = await ground.online()
    with filled(own_engine.data):
        workspace = await ground.create("b")
        row.injected += await eventually_failed(ground, workspace) != ""
        await ground.server.call("POST", f"/workspaces/{stays}/restart")
        await settled(ground, stays)
        at_worst = await ground.things()
    row.over()
    for each in (workspace, stays):
        await ground.server.call("POST", f"/workspaces/{each}/restart")
    await ground.recovers(row, at_worst)
    assert (set(await ground.rows()), row.after) == ({stays, workspace}, [])


async def eventually_failed(ground: Ground, workspace: str) -> str:
    """The code of the error it failed with."""

    async def code() -> str:
        view = await ground.server.view(workspace)
        return str(view["error"]["code"]) if view["status"] == "failed" else ""

    return await eventually(code, "it failed")
