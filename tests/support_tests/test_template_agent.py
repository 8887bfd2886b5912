"""The agent of the fixture templates, run as a plain process against a server that records what it sends."""

import asyncio
import json
import os
import socket
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from support import templates
from support.processes import running

ADAPTER = Path(templates.__file__).parent / "template_like_real" / "adapter.py"
CARD = "/.well-known/agent-card.json"


class Platform:
    """Records every call; answers a register with a status and a token."""

    def __init__(self) -> None:
        self.url = ""
        self.calls: asyncio.Queue[tuple[str, dict[str, str], Any]] = asyncio.Queue()
        self.status = 200
        self.token = "a-token"

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.json() if request.can_read_body else None
        self.calls.put_nowait((f"{request.method} {request.path}", dict(request.headers), body))
        if request.path == "/registry/register":
            return web.json_response({"auth_token": self.token}, status=self.status)
        return web.json_response([])


@pytest.fixture
async def platform() -> AsyncIterator[Platform]:
    stub = Platform()
    runner = web.ServerRunner(web.Server(stub.answer), shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    stub.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield stub
    await runner.cleanup()


@pytest.fixture
def configs(tmp_path: Path) -> Path:
    (tmp_path / "config.yaml").write_text(templates.config("langgraph"))
    return tmp_path


@asynccontextmanager
async def agent(platform: Platform, configs: Path, interval: str = "3600") -> AsyncIterator[str]:
    """Run the agent until the context is left; its URL once it serves."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        "PATH": os.environ["PATH"],
        "WORKSPACE_ID": "w-1",
        "PLATFORM_URL": platform.url,
        "HEARTBEAT_INTERVAL": interval,
        "PORT": str(port),
        "HOSTNAME": "127.0.0.1",
        "CONFIGS_DIR": str(configs),
        "WORKSPACE_CONFIG_PATH": str(configs),
    }
    async with running(sys.executable, "-u", str(ADAPTER), env=environment, stdout=PIPE) as process:
        assert process.stdout is not None
        async for line in process.stdout:
            if line.startswith(b"serving"):
                break
        yield f"http://127.0.0.1:{port}"
        process.terminate()
        assert await process.wait() == 0


async def ask(method: str, url: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    async with aiohttp.ClientSession() as session, session.request(method, url, json=body, headers=headers) as response:
        assert "application/json" in response.headers["Content-Type"]
        return response.status, await response.json()


def message(**changes: Any) -> dict[str, Any]:
    return {"role": "user", "messageId": "m-1", "parts": [{"kind": "text", "text": "hello"}], **changes}


def request(**changes: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 7, "method": "message/send", "params": {"message": message()}, **changes}


async def test_it_registers_then_beats_then_asks_for_delegations(platform: Platform, configs: Path) -> None:
    async with agent(platform, configs) as url:
        (first, headers, body), (second, beat_headers, beat), (third, last_headers, _) = [
            await platform.calls.get() for _ in range(3)
        ]
    assert [first, second, third] == [
        "POST /registry/register",
        "POST /registry/heartbeat",
        "GET /workspaces/w-1/delegations",
    ]
    assert "Authorization" not in headers
    assert "X-Workspace-ID" not in headers
    assert (body["id"], body["url"]) == ("w-1", url)
    assert set(body["agent_card"]) == {"name", "description", "version", "url", "skills", "capabilities"}
    assert beat_headers["Authorization"] == last_headers["Authorization"] == "Bearer a-token"
    assert set(beat) == {
        *("workspace_id", "error_rate", "sample_error", "active_tasks", "current_task", "uptime_seconds"),
    }


async def test_it_keeps_a_new_token_and_brings_it_the_next_time(platform: Platform, configs: Path) -> None:
    async with agent(platform, configs):
        pass
    token = configs / ".auth_token"
    assert (token.read_text(), token.stat().st_mode & 0o777) == ("a-token", 0o600)
    platform.calls = asyncio.Queue()
    async with agent(platform, configs):
        _, headers, _ = await platform.calls.get()
    assert headers["Authorization"] == "Bearer a-token"


@pytest.mark.parametrize("status", [201, 500])
async def test_it_ignores_an_answer_other_than_200_and_goes_on(platform: Platform, configs: Path, status: int) -> None:
    platform.status = status
    async with agent(platform, configs):
        calls = [await platform.calls.get() for _ in range(3)]
    assert [path for path, _, _ in calls].count("POST /registry/register") == 1
    assert "Authorization" not in calls[1][1]
    assert not (configs / ".auth_token").exists()


async def test_it_goes_on_without_a_server(platform: Platform, configs: Path) -> None:
    platform.url = "http://127.0.0.1:9"
    async with agent(platform, configs) as url:
        assert (await ask("GET", url + CARD))[0] == 200


async def test_it_beats_in_every_interval(platform: Platform, configs: Path) -> None:
    async with agent(platform, configs, interval="0.01"):
        beats = 0
        while beats < 3:
            path, _, _ = await platform.calls.get()
            beats += path == "POST /registry/heartbeat"


async def test_it_serves_its_card_and_no_health_page(platform: Platform, configs: Path) -> None:
    async with agent(platform, configs) as url:
        status, card = await ask("GET", url + CARD)
        assert (status, card["name"]) == (200, "Tiny langgraph")
        assert (await ask("GET", f"{url}/.well-known/agent.json"))[0] == 200
        assert (await ask("GET", f"{url}/"))[0] == 405
        assert (await ask("GET", f"{url}/health"))[0] == 404
        assert (await ask("GET", f"{url}/transcript?since=0"))[0] == 401
        status, transcript = await ask("GET", f"{url}/transcript?since=0", Authorization="Bearer a-token")
        assert (status, transcript["runtime"]) == (200, "langgraph")


@pytest.mark.parametrize("tag", ["kind", "type"])
async def test_it_answers_a_message_in_version_0_3(platform: Platform, configs: Path, tag: str) -> None:
    body = request(params={"message": message(parts=[{tag: "text", "text": "hello"}])})
    async with agent(platform, configs) as url:
        status, answer = await ask("POST", f"{url}/", body)
    assert (status, answer["id"], answer["result"]["kind"]) == (200, 7, "message")
    assert answer["result"]["parts"] == [{"kind": "text", "text": "echo: hello"}]
    assert answer["result"]["role"] == "agent"
    assert answer["result"]["messageId"]


async def test_it_refuses_incomplete_requests_with_status_200(platform: Platform, configs: Path) -> None:
    without_id = {key: value for key, value in request().items() if key != "id"}
    without_message_id = request(params={"message": message(messageId=None)})
    async with agent(platform, configs) as url:
        bodies: list[Any] = [without_id, without_message_id, request(method="none"), []]
        codes = [(await ask("POST", f"{url}/", body))[1]["error"]["code"] for body in bodies]
    assert codes == [-32602, -32602, -32601, -32600]


async def test_it_streams_one_message(platform: Platform, configs: Path) -> None:
    async with (
        agent(platform, configs) as url,
        aiohttp.ClientSession() as session,
        session.post(f"{url}/", json=request(method="message/stream")) as response,
    ):
        assert response.headers["Content-Type"] == "text/event-stream"
        line = (await response.content.readline()).decode()
    assert json.loads(line.removeprefix("data: "))["result"]["parts"][0]["text"] == "echo: hello"


async def test_it_does_not_start_without_its_configuration(platform: Platform, tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "WORKSPACE_CONFIG_PATH": str(tmp_path), "CONFIGS_DIR": str(tmp_path)}
    async with running(sys.executable, str(ADAPTER), env=environment, stderr=PIPE) as process:
        assert process.stderr is not None
        assert b"config.yaml is missing" in await process.stderr.read()
        assert await process.wait() == 1
