"""Agents that run elsewhere: their silence, and what the engine's facts have to do with them: nothing."""

from datetime import UTC, datetime, timedelta

import pytest

from workspace_server.agents import Heartbeat
from workspace_server.model.workspace import WorkspaceSpec, WorkspaceStatus

from .world import World

pytestmark = pytest.mark.engine


async def silent(here: World, seconds: float) -> str:
    """An agent that runs elsewhere and called so many seconds ago; the server has run for longer."""
    spec = WorkspaceSpec(name="a", runtime="external", tier=2)
    made = await here.service.connect(spec, "http://127.0.0.1:4711")
    async with here.database.write() as tx:
        await here.store.touch(tx, made.id, last_heartbeat_at=datetime.now(UTC) - timedelta(seconds=seconds))
    here.reconciler._observer._began -= timedelta(hours=1)
    await here.reconciler.observe()
    await here.fulfil()
    return made.id


async def test_silent_for_longer_than_90_s_it_is_offline_and_nobody_restarts_it(here: World) -> None:
    workspace = await silent(here, 91)
    assert (await here.row(workspace)).status is WorkspaceStatus.OFFLINE


async def test_silent_for_less_it_stays_online_without_a_container(here: World) -> None:
    workspace = await silent(here, 80)
    assert (await here.row(workspace)).status is WorkspaceStatus.ONLINE


async def test_its_next_call_brings_it_back(here: World) -> None:
    workspace = await silent(here, 91)
    await here.registry.heartbeat(workspace, Heartbeat())
    assert (await here.row(workspace)).status is WorkspaceStatus.ONLINE


async def test_nothing_of_it_is_on_the_engine(here: World) -> None:
    workspace = await silent(here, 80)
    assert (await here.containers(workspace), await here.named_volumes(workspace)) == ([], [])


async def test_a_pause_of_a_team_leaves_it_alone(here: World) -> None:
    parent = await here.online()
    spec = WorkspaceSpec(name="a", runtime="external", tier=2, parent_id=parent)
    child = (await here.service.connect(spec, "http://127.0.0.1:4711")).id
    await here.lifecycle.pause(parent)
    await here.reconciler.observe()
    await here.settle()
    assert (await here.row(child)).status is WorkspaceStatus.ONLINE


async def test_a_new_secret_of_all_starts_nothing(here: World) -> None:
    workspace = await silent(here, 80)
    await here.secrets.put(None, "API_KEY", "x")
    await here.lifecycle.restart_with_secrets(await here.secrets.told_of("API_KEY"))
    assert (await here.row(workspace)).status is WorkspaceStatus.ONLINE


async def test_after_the_machine_slept_nobody_is_called_silent(here: World) -> None:
    here.reconciler._observer._looked -= timedelta(hours=8)
    workspace = await silent(here, 8 * 3600)
    assert (await here.row(workspace)).status is WorkspaceStatus.ONLINE
