"""The API of a server whose workspaces are machines of a control plane: what there is, and what there is not."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from support.control_plane import LOST, ORG, TENANT_TOKEN, Answer, ControlPlane, control_plane, told, variables
from support.rows import events, token_of, workspace
from support.server import InProcess, eventually, in_process
from workspace_server.db import InstanceStore
from workspace_server.errors import UnavailableError
from workspace_server.model.workspace import WorkspaceStatus
from workspace_server.wiring.control_plane import ControlPlaneParts

pytestmark = pytest.mark.asyncio(loop_scope="module")

HEADERS = {"Authorization": f"Bearer {TENANT_TOKEN}", "X-Molecule-Org-Id": ORG}
STRANGER = "203.0.113.9"
NOBODY = "0123abcd-4567-89ab-cdef-0123456789ab"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def served() -> AsyncIterator[ControlPlane]:
    async with control_plane() as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def hosted(served: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[InProcess]:
    settings = variables(served, MOLECULE_MAX_TIER="2", IMAGE_AUTO_REFRESH="true")
    async with in_process(tmp_path_factory.mktemp("hosted"), **settings) as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="module")
async def alone(tmp_path: Path) -> AsyncIterator[tuple[InProcess, ControlPlane]]:
    """A server and its control plane for one test, whose faults meet nobody else's machines."""
    async with control_plane() as plane, in_process(tmp_path, **variables(plane)) as opened:
        yield opened, plane


async def call(app: InProcess, method: str, path: str, body: Any = None, **how: Any) -> Any:
    response = await app.call(method, path, json=body, headers=HEADERS, **how)
    return response.status_code, response.json()


async def create(app: InProcess, **fields: Any) -> str:
    status, made = await call(app, "POST", "/workspaces", {"name": "a", "runtime": "langgraph", **fields})
    assert status == 201, made
    return str(made["id"])


async def started(app: InProcess, served: ControlPlane, **fields: Any) -> str:
    identity = await create(app, **fields)

    async def waits() -> bool:
        row = await app.services.store.get(identity)
        return bool(served.of(identity)) and row is not None and row.container_started_at is not None

    await eventually(waits, "its agent is waited for")
    return identity


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/images"),
        ("GET", "/images/explain?runtime=langgraph"),
        ("GET", "/images/builds"),
        ("POST", "/images/builds"),
        ("GET", "/images/builds/01J"),
        ("GET", "/images/builds/01J/log"),
        ("DELETE", "/images/builds/01J"),
        ("POST", "/images/prune"),
        ("POST", "/admin/workspace-images/refresh"),
        ("GET", f"/workspaces/{NOBODY}/logs"),
    ],
)
async def test_what_needs_an_engine_says_that_there_is_none(hosted: InProcess, method: str, path: str) -> None:
    status, answer = await call(hosted, method, path, {"runtime": "langgraph"} if method == "POST" else None)

    assert (status, answer["code"]) == (409, "no_engine_here")
    assert "console" in answer["hint"]


async def test_a_stranger_learns_nothing_of_that(hosted: InProcess) -> None:
    org = {"X-Molecule-Org-Id": ORG}
    assert (await hosted.call("GET", "/images", peer=STRANGER, headers=org)).status_code == 401


async def test_every_runtime_can_be_provisioned_and_nobody_is_asked(hosted: InProcess, served: ControlPlane) -> None:
    asked = len(served.asked("start"))
    status, found = await call(hosted, "GET", "/runtimes")

    assert status == 200
    assert [runtime["name"] for runtime in found] == list(hosted.services.runtimes.names)
    assert found[0] | {"name": ""} == {
        "name": "",
        "image_source": "control-plane",
        "template": None,
        "provisionable": True,
        "reason": None,
        "head": None,
        "image": None,
    }
    assert len(served.asked("start")) == asked


