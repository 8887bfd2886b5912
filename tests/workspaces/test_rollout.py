"""Running workspaces get the newest image of their runtime when somebody asks for it."""

import pytest

from workspace_server.errors import InvalidRequestError
from workspace_server.model import names
from workspace_server.model.workspace import WorkspaceStatus
from workspace_server.workspaces.rollout import InterruptedRefreshError, Refreshed

from .rolling import Stage, come_online, images
from .world import World

pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("workspace_network")]

LANGGRAPH = "langgraph"


@pytest.fixture
async def here(stage: Stage, running: World) -> World:
    """A server in registry mode, and an image of ``langgraph`` for it."""
    await stage.push()
    return running


async def refreshed(
    here: World, runtime: str | None = LANGGRAPH, *, recreate: bool = True, force: bool = False
) -> Refreshed:
    return await here.rollout.refresh(runtime, recreate=recreate, force=force)


async def test_the_newest_image_is_pulled_and_the_container_recreated_from_it_at_once(
    here: World, stage: Stage
) -> None:
    workspace = await here.online(LANGGRAPH)
    newer = await stage.push()
    done = await refreshed(here)
    row = await come_online(here, workspace)

    assert done == Refreshed(
        pulled=[LANGGRAPH], built=[], failed={}, recreated=[names.container_name(workspace)], left={}
    )
    assert (row.status, row.image and row.image.digest) == (WorkspaceStatus.ONLINE, newer.digest)
    assert await images(here, workspace) == [newer.id]


async def test_the_reconciler_is_woken_for_it(here: World, stage: Stage) -> None:
    await here.online(LANGGRAPH)
    await stage.push()
    here.reconciler._wishes.clear()
    await refreshed(here)

    assert here.reconciler._wishes.is_set()


async def test_what_runs_the_newest_image_stays(here: World) -> None:
    workspace = await here.online(LANGGRAPH)
    before = await here.inspected(workspace)
    done = await refreshed(here)
    await here.fulfil()

    assert (done.pulled, done.recreated, done.left) == ([LANGGRAPH], [], {})
    assert (await here.inspected(workspace))["Id"] == before["Id"]


async def test_without_recreate_the_image_is_pulled_and_nothing_else(here: World, stage: Stage) -> None:
    workspace = await here.online(LANGGRAPH)
    newer = await stage.push()
    done = await refreshed(here, recreate=False)

    assert (done.pulled, done.recreated, done.left) == ([LANGGRAPH], [], {})
    assert (await here.row(workspace)).status is WorkspaceStatus.ONLINE
    assert (await here.engine.image(stage.source.prefix.image(LANGGRAPH))).id == newer.id  # type: ignore[union-attr] # it is there


async def test_a_busy_one_is_left_until_it_is_idle(here: World, stage: Stage) -> None:
    workspace = await here.online(LANGGRAPH)
    await here.beat_of_agent(workspace, active_tasks=1)
    await stage.push()
    busy = await refreshed(here)
    await here.beat_of_agent(workspace, active_tasks=0)
    idle = await refreshed(here)

    name = names.container_name(workspace)
    assert (busy.recreated, busy.left) == ([], {name: "busy"})
    assert (idle.recreated, idle.left) == ([name], {})


async def test_one_that_answers_a_message_is_busy_before_it_says_so(here: World, stage: Stage) -> None:
    workspace = await here.online(LANGGRAPH)
    here.talking.add(workspace)
    await stage.push()

    assert (await refreshed(here)).left == {names.container_name(workspace): "busy"}


async def test_force_takes_a_busy_one(here: World, stage: Stage) -> None:
    workspace = await here.online(LANGGRAPH)
    await here.beat_of_agent(workspace, active_tasks=1)
    newer = await stage.push()
    done = await refreshed(here, force=True)
    await come_online(here, workspace)

    assert (done.recreated, done.left) == ([names.container_name(workspace)], {})
    assert await images(here, workspace) == [newer.id]


