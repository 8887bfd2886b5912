"""A provisioning that fails undoes what it made, and says why on the row."""

import pytest

from support.engine import instance_label, leftovers
from workspace_server.db import EventStore, SecretStore
from workspace_server.model import names
from workspace_server.model.event import EventType
from workspace_server.model.workspace import Failure, Workspace, WorkspaceStatus
from workspace_server.settings import Settings
from workspace_server.workspaces import engine_backend
from workspace_server.workspaces.vault import Vault

from .world import World, arrived

pytestmark = pytest.mark.engine


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent has hardly any time to call."""
    monkeypatch.setattr(Settings, "start_limit", lambda *_: 0.05)


async def failed(here: World, workspace: str) -> tuple[Workspace, Failure]:
    row = await here.row(workspace)
    assert row.failure is not None
    assert row.status is WorkspaceStatus.FAILED
    return row, row.failure


async def nothing_is_left(here: World) -> bool:
    return not await leftovers(here.proxy._engine, instance_label(here.instance))


async def test_a_failure_is_on_the_row_in_the_list_and_in_the_event_in_the_same_words(here: World) -> None:
    workspace = await here.create("broken")
    await here.fulfil()

    row, failure = await failed(here, workspace)
    assert failure.code == "build_failed"
    assert row.last_sample_error == f"{failure.message}\nhint: {failure.hint}"
    (event, *_) = await EventStore(here.database).newest(limit=1, workspace_id=workspace)
    assert (event["event_type"], event["payload"]) == (
        EventType.PROVISION_FAILED,
        {"error": failure.message, "code": failure.code, "hint": failure.hint},
    )


async def test_a_failed_build_is_named_on_the_row_and_nothing_was_touched(here: World) -> None:
    workspace = await here.create("broken")
    await here.fulfil()

    row, _ = await failed(here, workspace)
    assert row.image is not None
    assert here.book.get(row.image.build or "").error is not None
    assert {name: phase["state"] for name, phase in row.phases.items()} == {"image": "failed"}
    assert here.proxy.count("POST", "/volumes/create") == 0


async def test_an_agent_that_ends_before_its_first_call_says_why(here: World) -> None:
    workspace = await here.create("exits")
    await here.fulfil()

    _, failure = await failed(here, workspace)
    assert (failure.code, failure.message) == (
        "agent_exited",
        f"the agent's container ended with exit code 3 before the agent's first call\nno key found\n{'0' * 499}…",
    )
    assert await nothing_is_left(here)


async def test_an_agent_whose_log_cannot_be_read_is_reported_all_the_same(here: World) -> None:
    here.proxy.faults.answer("GET", "/containers/[^/]+/logs", status=409, message="marked for removal")
    workspace = await here.create("exits")
    await here.fulfil()

    _, failure = await failed(here, workspace)
    assert (failure.code, failure.message.splitlines()[1]) == ("agent_exited", "(its log could not be read)")


@pytest.mark.usefixtures("impatient")
async def test_a_silent_agent_fails_and_its_container_is_stopped_and_kept(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Settings, "agents_url", "http://u:hush@host.docker.internal:8080")
    workspace = await here.create()
    await here.fulfil()

    _, failure = await failed(here, workspace)
    assert (failure.code, failure.message.splitlines()) == (
        "agent_silent",
        ["the container runs, but its agent did not call this server within 0.05 s", "(it wrote nothing)"],
    )
    assert "http://***@host.docker.internal:8080" in failure.hint
    assert (await here.inspected(workspace))["State"]["Status"] == "exited"


@pytest.mark.usefixtures("impatient")
async def test_an_agent_that_calls_while_its_time_is_over_wins(here: World) -> None:
    workspace = await here.create()
    hold = await here.begin("GET", "/containers/[^/]+/logs")
    await here.call_of_agent(workspace)
    here.proxy.faults.remove(hold)
    await here.settle()

    assert (await here.row(workspace)).status is WorkspaceStatus.ONLINE
    assert (await here.inspected(workspace))["State"]["Running"]


async def test_an_agent_that_called_and_then_ended_was_online(here: World) -> None:
    workspace = await here.waiting_for_agent()
    hold = here.proxy.faults.hold("GET", "/containers/[^/]+/logs")
    await here.api.call("POST", f"/containers/{names.container_name(workspace)}/kill")
    await arrived(hold)
    await here.call_of_agent(workspace)
    here.proxy.faults.remove(hold)
    await here.settle()

    assert (await here.row(workspace)).status is WorkspaceStatus.ONLINE
    assert (await here.inspected(workspace))["State"]["ExitCode"] == 137


@pytest.mark.parametrize(
    ("method", "call"),
    [
        ("GET", "/networks"),
        ("POST", "/volumes/create"),
        ("POST", "/containers/create"),
        ("PUT", "/containers/[^/]+/archive"),
        ("POST", "/containers/[^/]+/start"),
    ],
)
async def test_whatever_step_the_engine_refuses_what_was_made_is_undone(here: World, method: str, call: str) -> None:
    here.proxy.faults.answer(method, call, message="broken by a test")
    workspace = await here.create()
    await here.fulfil()

    _, failure = await failed(here, workspace)
    assert (failure.code, "broken by a test" in failure.message) == ("engine_error", True)
    assert await nothing_is_left(here)


async def test_a_volume_that_was_made_before_another_failed_is_undone(here: World) -> None:
    hold = here.proxy.faults.hold("POST", "/volumes/create", when="after")
    await here.create()
    await here.reconciler.fulfil()
    await arrived(hold)
    here.proxy.faults.answer("POST", "/volumes/create")
    here.proxy.faults.remove(hold)
    await here.settle()

    assert await here.volumes() == []


async def test_volumes_of_an_earlier_provisioning_are_not_undone(here: World) -> None:
    workspace = await here.online()
    before = await here.volumes()
    await here.wanted_again(workspace)
    here.proxy.faults.answer("POST", "/containers/create")
    await here.fulfil()

    await failed(here, workspace)
    assert (await here.volumes(), len(before)) == (before, 2)


async def test_an_old_container_stays_until_there_is_an_image_for_the_new_one(here: World) -> None:
    workspace = await here.online()
    await here.wanted_again(workspace)
    here.proxy.faults.answer("GET", "/images/.*")
    await here.fulfil()

    await failed(here, workspace)
    assert (await here.inspected(workspace))["Config"]["Labels"][names.GENERATION] == "1"


async def test_a_volume_of_somebody_else_is_not_undone(here: World) -> None:
    workspace = await here.create()
    name = names.workspace_volume(workspace)
    await here.api.call("POST", "/volumes/create", {"Name": name, "Labels": {"of": "somebody"}})
    here.proxy.faults.answer("POST", "/containers/create")
    try:
        await here.fulfil()
        assert await here.named_volumes(workspace) == [name]
    finally:
        await here.api.call("DELETE", f"/volumes/{name}")


async def test_what_cannot_be_undone_does_not_hide_the_failure(here: World) -> None:
    here.proxy.faults.answer("POST", "/containers/[^/]+/start", message="the first cause")
    here.proxy.faults.answer("DELETE", "/volumes/.*", status=409, message="in use")
    workspace = await here.create()
    await here.fulfil()

    _, failure = await failed(here, workspace)
    assert "the first cause" in failure.message


async def test_a_templates_config_that_is_none_fails_the_workspace(here: World) -> None:
    workspace = await here.create("odd")
    await here.fulfil()

    _, failure = await failed(here, workspace)
    assert failure.code == "template_malformed"
    assert await nothing_is_left(here)


async def test_a_runtime_that_is_not_in_the_table_any_more_fails_the_workspace(here: World) -> None:
    workspace = await here.create("gone")
    await here.fulfil()

    _, failure = await failed(here, workspace)
    assert (failure.code, failure.message) == ("unknown_runtime", "unknown runtime: gone")


async def test_a_name_that_another_container_has_is_the_reason(here: World) -> None:
    workspace = await here.create()
    hold = await here.begin("POST", "/containers/create")
    row = await here.row(workspace)
    label = {names.INSTANCE: here.instance}
    image = (await here.api.get("/images/python:3.11-slim/json"))["Id"]
    other = {"Image": image, "Labels": label}
    await here.api.call("POST", "/containers/create", other, name=names.container_name(row.id))
    here.proxy.faults.remove(hold)
    await here.settle()

    _, failure = await failed(here, workspace)
    assert failure.code == "container_name_taken"


async def test_a_name_that_the_engine_has_not_freed_yet_is_waited_for(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For some moments after a container is gone from its list."""
    monkeypatch.setattr(engine_backend, "_RELEASE_SECONDS", 0.0)
    here.proxy.faults.answer("POST", "/containers/create", status=409, message="the name is in use", times=1)

    assert (await here.row(await here.online())).status is WorkspaceStatus.ONLINE


