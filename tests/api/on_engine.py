"""The application on a real engine, with a container that runs as a workspace's."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from support.engine import Engine, engine, instance_label, purge
from support.rows import workspace
from support.server import InProcess, in_process

NETWORK = "molecule-monorepo-net"


@dataclass(frozen=True, slots=True)
class OnEngine:
    """An application on a real engine, with a workspace whose container runs at an address."""

    app: InProcess
    workspace: str
    address: str


@asynccontextmanager
async def on_engine(directory: Path, url: str, **settings: str) -> AsyncIterator[OnEngine]:
    async with in_process(directory, DOCKER_HOST=url, **settings) as opened, engine(url) as api:
        named, instance = await workspace(opened), opened.services.instance
        try:
            yield OnEngine(opened, named, await run_container(api, instance, named))
        finally:
            await purge(url, instance_label(instance))


async def run_container(api: Engine, instance: str, named: str, program: str = "exec sleep infinity") -> str:
    """Run a container as the workspace's, and return its address.

    It is of a provisioning to come: one that fails meanwhile does not take it along.
    """
    labels = {
        "molecule.platform.managed": "true",
        "molecule.platform.instance": instance,
        "molecule.workspace.id": named,
        "molecule.workspace.generation": "10",
    }
    config = {
        "Image": "python:3.11-slim",
        "Cmd": ["sh", "-c", program],
        "Labels": labels,
        "HostConfig": {"NetworkMode": NETWORK, "Init": True},
    }
    container = (await api.call("POST", "/containers/create", config))["Id"]
    await api.call("POST", f"/containers/{container}/start")
    inspected = await api.get(f"/containers/{container}/json")
    return str(inspected["NetworkSettings"]["Networks"][NETWORK]["IPAddress"])