async def test_one_that_is_being_provisioned_is_left_unless_forced(here: World, stage: Stage) -> None:
    workspace = await here.waiting_for_agent(LANGGRAPH)
    newer = await stage.push()
    left = await refreshed(here)
    forced = await refreshed(here, force=True)
    await come_online(here, workspace)

    name = names.container_name(workspace)
    assert (left.recreated, left.left) == ([], {name: "provisioning"})
    assert (forced.recreated, forced.left) == ([name], {})
    assert await images(here, workspace) == [newer.id]


async def test_one_that_died_comes_back_with_the_newest_image(here: World, stage: Stage) -> None:
    workspace = await here.online(LANGGRAPH)
    await here.api.call("DELETE", f"/containers/{names.container_name(workspace)}", force="true")
    await here.reconciler.observe()
    newer = await stage.push()
    done = await refreshed(here)
    await come_online(here, workspace)

    assert done.recreated == [names.container_name(workspace)]
    assert await images(here, workspace) == [newer.id]


async def test_what_rests_stays_at_rest(here: World, stage: Stage) -> None:
    workspace = await here.online(LANGGRAPH)
    await here.lifecycle.pause(workspace)
    await stage.push()
    done = await refreshed(here, force=True)

    assert (done.recreated, done.left) == ([], {})
    assert (await here.row(workspace)).status is WorkspaceStatus.PAUSED


async def test_a_runtime_that_fails_says_why_and_takes_no_other_along(here: World, stage: Stage) -> None:
    """And no container of it is touched."""
    workspace = await here.online(LANGGRAPH)
    other = await here.online("idle") if await stage.push("idle") else ""
    damaged, newer = await stage.push("idle"), await stage.push()
    stage.hub.damage(damaged.layers[-1], b"something else")
    done = await refreshed(here, None)
    await come_online(here, workspace)

    assert done.pulled == [LANGGRAPH]
    assert {"idle", "hermes"} < set(done.failed)
    assert (done.failed["idle"].code, done.failed["hermes"].code) == ("image_corrupted", "image_not_found")
    assert done.recreated == [names.container_name(workspace)]
    assert await images(here, workspace, other) == [newer.id, stage.pushed[1].id]


async def test_only_the_runtime_that_is_named_is_refreshed(here: World, stage: Stage) -> None:
    await stage.push("idle")

    assert (await refreshed(here, "idle")).pulled == ["idle"]
    assert stage.asked_for(LANGGRAPH) == 0


async def test_an_unknown_runtime_is_refused_before_anybody_is_asked(here: World, stage: Stage) -> None:
    here.proxy.calls.clear()
    with pytest.raises(InvalidRequestError, match="unknown runtime: external"):
        await refreshed(here, "external")
    assert (here.proxy.calls, stage.front.seen) == ([], [])


async def test_an_engine_that_cannot_list_containers_ends_it_with_what_was_done(here: World, stage: Stage) -> None:
    workspace = await here.online(LANGGRAPH)
    await stage.push()
    here.proxy.faults.answer("GET", "/containers/json", status=500)
    with pytest.raises(InterruptedRefreshError) as caught:
        await refreshed(here)

    assert (caught.value.status, caught.value.done.pulled, caught.value.done.recreated) == (500, [LANGGRAPH], [])
    assert (await here.row(workspace)).status is WorkspaceStatus.ONLINE


async def test_a_container_of_another_installation_is_nobody_here(here: World, stage: Stage) -> None:
    """Although its name and its image are like ours: what counts are the labels."""
    image = await stage.push()
    await refreshed(here)
    labels = {names.MANAGED: "true", names.INSTANCE: "another", names.WORKSPACE_ID: "0", "molecule.image.runtime": "x"}
    body = {"Image": stage.source.prefix.image(LANGGRAPH), "Labels": labels}
    made = await here.api.call("POST", "/containers/create", body, name=f"ws-{here.instance[-12:]}")
    try:
        await stage.push()
        done = await refreshed(here, force=True)

        assert (done.recreated, done.left) == ([], {})
        assert (await here.api.get(f"/containers/{made['Id']}/json"))["Image"] == image.id
    finally:
        await here.api.call("DELETE", f"/containers/{made['Id']}", force="true")
