"""Whose a container is, says its label: a server finds its own after anything, and leaves everybody else's alone."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from support.engine import Engine as Api
from workspace_server.model import names
from workspace_server.model.workspace import WorkspaceStatus

from .world import Supply, World, installation, world

pytestmark = pytest.mark.engine

Open = Callable[..., AbstractAsyncContextManager[World]]


@pytest.fixture
async def server(tmp_path: Path, engine_url: str, supply: Supply, instance: str, workspace_network: None) -> Open:
    """Opens servers on the data of a directory: of this test's installation, or of another one."""
    return lambda data="data", of=instance: world(tmp_path / data, engine_url, supply, of)


@pytest.fixture
async def neighbour(engine_url: str) -> AsyncIterator[str]:
    async with installation(engine_url) as identity:
        yield identity


@pytest.fixture
async def predecessors(api: Api) -> AsyncIterator[tuple[str, str]]:
    """A container and a volume as the server that this one replaces makes them: one label, and names like ours."""
    workspace = str(uuid4())
    name, volume = f"ws-{workspace[:12]}", f"ws-{workspace[:12]}-configs"
    labels = {names.MANAGED: "true"}
    await api.call("POST", "/volumes/create", {"Name": volume, "Labels": labels})
    body: dict[str, Any] = {
        "Image": "python:3.11-slim",
        "Cmd": ["sleep", "infinity"],
        "Labels": labels,
        "HostConfig": {"Binds": [f"{volume}:/configs"], "Init": True},
    }
    await api.call("POST", f"/containers/create?name={name}", body)
    await api.call("POST", f"/containers/{name}/start")
    yield name, volume
    await api.call("DELETE", f"/containers/{name}?force=1")
    await api.call("DELETE", f"/volumes/{volume}")


async def a_round(here: World) -> None:
    """What a server does at its start, and everything that follows."""
    await here.reconciler.observe()
    await here.fulfil()


async def test_a_server_that_starts_again_adopts_what_runs(server: Open) -> None:
    async with server() as first:
        workspace = await first.online()
        before = await first.inspected(workspace)
    async with server() as later:
        await a_round(later)
        row, after = await later.row(workspace), await later.inspected(workspace)

    assert (row.status, row.generation) == (WorkspaceStatus.ONLINE, 1)
    assert (after["Id"], after["State"]["StartedAt"]) == (before["Id"], before["State"]["StartedAt"])


async def test_what_a_reboot_stopped_runs_again_from_the_image_it_had(server: Open) -> None:
    """Several, as after a reboot of the machine: none of them was stopped by the server."""
    async with server() as first:
        workspaces = [await first.online() for _ in range(2)]
        images = [(await first.inspected(each))["Image"] for each in workspaces]
    async with server() as later:
        for each in workspaces:
            await later.api.call("POST", f"/containers/{names.container_name(each)}/kill")
        await later.reconciler.observe()
        offline = [(await later.row(each)).status for each in workspaces]
        later.proxy.faults.remove(await later.begin())
        for each in workspaces:
            await later.call_of_agent(each)
        await later.settle()

        assert offline == [WorkspaceStatus.OFFLINE] * 2
        for each, image in zip(workspaces, images, strict=True):
            inspected = await later.inspected(each)
            assert (inspected["Image"], inspected["State"]["Running"]) == (image, True)
            assert (await later.row(each)).status is WorkspaceStatus.ONLINE


async def test_a_wiped_database_has_its_containers_removed_and_their_files_kept(server: Open) -> None:
    """Nobody knows them any more; ``/workspace`` may hold what nobody else has."""
    async with server() as first:
        workspace = await first.online()
    async with server("wiped") as later:
        await a_round(later)
        await later.settle()

        assert (await later.containers(), await later.volumes()) == ([], [names.workspace_volume(workspace)])


@pytest.fixture
async def late(api: Api, instance: str) -> tuple[str, str]:
    """A container of a workspace that is gone, made by a slow engine after all: both names."""
    workspace = str(uuid4())
    body: dict[str, Any] = {
        "Image": "python:3.11-slim",
        "Cmd": ["sleep", "infinity"],
        "Labels": dict(names.workspace_labels(instance, workspace)),
        "HostConfig": {"Binds": [f"{names.workspace_volume(workspace)}:/workspace"], "Init": True},
    }
    await api.call("POST", f"/containers/create?name={names.container_name(workspace)}", body)
    return workspace, names.container_name(workspace)


async def test_what_a_dead_server_had_asked_for_is_removed_with_the_volumes_that_the_engine_made_for_it(
    server: Open, late: tuple[str, str]
) -> None:
    async with server() as here:
        await a_round(here)
        await here.settle()

        assert (await here.containers(), await here.named_volumes(late[0])) == ([], [])


async def test_a_volume_without_a_label_is_kept_when_its_container_has_run(
    server: Open, late: tuple[str, str], api: Api
) -> None:
    """Whoever made it, there may be something in it."""
    workspace, name = late
    await api.call("POST", f"/containers/{name}/start")
    async with server() as here:
        await a_round(here)
        await here.settle()

        assert (await here.containers(), len(await here.named_volumes(workspace))) == ([], 1)
    await api.call("DELETE", f"/volumes/{names.workspace_volume(workspace)}")


async def test_two_installations_on_one_engine_leave_each_other_alone(server: Open, neighbour: str) -> None:
    """Even where one of them has lost its database, and the other removes what it has."""
    async with server() as one, server("other", neighbour) as other:
        mine, theirs = await one.online(), await other.online()
        await a_round(one)
        await one.service.remove(mine, confirmed=True, purge=True)
        await a_round(one)
        await a_round(other)

        assert (await one.containers(), await one.volumes()) == ([], [])
        assert (await other.row(theirs)).status is WorkspaceStatus.ONLINE
        assert (await other.inspected(theirs))["State"]["Running"]
    async with server("wiped") as one:
        await a_round(one)

        assert len(await one.containers(theirs)) == 1


async def test_what_the_predecessor_made_is_left_alone(server: Open, predecessors: tuple[str, str]) -> None:
    container, volume = predecessors
    async with server() as here:
        workspace = await here.online()
        await a_round(here)
        await here.service.remove(workspace, confirmed=True, purge=True)
        await a_round(here)

        assert (await here.api.get(f"/containers/{container}/json"))["State"]["Running"]
        assert await here.api.exists(f"/volumes/{volume}")


async def test_the_token_of_the_container_before_ends_when_the_next_one_is_made(server: Open) -> None:
    """Until then the old container goes on working, and brings nothing online."""
    async with server() as here:
        workspace = await here.online()
        async with here.database.write() as tx:
            old = await here.tokens.issue(tx, workspace)
        await here.lifecycle.restart(workspace)
        hold = await here.begin("GET", "/images/.+/json")
        await here.beat_of_agent(workspace)
        early = (await here.tokens.owner(old), (await here.row(workspace)).status)
        made = here.proxy.faults.hold("POST", "/containers/create")
        here.proxy.faults.remove(hold)
        await made.arrived.wait()

        assert (early, await here.tokens.owner(old)) == ((workspace, WorkspaceStatus.PROVISIONING), None)
