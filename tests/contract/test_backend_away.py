"""Servers and backends come and go; no backend forgets a machine or takes one for dead that is not."""

import asyncio

from .stands import Stand


async def test_a_backend_that_is_away_is_no_death(stand: Stand) -> None:
    workspace = await stand.online()
    (before,) = await stand.ground.running(workspace)
    await stand.ground.down()
    await asyncio.sleep(1.5)  # several looks at nothing
    assert (await stand.row(workspace)).status == "online"
    await stand.ground.up()
    await asyncio.sleep(1)

    assert (await stand.row(workspace)).status == "online"
    assert await stand.ground.running(workspace) == [before]


async def test_a_wish_that_is_made_while_the_backend_is_away_is_fulfilled_later(stand: Stand) -> None:
    await stand.ground.down()
    workspace = await stand.create()
    await asyncio.sleep(1)
    row = await stand.row(workspace)
    assert (row.status, row.container_started_at) == ("provisioning", None)
    await stand.ground.up()

    await stand.until_runs(workspace)
    assert (await stand.row(workspace)).failure is None


async def test_what_is_paused_while_the_backend_is_away_ends_later(stand: Stand) -> None:
    workspace = await stand.online()
    await stand.ground.down()
    await stand.call("POST", f"/workspaces/{workspace}/pause")
    await asyncio.sleep(0.5)
    assert len(await stand.ground.running(workspace)) == 1
    await stand.ground.up()

    await stand.until_nothing_runs(workspace)


async def test_what_is_removed_while_the_backend_is_away_ends_later(stand: Stand) -> None:
    workspace = await stand.online()
    await stand.ground.down()
    await stand.call("DELETE", f"/workspaces/{workspace}")
    await asyncio.sleep(0.5)
    await stand.ground.up()

    await stand.until_nothing_runs(workspace)


async def test_a_machine_that_died_while_the_backend_was_away_is_replaced(stand: Stand) -> None:
    workspace = await stand.online()
    (before,) = await stand.ground.running(workspace)
    await stand.ground.down()
    await stand.ground.kill(workspace)
    await stand.ground.up()

    await stand.until_runs(workspace, but=before)


async def test_the_next_server_goes_on_with_the_machines_that_run(stand: Stand) -> None:
    workspace = await stand.online()
    (before,) = await stand.ground.running(workspace)
    await stand.restart()
    await asyncio.sleep(1)

    assert (await stand.row(workspace)).status == "online"
    assert await stand.ground.running(workspace) == [before]


async def test_the_next_server_waits_for_the_agent_that_the_last_one_waited_for(stand: Stand) -> None:
    workspace = await stand.create()
    before = await stand.until_runs(workspace)
    await stand.restart()
    await asyncio.sleep(0.5)
    await stand.agent_calls(workspace)

    await stand.until(workspace, "online")
    assert await stand.ground.running(workspace) == [before]


async def test_the_next_server_ends_what_was_removed_while_there_was_none(stand: Stand) -> None:
    workspace = await stand.online()
    await stand.ground.down()
    await stand.call("DELETE", f"/workspaces/{workspace}")
    await stand.stop()
    await stand.ground.up()
    await stand.start()

    await stand.until_nothing_runs(workspace)


async def test_the_next_server_replaces_what_died_while_there_was_none(stand: Stand) -> None:
    workspace = await stand.online()
    (before,) = await stand.ground.running(workspace)
    await stand.stop()
    await stand.ground.kill(workspace)
    await stand.start()

    await stand.until_runs(workspace, but=before)
