"""What agents send about themselves: the bodies, and who may send them. What follows is tested with agents/."""

from typing import Any
from uuid import uuid4

import pytest

from support.rows import token_of, workspace
from support.server import InProcess
from workspace_server.model.workspace import WorkspaceStatus

pytestmark = pytest.mark.asyncio(loop_scope="module")

MISSING = {"error": "missing workspace auth token", "code": "unauthenticated"}
URL = "http://agent:8000"


async def register(app: InProcess, body: Any, token: str | None = None) -> tuple[int, Any]:
    response = await app.call("POST", "/registry/register", json=body, headers=bearer(token))
    return response.status_code, response.json()


async def beat(app: InProcess, body: Any, token: str | None = None) -> tuple[int, Any]:
    response = await app.call("POST", "/registry/heartbeat", json=body, headers=bearer(token))
    return response.status_code, response.json()


def bearer(token: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}


async def test_the_first_register_is_given_a_token_and_no_later_one(app: InProcess) -> None:
    identity = await workspace(app, status=WorkspaceStatus.PROVISIONING)
    body = {"id": identity, "url": URL, "agent_card": {}}
    status, first = await register(app, body)
    assert (status, set(first), first["status"]) == (200, {"status", "auth_token"}, "registered")
    assert await register(app, body, first["auth_token"]) == (200, {"status": "registered"})


async def test_a_register_without_the_token_is_refused_once_there_is_one(app: InProcess) -> None:
    identity = await workspace(app)
    await token_of(app, identity)
    status, answer = await register(app, {"id": identity, "url": URL, "agent_card": {}})
    assert (status, answer) == (401, {**MISSING, "hint": "send Authorization: Bearer <content of .auth_token>"})


async def test_a_register_with_anothers_token_is_refused(app: InProcess) -> None:
    identity, token = await workspace(app), await token_of(app, await workspace(app))
    status, answer = await register(app, {"id": identity, "url": URL, "agent_card": {}}, token)
    assert (status, answer) == (401, {"error": "invalid workspace auth token", "code": "invalid_token"})


async def test_a_register_of_a_removed_workspace_is_refused_and_gives_no_token(app: InProcess) -> None:
    identity = await workspace(app)
    await app.call("DELETE", f"/workspaces/{identity}")
    status, answer = await register(app, {"id": identity, "url": URL, "agent_card": {}})
    assert status == 401
    assert answer == {"error": "this workspace is not here any more", "code": "unknown_workspace"}


@pytest.mark.parametrize("lacking", ["id", "url", "agent_card"])
async def test_a_register_needs_all_three_fields(app: InProcess, lacking: str) -> None:
    body = {"id": await workspace(app), "url": URL, "agent_card": {}}
    del body[lacking]
    status, answer = await register(app, body)
    assert (status, answer["error"]) == (400, "invalid request body")
    assert answer["hint"].startswith(f"{lacking}: ")


@pytest.mark.parametrize("empty", ["id", "url"])
async def test_a_text_that_is_required_may_not_be_empty(app: InProcess, empty: str) -> None:
    status, answer = await register(app, {"id": await workspace(app), "url": URL, "agent_card": {}, empty: ""})
    assert (status, answer["error"]) == (400, "invalid request body")


@pytest.mark.parametrize("card", [None, {}, [], "text", 1, {"name": "card", "skills": [{"id": "a"}]}])
async def test_an_agent_card_is_any_json(app: InProcess, card: Any) -> None:
    identity = await workspace(app)
    status, _ = await register(app, {"id": identity, "url": URL, "agent_card": card})
    assert status == 200
    assert (await app.call("GET", f"/workspaces/{identity}")).json()["agent_card"] == card


async def test_a_heartbeat_with_every_field(app: InProcess) -> None:
    identity = await workspace(app)
    body = {
        "workspace_id": identity,
        "error_rate": 0,
        "sample_error": "oops",
        "active_tasks": 2,
        "uptime_seconds": 90,
        "current_task": "thinking",
        "monthly_spend": 42,
        "runtime_state": "",
        "runtime_metadata": {"capabilities": {"scheduler": True}},
    }
    assert await beat(app, body) == (200, {"status": "ok"})
    form = next(each for each in (await app.call("GET", "/workspaces")).json() if each["id"] == identity)
    kept = ("last_error_rate", "last_sample_error", "active_tasks", "uptime_seconds", "current_task", "monthly_spend")
    assert [form[key] for key in kept] == [0, "oops", 2, 90, "thinking", 42]


async def test_a_heartbeat_needs_only_who_sends_it(app: InProcess) -> None:
    identity = await workspace(app)
    assert await beat(app, {"workspace_id": identity}) == (200, {"status": "ok"})


@pytest.mark.parametrize("body", [{}, {"workspace_id": ""}, {"workspace_id": None}, {"workspace_id": 5}])
async def test_a_heartbeat_without_its_sender_is_400(app: InProcess, body: Any) -> None:
    status, answer = await beat(app, body)
    assert (status, answer["error"]) == (400, "invalid request body")


async def test_a_heartbeat_of_an_unknown_workspace_is_taken_and_changes_nothing(app: InProcess) -> None:
    before = (await app.call("GET", "/workspaces")).json()
    assert await beat(app, {"workspace_id": str(uuid4())}) == (200, {"status": "ok"})
    assert (await app.call("GET", "/workspaces")).json() == before
