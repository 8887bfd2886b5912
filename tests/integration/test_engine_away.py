"""The engine goes away and comes back; and what the server never asks of it."""

import pytest

from support.engine_proxy import EngineProxy
from support.server import eventually

from .site import LANGGRAPH, Site, quick_agent

pytestmark = [pytest.mark.engine, pytest.mark.slow]


async def test_the_engine_is_away_and_the_wish_waits_until_it_is_back(proxied_site: Site, proxy: EngineProxy) -> None:
    site = proxied_site
    await site.template(LANGGRAPH, quick_agent())
    await proxy.down()
    workspace = await site.server.create(LANGGRAPH)

    async def error() -> dict[str, str] | None:
        found: dict[str, str] | None = (await site.server.view(workspace))["error"]
        return found

    expected = {
        "error": f"the container engine at {proxy.address} does not answer",
        "code": "engine_unavailable",
        "hint": "start it (Linux: sudo systemctl start docker; Docker Desktop: open it) or set DOCKER_HOST",
    }
    assert await eventually(error, "the engine's absence is told") == expected
    listed = await site.server.listed(workspace)
    assert listed["status"] == "provisioning"
    assert listed["last_sample_error"] == f"{expected['error']}\nhint: {expected['hint']}"
    (logged, *_) = [line for line in site.server.log_lines() if line.get("workspace") == workspace]
    assert (logged["error"], logged["code"]) == (expected["error"], expected["code"])
    ready = await site.server.client.get("/ready")
    assert (ready.status_code, ready.json()["parts"][0]["status"]) == (503, "broken")
    await proxy.up()
    view = await site.server.until(workspace, "online")
    assert view["error"] is None


async def test_in_local_build_mode_nothing_is_ever_pulled_by_the_server(proxied_site: Site, proxy: EngineProxy) -> None:
    site = proxied_site
    await site.template(LANGGRAPH, quick_agent())
    await site.server.until(await site.server.create(LANGGRAPH), "online")
    await site.git.stop()
    await site.failed(await site.server.create(LANGGRAPH))
    assert proxy.count("POST", "/images/create") == 0
