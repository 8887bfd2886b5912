"""Each tier on the engine, with an agent that answers: what its container may do, and what not.

Some engines may not give every privilege themselves, such as one in a sandbox. There the containers are asked for
without ``Privileged``, in this process, and everything else is as it is; golden files show what is asked for.
"""

import secrets
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from support.engine import Engine, EngineError, engine, instance_label, purge
from support.git_server import git_server
from support.ports import free_port
from support.server import Json, eventually
from support.templates import config
from workspace_server.engine import encode
from workspace_server.server import listening
from workspace_server.settings import load_settings

from .site import quick_agent

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

MIB = 1024 * 1024
RUNTIME, OF_HOST = (f"t-{secrets.token_hex(6)}" for _ in range(2))


@dataclass(frozen=True, slots=True)
class Tiers:
    """A server with an online workspace of each tier, as the engine shows them."""

    client: httpx.AsyncClient
    api: Engine
    instance: str
    port: int
    privileged: bool
    workspaces: dict[int, str] = field(default_factory=dict)
    containers: dict[int, Json] = field(default_factory=dict)

    async def create(self, tier: int) -> str:
        runtime, told = (OF_HOST, {"PORT": str(self.port)}) if tier == 4 else (RUNTIME, {})
        body = {"name": f"tier {tier}", "runtime": runtime, "tier": tier, "secrets": told}
        return str((await self.client.post("/workspaces", json=body)).json()["id"])

    async def settled(self, workspace: str) -> Json:
        async def view() -> Json:
            found = (await self.client.get(f"/workspaces/{workspace}/provisioning")).json()
            return found if found["status"] != "provisioning" else None

        return await eventually(view, "the provisioning ended", 60)

    async def add(self, tier: int) -> None:
        """Have an online workspace of that tier."""
        workspace = self.workspaces[tier] = await self.create(tier)
        view = await self.settled(workspace)
        assert view["status"] == "online", view["error"]
        (found,) = await self.api.listed("/containers/json", label=f"molecule.workspace.id={workspace}")
        self.containers[tier] = await self.api.get(f"/containers/{found['Id']}/json")

    async def say(self, tier: int, text: str) -> str:
        message = {"role": "user", "parts": [{"kind": "text", "text": text}]}
        body = {"method": "message/send", "params": {"message": message}}
        reply = (await self.client.post(f"/workspaces/{self.workspaces[tier]}/a2a", json=body)).json()
        return str(reply["result"]["parts"][0]["text"])


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def tiers(
    engine_url: str, workspace_network: None, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Tiers]:
    directory, port, port_of_host = tmp_path_factory.mktemp("tiers"), free_port(), free_port()
    of_host = {**quick_agent(OF_HOST), "config.yaml": config(OF_HOST) + f"a2a: {{port: {port_of_host}}}\n"}
    with pytest.MonkeyPatch.context() as patch:
        async with git_server(directory) as git, engine(engine_url) as api:
            await git.create_template(RUNTIME, quick_agent(RUNTIME))
            await git.create_template(OF_HOST, of_host)
            if not (privileged := await gives_privileges(api)):
                powers = encode._powers
                without = {tier: {k: v for k, v in powers(tier).items() if k != "Privileged"} for tier in range(5)}
                patch.setattr(encode, "_powers", without.__getitem__)
            settings = load_settings(variables(directory, port, git.repo_prefix, engine_url))
            url = f"http://127.0.0.1:{port}"
            instance = ""
            try:
                async with (
                    listening(settings) as services,
                    httpx.AsyncClient(base_url=url, trust_env=False, timeout=30) as client,
                ):
                    instance = services.instance
                    opened = Tiers(client, api, instance, port_of_host, privileged)
                    for tier in (1, 2, 3, 4):
                        await opened.add(tier)
                    yield opened
            finally:
                labels = [instance_label(instance), *(f"molecule.image.runtime={name}" for name in (RUNTIME, OF_HOST))]
                for label in labels:
                    await purge(engine_url, label)


def variables(directory: Path, port: int, prefix: str, engine_url: str) -> dict[str, str]:
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": str(directory),
        "PORT": str(port),
        "DOCKER_HOST": engine_url,
        "MOLECULE_LOCAL_TEMPLATE_REPO_PREFIX": prefix,
        "MOLECULE_EXTRA_RUNTIMES": f"{RUNTIME},{OF_HOST}",
    }


async def gives_privileges(api: Engine) -> bool:
    """Whether the engine can start a privileged container."""
    body = {"Image": "python:3.11-slim", "Cmd": ["true"], "HostConfig": {"Privileged": True}}
    container = (await api.call("POST", "/containers/create", body))["Id"]
    try:
        await api.call("POST", f"/containers/{container}/start")
    except EngineError:
        return False
    finally:
        await api.call("DELETE", f"/containers/{container}", force="1")
    return True


@pytest.mark.parametrize("tier", [1, 2, 3, 4])
async def test_the_agent_answers(tiers: Tiers, tier: int) -> None:
    assert await tiers.say(tier, "Hello") == "echo: Hello"


@pytest.mark.parametrize(
    ("tier", "read_only", "pid", "memory", "cpus"),
    [
        (1, True, "", 0, 0),
        (2, False, "", 512 * MIB, 1_000_000_000),
        (3, False, "host", 2048 * MIB, 2_000_000_000),
        (4, False, "host", 4096 * MIB, 4_000_000_000),
    ],
)
async def test_a_tier_has_these_powers_and_limits(
    tiers: Tiers, tier: int, pid: str, memory: int, cpus: int, *, read_only: bool
) -> None:
    host = tiers.containers[tier]["HostConfig"]
    found = [host[name] for name in ("ReadonlyRootfs", "PidMode", "Memory", "NanoCpus", "Privileged")]
    most = (await tiers.api.get("/info"))["NCPU"] * 1_000_000_000
    assert found == [read_only, pid, memory, min(cpus, most), tiers.privileged and tier >= 3]


@pytest.mark.parametrize(
    ("tier", "mounted"),
    [
        (1, {"/configs"}),
        (2, {"/configs", "/workspace"}),
        (3, {"/configs", "/workspace"}),
        (4, {"/configs", "/workspace", "/var/run/docker.sock"}),
    ],
)
async def test_a_tier_sees_these_mounts(tiers: Tiers, tier: int, mounted: set[str]) -> None:
    assert {mount["Destination"] for mount in tiers.containers[tier]["Mounts"]} == mounted


@pytest.mark.parametrize("tier", [1, 2, 3])
async def test_the_other_tiers_are_on_the_workspace_network_alone(tiers: Tiers, tier: int) -> None:
    assert list(tiers.containers[tier]["NetworkSettings"]["Networks"]) == ["molecule-monorepo-net"]


async def test_the_highest_tier_is_in_its_machines_network_alone_and_reached_at_its_port(tiers: Tiers) -> None:
    row = (await tiers.client.get(f"/workspaces/{tiers.workspaces[4]}")).json()

    assert list(tiers.containers[4]["NetworkSettings"]["Networks"]) == ["host"]
    assert row["url"] == f"http://127.0.0.1:{tiers.port}"


async def test_a_second_agent_at_a_port_of_the_machine_is_refused_with_the_reason(tiers: Tiers) -> None:
    error: Any = (await tiers.settled(await tiers.create(4)))["error"]

    assert (error["code"], f"port {tiers.port} of this machine is taken" in error["error"]) == ("host_port_taken", True)
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", tiers.port)) == 0  # the first one listens on
