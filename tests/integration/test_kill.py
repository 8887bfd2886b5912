"""The server is killed in the middle of a first provisioning; a new one finishes, and nothing is left twice."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from support.build_host import BuildHost, build_host
from support.engine_events import engine_events
from support.engine_faults import When
from support.engine_proxy import EngineProxy
from support.gate import Gate
from support.server import eventually

from .site import LANGGRAPH, Site, quick_agent

pytestmark = [pytest.mark.engine, pytest.mark.slow]


async def held(gate: Gate) -> None:
    await asyncio.wait_for(gate.arrived.wait(), 30)


async def let_go(gate: Gate) -> None:
    """Wait until who was held is gone: it ended with the server."""
    await asyncio.wait_for(gate.left.wait(), 10)


async def test_killed_while_it_clones(site: Site) -> None:
    """The git that waits for its host ends with the server, all of it: the new server need not wait, and clones."""
    repository = await site.template(LANGGRAPH, quick_agent())
    hold = repository.faults.hold("fetch")
    workspace = await site.server.create(LANGGRAPH)
    await held(hold)
    await site.server.kill()
    await let_go(hold)
    await site.server.start()
    await eventually(lambda: len(site.git.pack_requests()) == 2, "the new server clones")
    assert site.server.log_lines("local-build: waiting for another checkout of this runtime") == []
    repository.faults.clear()
    await site.server.until(workspace, "online")
    await site.is_complete(workspace)


async def test_killed_while_a_clone_comes_in(site: Site) -> None:
    repository = await site.template(LANGGRAPH, {**quick_agent(), "ballast": secrets.token_bytes(1_000_000)})
    hold = repository.faults.hold("fetch", after_bytes=100_000)
    workspace = await site.server.create(LANGGRAPH)
    await held(hold)
    await site.server.kill()
    repository.faults.clear()
    await site.server.start()
    await site.server.until(workspace, "online")
    await site.is_complete(workspace)


@asynccontextmanager
async def in_the_middle_of_a_build(site: Site, engine_url: str) -> AsyncIterator[BuildHost]:
    """A workspace whose image's build waits; who ends its server finds, at the end, a new one that finishes."""
    async with build_host(engine_url) as host:
        gate = host.hold(f"/{site.mark}")
        ask = f"import urllib.request as u; u.urlopen('{host.url}/{site.mark}')"
        await site.template(LANGGRAPH, quick_agent(run=f'RUN python3 -c "{ask}"'))
        workspace = await site.server.create(LANGGRAPH)
        await held(gate)
        yield host
        await let_go(gate)
        gate.release()
        await site.server.start()
        await site.server.until(workspace, "online")
    await site.is_complete(workspace)


async def test_killed_while_it_builds(site: Site, engine_url: str) -> None:
    async with in_the_middle_of_a_build(site, engine_url) as host:
        await site.server.kill()
    assert host.calls == [f"/{site.mark}"] * 2
    assert len(site.git.packs_sent()) == 1
    finished, interrupted = await site.server.builds()
    assert (finished["state"], interrupted["state"]) == ("succeeded", "cancelled")
    assert interrupted["error"]["error"] == "the server stopped during this build"
    assert interrupted["error"]["code"] == "build_interrupted"


@pytest.mark.parametrize("when", ["before", "after"])
async def test_killed_at_the_containers_start(
    proxied_site: Site, proxy: EngineProxy, engine_url: str, when: When
) -> None:
    """Before the engine hears of it, and after it started the container, which the server never learns."""
    site = proxied_site
    await site.template(LANGGRAPH, quick_agent())
    hold = proxy.faults.hold("POST", r"/containers/[^/]+/start", when=when)
    workspace = await site.server.create(LANGGRAPH)
    await held(hold)
    (first,) = await site.containers(workspace)
    await site.server.kill()
    proxy.faults.clear()
    async with engine_events(engine_url) as events:
        await site.server.start()
        view = await site.server.until(workspace, "online")
        await site.is_complete(workspace)
        await events.settle()
        created = events.of("container", "create", **{"molecule.workspace.id": workspace})
    adopted = (await site.container(workspace))["Id"] == first["Id"]
    assert (adopted, view["generation"], len(created)) == ((True, 1, 0) if when == "after" else (False, 2, 1))


async def test_killed_while_the_workspace_is_online(site: Site) -> None:
    """The agent goes on, and so does the workspace."""
    await site.template(LANGGRAPH, quick_agent())
    workspace = await site.server.create(LANGGRAPH)
    await site.server.until(workspace, "online")
    before = await site.container(workspace)
    await site.server.kill()
    await site.server.start()
    assert await site.say(workspace, "still there?") == "echo: still there?"
    after = await site.container(workspace)
    assert (after["Id"], after["State"]["StartedAt"]) == (before["Id"], before["State"]["StartedAt"])
    assert (await site.server.view(workspace))["generation"] == 1


async def test_killed_before_a_removal_was_carried_out(proxied_site: Site, proxy: EngineProxy) -> None:
    site = proxied_site
    await site.template(LANGGRAPH, quick_agent())
    workspace = await site.server.create(LANGGRAPH)
    await site.server.until(workspace, "online")
    hold = proxy.faults.hold("DELETE", r"/containers/.*")
    await site.server.call("DELETE", f"/workspaces/{workspace}?purge=true")
    await held(hold)
    await site.server.kill()
    proxy.faults.clear()
    await site.server.start()
    await site.is_gone(workspace)


async def test_asked_to_end_while_it_builds(site: Site, engine_url: str) -> None:
    """It ends at once, its build with it, and a new server finishes."""
    async with in_the_middle_of_a_build(site, engine_url):
        await site.server.stop()
