"""The registry is watched, and running workspaces move to what is newly pushed."""

import pytest
from structlog.typing import EventDict

from support.registry_front import Refusal
from support.server import eventually
from workspace_server.concurrency import TaskScope
from workspace_server.model.workspace import ImageOnRow, WorkspaceStatus

from .rolling import Stage, come_online, images
from .world import World

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.usefixtures("workspace_network")]

LANGGRAPH = "langgraph"


@pytest.fixture
async def here(stage: Stage, running: World) -> World:
    """A server in registry mode, and an image of ``langgraph`` for it."""
    await stage.push()
    return running


async def look(here: World, stage: Stage, runtime: str = LANGGRAPH) -> None:
    await here.rollout.look(runtime, stage.source)


def complaints(logs: list[EventDict]) -> list[tuple[str, str]]:
    return [(entry["runtime"], entry["code"]) for entry in logs if entry["event"] == "image watcher: failed"]


async def test_nothing_newer_changes_nothing(here: World, stage: Stage) -> None:
    workspace = await here.online(LANGGRAPH)
    pulls = here.proxy.count("POST", "/images/create")
    await look(here, stage)

    assert here.proxy.count("POST", "/images/create") == pulls
    assert (await here.row(workspace)).status is WorkspaceStatus.ONLINE


async def test_what_is_newly_pushed_is_pulled_and_run(here: World, stage: Stage) -> None:
    workspace = await here.online(LANGGRAPH)
    newer = await stage.push()
    await look(here, stage)
    row = await come_online(here, workspace)

    assert (await images(here, workspace), row.image and row.image.digest) == ([newer.id], newer.digest)


async def test_what_was_pushed_while_no_server_ran_is_noticed(here: World, stage: Stage) -> None:
    """The digest is compared with what the engine has, not with a memory that a restart would empty."""
    workspace = await here.online(LANGGRAPH)
    newer = await stage.push()
    async with stage.server() as next_one:
        await look(next_one, stage)
        await come_online(next_one, workspace)

        assert await images(next_one, workspace) == [newer.id]


async def test_a_registry_that_goes_back_to_an_older_image_is_followed(here: World, stage: Stage) -> None:
    """Though the engine has that image still, under no name."""
    workspace = await here.online(LANGGRAPH)
    await stage.push()
    await look(here, stage)
    await come_online(here, workspace)
    await stage.hub.push("team/workspace-template-langgraph", stage.pushed[0])
    await look(here, stage)
    await come_online(here, workspace)

    assert await images(here, workspace) == [stage.pushed[0].id]


async def test_a_new_index_of_the_same_image_moves_nothing(here: World, stage: Stage) -> None:
    """As when an image for another platform is added."""
    workspace = await here.online(LANGGRAPH)
    (image,) = stage.pushed
    other = stage.image("linux/arm64" if image.platform == "linux/amd64" else "linux/amd64")
    await stage.hub.push("team/workspace-template-langgraph", image, other)
    await look(here, stage)
    pulls = here.proxy.count("POST", "/images/create")
    await look(here, stage)

    assert here.proxy.count("POST", "/images/create") == pulls
    assert (await here.row(workspace)).status is WorkspaceStatus.ONLINE


async def test_a_pull_that_failed_is_tried_again_and_nothing_moves_meanwhile(here: World, stage: Stage) -> None:
    workspace = await here.online(LANGGRAPH)
    old, newer = stage.pushed[0], await stage.push()
    stage.hub.damage(newer.layers[-1], b"something else")
    await look(here, stage)
    after_failure = (await here.row(workspace)).status, await images(here, workspace)
    stage.hub.damage(newer.layers[-1], newer.blobs[newer.layers[-1]])
    await look(here, stage)
    await come_online(here, workspace)

    assert after_failure == (WorkspaceStatus.ONLINE, [old.id])
    assert await images(here, workspace) == [newer.id]


