"""What follows from an agent's register and its heartbeats."""

from typing import Any

import pytest

from support.rows import events, token_of, workspace
from support.server import InProcess
from workspace_server.agents import Heartbeat
from workspace_server.errors import AuthError
from workspace_server.model.workspace import Failure, Phase, Workspace, WorkspaceStatus
from workspace_server.workspaces.progress import Phases

pytestmark = pytest.mark.asyncio(loop_scope="module")

CARD = {"name": "card"}
S = WorkspaceStatus


async def in_status(app: InProcess, status: WorkspaceStatus, **columns: Any) -> str:
    """A workspace in any status, however it got there; a container of its was made."""
    identity = await workspace(app, status=S.PROVISIONING)
    columns = {"phases": reached(Phase.CONTAINER), **columns}
    async with app.services.database.write() as tx:
        assert await app.services.store.touch(tx, identity, status=status, **columns)
    return identity


def reached(*phases: Phase) -> dict[str, Any]:
    entered = Phases()
    for phase in phases:
        entered.enter(phase)
    return entered.as_json()


async def row(app: InProcess, identity: str) -> Workspace:
    found = await app.services.store.get(identity)
    assert found is not None
    return found


async def beat(app: InProcess, identity: str, **fields: Any) -> Workspace:
    await app.services.registry.heartbeat(identity, Heartbeat(**fields))
    return await row(app, identity)


@pytest.mark.parametrize("status", [S.PROVISIONING, S.OFFLINE, S.DEGRADED, S.FAILED, S.AWAITING_AGENT])
async def test_a_register_brings_online(app: InProcess, status: WorkspaceStatus) -> None:
    identity = await in_status(app, status, url="http://127.0.0.1:4711")
    await app.services.registry.register(identity, CARD)
    found = await row(app, identity)
    assert (found.status, found.agent_card) == (S.ONLINE, CARD)
    assert await events(app, identity) == [
        ("WORKSPACE_ONLINE", {"url": "http://127.0.0.1:4711", "agent_card": CARD}),
        ("AGENT_CARD_UPDATED", {"agent_card": CARD}),
    ]


@pytest.mark.parametrize("phase", [Phase.IMAGE, Phase.ENVIRONMENT, Phase.VOLUMES])
async def test_a_container_that_is_about_to_be_replaced_brings_nothing_online(app: InProcess, phase: Phase) -> None:
    identity = await in_status(app, S.PROVISIONING, phases=reached(Phase.IMAGE, phase))
    await app.services.registry.register(identity, CARD)
    await beat(app, identity)
    assert (await row(app, identity)).status is S.PROVISIONING


@pytest.mark.parametrize("phase", [Phase.IMAGE, Phase.ENVIRONMENT, Phase.VOLUMES])
async def test_a_container_that_should_have_been_replaced_does_not_hide_why_it_was_not(
    app: InProcess, phase: Phase
) -> None:
    failure = Failure(code="build_failed", message="no image")
    identity = await in_status(app, S.FAILED, phases=reached(Phase.IMAGE, phase), failure=failure)
    await app.services.registry.register(identity, CARD)
    await beat(app, identity)
    found = await row(app, identity)
    assert (found.status, found.failure) == (S.FAILED, failure)


@pytest.mark.parametrize("phase", [Phase.START, Phase.ONLINE])
@pytest.mark.parametrize("call", ["register", "heartbeat"])
async def test_the_first_call_ends_all_phases_with_the_status(app: InProcess, phase: Phase, call: str) -> None:
    entered = reached(Phase.IMAGE, Phase.CONTAINER, phase)
    identity = await in_status(app, S.PROVISIONING, phases=entered)
    if call == "register":
        await app.services.registry.register(identity, CARD)
    else:
        await beat(app, identity)
    found = await row(app, identity)
    assert (found.status, set(found.phases), {phase["state"] for phase in found.phases.values()}) == (
        S.ONLINE,
        {Phase.IMAGE, Phase.CONTAINER, phase, Phase.ONLINE},
        {"done"},
    )


@pytest.mark.parametrize("status", [S.ONLINE, S.PAUSED, S.HIBERNATING, S.HIBERNATED])
async def test_a_register_does_not_undo_what_a_person_decided(app: InProcess, status: WorkspaceStatus) -> None:
    identity = await in_status(app, status)
    await app.services.registry.register(identity, CARD)
    assert (await row(app, identity)).status == status
    assert [kind for kind, _ in await events(app, identity)] == ["AGENT_CARD_UPDATED"]


async def test_a_register_of_a_removed_workspace_changes_nothing(app: InProcess) -> None:
    identity = await in_status(app, S.REMOVED)
    with pytest.raises(AuthError) as refusal:
        await app.services.registry.register(identity, CARD)
    assert refusal.value.code == "unknown_workspace"
    assert (await row(app, identity)).agent_card is None
    assert await events(app, identity) == []
    assert not await app.services.tokens.has_live(identity)


async def test_a_token_is_issued_to_a_workspace_without_one(app: InProcess) -> None:
    identity = await in_status(app, S.PROVISIONING)
    token = await app.services.registry.register(identity, CARD)
    assert token is not None
    assert await app.services.tokens.owner(token) == identity


