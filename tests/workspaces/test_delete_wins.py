"""A delete during any step of a provisioning wins: nothing is left, neither on the engine nor of its rights."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from structlog.typing import EventDict

from support.engine import instance_label, leftovers
from workspace_server.engine import Engine
from workspace_server.model import names
from workspace_server.model.container import ContainerSpec
from workspace_server.model.workspace import WorkspaceStatus

from .world import WAIT, World, arrived

pytestmark = pytest.mark.engine

STEPS = [
    ("GET", "/images/.+/json", "before"),
    ("GET", "/networks", "before"),
    ("GET", "/volumes", "before"),
    ("POST", "/volumes/create", "before"),
    ("POST", "/volumes/create", "after"),
    ("GET", "/containers/json", "before"),
    ("POST", "/containers/create", "before"),
    ("POST", "/containers/create", "after"),
    ("PUT", "/containers/[^/]+/archive", "before"),
    ("PUT", "/containers/[^/]+/archive", "after"),
    ("POST", "/containers/[^/]+/start", "before"),
    ("POST", "/containers/[^/]+/start", "after"),
    ("GET", "/containers/[^/]+/json", "before"),
    ("POST", WAIT, "before"),
]


async def removed(here: World, workspace: str, *, purge: bool = True) -> None:
    await here.service.remove(workspace, confirmed=True, purge=purge)


async def nothing_is_left(here: World, workspace: str) -> None:
    """Also nothing that the engine made by itself, without labels."""
    assert not await leftovers(here.proxy._engine, instance_label(here.instance))
    assert await here.named_volumes(workspace) == []
    assert (await here.store.to_clear(), await here.tokens.has_live(workspace)) == ([], False)


@pytest.mark.parametrize(("method", "call", "when"), STEPS)
async def test_a_delete_wins_at_every_step(here: World, method: str, call: str, when: str) -> None:
    workspace = await here.create()
    hold = await here.begin(method, call, when=when)
    await removed(here, workspace)
    await here.reconciler.fulfil()
    here.proxy.faults.remove(hold)
    await here.settle()

    await nothing_is_left(here, workspace)


async def test_what_a_restart_has_ended_is_waited_for_by_a_delete_as_well(here: World) -> None:
    """The engine still makes a container when the restart that waits for that is ended: it would be nobody's."""
    workspace = await here.create()
    hold = await here.begin("POST", "/containers/create")
    await here.lifecycle.restart(workspace)
    await here.reconciler.fulfil()
    await removed(here, workspace)
    await here.reconciler.fulfil()
    ended, _ = await asyncio.wait(here.reconciler._working.values(), timeout=0.5)
    here.proxy.faults.remove(hold)
    await here.settle()

    assert ended == set()
    await nothing_is_left(here, workspace)


@pytest.mark.parametrize(("method", "call", "when"), STEPS[4::4])
async def test_without_purge_the_files_are_all_that_stays(here: World, method: str, call: str, when: str) -> None:
    workspace = await here.create()
    hold = await here.begin(method, call, when=when)
    await removed(here, workspace, purge=False)
    await here.reconciler.fulfil()
    here.proxy.faults.remove(hold)
    await here.settle()

    assert set(await here.named_volumes(workspace)) <= {names.workspace_volume(workspace)}
    assert (await here.containers(workspace), (await here.row(workspace)).status) == ([], WorkspaceStatus.REMOVED)


@pytest.mark.parametrize(("method", "call", "when"), STEPS[1::2])
async def test_a_provisioning_that_hears_of_the_delete_at_its_next_step_leaves_nothing(
    here: World, method: str, call: str, when: str
) -> None:
    workspace = await here.create()
    hold = await here.begin(method, call, when=when)
    await removed(here, workspace)
    here.proxy.faults.remove(hold)
    await here.settle()  # it stops by itself
    await here.fulfil()

    await nothing_is_left(here, workspace)


