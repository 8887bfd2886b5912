"""Rows say what is wanted, the engine says what is: the gap is closed from both sides."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from structlog.typing import EventDict

from support.engine import engine_address, instance_label, purge
from workspace_server.db import EventStore
from workspace_server.model import names
from workspace_server.model.event import EventType
from workspace_server.model.workspace import WorkspaceStatus
from workspace_server.workspaces.attempt import SupersededError

from .world import WAIT, World, arrived, installation

pytestmark = pytest.mark.engine


async def status(here: World, workspace: str) -> WorkspaceStatus:
    return (await here.row(workspace)).status


async def stray(here: World, instance: str, workspace: str) -> str:
    """A container that carries these labels, and that no server of this test made; returns its id."""
    body = {
        "Image": (await here.api.get("/images/python:3.11-slim/json"))["Id"],
        "Labels": {names.MANAGED: "true", names.INSTANCE: instance, names.WORKSPACE_ID: workspace},
    }
    return str((await here.api.call("POST", "/containers/create", body))["Id"])


@pytest.fixture
async def neighbour(engine_url: str) -> AsyncIterator[str]:
    """Another installation on the same engine."""
    async with installation(engine_url) as identity:
        yield identity


# Observing


async def test_a_container_that_runs_leaves_its_workspace_online(here: World) -> None:
    workspace = await here.online()
    await here.reconciler.observe()

    assert await status(here, workspace) is WorkspaceStatus.ONLINE


@pytest.mark.parametrize("end", ["kill", "remove"])
async def test_a_workspace_whose_container_ended_is_offline(here: World, end: str) -> None:
    workspace = await here.online()
    path = f"/containers/{names.container_name(workspace)}"
    if end == "kill":
        await here.api.call("POST", f"{path}/kill")
    else:
        await here.api.call("DELETE", path, force="1")
    await here.reconciler.observe()

    (event, *_) = await EventStore(here.database).newest(limit=1, workspace_id=workspace)
    assert (await status(here, workspace), event["event_type"]) == (WorkspaceStatus.OFFLINE, EventType.OFFLINE)


async def test_a_beat_brings_an_offline_workspace_back(here: World) -> None:
    workspace = await here.online()
    async with here.database.write() as tx:
        await here.store.move(tx, workspace, WorkspaceStatus.OFFLINE)
    await here.beat_of_agent(workspace)

    assert await status(here, workspace) is WorkspaceStatus.ONLINE


async def test_a_workspace_that_comes_online_during_the_look_is_not_called_dead(here: World) -> None:
    workspace = await here.create()
    hold = await here.begin("POST", "/containers/create")
    looking = here.proxy.faults.hold("GET", "/containers/json", when="after")
    look = asyncio.create_task(here.reconciler.observe())
    await arrived(looking)
    waits = here.proxy.faults.hold("POST", WAIT)
    here.proxy.faults.remove(hold)
    await arrived(waits)
    await here.call_of_agent(workspace)
    here.proxy.faults.remove(looking)
    await look

    assert await status(here, workspace) is WorkspaceStatus.ONLINE


async def test_an_address_that_changed_is_written_to_the_row(here: World) -> None:
    workspace = await here.online()
    url = (await here.row(workspace)).url
    async with here.database.write() as tx:
        await here.store.touch(tx, workspace, url="http://127.0.0.1:1")
    await here.reconciler.observe()

    assert (await here.row(workspace)).url == url


async def test_an_agent_that_could_not_be_heard_while_the_database_was_away_is_not_called_silent(here: World) -> None:
    workspace = await here.online()
    long_ago = datetime.now(UTC) - timedelta(minutes=10)
    async with here.database.write() as tx:
        await here.store.touch(tx, workspace, last_heartbeat_at=long_ago)
    here.reconciler._observer._began = long_ago
    here.database.failed_at = datetime.now(UTC)
    await here.reconciler.observe()

    assert await status(here, workspace) is WorkspaceStatus.ONLINE


async def test_what_only_helps_to_copy_files_is_not_taken_for_the_workspaces_container(here: World) -> None:
    workspace = await here.online()
    await stray(here, here.instance, workspace)
    await here.reconciler.observe()

    assert await status(here, workspace) is WorkspaceStatus.ONLINE


async def test_a_container_of_a_later_generation_is_left_to_whoever_made_it(here: World) -> None:
    workspace = await here.online()
    earlier = replace(await here.row(workspace), generation=0)
    with pytest.raises(SupersededError):
        await here.reconciler._backend.stop(earlier)

    assert (await here.inspected(workspace))["State"]["Running"]


async def test_a_pause_ends_what_is_under_way(here: World) -> None:
    workspace = await here.create()
    await here.begin("GET", "/networks")
    await here.lifecycle.pause(workspace)
    await here.reconciler.observe()
    await here.settle()

    assert (await status(here, workspace), await here.containers(workspace)) == (WorkspaceStatus.PAUSED, [])


async def test_a_container_of_no_workspace_is_removed(here: World) -> None:
    container = await stray(here, here.instance, "nobody")
    await here.reconciler.observe()
    await here.settle()

    assert not await here.api.exists(f"/containers/{container}/json")


async def test_a_container_that_appears_after_its_workspace_was_removed_is_removed(here: World) -> None:
    workspace = await here.create()
    await here.service.remove(workspace, confirmed=True, purge=False)
    await here.fulfil()
    container = await stray(here, here.instance, workspace)
    await here.reconciler.observe()
    await here.settle()

    assert not await here.api.exists(f"/containers/{container}/json")


async def test_a_container_of_a_removal_that_is_still_to_come_is_left_to_it(here: World) -> None:
    workspace = await here.online()
    await here.service.remove(workspace, confirmed=True, purge=True)
    await here.reconciler.observe()
    await here.settle()
    before = await here.store.to_clear()
    await here.fulfil()

    assert (before, await here.volumes()) == ([(workspace, True)], [])


async def test_containers_of_another_installation_are_left_alone(
    here: World, neighbour: str, logs: list[EventDict]
) -> None:
    container = await stray(here, neighbour, "nobody")
    await here.reconciler.observe()
    await here.settle()

    assert (await here.api.exists(f"/containers/{container}/json"), logs) == (True, [])


async def test_a_workspace_of_another_installation_with_the_same_id_keeps_its_container(
    here: World, neighbour: str
) -> None:
    workspace = await here.create("broken")
    container = await stray(here, neighbour, workspace)
    await here.service.remove(workspace, confirmed=True, purge=True)
    await here.fulfil()

    assert await here.api.exists(f"/containers/{container}/json")


async def test_containers_that_are_no_workspaces_are_left_alone(here: World, engine_url: str) -> None:
    body = {
        "Image": (await here.api.get("/images/python:3.11-slim/json"))["Id"],
        "Labels": {names.MANAGED: "true", names.INSTANCE: here.instance},
    }
    container = (await here.api.call("POST", "/containers/create", body))["Id"]
    await here.reconciler.observe()
    await here.settle()

    assert await here.api.exists(f"/containers/{container}/json")
    await purge(engine_address(), instance_label(here.instance))


# Rounds


async def test_one_workspace_is_worked_on_once_at_a_time(here: World) -> None:
    await here.create()
    hold = await here.begin("POST", "/containers/create")
    for _ in range(3):
        await here.reconciler.fulfil()
    here.proxy.faults.remove(hold)
    await arrived(here.proxy.faults.hold("POST", WAIT))

    assert here.proxy.count("POST", "/containers/create") == 1


async def test_one_that_fails_leaves_the_others_alone(here: World) -> None:
    fails, waits = await here.create("broken"), await here.create()
    hold = await here.begin()
    await here.call_of_agent(waits)
    here.proxy.faults.remove(hold)
    await here.settle()

    assert (await status(here, fails), await status(here, waits)) == (WorkspaceStatus.FAILED, WorkspaceStatus.ONLINE)


async def test_a_wish_is_taken_up_at_once_when_the_reconciler_is_woken(here: World) -> None:
    here.reconciler.start()
    hold = here.proxy.faults.hold("GET", "/images/.+/json")
    await here.create()
    async with asyncio.timeout(2):  # the next round would come after five seconds
        await hold.arrived.wait()


async def test_a_workspace_that_failed_is_not_tried_again_by_itself(here: World) -> None:
    workspace = await here.create("broken")
    for _ in range(3):
        await here.fulfil()

    assert (await here.row(workspace)).generation == 1


async def test_an_attempt_that_was_overtaken_stops_and_changes_nothing(here: World) -> None:
    workspace = await here.create()
    hold = await here.begin("POST", "/volumes/create", when="after")
    async with here.database.write() as tx:
        newer = await here.store.claim(tx, workspace, 1)
    here.proxy.faults.remove(hold)
    await here.settle()

    assert (await here.row(workspace), await here.containers(workspace)) == (newer, [])


async def test_a_failure_of_an_attempt_that_was_overtaken_is_not_the_workspaces(here: World) -> None:
    workspace = await here.create()
    hold = await here.begin("POST", "/containers/create")
    async with here.database.write() as tx:
        newer = await here.store.claim(tx, workspace, 1)
    here.proxy.faults.answer("POST", "/containers/create")
    here.proxy.faults.remove(hold)
    await here.settle()

    assert await here.row(workspace) == newer
