"""A server that dies at any step loses nothing: the next one goes on, and makes nothing twice."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from workspace_server.model import names
from workspace_server.model.workspace import WorkspaceStatus
from workspace_server.settings import Settings

from .world import WAIT, Supply, World, arrived, world

pytestmark = pytest.mark.engine

Restart = Callable[[], AbstractAsyncContextManager[World]]


@pytest.fixture
async def server(tmp_path: Path, engine_url: str, supply: Supply, instance: str, workspace_network: None) -> Restart:
    """Opens servers, one after the other, on the same rows and the same engine."""
    return lambda: world(tmp_path / "data", engine_url, supply, instance)


async def goes_on(later: World, workspace: str) -> None:
    """The next round, until the container runs; then the agent calls."""
    later.proxy.faults.remove(await later.begin())
    await later.call_of_agent(workspace)
    await later.settle()

    assert (await later.row(workspace)).status is WorkspaceStatus.ONLINE
    assert len(await later.containers(workspace)) == 1


@pytest.mark.parametrize(
    ("method", "call", "when"),
    [
        ("GET", "/images/.+/json", "before"),
        ("POST", "/volumes/create", "after"),
        ("POST", "/containers/create", "after"),
        ("PUT", "/containers/[^/]+/archive", "before"),
        ("POST", "/containers/[^/]+/start", "before"),
    ],
)
async def test_a_provisioning_that_was_cut_off_before_the_start_begins_anew(
    server: Restart, method: str, call: str, when: str
) -> None:
    async with server() as first:
        workspace = await first.create()
        first.proxy.faults.remove(await first.begin(method, call, when=when))
        await first.proxy.down()
    async with server() as later:
        await goes_on(later, workspace)

        assert (await later.row(workspace)).generation == 2
        assert (await later.inspected(workspace))["Config"]["Labels"][names.GENERATION] == "2"
        assert len(await later.volumes()) == 2


@pytest.mark.parametrize(
    ("method", "call", "when"), [("POST", "/containers/[^/]+/start", "after"), ("POST", WAIT, "before")]
)
async def test_a_container_that_runs_already_is_waited_for(server: Restart, method: str, call: str, when: str) -> None:
    async with server() as first:
        workspace = await first.create()
        await first.begin(method, call, when=when)
        container = (await first.inspected(workspace))["Id"]
    async with server() as later:
        await goes_on(later, workspace)

        row = await later.row(workspace)
        assert ((await later.inspected(workspace))["Id"], row.generation) == (container, 1)
        assert row.url.startswith("http://127.0.0.1:")


async def test_a_wish_that_the_container_fulfils_is_not_fulfilled_again(server: Restart) -> None:
    """Nobody wrote down that it is: the server died in that moment. The next restart keeps the agent's session."""
    async with server() as first:
        workspace = await first.waiting_for_agent()
        async with first.database.write() as tx:
            await first.store.touch(tx, workspace, apply_config=True, reset_session=True)
    async with server() as later:
        await goes_on(later, workspace)

        row = await later.row(workspace)
        assert (row.generation, row.apply_config, row.reset_session) == (1, False, False)


async def test_an_agent_that_called_while_nobody_listened_to_its_call_is_online(server: Restart) -> None:
    async with server() as first:
        workspace = await first.create()
        await first.begin()
        await first.call_of_agent(workspace)
    async with server() as later:
        await later.fulfil()

        assert (await later.row(workspace)).status is WorkspaceStatus.ONLINE


async def test_a_container_that_ended_meanwhile_is_replaced(server: Restart) -> None:
    async with server() as first:
        workspace = await first.waiting_for_agent()
        await first.proxy.down()
        await first.settle()
        await first.api.call("POST", f"/containers/{names.container_name(workspace)}/kill")
    async with server() as later:
        await goes_on(later, workspace)

        assert (await later.row(workspace)).generation == 2


async def test_an_agent_that_could_not_call_for_long_gets_another_chance(server: Restart) -> None:
    async with server() as first:
        workspace = await first.create()
        await first.begin()
        long_ago = datetime.now(UTC) - timedelta(hours=1)
        async with first.database.write() as tx:
            await first.store.progress(tx, workspace, 1, container_started_at=long_ago)
    async with server() as later:
        await later.begin()
        await later.engine.info()  # its time would be over by now

        assert later.proxy.count("GET", "/containers/[^/]+/logs") == 0
        assert (await later.row(workspace)).status is WorkspaceStatus.PROVISIONING


async def test_that_chance_ends_too(server: Restart, monkeypatch: pytest.MonkeyPatch) -> None:
    async with server() as first:
        workspace = await first.create()
        await first.begin()
    monkeypatch.setattr(Settings, "start_limit", lambda *_: 0.05)
    async with server() as later:
        await later.fulfil()

        row = await later.row(workspace)
        assert row.failure is not None
        assert (row.status, row.failure.code) == (WorkspaceStatus.FAILED, "agent_silent")


async def test_a_time_to_call_goes_on_where_it_was(server: Restart) -> None:
    async with server() as first:
        workspace = await first.create()
        await first.begin()
        started = (await first.row(workspace)).container_started_at
    async with server() as later:
        await later.begin()

        assert (await later.row(workspace)).container_started_at == started


async def test_a_delete_that_was_cut_off_is_finished(server: Restart) -> None:
    async with server() as first:
        workspace = await first.online()
        await first.service.remove(workspace, confirmed=True, purge=True)
        hold = first.proxy.faults.hold("DELETE", "/volumes/.*")
        await first.reconciler.fulfil()
        await arrived(hold)
    async with server() as later:
        await later.fulfil()

        assert (await later.containers(), await later.volumes(), await later.store.get(workspace)) == ([], [], None)
