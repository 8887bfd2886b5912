"""Restart, pause, resume, hibernate and wake over HTTP: the forms of the answers."""

import pytest

from support.rows import events, workspace
from support.server import InProcess
from workspace_server.model.workspace import WorkspaceStatus

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOBODY = "00000000-0000-0000-0000-000000000000"


@pytest.mark.parametrize("body", [None, {}, {"template": "", "reset": False}])
async def test_a_restart_is_answered_at_once(app: InProcess, body: dict[str, object] | None) -> None:
    identity = await workspace(app, status=WorkspaceStatus.FAILED)
    answer = await app.call("POST", f"/workspaces/{identity}/restart", json=body)

    assert (answer.status_code, answer.json()) == (
        200,
        {"status": "provisioning", "config_dir": "existing-volume", "reset_session": False},
    )
    assert (await events(app, identity))[-1] == (
        "WORKSPACE_PROVISIONING",
        {"name": "a", "tier": 2, "runtime": "langgraph"},
    )


@pytest.mark.parametrize(
    ("query", "body", "field"),
    [
        ("", {"template": "x"}, "template"),
        ("", {"apply_template": True}, "apply_template"),
        ("", {"rebuild_config": True}, "rebuild_config"),
        ("", {"reset": True}, "reset"),
        ("?reset=true", None, "reset"),
    ],
)
async def test_what_a_restart_cannot_do_yet_is_refused_by_name(
    app: InProcess, query: str, body: dict[str, object] | None, field: str
) -> None:
    answer = await app.call("POST", f"/workspaces/{await workspace(app)}/restart{query}", json=body)

    assert (answer.status_code, answer.json()["error"]) == (400, f"{field} is not supported by this version")


async def test_a_pause_and_a_resume_count_the_family(app: InProcess) -> None:
    parent = await workspace(app)
    child = await workspace(app, parent_id=parent)
    paused = await app.call("POST", f"/workspaces/{parent}/pause")
    below = await app.call("POST", f"/workspaces/{child}/resume")
    resumed = await app.call("POST", f"/workspaces/{parent}/resume")

    assert (paused.status_code, paused.json()) == (200, {"status": "paused", "paused_count": 2})
    assert (below.status_code, below.json()) == (
        409,
        {
            "error": 'parent workspace "a" is paused — resume it first',
            "code": "parent_paused",
            "hint": f"POST /workspaces/{parent}/resume",
        },
    )
    assert (resumed.status_code, resumed.json()) == (200, {"status": "provisioning", "resumed_count": 2})


async def test_a_workspace_at_work_does_not_hibernate(app: InProcess) -> None:
    identity = await workspace(app, active_tasks=2)
    answer = await app.call("POST", f"/workspaces/{identity}/hibernate")
    forced = await app.call("POST", f"/workspaces/{identity}/hibernate?force=true")

    assert (answer.status_code, answer.json()["active_tasks"], answer.json()["error"]) == (
        409,
        2,
        "workspace has active tasks; use ?force=true to terminate them",
    )
    assert (forced.status_code, forced.json()) == (200, {"status": "hibernated"})


async def test_a_message_wakes_what_hibernates(app: InProcess) -> None:
    identity = await workspace(app)
    await app.call("POST", f"/workspaces/{identity}/hibernate")
    async with app.services.database.write() as tx:
        await app.services.store.move(tx, identity, WorkspaceStatus.HIBERNATED)
    answer = await app.call("POST", f"/workspaces/{identity}/a2a", json={"method": "message/send"})
    status = (await app.call("GET", f"/workspaces/{identity}")).json()["status"]

    assert (answer.status_code, answer.headers["retry-after"], answer.json()) == (
        503,
        "15",
        {
            "error": "the workspace a is waking from hibernation",
            "code": "waking",
            "hint": "send the message again in 15 s",
            "waking": True,
            "retry_after": 15,
        },
    )
    assert status == "provisioning"


@pytest.mark.parametrize("action", ["restart", "pause", "resume", "hibernate"])
@pytest.mark.parametrize(("identity", "status"), [(NOBODY, 404), ("x", 400)])
async def test_an_unknown_workspace_is_not_found(app: InProcess, action: str, identity: str, status: int) -> None:
    assert (await app.call("POST", f"/workspaces/{identity}/{action}")).status_code == status


async def test_a_secret_that_changes_restarts_its_workspace(app: InProcess) -> None:
    """With the image it has; one that is paused stays so."""
    online, paused = await workspace(app), await workspace(app)
    await app.call("POST", f"/workspaces/{paused}/pause")
    for identity in (online, paused):
        await app.call("POST", f"/workspaces/{identity}/secrets", json={"key": "A", "value": "1"})
    rows = [await app.services.store.get(identity) for identity in (online, paused)]

    assert [(row.status, row.resolve_anew) for row in rows if row] == [
        (WorkspaceStatus.PROVISIONING, False),
        (WorkspaceStatus.PAUSED, True),
    ]


async def test_a_secret_of_all_restarts_those_that_do_not_replace_it(app: InProcess) -> None:
    plain, own = await workspace(app), await workspace(app)
    await app.services.secrets.put(own, "OF_MANY", "own")
    await app.call("POST", "/settings/secrets", json={"key": "OF_MANY", "value": "1"})
    rows = [await app.services.store.get(identity) for identity in (plain, own)]

    assert [row.status for row in rows if row] == [WorkspaceStatus.PROVISIONING, WorkspaceStatus.ONLINE]
