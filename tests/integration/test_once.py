"""One fetch and one build, counted where nobody can pretend: at the Git host, and by a step of the build itself."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from support.build_host import BuildHost, build_host
from support.gate import Gate
from support.server import ServerProcess, eventually

from .site import LANGGRAPH, Serve, Site, quick_agent

pytestmark = [pytest.mark.engine, pytest.mark.slow]


@pytest.fixture
async def host(engine_url: str) -> AsyncIterator[BuildHost]:
    async with build_host(engine_url) as running:
        yield running


@pytest.fixture
async def gate(site: Site, host: BuildHost) -> Gate:
    """Holds the step of the template's build that counts it."""
    ask = f"import urllib.request as u; u.urlopen('{host.url}/{site.mark}')"
    await site.template(LANGGRAPH, quick_agent(run=f'RUN python3 -c "{ask}"'))
    return host.hold(f"/{site.mark}")


@pytest.fixture
async def twin(site: Site, serve: Serve) -> Site:
    """A second server: own data, the same cache, the same engine, the same Git host."""
    server = await serve(
        MOLECULE_LOCAL_TEMPLATE_REPO_PREFIX=site.git.repo_prefix, MOLECULE_LOCAL_BUILD_CACHE=str(site.server.cache)
    )
    return replace(site, server=server)


async def waits(server: ServerProcess, count: int = 1) -> None:
    async def all_wait() -> bool:
        builds = [each for each in await server.builds() if each["state"] in ("queued", "running")]
        return sum(build["waiters"] for build in builds) == count

    await eventually(all_wait, f"{count} wait for the build")


async def test_fifty_creates_of_a_cold_runtime_make_one_fetch_and_one_build(
    site: Site, host: BuildHost, gate: Gate
) -> None:
    workspaces = await asyncio.gather(*(site.server.create(LANGGRAPH, f"w{n}") for n in range(50)))
    await waits(site.server, 50)
    await asyncio.wait_for(gate.arrived.wait(), 60)
    gate.release()
    for workspace in workspaces:
        await site.server.until(workspace, "online", seconds=100)

    (build,) = await site.server.builds()
    assert (build["state"], host.calls, len(site.git.pack_requests())) == ("succeeded", [f"/{site.mark}"], 1)
    assert {(await site.container(workspace))["Image"] for workspace in workspaces} == {build["image_id"]}


async def test_two_servers_on_one_cache_and_one_engine_make_one_fetch_and_one_build(
    site: Site, twin: Site, host: BuildHost, gate: Gate
) -> None:
    first = await site.server.create(LANGGRAPH)
    await asyncio.wait_for(gate.arrived.wait(), 60)
    second = await twin.server.create(LANGGRAPH)
    await waits(twin.server)
    gate.release()
    await site.server.until(first, "online")
    await twin.server.until(second, "online")

    assert (host.calls, len(site.git.pack_requests())) == ([f"/{site.mark}"], 1)
    assert (await site.container(first))["Image"] == (await twin.container(second))["Image"]
    states = {build["state"] for build in await site.server.builds()}
    assert states == {"succeeded", "hit"}


async def test_after_the_builds_owner_was_killed_the_server_that_waited_builds(
    site: Site, twin: Site, host: BuildHost, gate: Gate
) -> None:
    first = await site.server.create(LANGGRAPH)
    await asyncio.wait_for(gate.arrived.wait(), 60)
    second = await twin.server.create(LANGGRAPH)
    await waits(twin.server)
    await site.server.kill()
    await asyncio.wait_for(gate.left.wait(), 10)
    gate.release()
    await twin.server.until(second, "online")
    await site.server.start()
    await site.server.until(first, "online")

    assert (host.calls, len(site.git.pack_requests())) == ([f"/{site.mark}"] * 2, 1)
    assert (await site.container(first))["Image"] == (await twin.container(second))["Image"]