async def test_a_busy_one_moves_when_it_is_idle(here: World, stage: Stage) -> None:
    """Also though the new digest is no news any more."""
    busy, idle = await here.online(LANGGRAPH), await here.online(LANGGRAPH)
    await here.beat_of_agent(busy, active_tasks=1)
    newer = await stage.push()
    await look(here, stage)
    moved = [(await here.row(each)).status for each in (busy, idle)]
    await come_online(here, idle)
    await here.beat_of_agent(busy, active_tasks=0)
    await look(here, stage)
    await come_online(here, busy)

    assert moved == [WorkspaceStatus.ONLINE, WorkspaceStatus.PROVISIONING]
    assert await images(here, busy, idle) == [newer.id, newer.id]


async def test_it_leaves_one_alone_that_came_from_a_local_build(here: World, stage: Stage) -> None:
    workspace = await here.online(LANGGRAPH)
    row = await here.row(workspace)
    assert row.image is not None
    async with here.database.write() as tx:
        await here.store.progress(
            tx, workspace, row.generation, image=ImageOnRow(source="local-build", id=row.image.id, commit="0" * 40)
        )
    newer = await stage.push()
    await look(here, stage)

    assert (await here.row(workspace)).status is WorkspaceStatus.ONLINE
    assert (await here.engine.image(stage.source.prefix.image(LANGGRAPH)) or row.image).id == newer.id


async def test_a_runtime_that_nobody_has_is_not_asked_for(here: World, stage: Stage) -> None:
    await look(here, stage)

    assert stage.asked_for(LANGGRAPH) == 0


async def test_an_image_that_nobody_runs_is_kept_new_for_the_next_workspace(here: World, stage: Stage) -> None:
    await here.rollout.refresh(LANGGRAPH, recreate=True, force=False)
    newer = await stage.push()
    await look(here, stage)

    assert await images(here, await here.online(LANGGRAPH)) == [newer.id]


async def test_one_bad_runtime_does_not_stop_the_others_and_is_complained_of_once(
    here: World, stage: Stage, logs: list[EventDict]
) -> None:
    await stage.push("autogen")
    bad, good = await here.online("autogen"), await here.online(LANGGRAPH)
    stage.hub.forget("team/workspace-template-autogen")
    newer = await stage.push()

    async def moves() -> bool:
        return (await here.row(good)).status is WorkspaceStatus.PROVISIONING

    async with TaskScope() as scope:
        here.rollout.watch(scope, 0.01)
        await eventually(moves, "the good one moves")
        asked = stage.asked_for("autogen")
        await eventually(lambda: stage.asked_for("autogen") > asked + 4, "the bad one is asked for again")

    assert (await here.row(bad)).status is WorkspaceStatus.ONLINE
    assert (await here.engine.image(stage.source.prefix.image(LANGGRAPH))).id == newer.id  # type: ignore[union-attr] # it is there
    assert complaints(logs) == [("autogen", "image_not_found")]


async def test_a_registry_that_is_away_is_complained_of_once_until_it_is_back(
    here: World, stage: Stage, logs: list[EventDict]
) -> None:
    await here.online(LANGGRAPH)
    away = Refusal(status=503, code="UNAVAILABLE", message="try later")
    for refusal in (away, away, None, away):
        stage.front.refusal = refusal
        await look(here, stage)

    assert complaints(logs) == [(LANGGRAPH, "registry_unreachable")] * 2


async def test_the_image_is_asked_for_by_head_alone(here: World, stage: Stage) -> None:
    """Which no registry counts as a pull."""
    await here.online(LANGGRAPH)
    stage.front.seen.clear()
    await look(here, stage)

    assert {(seen.method, seen.path.rpartition("/")[2]) for seen in stage.front.seen} == {
        ("HEAD", "latest"),
        ("GET", "token"),
    }


async def test_images_that_are_built_here_are_not_watched_which_is_said_once(
    stage: Stage, logs: list[EventDict]
) -> None:
    async with stage.server(MOLECULE_IMAGE_REGISTRY="") as builder, TaskScope() as scope:
        builder.rollout.watch(scope, 0.01)

        assert scope._tasks == set()
    assert [entry["event"] for entry in logs] == ["image watcher: not started, images are built from source here"]