async def test_ready_speaks_of_the_control_plane(hosted: InProcess, served: ControlPlane) -> None:
    await started(hosted, served)  # what went wrong before is over
    status, answer = await call(hosted, "GET", "/ready")

    assert (status, answer["backend"], answer["image_source"]) == (200, "control_plane", "control-plane")
    assert [part["name"] for part in answer["parts"]] == ["control_plane", "database"]
    assert answer["parts"][0]["detail"] == served.url


async def test_ready_says_what_its_last_call_came_to(hosted: InProcess, served: ControlPlane) -> None:
    identity = await started(hosted, served)
    assert isinstance(hosted.services.backend, ControlPlaneParts)
    fault = served.fault("status", told(500), times=1000)
    with pytest.raises(UnavailableError):
        await hosted.services.backend.control_plane.state(identity, "i-1")
    fault.times = fault.fired
    status, answer = await call(hosted, "GET", "/ready")
    assert (status, answer["parts"][0]["status"]) == (503, "broken")

    assert (await call(hosted, "GET", f"/workspaces/{identity}/console"))[0] == 200
    assert (await call(hosted, "GET", "/ready"))[0] == 200


async def test_the_phases_are_those_of_a_machine(hosted: InProcess, served: ControlPlane) -> None:
    identity = await started(hosted, served)
    _, view = await call(hosted, "GET", f"/workspaces/{identity}/provisioning")

    assert [phase["name"] for phase in view["phases"]] == ["environment", "end", "start", "online"]
    assert (view["phase"], view["image"], view["build"]) == ("online", None, None)


async def test_without_a_tier_it_is_3_and_this_machines_limit_is_none_of_theirs(
    hosted: InProcess, served: ControlPlane
) -> None:
    (by_itself,) = served.of(await started(hosted, served))
    (asked,) = served.of(await started(hosted, served, tier=4))

    assert (by_itself.tier, asked.tier) == (3, 4)


async def test_no_workspace_has_a_directory_of_this_machine(hosted: InProcess, tmp_path: Path) -> None:
    body = {"name": "a", "runtime": "langgraph", "workspace_dir": str(tmp_path)}
    status, answer = await call(hosted, "POST", "/workspaces", body)
    assert (status, answer["code"]) == (400, "workspace_dir_refused")

    identity = await create(hosted)
    status, answer = await call(hosted, "PATCH", f"/workspaces/{identity}", {"workspace_dir": str(tmp_path)})
    assert (status, answer["code"]) == (400, "workspace_dir_refused")


async def test_a_machine_is_told_what_fits_into_variables_and_nothing_else(
    hosted: InProcess, served: ControlPlane
) -> None:
    identity = await started(hosted, served, secrets={"KEY": "hush"}, role="critic", model="m")
    (machine,) = served.of(identity)
    order = next(call.json for call in served.asked("start") if call.json["workspace_id"] == identity)

    assert order.keys() == {"org_id", "workspace_id", "runtime", "tier", "platform_url", "env"}
    assert {"KEY": "hush", "MOLECULE_AGENT_ROLE": "critic", "WORKSPACE_GENERATION": "1"}.items() <= machine.env.items()
    assert not any("token" in name.lower() for name in machine.env)


# The console


async def test_the_console_is_shown_as_it_is(hosted: InProcess, served: ControlPlane) -> None:
    identity = await started(hosted, served)

    assert await call(hosted, "GET", f"/workspaces/{identity}/console") == (200, {"output": served.console})


@pytest.mark.parametrize(
    "answer",
    [told(500, output="hush"), told(200), told(200, output=None), Answer(200, b"hush"), told(403, error="hush")],
)
async def test_a_console_that_cannot_be_had_is_somebody_elses_failure(
    hosted: InProcess, served: ControlPlane, answer: Answer
) -> None:
    identity = await started(hosted, served)
    served.fault("console", answer)
    status, told_of = await call(hosted, "GET", f"/workspaces/{identity}/console")

    assert (status, told_of["code"], "hush" in str(told_of)) == (502, "control_plane_unavailable", False)


