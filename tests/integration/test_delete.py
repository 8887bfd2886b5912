"""Removal: what is left of a workspace on the engine, and what is not."""

import asyncio

import pytest

from support.build_host import build_host
from support.server import eventually

from .site import LANGGRAPH, Site, quick_agent

pytestmark = [pytest.mark.engine, pytest.mark.slow]


async def test_a_removal_takes_the_container_and_keeps_the_files(site: Site) -> None:
    await site.template(LANGGRAPH, quick_agent())
    workspace = await site.server.create(LANGGRAPH)
    await site.server.until(workspace, "online")
    assert await site.volumes(workspace) == {f"ws-{workspace[:12]}-configs", f"ws-{workspace}-workspace"}
    await site.server.call("DELETE", f"/workspaces/{workspace}")
    await eventually(lambda: site.server.log_lines("workspace removed"), "the removal was carried out")
    assert await site.containers(workspace) == []
    assert await site.volumes(workspace) == {f"ws-{workspace}-workspace"}
    assert (await site.server.call("GET", f"/workspaces/{workspace}"))["status"] == "removed"


async def test_a_purge_leaves_nothing(site: Site) -> None:
    await site.template(LANGGRAPH, quick_agent())
    workspace = await site.server.create(LANGGRAPH)
    await site.server.until(workspace, "online")
    await site.server.call("DELETE", f"/workspaces/{workspace}?purge=true")
    await site.is_gone(workspace)

    async def forgotten() -> bool:
        return (await site.server.client.get(f"/workspaces/{workspace}")).status_code == 404

    await eventually(forgotten, "its row is gone")


async def test_a_purge_after_a_removal_takes_the_files(site: Site) -> None:
    await site.template(LANGGRAPH, quick_agent())
    workspace = await site.server.create(LANGGRAPH)
    await site.server.until(workspace, "online")
    await site.server.call("DELETE", f"/workspaces/{workspace}")
    await eventually(lambda: site.server.log_lines("workspace removed"), "the removal was carried out")
    await site.server.call("DELETE", f"/workspaces/{workspace}?purge=true")
    await site.is_gone(workspace)


async def test_others_are_left_alone(site: Site) -> None:
    await site.template(LANGGRAPH, quick_agent())
    one, other = await site.server.create(LANGGRAPH), await site.server.create(LANGGRAPH)
    await site.server.until(one, "online")
    await site.server.until(other, "online")
    await site.server.call("DELETE", f"/workspaces/{one}?purge=true")
    await site.is_gone(one)
    assert await site.say(other, "hello") == "echo: hello"


async def test_a_removal_during_the_build_wins_and_the_build_goes_on(site: Site, engine_url: str) -> None:
    async with build_host(engine_url) as host:
        gate = host.hold(f"/{site.mark}")
        ask = f"import urllib.request as u; u.urlopen('{host.url}/{site.mark}')"
        await site.template(LANGGRAPH, quick_agent(run=f'RUN python3 -c "{ask}"'))
        workspace = await site.server.create(LANGGRAPH)
        await asyncio.wait_for(gate.arrived.wait(), 30)
        await site.server.call("DELETE", f"/workspaces/{workspace}?purge=true")
        await eventually(lambda: site.server.log_lines("workspace removed"), "the removal was carried out")
        (build,) = await site.server.builds()
        assert (build["state"], build["waiters"]) == ("running", 0)
        gate.release()

        async def ended() -> bool:
            return (await site.server.builds())[0]["state"] == "succeeded"

        await eventually(ended, "the build ended")
        assert host.calls == [f"/{site.mark}"]
    await site.is_gone(workspace)
    await site.server.until(await site.server.create(LANGGRAPH), "online")
    assert len(await site.server.builds()) == 1


async def test_a_removal_during_the_clone_wins(site: Site) -> None:
    repository = await site.template(LANGGRAPH, quick_agent())
    hold = repository.faults.hold("fetch")
    workspace = await site.server.create(LANGGRAPH)
    await asyncio.wait_for(hold.arrived.wait(), 30)
    await site.server.call("DELETE", f"/workspaces/{workspace}?purge=true")
    hold.release()
    await eventually(lambda: site.server.log_lines("workspace removed"), "the removal was carried out")
    await site.is_gone(workspace)


async def test_a_removal_while_the_agent_is_awaited_wins(site: Site) -> None:
    await site.template(LANGGRAPH, {**quick_agent(), "Dockerfile": "FROM python:3.11-slim\nCMD sleep infinity\n"})
    workspace = await site.server.create(LANGGRAPH)

    async def awaited() -> bool:
        return bool((await site.server.view(workspace))["phase"] == "online")

    await eventually(awaited, "its container runs")
    await site.server.call("DELETE", f"/workspaces/{workspace}?purge=true")
    await site.is_gone(workspace)


async def test_a_removed_parent_takes_its_children_along(site: Site) -> None:
    await site.template(LANGGRAPH, quick_agent())
    parent = await site.server.create(LANGGRAPH)
    child = await site.server.create(LANGGRAPH, parent_id=parent)
    await site.server.until(parent, "online")
    await site.server.until(child, "online")
    await site.server.call("DELETE", f"/workspaces/{parent}?confirm=true&purge=true")
    await site.is_gone(parent)
    await site.is_gone(child)
