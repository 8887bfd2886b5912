"""What every backend does for a workspace from its first day to its last."""

import asyncio

import pytest

from support.server import eventually

from .stands import Stand


async def test_a_create_makes_one_machine_and_its_agents_call_brings_it_online(stand: Stand) -> None:
    workspace = await stand.create()
    await stand.until_runs(workspace)
    view = await stand.call("GET", f"/workspaces/{workspace}/provisioning")
    assert (view["status"], view["phase"], view["error"]) == ("provisioning", "online", None)

    await stand.agent_calls(workspace)
    await stand.until(workspace, "online")

    async def done() -> bool:
        phases = (await stand.call("GET", f"/workspaces/{workspace}/provisioning"))["phases"]
        return all(phase["state"] == "done" for phase in phases)

    await eventually(done, "every phase is done")
    assert len(await stand.ground.running(workspace)) == 1


async def test_a_machine_is_told_whose_it_is_where_its_server_is_and_its_secrets(stand: Stand) -> None:
    await stand.call("POST", "/settings/secrets", {"key": "OF_ALL", "value": "for all"})
    workspace = await stand.create(secrets={"OWN": "its own", "PYTHONPATH": "/mine"}, role="critic")
    await stand.until_runs(workspace)

    told = await stand.ground.environment(workspace)
    assert {
        "WORKSPACE_ID": workspace,
        "PLATFORM_URL": "http://acme.example.org",
        "MOLECULE_URL": "http://acme.example.org",
        "OF_ALL": "for all",
        "OWN": "its own",
        "PYTHONPATH": "/mine",
        "MOLECULE_AGENT_ROLE": "critic",
    }.items() <= told.items()


async def test_a_restart_puts_another_machine_in_the_place_of_the_one_that_runs(stand: Stand) -> None:
    workspace = await stand.online()
    (before,) = await stand.ground.running(workspace)
    await stand.call("POST", f"/workspaces/{workspace}/restart")

    assert await stand.until_runs(workspace, but=before) != before
    assert (await stand.row(workspace)).status == "provisioning"
    await stand.agent_calls(workspace)
    await stand.until(workspace, "online")


async def test_what_an_agent_had_as_its_token_is_void_after_a_restart(stand: Stand) -> None:
    workspace = await stand.online()
    async with stand.opened.services.database.write() as tx:
        token = await stand.opened.services.tokens.issue(tx, workspace)
    (before,) = await stand.ground.running(workspace)
    await stand.call("POST", f"/workspaces/{workspace}/restart")
    await stand.until_runs(workspace, but=before)

    assert await stand.opened.services.tokens.owner(token) is None


async def test_many_restarts_at_once_are_one(stand: Stand) -> None:
    workspace = await stand.online()
    (before,) = await stand.ground.running(workspace)
    await asyncio.gather(*(stand.call("POST", f"/workspaces/{workspace}/restart") for _ in range(5)))
    await stand.until_runs(workspace, but=before)

    await stand.agent_calls(workspace)
    await stand.until(workspace, "online")
    assert len(await stand.ground.left(stand.opened.services.instance)) == 1


async def test_a_changed_secret_reaches_a_new_machine(stand: Stand) -> None:
    workspace = await stand.online(secrets={"KEY": "old"})
    (before,) = await stand.ground.running(workspace)
    await stand.call("POST", f"/workspaces/{workspace}/secrets", {"key": "KEY", "value": "new"})
    await stand.until_runs(workspace, but=before)

    assert (await stand.ground.environment(workspace))["KEY"] == "new"


async def test_a_pause_ends_the_machine_and_a_resume_starts_another(stand: Stand) -> None:
    workspace = await stand.online()
    (before,) = await stand.ground.running(workspace)
    await stand.call("POST", f"/workspaces/{workspace}/pause")
    await stand.until_nothing_runs(workspace)
    assert (await stand.row(workspace)).status == "paused"

    await stand.call("POST", f"/workspaces/{workspace}/resume")
    assert await stand.until_runs(workspace, but=before) != before
    await stand.agent_calls(workspace)
    await stand.until(workspace, "online")


async def test_a_pause_takes_along_all_that_is_below(stand: Stand) -> None:
    above = await stand.online()
    below = await stand.online(parent_id=above)
    await stand.call("POST", f"/workspaces/{above}/pause")

    await stand.until_nothing_runs(above)
    await stand.until_nothing_runs(below)
    assert (await stand.row(below)).status == "paused"


