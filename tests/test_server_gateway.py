"""The listener for containers: reached from the workspace network, and from nowhere else."""

import asyncio
import json
import os
import secrets
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from aiohttp import web
from starlette.types import Receive, Scope, Send
from structlog.testing import capture_logs

from support.engine import INSTANCE_LABEL, Engine, purge
from support.networks import NETWORK, container_prints, gateway, neighbour, output
from support.ports import free_port
from workspace_server.api.access import GATEWAY, LISTENER
from workspace_server.concurrency import TaskScope
from workspace_server.errors import UnavailableError
from workspace_server.model.container import NetworkInfo
from workspace_server.server import GatewayListener, listening
from workspace_server.settings import Settings, load_settings

pytestmark = pytest.mark.engine

ALIVE = '{"status":"ok"}'

# Prints what each URL answers, null for no answer: a refusal and silence are the same to whoever asks.
PROBE = """
import json, sys, urllib.request
def ask(url):
    try:
        return urllib.request.urlopen(url, timeout=2).read().decode()
    except OSError:
        return None
print(json.dumps([ask(url) for url in sys.argv[1:]]))
"""


@pytest.fixture
async def label(engine_url: str) -> AsyncIterator[str]:
    """A label of this test alone; whatever carries it is removed afterwards."""
    mine = f"{INSTANCE_LABEL}=test-{secrets.token_hex(6)}"
    yield mine
    await purge(engine_url, mine)


@pytest.fixture
def settings(engine_url: str, workspace_network: None, tmp_path: Path) -> Settings:
    return load_settings({"HOME": str(tmp_path), "DOCKER_HOST": engine_url, "PORT": str(free_port())})


@pytest.fixture
async def everywhere() -> AsyncIterator[int]:
    """A port that answers on every address of this machine: it shows that there is a way at all."""

    async def answer(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(text="here")

    runner = web.ServerRunner(web.Server(answer), shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "0.0.0.0", 0).start()
    yield runner.addresses[0][1]
    await runner.cleanup()


async def ask_from_container(api: Engine, network: str, label: str, *urls: str) -> list[str | None]:
    """What a container of a network gets from these URLs."""
    answers: list[str | None] = await container_prints(api, network, label, PROBE, *urls)
    return answers


async def test_a_container_of_the_workspace_network_reaches_it(api: Engine, settings: Settings, label: str) -> None:
    async with listening(settings):
        url = f"http://{await gateway(api)}:{settings.port}/health"
        assert await ask_from_container(api, NETWORK, label, url) == [ALIVE]


async def test_a_container_of_another_network_does_not(
    api: Engine, settings: Settings, label: str, everywhere: int
) -> None:
    async with listening(settings):
        ours, theirs = await gateway(api), await gateway(api, "bridge")
        assert await ask_from_container(
            api,
            "bridge",
            label,
            f"http://{ours}:{settings.port}/health",
            f"http://{theirs}:{settings.port}/health",
            f"http://{theirs}:{everywhere}/",
        ) == [None, None, "here"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a network namespace")
async def test_a_neighbour_on_the_network_does_not(api: Engine, settings: Settings, everywhere: int) -> None:
    """Its packets are routed to the gateway's address, which is this machine's, but come in through another device."""
    async with listening(settings):
        ours = await gateway(api)
        urls = (f"http://{ours}:{settings.port}/health", f"http://{ours}:{everywhere}/")
        async with neighbour(ours) as name:
            answers = await output("ip", "netns", "exec", name, sys.executable, "-c", PROBE, *urls)
    assert json.loads(answers) == [None, "here"]


async def test_whoever_asks_there_from_this_machine_is_not_its_owner(api: Engine, settings: Settings) -> None:
    async with listening(settings), httpx.AsyncClient(trust_env=False) as client:
        url = f"http://{await gateway(api)}:{settings.port}/workspaces"
        assert (await client.get(url, headers={"Host": f"localhost:{settings.port}"})).status_code == 401


async def test_with_an_administrator_there_is_no_second_listener(api: Engine, settings: Settings, label: str) -> None:
    """The main one is open to containers as well."""
    configured = load_settings(
        {**settings.passed_on, "DOCKER_HOST": str(settings.docker_host), "PORT": str(settings.port), "ADMIN_TOKEN": "t"}
    )
    with capture_logs() as logs:
        async with listening(configured):
            url = f"http://{await gateway(api)}:{settings.port}/health"
            assert await ask_from_container(api, NETWORK, label, url) == [ALIVE]
    assert [line for line in logs if line["event"] in ("listening for agents", "agents cannot reach this server")] == []


async def test_it_follows_the_network(api: Engine, label: str) -> None:
    """When another network takes the place of the first, that one's containers reach the server, and they alone."""
    port = free_port()
    marks = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        marks.append(scope[LISTENER])
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    first, second = [await make_network(api, label) for _ in range(2)]
    async with TaskScope() as scope:
        listener = GatewayListener(app, port, scope)
        for present, absent in ((first, second), (second, first)):
            await listener.open_on(present)
            answers = await asyncio.gather(
                ask_from_container(api, present.id, label, f"http://{present.gateway}:{port}/"),
                ask_from_container(api, absent.id, label, f"http://{absent.gateway}:{port}/"),
            )
            assert answers == [["ok"], [None]]
        await listener.close()
    assert marks == [GATEWAY, GATEWAY]


async def test_a_network_that_cannot_be_listened_on_is_an_error_that_says_where() -> None:
    absent = NetworkInfo(id="0" * 64, gateway="192.0.2.1", device="br-000000000000")
    port = free_port()
    async with TaskScope() as scope:
        with pytest.raises(UnavailableError, match=f"cannot listen on 192[.]0[.]2[.]1:{port}") as caught:
            await GatewayListener(web_is_not_asked, port, scope).open_on(absent)
    assert caught.value.code == "gateway_unavailable"


async def web_is_not_asked(scope: Scope, receive: Receive, send: Send) -> None:
    pytest.fail("nobody can ask")


async def make_network(api: Engine, label: str) -> NetworkInfo:
    name, _, value = label.partition("=")
    body = {"Name": f"test-{secrets.token_hex(6)}", "Driver": "bridge", "Labels": {name: value}}
    identity = str((await api.call("POST", "/networks/create", body))["Id"])
    return NetworkInfo(id=identity, gateway=await gateway(api, identity), device=f"br-{identity[:12]}")