async def test_there_is_no_console_of_what_is_not_there(hosted: InProcess) -> None:
    status, answer = await call(hosted, "GET", f"/workspaces/{NOBODY}/console")
    assert (status, answer["code"]) == (404, "workspace_not_found")

    paused = await workspace(hosted, status=WorkspaceStatus.PAUSED)
    status, answer = await call(hosted, "GET", f"/workspaces/{paused}/console")
    assert (status, answer["code"]) == (404, "no_machine")


async def test_a_server_with_an_engine_has_no_console(app: InProcess) -> None:
    identity = await workspace(app)
    response = await app.call("GET", f"/workspaces/{identity}/console")

    assert (response.status_code, response.json()["error"], response.json()["code"]) == (
        501,
        "console output unavailable on this deployment (no control plane)",
        "no_control_plane",
    )


# The first call


REGISTER = {"url": "http://127.0.0.1:4711", "agent_card": {"name": "a"}}


async def register(app: InProcess, identity: str, token: str | None = None) -> Any:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    body = {"id": identity, **REGISTER}
    return await app.call("POST", "/registry/register", peer=STRANGER, headers=headers, json=body)


async def test_a_machines_first_call_needs_no_token_and_brings_one(hosted: InProcess, served: ControlPlane) -> None:
    identity = await started(hosted, served)
    first = await register(hosted, identity)
    assert (first.status_code, first.json()["status"]) == (200, "registered")
    token = first.json()["auth_token"]
    row = await hosted.services.store.get(identity)
    assert row is not None
    assert (row.status, row.url) == (WorkspaceStatus.ONLINE, REGISTER["url"])

    assert (await register(hosted, identity)).status_code == 401
    again = await register(hosted, identity, token)
    assert (again.status_code, again.json()) == (200, {"status": "registered"})


async def test_a_heartbeat_without_a_token_is_nobodys(hosted: InProcess, served: ControlPlane) -> None:
    identity = await started(hosted, served)
    response = await hosted.call("POST", "/registry/heartbeat", peer=STRANGER, json={"workspace_id": identity})

    assert response.status_code == 401


@pytest.mark.parametrize(
    "status", [each for each in WorkspaceStatus if each not in (WorkspaceStatus.PROVISIONING, WorkspaceStatus.REMOVED)]
)
async def test_nobody_calls_first_for_a_workspace_that_does_not_wait(
    hosted: InProcess, status: WorkspaceStatus
) -> None:
    ways = {
        WorkspaceStatus.DEGRADED: WorkspaceStatus.ONLINE,
        WorkspaceStatus.OFFLINE: WorkspaceStatus.ONLINE,
        WorkspaceStatus.HIBERNATING: WorkspaceStatus.ONLINE,
        WorkspaceStatus.HIBERNATED: WorkspaceStatus.HIBERNATING,
    }
    path = [status]
    while path[0] in ways:
        path.insert(0, ways[path[0]])
    identity = await workspace(hosted, status=path[0], phases={"start": {"state": "done"}})
    for each in path[1:]:
        async with hosted.services.database.write() as tx:
            assert await hosted.services.store.move(tx, identity, each)

    assert (await register(hosted, identity)).status_code == 401


async def test_nobody_calls_first_before_a_machine_was_asked_for(hosted: InProcess) -> None:
    identity = await workspace(hosted, status=WorkspaceStatus.PROVISIONING, phases={"environment": {"state": "done"}})

    assert (await register(hosted, identity)).status_code == 401


async def test_nobody_calls_first_for_an_agent_that_runs_elsewhere(hosted: InProcess) -> None:
    _, made = await call(hosted, "POST", "/workspaces", {"name": "a", "external": True})
    async with hosted.services.database.write() as tx:
        await hosted.services.tokens.revoke_all(tx, made["id"])

    assert (await register(hosted, made["id"])).status_code == 401


