"""What a workspace's container writes, over HTTP: at once, as it is written, and when there is none."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import pytest_asyncio

from support.engine import Engine, instance_label, purge
from support.engine import engine as raw_engine
from support.engine_proxy import EngineProxy, engine_proxy
from support.rows import workspace
from support.server import InProcess, in_process

from .on_engine import run_container

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="module")]

TALKS = "printf 'one\\n\\033[31mtwo\\n'; echo three >&2; trap 'echo four; exit 5' TERM; sleep infinity & wait"


@dataclass(frozen=True, slots=True)
class Talking:
    """A server whose engine is seen through a proxy, and workspaces whose containers write."""

    app: InProcess
    api: Engine
    proxy: EngineProxy

    async def new(self) -> str:
        named, instance = await workspace(self.app), self.app.services.instance
        await run_container(self.api, instance, named, TALKS)
        return named

    async def stop(self, named: str) -> None:
        (container,) = await self.api.listed("/containers/json", label=f"molecule.workspace.id={named}")
        await self.api.call("POST", f"/containers/{container['Id']}/stop", t="5")

    async def get(self, named: str, query: str = "") -> httpx.Response:
        return await self.app.call("GET", f"/workspaces/{named}/logs{query}")

    async def followed(self, named: str, query: str = "") -> list[tuple[str, Any]]:
        text = (await self.get(named, f"?follow=1{query}")).text
        events = [dict(line.split(": ", 1) for line in event.splitlines()) for event in text.split("\n\n") if event]
        return [(event["event"], json.loads(event["data"])) for event in events]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def talking(
    engine_url: str, workspace_network: None, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Talking]:
    async with (
        engine_proxy(engine_url) as proxy,
        in_process(tmp_path_factory.mktemp("data"), DOCKER_HOST=proxy.address) as app,
        raw_engine(engine_url) as api,
    ):
        try:
            yield Talking(app, api, proxy)
        finally:
            await purge(engine_url, instance_label(app.services.instance))


async def ended(talking: Talking) -> str:
    """A workspace whose container wrote everything and ended."""
    named = await talking.new()
    await talking.stop(named)
    return named


async def test_the_log_is_text_as_it_was_written(talking: Talking) -> None:
    answer = await talking.get(await ended(talking))

    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/plain; charset=utf-8")
    assert sorted(answer.text.splitlines()) == sorted(["one", "\x1b[31mtwo", "three", "four"])


async def test_only_so_many_of_the_last_lines_are_told(talking: Talking) -> None:
    assert (await talking.get(await ended(talking), "?tail=1")).text == "four\n"


@pytest.mark.parametrize("tail", ["-1", "10001", "all"])
async def test_a_number_of_lines_that_is_none_is_refused(talking: Talking, tail: str) -> None:
    assert (await talking.get(await workspace(talking.app), f"?tail={tail}")).status_code == 400


async def test_a_followed_log_ends_with_the_container_and_says_how(talking: Talking) -> None:
    named = await talking.new()
    hold = talking.proxy.faults.hold("GET", r"/containers/\w{64}/json")  # after the log: how it ended is asked last
    following = asyncio.create_task(talking.followed(named, "&tail=10"))
    await talking.stop(named)
    async with asyncio.timeout(20):
        await hold.arrived.wait()
    talking.proxy.faults.remove(hold)
    *lines, last = await following

    assert sorted(data["text"] for kind, data in lines if kind == "line") == ["\x1b[31mtwo", "four", "one", "three"]
    assert last == ("end", {"exit_code": 5})


async def test_an_engine_that_goes_away_while_a_log_is_followed_is_told_of(talking: Talking) -> None:
    named = await ended(talking)
    talking.proxy.faults.answer("GET", r"/containers/\w{64}/logs", message="broken by a test")
    try:
        last, error = (await talking.followed(named))[-1]
    finally:
        talking.proxy.faults.clear()

    assert (last, error["code"], "broken by a test" in error["error"]) == ("error", "engine_error", True)
    assert "journalctl -u docker" in error["hint"]


async def test_a_workspace_without_a_container_has_no_log(talking: Talking) -> None:
    named = await workspace(talking.app)
    answers = [await talking.get(named), await talking.get(named, "?follow=1")]

    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(404, "no_container")] * 2
    assert answers[0].json()["hint"].startswith(f"GET /workspaces/{named}/provisioning")


async def test_the_log_is_the_newest_containers(talking: Talking) -> None:
    named, instance = await workspace(talking.app), talking.app.services.instance
    for generation, word in (("10", "new"), ("9", "old")):
        config = {
            "Image": "python:3.11-slim",
            "Cmd": ["echo", word],
            "Labels": {
                "molecule.platform.instance": instance,
                "molecule.platform.managed": "true",
                "molecule.workspace.id": named,
                "molecule.workspace.generation": generation,
            },
        }
        container = (await talking.api.call("POST", "/containers/create", config))["Id"]
        await talking.api.call("POST", f"/containers/{container}/start")
        await talking.api.call("POST", f"/containers/{container}/wait")

    assert (await talking.get(named)).text == "new\n"