@pytest.fixture
async def slow_engine(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[dict[str, asyncio.Event]]:
    """An engine that goes on with what it was asked for when its client has gone, as dockerd does."""
    begun, finish = asyncio.Event(), asyncio.Event()
    create = Engine.create_container
    going_on: list[asyncio.Task[Any]] = []

    async def slowly(engine: Engine, spec: ContainerSpec) -> str:
        async def work() -> str:
            await finish.wait()
            return await create(engine, spec)

        going_on.append(asyncio.create_task(work()))
        begun.set()
        return await asyncio.shield(going_on[0])

    monkeypatch.setattr(Engine, "create_container", slowly)
    yield {"begun": begun, "finish": finish}
    finish.set()
    await asyncio.gather(*going_on, return_exceptions=True)


async def test_a_container_that_the_engine_makes_after_the_delete_does_not_stay(
    here: World, slow_engine: dict[str, asyncio.Event]
) -> None:
    workspace = await here.create()
    await here.reconciler.fulfil()
    await slow_engine["begun"].wait()
    await removed(here, workspace)
    await here.reconciler.fulfil()
    slow_engine["finish"].set()
    await here.settle()

    await nothing_is_left(here, workspace)


async def test_a_delete_does_not_wait_for_the_image(here: World) -> None:
    workspace = await here.create()
    hold = await here.begin("GET", "/images/.+/json")
    await removed(here, workspace)
    await here.fulfil()

    assert (hold.waiting, await here.store.get(workspace)) == (0, None)


async def test_a_build_under_way_goes_on_for_others(here: World) -> None:
    one, other = await here.create("broken"), await here.create("broken")
    hold = await here.begin("GET", "/images/json")  # the look-up before a build
    await removed(here, one)
    await here.reconciler.fulfil()
    here.proxy.faults.remove(hold)
    await here.settle()

    assert (await here.store.get(one), (await here.row(other)).status) == (None, WorkspaceStatus.FAILED)


async def test_a_delete_of_an_online_workspace_leaves_nothing(here: World) -> None:
    workspace = await here.online("idle")
    await removed(here, workspace)
    await here.fulfil()

    await nothing_is_left(here, workspace)
    assert await here.store.get(workspace) is None


async def test_a_delete_waits_for_an_engine_that_is_away(here: World) -> None:
    workspace = await here.online()
    await here.proxy.down()
    await removed(here, workspace)
    await here.fulfil()
    before = await here.store.to_clear()
    await here.proxy.up()
    await here.fulfil()

    assert before == [(workspace, True)]
    await nothing_is_left(here, workspace)


async def test_a_purge_during_a_delete_takes_the_files_along(here: World) -> None:
    workspace = await here.online()
    await removed(here, workspace, purge=False)
    hold = await here.begin("GET", "/volumes")
    await removed(here, workspace)
    await here.reconciler.fulfil()
    here.proxy.faults.remove(hold)
    await here.settle()
    await here.fulfil()

    await nothing_is_left(here, workspace)
    assert await here.store.get(workspace) is None


async def test_a_purge_in_a_deletes_last_moment_takes_the_files_along(here: World) -> None:
    workspace = await here.online()
    await removed(here, workspace, purge=False)
    hold = await here.begin("DELETE", "/volumes/.*", when="after")
    await removed(here, workspace)
    here.proxy.faults.remove(hold)
    await here.settle()  # the delete without purge comes to its end
    await here.fulfil()

    await nothing_is_left(here, workspace)


async def test_a_purge_after_a_delete_takes_the_files_along(here: World) -> None:
    workspace = await here.online()
    await removed(here, workspace, purge=False)
    await here.fulfil()
    kept = await here.named_volumes(workspace)
    await removed(here, workspace)
    await here.fulfil()

    assert kept == [names.workspace_volume(workspace)]
    await nothing_is_left(here, workspace)


async def test_a_delete_under_way_is_not_begun_anew_by_the_next_round(here: World, logs: list[EventDict]) -> None:
    workspace = await here.online()
    await removed(here, workspace)
    hold = await here.begin("DELETE", "/containers/.*")
    for _ in range(3):
        await here.reconciler.fulfil()
    here.proxy.faults.remove(hold)
    await here.settle()

    assert here.proxy.count("DELETE", "/containers/.*") == 1
    assert len([line for line in logs if line["event"] == "workspace removed"]) == 1


async def test_a_delete_that_takes_long_holds_up_nobody(here: World, slow_engine: dict[str, asyncio.Event]) -> None:
    slow, other = await here.create(), await here.create("broken")
    await here.reconciler.fulfil()
    await slow_engine["begun"].wait()
    await removed(here, slow)
    async with asyncio.timeout(10):
        await here.reconciler.fulfil()
        while (await here.row(other)).status is not WorkspaceStatus.FAILED:
            pass
    slow_engine["finish"].set()
    await here.settle()

    await nothing_is_left(here, slow)


async def test_no_token_is_issued_to_a_workspace_that_was_removed(here: World) -> None:
    workspace = await here.create()
    hold = await here.begin("POST", "/volumes/create", when="after")
    await removed(here, workspace, purge=False)
    here.proxy.faults.remove(hold)
    await here.settle()

    assert not await here.tokens.has_live(workspace)


async def test_others_objects_are_left_alone(here: World) -> None:
    removed_one, stays = await here.online(), await here.online()
    await removed(here, removed_one)
    await here.fulfil()

    assert len(await here.containers(stays)) == 1
    assert len(await here.named_volumes(stays)) == 2


async def test_a_call_after_the_delete_does_not_bring_it_back(here: World) -> None:
    workspace = await here.waiting_for_agent()
    hold = here.proxy.faults.hold("DELETE", "/containers/.*")
    await removed(here, workspace, purge=False)
    await here.reconciler.fulfil()
    await arrived(hold)
    await here.beat_of_agent(workspace)
    here.proxy.faults.remove(hold)
    await here.settle()

    assert (await here.row(workspace)).status is WorkspaceStatus.REMOVED
    await here.service.remove(workspace, confirmed=True, purge=True)
    await here.fulfil()


async def test_nothing_is_left_of_what_helped_to_copy_files_though_nobody_heard_that_it_was_made(here: World) -> None:
    """A container with a read-only root gets its files through another one."""
    workspace = await here.create(tier=1)
    first = await here.begin("PUT", "/containers/[^/]+/archive")
    unheard = here.proxy.faults.hold("POST", "/containers/create", when="after")
    here.proxy.faults.remove(first)
    await arrived(unheard)
    await here.service.remove(workspace, confirmed=True, purge=True)
    await here.fulfil()

    assert (await here.containers(), await here.named_volumes(workspace)) == ([], [])