async def test_a_runtime_without_the_variables_it_needs_fails_and_names_them_all(here: World) -> None:
    workspace = await here.create("needy", secrets={"B_KEY": "2"})
    await here.fulfil()
    row = await here.row(workspace)

    assert row.failure == Failure(
        code="required_env_missing",
        message="the runtime needs variables that are not set: A_KEY",
        hint="save each as a secret of the workspace, or of all: POST /workspaces/{id}/secrets, /settings/secrets",
    )
    assert (await here.containers(workspace), await here.named_volumes(workspace)) == ([], [])


async def test_a_secret_that_cannot_be_opened_fails_loudly_before_anything_is_touched(here: World) -> None:
    workspace = await here.create()
    async with here.database.write() as tx:
        await SecretStore(here.database).put(tx, workspace, "A_KEY", Vault([b"x" * 32]).seal(workspace, "A_KEY", "1"))
    await here.fulfil()
    row = await here.row(workspace)

    assert row.failure is not None
    assert (row.status, row.failure.code, row.failure.message) == (
        WorkspaceStatus.FAILED,
        "secret_unreadable",
        f"secrets of workspace {workspace} cannot be opened with this server's key: A_KEY",
    )
    assert (await here.containers(workspace), await here.named_volumes(workspace)) == ([], [])