async def test_the_agent_of_the_machine_before_names_no_url_and_brings_nothing_online(
    alone: tuple[InProcess, ControlPlane],
) -> None:
    hosted, served = alone
    identity = await started(hosted, served)
    token = (await register(hosted, identity)).json()["auth_token"]
    fault = served.fault("stop", late=2)
    await call(hosted, "POST", f"/workspaces/{identity}/restart")
    await fault.arrived.wait()
    assert (await register(hosted, identity, token)).status_code == 200
    row = await hosted.services.store.get(identity)

    assert row is not None
    assert (row.status, row.url) == (WorkspaceStatus.PROVISIONING, "")


async def test_the_token_of_the_machine_before_is_void(hosted: InProcess, served: ControlPlane) -> None:
    identity = await started(hosted, served)
    token = await token_of(hosted, identity)
    await call(hosted, "POST", f"/workspaces/{identity}/restart")
    await eventually(lambda: len([m for m in served.machines.values() if m.workspace_id == identity]) == 2, "another")

    assert (await register(hosted, identity, token)).status_code == 401


# Refusals


async def test_a_refused_start_fails_the_workspace_with_the_words(
    alone: tuple[InProcess, ControlPlane],
) -> None:
    hosted, served = alone
    served.fault("start", told(402, error="this plan is used up; KEY=hush-hush"), acts=0)
    identity = await create(hosted, secrets={"KEY": "hush-hush"})

    async def failed() -> Any:
        row = await hosted.services.store.get(identity)
        return row if row and row.status is WorkspaceStatus.FAILED else None

    row = await eventually(failed, "it failed")
    assert row.failure.code == "control_plane_refused"
    assert "(HTTP 402): this plan is used up; KEY=***" in row.failure.message
    told_of = [payload for kind, payload in await events(hosted, identity) if kind == "WORKSPACE_PROVISION_FAILED"]
    assert told_of == [
        {"error": row.failure.message, "code": "control_plane_refused", "hint": row.failure.hint},
    ]


async def test_a_refused_end_is_said_on_the_row_until_it_is_done(
    alone: tuple[InProcess, ControlPlane],
) -> None:
    hosted, served = alone
    identity = await started(hosted, served)
    await register(hosted, identity)
    fault = served.fault("stop", told(409, error="protected"), acts=0, times=1000)
    await call(hosted, "POST", f"/workspaces/{identity}/pause")

    async def error() -> Any:
        return (await call(hosted, "GET", f"/workspaces/{identity}/provisioning"))[1]["error"]

    assert (await eventually(error, "the row says so"))["error"] == (
        "the control plane refused to end the workspace's machine (HTTP 409): protected"
    )
    assert len(served.of(identity)) == 1
    fault.times = fault.fired
    hosted.services.lifecycle._look()

    async def over() -> bool:
        hosted.services.lifecycle._look()
        return await error() is None and not served.of(identity)

    await eventually(over, "it ended, and the row says nothing any more", 40)


async def test_nothing_that_is_secret_was_logged(hosted: InProcess) -> None:
    assert "hush-hush" not in str(hosted.logs)
    assert TENANT_TOKEN not in str(hosted.logs)


async def test_an_agent_that_calls_before_its_machine_is_known_is_online_and_its_machine_is_known_later(
    alone: tuple[InProcess, ControlPlane],
) -> None:
    hosted, served = alone
    fault = served.fault("start", LOST, late=1)
    identity = await create(hosted)
    await fault.acted.wait()
    assert (await register(hosted, identity)).status_code == 200
    instances = InstanceStore(hosted.services.database)

    async def known() -> bool:
        hosted.services.lifecycle._look()
        found = await instances.of(identity)
        return found is not None and found.id is not None

    await eventually(known, "the control plane said which it is")
    _, view = await call(hosted, "GET", f"/workspaces/{identity}/provisioning")
    assert (view["status"], view["error"], {phase["state"] for phase in view["phases"]}) == ("online", None, {"done"})
    assert len(served.of(identity)) == 1
