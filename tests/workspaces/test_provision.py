"""From a wish to a workspace that is online, on the real engine."""

import pytest

from workspace_server.db import EventStore
from workspace_server.model import names
from workspace_server.model.event import EventType
from workspace_server.model.workspace import WorkspaceStatus

from .world import World, file_in

pytestmark = pytest.mark.engine


async def event_types(here: World, workspace: str) -> list[str]:
    found = await EventStore(here.database).newest(limit=20, workspace_id=workspace)
    return [event["event_type"] for event in reversed(found)]


async def token_in(here: World, workspace: str) -> str:
    """The token that the agent finds in its container."""
    container = (await here.inspected(workspace))["Id"]
    content, _, _ = await file_in(here.api, container, "/configs/.auth_token")
    return content.decode()


async def test_a_wish_becomes_an_online_workspace_with_its_agents_first_call(here: World) -> None:
    workspace = await here.online()

    row = await here.row(workspace)
    assert (row.status, row.failure, row.generation) == (WorkspaceStatus.ONLINE, None, 1)
    assert [(name, phase["state"]) for name, phase in row.phases.items()] == [
        ("image", "done"),
        ("environment", "done"),
        ("volumes", "done"),
        ("container", "done"),
        ("start", "done"),
        ("online", "done"),
    ]
    assert await event_types(here, workspace) == [
        EventType.PROVISIONING,
        EventType.ONLINE,
        EventType.AGENT_CARD_UPDATED,
    ]


async def test_a_heartbeat_brings_a_workspace_online_as_well(here: World) -> None:
    workspace = await here.waiting_for_agent()
    await here.beat_of_agent(workspace)
    await here.settle()

    assert (await here.row(workspace)).status is WorkspaceStatus.ONLINE


async def test_a_call_that_comes_before_the_address_is_known_does_not_lose_it(here: World) -> None:
    workspace = await here.create()
    hold = await here.begin("GET", r"/containers/\w{64}/json")
    await here.call_of_agent(workspace)
    before = await here.row(workspace)
    here.proxy.faults.remove(hold)
    await here.settle()

    after = await here.row(workspace)
    assert (before.status, before.url) == (WorkspaceStatus.ONLINE, "")
    assert (after.status, after.url.startswith("http://127.0.0.1:")) == (WorkspaceStatus.ONLINE, True)


async def test_another_provisioning_replaces_the_container_and_its_token_and_keeps_the_files(here: World) -> None:
    workspace = await here.online()
    first, token = await here.inspected(workspace), await token_in(here, workspace)
    volumes = await here.volumes()
    await here.wanted_again(workspace)
    await here.begin()

    second = await here.inspected(workspace)
    assert (second["Id"] != first["Id"], second["Config"]["Labels"][names.GENERATION]) == (True, "2")
    assert (await here.tokens.owner(token), await here.tokens.owner(await token_in(here, workspace))) == (
        None,
        workspace,
    )
    assert await here.volumes() == volumes


async def test_workspaces_are_provisioned_side_by_side(here: World) -> None:
    one, other = await here.create(), await here.create()
    await here.begin()
    async with here.database.read():
        for workspace in (one, other):
            await here.call_of_agent(workspace)
    here.proxy.faults.clear()
    await here.settle()

    assert {(await here.row(workspace)).status for workspace in (one, other)} == {WorkspaceStatus.ONLINE}


async def test_secrets_are_told_to_the_container_and_to_nobody_else(here: World) -> None:
    await here.secrets.put(None, "OF_ALL", "1")
    workspace = await here.waiting_for_agent(secrets={"OWN": "2", "PYTHONPATH": "/mine"})
    told = dict(each.split("=", 1) for each in (await here.inspected(workspace))["Config"]["Env"])

    assert (told["OF_ALL"], told["OWN"], told["PYTHONPATH"]) == ("1", "2", "/mine")


async def test_a_runtime_gets_the_variables_that_it_needs(here: World) -> None:
    workspace = await here.online("needy", secrets={"A_KEY": "1", "B_KEY": "2"})

    assert (await here.row(workspace)).status is WorkspaceStatus.ONLINE
