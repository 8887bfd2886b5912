"""What a workspace is once its container runs: its row, its container, its files. One is looked at from every side."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
import pytest_asyncio
import yaml

from workspace_server.model import names
from workspace_server.model.workspace import WorkspaceStatus

from .world import Supply, World, file_in, installation, world

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="module")]

BEGUN = datetime.now(UTC)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def here(
    tmp_path_factory: pytest.TempPathFactory, engine_url: str, supply: Supply, workspace_network: None
) -> AsyncIterator[World]:
    directory = tmp_path_factory.mktemp("data")
    async with installation(engine_url) as instance, world(directory, engine_url, supply, instance) as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def workspace(here: World) -> str:
    return await here.waiting_for_agent(name="Ada: the first", role="critic")


async def test_the_address_on_the_row_is_the_published_port_on_loopback(here: World, workspace: str) -> None:
    (binding,) = (await here.inspected(workspace))["NetworkSettings"]["Ports"]["8000/tcp"]
    assert binding["HostIp"] == "127.0.0.1"
    assert (await here.row(workspace)).url == f"http://127.0.0.1:{binding['HostPort']}"


async def test_a_container_runs_the_image_that_is_on_the_row_and_says_whose_it_is(here: World, workspace: str) -> None:
    container, row = await here.inspected(workspace), await here.row(workspace)
    assert row.image is not None
    assert (container["Image"], container["Config"]["Image"]) == (row.image.id, row.image.id)
    ours = {names.MANAGED, names.INSTANCE, names.WORKSPACE_ID, names.GENERATION, names.BUILD_ID}
    assert {name: value for name, value in container["Config"]["Labels"].items() if name in ours} == {
        names.MANAGED: "true",
        names.INSTANCE: here.instance,
        names.WORKSPACE_ID: workspace,
        names.GENERATION: "1",
        names.BUILD_ID: row.image.build_id,
    }


async def test_the_config_is_the_templates_with_the_workspaces_own_names(here: World, workspace: str) -> None:
    container = (await here.inspected(workspace))["Id"]
    content, owner, mode = await file_in(here.api, container, "/configs/config.yaml")
    written = yaml.safe_load(content)
    assert (written["name"], written["description"], written["version"]) == ("Ada: the first", "critic", "1.0.0")
    assert (owner, mode) == (1000, 0o644)


async def test_the_token_in_the_container_is_the_workspaces_and_its_owners_alone(here: World, workspace: str) -> None:
    container = (await here.inspected(workspace))["Id"]
    content, owner, mode = await file_in(here.api, container, "/configs/.auth_token")
    assert (await here.tokens.owner(content.decode()), owner, mode) == (workspace, 1000, 0o600)


@pytest.mark.usefixtures("workspace")
async def test_the_files_are_in_place_before_the_first_instruction_runs(here: World) -> None:
    steps = [
        call.path.rpartition("/")[2]
        for call in here.proxy.calls
        if call.method in ("POST", "PUT") and call.path.startswith("/containers/")
    ]
    assert steps == ["create", "archive", "start", "wait"]


async def test_the_volumes_say_whose_they_are(here: World, workspace: str) -> None:
    for name in (names.config_volume(workspace), names.workspace_volume(workspace)):
        volume = await here.api.get(f"/volumes/{name}")
        assert volume["Labels"] == {
            names.MANAGED: "true",
            names.INSTANCE: here.instance,
            names.WORKSPACE_ID: workspace,
        }


async def test_the_time_to_call_is_counted_from_the_containers_start(here: World, workspace: str) -> None:
    started = (await here.row(workspace)).container_started_at
    assert started is not None
    assert BEGUN < started <= datetime.now(UTC)


async def test_the_container_leads_to_this_machine_through_its_networks_gateway(here: World, workspace: str) -> None:
    assert here.bridge.network is not None
    container = await here.inspected(workspace)

    assert container["HostConfig"]["ExtraHosts"] == [f"host.docker.internal:{here.bridge.network.gateway}"]
    assert list(container["NetworkSettings"]["Networks"]) == [names.NETWORK]


async def test_the_row_says_that_the_agent_is_awaited(here: World, workspace: str) -> None:
    row = await here.row(workspace)

    assert row.status is WorkspaceStatus.PROVISIONING
    assert [(name, phase["state"]) for name, phase in row.phases.items()][-2:] == [
        ("start", "done"),
        ("online", "running"),
    ]
