"""The engine goes away and comes back at any moment: wishes wait, say what for, and are then fulfilled."""

from pathlib import Path

import pytest
import sqlalchemy as sa

from workspace_server.db.schema import leases
from workspace_server.errors import DeadlineError
from workspace_server.model.workspace import Workspace, WorkspaceStatus

from .world import Supply, World, world

pytestmark = pytest.mark.engine


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """What may be tried again is tried again by the next round."""
    monkeypatch.setattr("workspace_server.workspaces.reconcile._FIRST_PAUSE", 0.0)


async def waits(here: World, workspace: str) -> Workspace:
    row = await here.row(workspace)
    assert row.failure is not None
    assert (row.status, row.failure.code) == (WorkspaceStatus.PROVISIONING, "engine_unavailable")
    assert row.last_sample_error.startswith(row.failure.message)
    return row


async def is_online(here: World, workspace: str) -> None:
    row = await here.row(workspace)
    assert (row.status, row.failure, row.last_sample_error) == (WorkspaceStatus.ONLINE, None, "")


async def until_online(here: World, workspace: str) -> None:
    """The engine is back; the next round goes on, and the agent calls."""
    here.proxy.faults.remove(await here.begin())
    await here.call_of_agent(workspace)
    await here.settle()
    await is_online(here, workspace)


async def test_a_wish_made_while_the_engine_is_away_waits_and_says_so(here: World) -> None:
    await here.proxy.down()
    workspace = await here.create()
    await here.fulfil()

    row = await waits(here, workspace)
    assert row.failure is not None
    assert here.proxy.address in row.failure.message


async def test_it_is_fulfilled_when_the_engine_is_back_and_nothing_of_the_wait_stays(here: World) -> None:
    await here.proxy.down()
    workspace = await here.create()
    for _ in range(2):
        await here.fulfil()
    await here.proxy.up()

    await until_online(here, workspace)


@pytest.mark.parametrize(
    ("method", "call"),
    [
        ("GET", "/images/.+/json"),
        ("POST", "/volumes/create"),
        ("PUT", "/containers/[^/]+/archive"),
    ],
)
async def test_whenever_the_engine_goes_away_the_wish_waits_and_is_fulfilled_later(
    here: World, method: str, call: str
) -> None:
    workspace = await here.create()
    hold = await here.begin(method, call)
    await here.proxy.down()
    await here.settle()
    await waits(here, workspace)
    here.proxy.faults.remove(hold)
    await here.proxy.up()

    await until_online(here, workspace)
    assert len(await here.containers()) == 1


async def test_an_engine_that_goes_away_while_the_agent_is_awaited_finds_its_container_again(here: World) -> None:
    workspace = await here.waiting_for_agent()
    container = (await here.inspected(workspace))["Id"]
    await here.proxy.down()
    await here.settle()
    await waits(here, workspace)
    await here.proxy.up()

    await until_online(here, workspace)
    assert (await here.inspected(workspace))["Id"] == container


async def test_an_engine_that_goes_away_again_and_again_is_waited_for(here: World) -> None:
    workspace = await here.waiting_for_agent()
    for _ in range(3):
        await here.proxy.down()
        await here.settle()
        await waits(here, workspace)
        await here.proxy.up()
        here.proxy.faults.remove(await here.begin())

    await here.call_of_agent(workspace)
    await here.settle()
    await is_online(here, workspace)


async def test_a_wish_says_what_it_waits_for_after_a_restart_of_the_server_too(
    here: World, tmp_path: Path, engine_url: str, supply: Supply, instance: str
) -> None:
    workspace = await here.create()
    await here.begin("POST", "/containers/create")
    async with world(tmp_path / "data", engine_url, supply, instance) as later:
        await later.proxy.down()
        await later.fulfil()

        await waits(later, workspace)


async def test_a_server_that_never_saw_its_engine_says_what_wishes_wait_for(
    tmp_path: Path, engine_url: str, supply: Supply, instance: str, postgres_url: str
) -> None:
    """On a database that others may share, nothing at all is begun before the engine was compared with theirs."""
    async with world(tmp_path / "data", engine_url, supply, instance, place=postgres_url) as here:
        await here.proxy.down()
        workspace = await here.create()
        await here.fulfil()

        await waits(here, workspace)
        await here.proxy.up()
        await until_online(here, workspace)


async def test_a_server_without_its_engine_leaves_the_rows_to_others(
    tmp_path: Path, engine_url: str, supply: Supply, instance: str, postgres_url: str
) -> None:
    """It takes no lease again for what the row says already."""
    async with world(tmp_path / "data", engine_url, supply, instance, place=postgres_url) as here:
        await here.proxy.down()
        await here.create()
        await here.fulfil()
        await here.leases.renew()
        await here.fulfil()

        async with here.database.read() as connection:
            assert (await connection.execute(sa.select(leases))).all() == []


async def test_an_unchanged_reason_is_not_written_again(here: World) -> None:
    await here.proxy.down()
    workspace = await here.create()
    await here.fulfil()
    before = await here.row(workspace)
    await here.fulfil()

    assert await here.row(workspace) == before


async def test_an_engine_that_is_away_is_no_reason_to_call_anybody_dead(here: World) -> None:
    workspace = await here.online()
    await here.proxy.down()
    await here.reconciler.observe()

    await is_online(here, workspace)


async def test_an_engine_that_fails_is_no_reason_to_call_anybody_dead(here: World) -> None:
    workspace = await here.online()
    here.proxy.faults.answer("GET", "/containers/json", status=500)
    await here.reconciler.observe()

    await is_online(here, workspace)


async def test_a_row_that_cannot_be_read_for_a_moment_is_no_reason_to_give_up(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from workspace_server.errors import UnavailableError  # noqa: PLC0415
    from workspace_server.workspaces.attempt import Attempt  # noqa: PLC0415

    enter = Attempt.enter

    async def busy(*_: object, **__: object) -> None:
        monkeypatch.setattr(Attempt, "enter", enter)
        raise UnavailableError("the database cannot be used right now", code="database_unavailable")

    monkeypatch.setattr(Attempt, "enter", busy)
    workspace = await here.create()
    await here.fulfil()

    assert (await here.row(workspace)).status is WorkspaceStatus.PROVISIONING
    await until_online(here, workspace)


async def test_a_wish_waits_while_the_engine_is_there_and_answers_nothing(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = await here.create()
    with monkeypatch.context() as hanging:
        hanging.setattr(here.engine, "ensure_network", silent)
        await here.fulfil()
    row = await here.row(workspace)
    assert row.failure is not None
    assert (row.status, row.failure.code) == (WorkspaceStatus.PROVISIONING, "engine_timeout")

    await until_online(here, workspace)


async def silent(name: str) -> None:
    raise DeadlineError("find the network took longer than 30 s", code="engine_timeout")
