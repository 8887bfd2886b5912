"""Agents that run elsewhere: created, connected, called, silent."""

import re
from typing import Any

import pytest

from support.rows import events
from support.server import InProcess
from workspace_server.model.workspace import WorkspaceStatus

pytestmark = pytest.mark.asyncio(loop_scope="module")

LOCAL = "http://127.0.0.1:4711/a2a"


async def create(app: InProcess, **fields: Any) -> Any:
    response = await app.call("POST", "/workspaces", json={"name": "Ada's agent", "external": True, **fields})
    assert response.status_code == 201, response.text
    return response.json()


async def status(app: InProcess, identity: str) -> WorkspaceStatus:
    row = await app.services.store.get(identity)
    assert row is not None
    return row.status


async def test_with_a_url_it_is_online_at_once(app: InProcess) -> None:
    made = await create(app, url=LOCAL)
    assert made == {"id": made["id"], "external": True, "status": "online"}
    row = await app.services.store.get(made["id"])
    assert row is not None
    assert (row.status, row.runtime, row.url) == (WorkspaceStatus.ONLINE, "external", LOCAL)
    assert [kind for kind, _ in await events(app, made["id"])] == ["WORKSPACE_PROVISIONING", "WORKSPACE_ONLINE"]


async def test_the_runtime_external_says_the_same(app: InProcess) -> None:
    made = await create(app, external=False, runtime="external")
    assert (made["external"], made["status"]) == (True, "awaiting_agent")


async def test_without_a_url_it_waits_and_says_how_to_connect(app: InProcess) -> None:
    made = await create(app)
    connection = made["connection"]
    assert (made["status"], await status(app, made["id"])) == ("awaiting_agent", WorkspaceStatus.AWAITING_AGENT)
    assert connection["registry_endpoint"] == connection["platform_url"] + "/registry/register"
    assert connection["heartbeat_endpoint"] == connection["platform_url"] + "/registry/heartbeat"
    assert connection["workspace_id"] == made["id"]
    assert await app.services.tokens.owner(connection["auth_token"]) == made["id"]
    # The dashboard replaces these by searching for them.
    assert 'AUTH_TOKEN    = "<paste from create response>"' in connection["python_snippet"]
    assert 'WORKSPACE_AUTH_TOKEN="<paste from create response>"' in connection["curl_register_template"]
    assert connection["auth_token"] not in connection["python_snippet"] + connection["curl_register_template"]
    compile(connection["python_snippet"], "snippet", "exec")
    assert [kind for kind, _ in await events(app, made["id"])] == ["WORKSPACE_PROVISIONING", "WORKSPACE_AWAITING_AGENT"]


async def test_the_name_breaks_out_of_no_snippet(app: InProcess) -> None:
    made = await create(app, name="a'; reboot #\"\\")
    line = next(line for line in made["connection"]["curl_register_template"].splitlines() if line.startswith("  -d"))
    assert re.fullmatch(r"  -d '[^']*'", line)
    compile(made["connection"]["python_snippet"], "snippet", "exec")


async def test_its_agent_registers_with_the_token_from_anywhere_and_is_online(app: InProcess) -> None:
    made = await create(app)
    response = await app.call(
        "POST",
        "/registry/register",
        peer="203.0.113.9",
        headers={"Authorization": f"Bearer {made['connection']['auth_token']}"},
        json={"id": made["id"], "url": LOCAL, "agent_card": {"name": "elsewhere"}},
    )
    row = await app.services.store.get(made["id"])
    assert row is not None
    assert (response.status_code, row.status, row.url) == (200, WorkspaceStatus.ONLINE, LOCAL)


async def test_its_agent_may_not_say_it_is_where_no_agent_may_be(app: InProcess) -> None:
    made = await create(app)
    response = await app.call(
        "POST",
        "/registry/register",
        headers={"Authorization": f"Bearer {made['connection']['auth_token']}"},
        json={"id": made["id"], "url": "http://169.254.169.254/", "agent_card": None},
    )
    assert (response.status_code, response.json()["code"]) == (400, "agent_url_refused")
    assert await status(app, made["id"]) is WorkspaceStatus.AWAITING_AGENT


async def test_a_url_where_no_agent_may_be_creates_nothing(app: InProcess) -> None:
    before = len(await app.services.store.present())
    response = await app.call(
        "POST", "/workspaces", json={"name": "a", "external": True, "url": "http://169.254.169.254/"}
    )
    assert (response.status_code, response.json()["code"]) == (400, "agent_url_refused")
    assert len(await app.services.store.present()) == before


async def test_a_url_of_an_agent_that_runs_here_is_refused(app: InProcess) -> None:
    response = await app.call("POST", "/workspaces", json={"name": "a", "url": LOCAL})
    assert (response.status_code, response.json()["code"]) == (400, "invalid_request")


@pytest.mark.parametrize("what", ["restart", "pause", "hibernate"])
async def test_it_is_neither_started_nor_stopped_here(app: InProcess, what: str) -> None:
    made = await create(app, url=LOCAL)
    response = await app.call("POST", f"/workspaces/{made['id']}/{what}")
    assert (response.status_code, response.json()["code"]) == (409, "external_agent")
    assert await status(app, made["id"]) is WorkspaceStatus.ONLINE


async def test_it_cannot_become_another_kind(app: InProcess) -> None:
    made = await create(app, url=LOCAL)
    response = await app.call("PATCH", f"/workspaces/{made['id']}", json={"runtime": "langgraph"})
    assert (response.status_code, response.json()["code"]) == (409, "external_agent")


async def test_it_is_removed_like_any_other(app: InProcess) -> None:
    made = await create(app, url=LOCAL)
    assert (await app.call("DELETE", f"/workspaces/{made['id']}")).status_code == 200
    assert await status(app, made["id"]) is WorkspaceStatus.REMOVED
