"""A server with nothing in its environment, on a machine without a network."""

import json
import os
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

import pytest

from support.engine import DEFAULT_ADDRESS
from support.processes import running
from support.server import ServerProcess, eventually

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can take the network away from a process"),
]

# The loopback interface is all there is, and nobody else uses the default port.
WITHOUT_NETWORK = ("unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")
UNREACHABLE = (
    "local-build mode: Gitea unreachable at https://git.moleculesai.app — verify network or set MOLECULE_IMAGE_REGISTRY"
    " to a reachable registry"
)
ASK = """
import json, sys, urllib.request
method, url, body = sys.argv[1:]
request = urllib.request.Request(url, data=body.encode() or None, method=method)
print(urllib.request.urlopen(request).read().decode())
"""


async def ask(server: ServerProcess, method: str, path: str, body: Any = None) -> Any:
    """Send a request from where the server is."""
    inside = ("nsenter", f"--target={server.pid}", "--net", sys.executable, "-c", ASK)
    target = (method, f"http://127.0.0.1:8080{path}", json.dumps(body) if body else "")
    async with running(*inside, *target, env={"PATH": os.environ["PATH"]}, stdout=PIPE, stderr=PIPE) as process:
        out, err = await process.communicate()
        assert process.returncode == 0, err.decode()
        return json.loads(out)


async def test_it_asks_the_projects_own_git_host_and_says_so_in_one_sentence(engine_url: str, tmp_path: Path) -> None:
    server = ServerProcess(tmp_path, engine_url, {}, prefix=WITHOUT_NETWORK)
    del server.environment["PORT"]
    assert server.environment.keys() == {"PATH", "HOME"} | ({"DOCKER_HOST"} if engine_url != DEFAULT_ADDRESS else set())
    try:
        await server.start(ready=False)
        await eventually(lambda: server.log.exists() and server.log_lines("listening"), "the server listens", 20)
        workspace = (await ask(server, "POST", "/workspaces", {"name": "a"}))["id"]

        async def failure() -> Any:
            return (await ask(server, "GET", f"/workspaces/{workspace}/provisioning"))["error"]

        error = await eventually(failure, "the workspace failed")
        repository = "https://git.moleculesai.app/molecule-ai/molecule-ai-workspace-template-langgraph"
        assert error == {
            "error": UNREACHABLE,
            "code": "git_unreachable",
            "hint": f"the connection failed: the host's name is not known (runtime langgraph, {repository})",
        }
        (listed,) = await ask(server, "GET", "/workspaces")
        assert (listed["status"], listed["runtime"]) == ("failed", "langgraph")
        assert listed["last_sample_error"] == f"{UNREACHABLE}\nhint: {error['hint']}"
        logged = [line for line in server.log_lines() if line.get("error") == UNREACHABLE]
        assert [(line["event"], line["code"], line["hint"]) for line in logged] == [
            ("provisioning failed", "git_unreachable", error["hint"])
        ]
        assert [line["url"] for line in server.log_lines(UNREACHABLE)] == [repository]
    finally:
        await server.close()