async def test_no_second_token_is_issued(app: InProcess) -> None:
    identity = await in_status(app, S.PROVISIONING)
    await token_of(app, identity)
    assert await app.services.registry.register(identity, CARD) is None


async def test_coming_online_ends_the_failure_and_its_words(app: InProcess) -> None:
    failure = Failure(code="agent_silent", message="silent")
    identity = await in_status(app, S.FAILED, failure=failure, last_sample_error="silent")
    await app.services.registry.register(identity, CARD)
    found = await row(app, identity)
    assert (found.failure, found.last_sample_error) == (None, "")


@pytest.mark.parametrize(("status", "payload"), [(S.PROVISIONING, {"recovered_from": "provisioning"}), (S.OFFLINE, {})])
async def test_a_heartbeat_brings_online(app: InProcess, status: WorkspaceStatus, payload: dict[str, str]) -> None:
    identity = await in_status(app, status)
    assert (await beat(app, identity)).status == S.ONLINE
    assert await events(app, identity) == [("WORKSPACE_ONLINE", payload)]


@pytest.mark.parametrize(
    "status", [S.FAILED, S.PAUSED, S.HIBERNATING, S.HIBERNATED, S.AWAITING_AGENT, S.ONLINE, S.REMOVED]
)
async def test_a_heartbeat_leaves_every_other_status_alone(app: InProcess, status: WorkspaceStatus) -> None:
    identity = await in_status(app, status)
    assert (await beat(app, identity)).status == status
    assert await events(app, identity) == []


@pytest.mark.parametrize(
    ("before", "fields", "after"),
    [
        (S.ONLINE, {"error_rate": 0.49}, S.ONLINE),
        (S.ONLINE, {"error_rate": 0.5}, S.DEGRADED),
        (S.ONLINE, {"error_rate": 1.0}, S.DEGRADED),
        (S.ONLINE, {"runtime_state": "wedged"}, S.DEGRADED),
        (S.ONLINE, {"runtime_state": "busy"}, S.ONLINE),
        (S.DEGRADED, {"error_rate": 0.5}, S.DEGRADED),
        (S.DEGRADED, {"error_rate": 0.1}, S.DEGRADED),
        (S.DEGRADED, {"error_rate": 0.09}, S.ONLINE),
        (S.DEGRADED, {"error_rate": 0.0, "runtime_state": "wedged"}, S.DEGRADED),
        (S.DEGRADED, {"error_rate": 0.0, "runtime_state": "busy"}, S.DEGRADED),
    ],
)
async def test_an_agents_health_is_its_workspaces_status(
    app: InProcess, before: WorkspaceStatus, fields: dict[str, Any], after: WorkspaceStatus
) -> None:
    identity = await in_status(app, before)
    assert (await beat(app, identity, **fields)).status == after
    assert len(await events(app, identity)) == (before != after)


@pytest.mark.parametrize(
    ("fields", "payload"),
    [
        ({"error_rate": 0.75, "sample_error": "oops"}, {"error_rate": 0.75, "sample_error": "oops"}),
        (
            {"runtime_state": "wedged", "sample_error": "stuck"},
            {"runtime_state": "wedged", "sample_error": "stuck"},
        ),
    ],
)
async def test_a_degradation_says_why(app: InProcess, fields: dict[str, Any], payload: dict[str, Any]) -> None:
    identity = await in_status(app, S.ONLINE)
    await beat(app, identity, **fields)
    assert await events(app, identity) == [("WORKSPACE_DEGRADED", payload)]


async def test_what_a_heartbeat_leaves_out_is_zero_again(app: InProcess) -> None:
    identity = await in_status(app, S.ONLINE)
    await beat(app, identity, active_tasks=3, uptime_seconds=9, current_task="t", sample_error="e", error_rate=0.2)
    found = await beat(app, identity)
    assert (found.active_tasks, found.uptime_seconds, found.current_task) == (0, 0, "")
    assert (found.last_sample_error, found.last_error_rate) == ("", 0.0)


@pytest.mark.parametrize(("given", "kept"), [(0, 7), (9, 9), (-4, 0), (10**13, 10**12)])
async def test_spending_is_kept_within_bounds_and_zero_says_nothing(app: InProcess, given: int, kept: int) -> None:
    identity = await in_status(app, S.ONLINE, monthly_spend=7)
    assert (await beat(app, identity, monthly_spend=given)).monthly_spend == kept


async def test_a_sign_of_life_is_dated(app: InProcess) -> None:
    identity = await in_status(app, S.ONLINE)
    assert (await row(app, identity)).last_heartbeat_at is None
    first = (await beat(app, identity)).last_heartbeat_at
    second = (await beat(app, identity)).last_heartbeat_at
    assert first is not None
    assert second is not None
    assert second > first


async def test_a_heartbeat_of_an_unknown_workspace_is_no_error(app: InProcess) -> None:
    await app.services.registry.heartbeat("nobody", Heartbeat())
    assert await app.services.store.get("nobody") is None
