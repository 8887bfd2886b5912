"""Restart, pause and resume, hibernate and wake, and dying: on the real engine."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from workspace_server.db import EventStore
from workspace_server.errors import ConflictError, NotFoundError
from workspace_server.model import names
from workspace_server.model.workspace import WorkspaceStatus
from workspace_server.workspaces import observe
from workspace_server.workspaces.lifecycle import TasksError

from .world import WAIT, World, arrived

pytestmark = pytest.mark.engine

Status = WorkspaceStatus


async def status(here: World, workspace: str) -> WorkspaceStatus:
    return (await here.row(workspace)).status


async def container_of(here: World, workspace: str) -> str:
    (container,) = await here.containers(workspace)
    return str(container["Id"])


async def again_online(here: World, workspace: str) -> None:
    """A workspace that is wanted again: its new container runs, and its agent calls."""
    hold = await here.begin()
    await here.call_of_agent(workspace)
    here.proxy.faults.remove(hold)
    await here.settle()
    assert await status(here, workspace) is Status.ONLINE


async def events_of(here: World, workspace: str) -> list[str]:
    found = await EventStore(here.database).newest(limit=30, workspace_id=workspace)
    return [str(event["event_type"]) for event in reversed(found)]


async def kill(here: World, workspace: str) -> None:
    await here.api.call("POST", f"/containers/{names.container_name(workspace)}/kill")


# Restart


async def test_a_restart_replaces_the_container_and_keeps_the_files(here: World) -> None:
    workspace = await here.online()
    before, volumes = await container_of(here, workspace), await here.named_volumes(workspace)
    await here.lifecycle.restart(workspace)
    assert (await here.row(workspace)).url == ""
    await again_online(here, workspace)

    assert (await container_of(here, workspace) != before, await here.named_volumes(workspace)) == (True, volumes)


async def test_a_restart_takes_the_newest_commit(here: World) -> None:
    workspace = await here.online()
    first = await here.row(workspace)
    assert first.image is not None
    await here.lifecycle.restart(workspace)

    row = await here.row(workspace)
    assert (row.status, row.resolve_anew, row.generation) == (Status.PROVISIONING, True, first.generation + 1)


async def test_restarts_during_a_provisioning_are_one_more_and_none_is_lost(here: World) -> None:
    workspace = await here.waiting_for_agent(secrets={"A": "1"})
    await here.secrets.put(workspace, "A", "2")
    for _ in range(3):
        await here.lifecycle.restart_with_secrets([workspace])
    await again_online(here, workspace)

    assert "A=2" in (await here.inspected(workspace))["Config"]["Env"]
    assert len(await here.containers(workspace)) == 1


async def test_a_failed_workspace_can_be_restarted(here: World) -> None:
    workspace = await here.create("needy")
    await here.fulfil()
    for key in ("A_KEY", "B_KEY"):
        await here.secrets.put(workspace, key, "1")
    await here.lifecycle.restart(workspace)
    await again_online(here, workspace)

    row = await here.row(workspace)
    assert (row.failure, row.last_sample_error) == (None, "")


async def test_a_removed_workspace_cannot_be_restarted(here: World) -> None:
    workspace = await here.create()
    await here.service.remove(workspace, confirmed=True, purge=False)
    with pytest.raises(NotFoundError):
        await here.lifecycle.restart(workspace)


async def test_below_a_paused_workspace_nothing_is_restarted(here: World) -> None:
    parent = await here.create()
    child = await here.create(parent_id=await here.create(parent_id=parent))
    await here.lifecycle.pause(parent)
    with pytest.raises(ConflictError) as caught:
        await here.lifecycle.restart(child)

    assert (caught.value.code, caught.value.message.endswith("is paused — resume it first")) == ("parent_paused", True)


# Pause and resume


async def test_a_pause_removes_the_container_and_keeps_the_files(here: World) -> None:
    workspace = await here.online()
    volumes = await here.named_volumes(workspace)
    paused = await here.lifecycle.pause(workspace)
    await here.reconciler.observe()
    await here.settle()

    assert (paused, await status(here, workspace)) == (1, Status.PAUSED)
    assert (await here.containers(workspace), await here.named_volumes(workspace)) == ([], volumes)


async def test_a_pause_takes_all_below_along_and_a_resume_brings_all_back(here: World) -> None:
    parent = await here.create()
    child = await here.create(parent_id=parent)
    await here.lifecycle.pause(child)

    assert await here.lifecycle.pause(parent) == 1
    assert [await status(here, each) for each in (parent, child)] == [Status.PAUSED] * 2
    assert await here.lifecycle.resume(parent) == 2
    assert [await status(here, each) for each in (parent, child)] == [Status.PROVISIONING] * 2


async def test_a_pause_during_a_provisioning_ends_it(here: World) -> None:
    workspace = await here.create()
    hold = await here.begin("POST", "/containers/create", when="after")
    await here.lifecycle.pause(workspace)
    await here.reconciler.observe()
    here.proxy.faults.remove(hold)
    await here.settle()

    assert (await status(here, workspace), await here.containers(workspace)) == (Status.PAUSED, [])


async def test_a_resume_needs_no_look_up(here: World) -> None:
    workspace = await here.online()
    image = (await here.row(workspace)).image
    await here.lifecycle.pause(workspace)
    await here.reconciler.observe()
    await here.settle()
    await here.lifecycle.resume(workspace)
    assert not (await here.row(workspace)).resolve_anew
    await again_online(here, workspace)

    assert (await here.row(workspace)).image == image


async def test_what_is_paused_cannot_be_paused_and_what_is_not_cannot_be_resumed(here: World) -> None:
    workspace = await here.create()
    with pytest.raises(NotFoundError, match="not paused"):
        await here.lifecycle.resume(workspace)
    await here.lifecycle.pause(workspace)
    with pytest.raises(NotFoundError, match="already paused"):
        await here.lifecycle.pause(workspace)


# Hibernate and wake


async def test_a_workspace_hibernates_and_wakes(here: World) -> None:
    workspace = await here.online()
    await here.lifecycle.hibernate(workspace, force=False)
    await here.reconciler.observe()
    await here.settle()
    assert (await status(here, workspace), await here.containers(workspace)) == (Status.HIBERNATED, [])
    await here.lifecycle.awake(workspace)
    await again_online(here, workspace)

    assert [each for each in await events_of(here, workspace) if "HIBERNATED" in each] == ["WORKSPACE_HIBERNATED"]


async def test_a_workspace_at_work_hibernates_by_force_only(here: World) -> None:
    workspace = await here.online()
    async with here.database.write() as tx:
        await here.store.touch(tx, workspace, active_tasks=2)
    with pytest.raises(TasksError) as caught:
        await here.lifecycle.hibernate(workspace, force=False)
    await here.lifecycle.hibernate(workspace, force=True)

    assert (caught.value.active_tasks, await status(here, workspace)) == (2, Status.HIBERNATING)


@pytest.mark.parametrize("wish", ["restart", "awake"])
async def test_a_workspace_that_is_wanted_while_it_is_about_to_hibernate_comes_back(here: World, wish: str) -> None:
    workspace = await here.online()
    before = await container_of(here, workspace)
    await here.lifecycle.hibernate(workspace, force=False)
    await getattr(here.lifecycle, wish)(workspace)
    await again_online(here, workspace)

    assert await container_of(here, workspace) != before


async def test_a_workspace_is_paused_while_it_is_about_to_hibernate(here: World) -> None:
    workspace = await here.online()
    await here.lifecycle.hibernate(workspace, force=False)

    assert (await here.lifecycle.pause(workspace), await status(here, workspace)) == (1, Status.PAUSED)


async def test_only_what_is_online_hibernates_and_only_what_hibernates_wakes(here: World) -> None:
    workspace = await here.create()
    with pytest.raises(NotFoundError):
        await here.lifecycle.hibernate(workspace, force=False)
    await here.lifecycle.awake(workspace)

    assert (await here.row(workspace)).generation == 0


# Dying


async def test_a_workspace_whose_container_died_is_started_again_with_its_image_and_without_a_look_up(
    here: World,
) -> None:
    workspace = await here.online()
    image, before = (await here.row(workspace)).image, await container_of(here, workspace)
    await kill(here, workspace)
    await here.reconciler.observe()
    await again_online(here, workspace)

    row = await here.row(workspace)
    assert (row.image, len(row.restarts), await container_of(here, workspace) != before) == (image, 1, True)
    assert (await events_of(here, workspace))[-4:-1] == [
        "WORKSPACE_OFFLINE",
        "WORKSPACE_PROVISIONING",
        "WORKSPACE_ONLINE",
    ]


async def test_an_image_that_is_gone_is_built_again_from_the_same_commit(here: World) -> None:
    workspace = await here.online()
    image = (await here.row(workspace)).image
    assert image is not None
    await here.api.call("DELETE", f"/containers/{names.container_name(workspace)}", force="1")
    await here.api.call("DELETE", f"/images/{image.id}", force="true")
    await here.reconciler.observe()
    await again_online(here, workspace)

    again = (await here.row(workspace)).image
    assert again is not None
    assert (again.commit, here.book.newest()[0].reason) == (image.commit, "image was removed")


async def test_one_that_dies_again_and_again_is_given_up_with_its_last_words(here: World) -> None:
    workspace = await here.online()
    moments = [(datetime.now(UTC) - timedelta(seconds=age)).isoformat() for age in range(5)]
    async with here.database.write() as tx:
        await here.store.touch(tx, workspace, restarts=moments)
    await kill(here, workspace)
    await here.reconciler.observe()
    await here.fulfil()

    row = await here.row(workspace)
    assert row.failure is not None
    assert (row.status, row.failure.code) == (Status.FAILED, "crash_loop")
    assert row.failure.message == (
        "the container ended 5 times within 10 minutes and is not started again\n(it wrote nothing)"
    )


async def test_one_that_died_before_waits_for_its_time(here: World) -> None:
    workspace = await here.online()
    async with here.database.write() as tx:
        await here.store.touch(tx, workspace, restarts=[datetime.now(UTC).isoformat()])
    await kill(here, workspace)
    await here.reconciler.observe()
    await here.fulfil()

    assert await status(here, workspace) is Status.OFFLINE


async def test_a_silent_agent_is_offline_although_its_container_runs(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = await here.online()
    await here.reconciler.observe()
    assert await status(here, workspace) is Status.ONLINE
    monkeypatch.setattr(observe, "SILENCE", timedelta(0))
    await here.reconciler.observe()

    assert await status(here, workspace) is Status.OFFLINE


async def test_many_that_died_together_come_back_a_few_at_a_time(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observe, "AT_ONCE", 2)
    dead = [await here.create() for _ in range(5)]
    async with here.database.write() as tx:
        for each in dead:
            await here.store.move(tx, each, Status.ONLINE)
            await here.store.move(tx, each, Status.OFFLINE)

    assert [await here.reconciler._observer.restart_the_dead() for _ in range(4)] == [2, 2, 1, 0]


async def test_the_engines_word_of_a_death_is_heard_at_once(here: World) -> None:
    workspace = await here.online()
    here.reconciler.start()
    waits = here.proxy.faults.hold("POST", WAIT)
    before = await container_of(here, workspace)
    await kill(here, workspace)
    async with asyncio.timeout(8):  # a new container runs, long before the next round by the clock
        await arrived(waits)

    assert await container_of(here, workspace) != before
    here.proxy.faults.remove(waits)
