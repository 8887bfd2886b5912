"""A workspace whose image comes from a registry, from the wish to its agent's first call."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.engine import engine_address, instance_label, purge
from support.engine_faults import Call
from support.gate import Gate
from support.images import PackedImage, waiting_image
from support.registry import PASSWORD, USER, Registry
from support.registry_front import RegistryFront, registry_front
from support.server import eventually
from workspace_server.model.build import BuildState
from workspace_server.model.workspace import Workspace, WorkspaceStatus

from .world import Supply, World, world

pytestmark = pytest.mark.engine

GOLDEN = Path(__file__).parent / "golden" / "registry-calls.txt"

REPOSITORY = "team/workspace-template-langgraph"


@pytest.fixture
async def front(hub: Registry) -> AsyncIterator[RegistryFront]:
    async with registry_front(hub, accounts={USER: PASSWORD}) as served:
        yield served


@pytest.fixture
async def image(hub: Registry, here: World, engine_url: str) -> AsyncIterator[PackedImage]:
    """The image of ``langgraph``, in the registry and not on the engine."""
    label = ("molecule.image.runtime", f"langgraph-{here.instance}")
    waiting = waiting_image(dict([label]), (await here.engine.info()).platform)
    await hub.push(REPOSITORY, waiting)
    yield waiting
    await purge(engine_url, instance_label(here.instance))  # a container protects its image
    await purge(engine_url, "=".join(label))


@pytest.fixture
async def here(
    tmp_path: Path, supply: Supply, instance: str, workspace_network: None, front: RegistryFront
) -> AsyncIterator[World]:
    """A server in registry mode."""
    variables = {
        "MOLECULE_IMAGE_REGISTRY": f"{front.host}/team",
        "MOLECULE_REGISTRY_USER": USER,
        "MOLECULE_REGISTRY_TOKEN": PASSWORD,
        "MOLECULE_LOCAL_BUILD_CACHE": str(tmp_path / "cache"),
    }
    own = Supply(cache=tmp_path / "cache", repositories=supply.repositories)
    async with world(tmp_path / "data", engine_address(), own, instance, **variables) as opened:
        yield opened


async def online(here: World) -> Workspace:
    return await here.row(await here.online("langgraph"))


async def test_it_runs_the_image_that_was_pulled_and_its_row_says_which(
    here: World, image: PackedImage, hub: Registry
) -> None:
    row = await online(here)
    container = await here.inspected(row.id)
    (record,) = here.book.newest()

    assert (row.status, container["Image"]) == (WorkspaceStatus.ONLINE, image.id)
    assert row.image is not None
    assert (row.image.source, row.image.id, row.image.build, row.image.commit) == (
        "registry",
        image.id,
        record.id,
        None,
    )
    assert row.image.digest == record.digest == image.digest


async def test_the_next_one_pulls_nothing_and_its_row_says_the_same(here: World, image: PackedImage) -> None:
    first, second = await online(here), await online(here)

    assert first.image is not None
    assert second.image is not None
    assert (second.image.id, second.image.digest, second.image.build) == (first.image.id, first.image.digest, None)
    assert here.proxy.count("POST", "/images/create") == 1


async def test_it_tells_which_pull_it_waits_for(here: World, image: PackedImage, front: RegistryFront) -> None:
    front.gate = Gate()
    workspace = await here.create("langgraph")
    await here.reconciler.fulfil()
    await eventually(front.gate.arrived.is_set, "layers are asked for")
    row, (record,) = await here.row(workspace), here.book.newest()
    front.gate.release()
    await here.service.remove(workspace, confirmed=True, purge=True)
    await here.fulfil()

    assert row.image is not None
    assert (row.image.source, row.image.build, row.image.id) == ("registry", record.id, None)
    assert (record.state, record.waiters) == (BuildState.RUNNING, 1)


async def test_a_pull_that_is_refused_fails_it_and_leaves_nothing(here: World) -> None:
    workspace = await here.create("langgraph")
    await here.fulfil()
    row = await here.row(workspace)

    assert row.failure is not None
    assert (row.status, row.failure.code) == (WorkspaceStatus.FAILED, "image_not_found")
    assert (await here.containers(), await here.named_volumes(workspace)) == ([], [])
    assert here.proxy.count("POST", "/containers/create") == 0


async def test_the_old_container_stays_until_its_image_is_there(
    here: World, image: PackedImage, front: RegistryFront
) -> None:
    row = await online(here)
    await here.wanted_again(row.id)
    await here.api.call("DELETE", f"/images/{front.host}/{REPOSITORY}:latest", force="true")
    front.accounts = {}  # nobody is let in any more
    await here.fulfil()

    assert (await here.row(row.id)).status is WorkspaceStatus.FAILED
    assert [each["Image"] for each in await here.containers(row.id)] == [image.id]


async def test_the_calls_of_a_create_are_those_of_the_golden_file(here: World, image: PackedImage) -> None:
    here.proxy.calls.clear()
    row = await online(here)
    start = next(n for n, call in enumerate(here.proxy.calls) if call.path.endswith("/start"))

    assert [written(call, here, row) for call in here.proxy.calls[: start + 1]] == GOLDEN.read_text().splitlines()


def written(call: Call, here: World, row: Workspace) -> str:
    """A call with words for what is different each time."""
    assert row.image is not None
    text = f"{call.method} {call.path}{'?' if call.query else ''}{call.query}"
    text = text.replace(row.id, "<workspace>").replace(row.id[:12], "<workspace 12>")
    text = text.replace(str(row.image.digest), "<digest>").replace(here.instance, "<instance>")
    return re.sub(r"\b[0-9a-f]{64}\b", "<id>", re.sub(r"127\.0\.0\.1(:|%3A)\d+", "<registry>", text))
