"""Restart, pause, resume, hibernate and wake over HTTP: the forms of the answers."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from support.rows import events, workspace
from support.server import InProcess, in_process
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
    ("query", "body", "answer"),
    [
        ("", {"template": "critic"}, {"config_dir": "critic", "reset_session": False}),
        ("", {"apply_template": True}, {"config_dir": "langgraph-default", "reset_session": False}),
        ("", {"rebuild_config": True}, {"config_dir": "rebuilt", "reset_session": False}),
        ("", {"reset": True}, {"config_dir": "existing-volume", "reset_session": True}),
        ("?reset=true", None, {"config_dir": "existing-volume", "reset_session": True}),
    ],
)
async def test_a_restart_says_what_it_does_anew(
    configured: InProcess, query: str, body: dict[str, object] | None, answer: dict[str, object]
) -> None:
    answered = await configured.call("POST", f"/workspaces/{await workspace(configured)}/restart{query}", json=body)

    assert (answered.status_code, answered.json()) == (200, {"status": "provisioning", **answer})


async def test_a_restart_from_a_template_that_is_not_there_is_refused(configured: InProcess) -> None:
    identity = await workspace(configured)
    answer = await configured.call("POST", f"/workspaces/{identity}/restart", json={"template": "nope"})

    assert (answer.status_code, answer.json()) == (
        400,
        {
            "error": "there is no config template nope",
            "code": "invalid_template",
            "hint": "CONFIGS_DIR has: critic, langgraph-default",
        },
    )


@pytest.mark.parametrize(
    ("body", "runtime", "model", "template"),
    [
        ({"template": "critic"}, "crewai", "m1", "critic"),
        ({"template": "critic", "runtime": "hermes", "model": "m2"}, "hermes", "m2", "critic"),
        ({"template": "langgraph"}, "langgraph", None, "langgraph-default"),
        ({"template": "autogen-default"}, "autogen", None, None),
        ({}, "langgraph", None, None),
    ],
)
async def test_a_create_takes_what_its_template_says_unless_it_says_otherwise(
    configured: InProcess, body: dict[str, str], runtime: str, model: str | None, template: str | None
) -> None:
    created = await configured.call("POST", "/workspaces", json={"name": "a", **body})
    row = await configured.services.store.get(created.json()["id"])

    assert row is not None
    assert (row.runtime, row.model, row.config_template) == (runtime, model, template)


@pytest.mark.parametrize("template", ["nope", "/etc", "../configs"])
async def test_a_create_from_what_is_no_template_is_refused(configured: InProcess, template: str) -> None:
    answer = await configured.call("POST", "/workspaces", json={"name": "a", "template": template})

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_template")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def configured(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[InProcess]:
    """A server with two config templates."""
    root = tmp_path_factory.mktemp("configs")
    configs = {"critic": "runtime: crewai\nmodel: m1\n", "langgraph-default": "runtime: langgraph\n"}
    for folder, config in configs.items():
        (root / folder).mkdir()
        (root / folder / "config.yaml").write_text(config)
    async with in_process(tmp_path_factory.mktemp("data"), CONFIGS_DIR=str(root)) as opened:
        yield opened


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