async def test_hibernation_ends_the_machine_and_a_message_starts_another(stand: Stand) -> None:
    workspace = await stand.online()
    await stand.call("POST", f"/workspaces/{workspace}/hibernate")
    await stand.until(workspace, "hibernated")
    assert await stand.ground.running(workspace) == []

    answer = await stand.call("POST", f"/workspaces/{workspace}/a2a", {"method": "message/send"}, status=503)
    assert answer["waking"] is True
    await stand.until_runs(workspace)
    await stand.agent_calls(workspace)
    await stand.until(workspace, "online")


async def test_a_removed_workspace_leaves_no_machine(stand: Stand) -> None:
    workspace = await stand.online()
    await stand.call("DELETE", f"/workspaces/{workspace}")

    await stand.until_nothing_runs(workspace)


async def test_a_purged_workspace_leaves_neither_machine_nor_row(stand: Stand) -> None:
    workspace = await stand.online()
    await stand.call("DELETE", f"/workspaces/{workspace}?purge=true")

    await stand.until_nothing_runs(workspace)

    async def forgotten() -> bool:
        return await stand.opened.services.store.get(workspace) is None

    await eventually(forgotten, "the row is gone")


async def test_a_delete_wins_over_a_create_that_is_under_way(stand: Stand) -> None:
    workspaces = [await stand.create() for _ in range(3)]
    await asyncio.gather(*(stand.call("DELETE", f"/workspaces/{workspace}") for workspace in workspaces))

    async def cleared() -> bool:
        return not await stand.opened.services.store.to_clear()

    await eventually(cleared, "all are cleared")
    assert await stand.ground.left(stand.opened.services.instance) == []


async def test_a_machine_that_dies_is_replaced_by_itself(stand: Stand) -> None:
    workspace = await stand.online()
    (before,) = await stand.ground.running(workspace)
    await stand.ground.kill(workspace)

    assert await stand.until_runs(workspace, but=before) != before
    await stand.agent_calls(workspace)
    row = await stand.until(workspace, "online")
    assert len(row.restarts) == 1


async def test_a_machine_that_ends_before_its_agents_first_call_is_why_the_workspace_failed(stand: Stand) -> None:
    workspace = await stand.create()
    await stand.until_runs(workspace)
    await stand.ground.kill(workspace)

    assert await stand.fails(workspace) == "agent_exited"
    row = await stand.row(workspace)
    assert row.last_sample_error.startswith(f"the agent's {stand.ground.noun} ended ")
    assert await stand.ground.running(workspace) == []


async def test_an_agent_that_never_calls_is_why_the_workspace_failed_and_its_machine_does_not_run_on(
    stand: Stand,
) -> None:
    await stand.restart(PROVISION_TIMEOUT_SECONDS="1")
    workspace = await stand.create()

    assert await stand.fails(workspace) == "agent_silent"
    assert f"does the {stand.ground.noun} reach" in (await stand.row(workspace)).last_sample_error
    await stand.until_nothing_runs(workspace)


async def test_a_failed_workspace_is_started_again_by_a_restart(stand: Stand) -> None:
    workspace = await stand.create()
    await stand.until_runs(workspace)
    await stand.ground.kill(workspace)
    await stand.fails(workspace)
    await stand.call("POST", f"/workspaces/{workspace}/restart")

    await stand.until_runs(workspace)
    await stand.agent_calls(workspace)
    assert (await stand.until(workspace, "online")).failure is None


@pytest.mark.parametrize("late", [False, True])
async def test_a_machine_that_did_not_come_up_fails_its_workspace_once(stand: Stand, *, late: bool) -> None:
    workspace = await stand.online() if late else await stand.create()
    machine = await stand.until_runs(workspace)
    report = {"error": "cloud-init failed", "log_tail": "x" * 9000 + "the last line"}
    path = f"/admin/workspaces/{workspace}/bootstrap-failed"
    answers = [await stand.call("POST", path, report) for _ in range(2)]

    if late:
        assert answers == [{"ok": True, "no_change": True}] * 2
        assert await stand.ground.running(workspace) == [machine]
    else:
        assert answers == [{"ok": True}, {"ok": True, "no_change": True}]
        row = await stand.row(workspace)
        assert row.last_sample_error.startswith("cloud-init failed\n\n… (the beginning is left out)\nxxx")
        assert row.last_sample_error.endswith("the last line")
        assert len(row.last_sample_error.encode()) == 8192
        await stand.until_nothing_runs(workspace)
