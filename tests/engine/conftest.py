"""The engine under test, and what these tests make on it: everything carries one label and is removed at the end."""

import asyncio
import io
import os
import secrets
import tarfile
from collections.abc import AsyncIterator, Iterator, Mapping

import pytest

from support.engine import engine as raw_engine
from support.engine import engine_address, instance_label, purge
from workspace_server.engine import Engine, EngineAddress
from workspace_server.model import names
from workspace_server.model.container import ContainerSpec, ImageInfo, Limits, Mount

BASE_IMAGE = "python:3.11-slim"
AGENT = """\
FROM python:3.11-slim
CMD echo ready; echo oops >&2; trap 'exit 3' TERM; while [ ! -e /configs/stop ]; do sleep 0.05; done; exit 7
"""


@pytest.fixture(scope="session")
def instance() -> Iterator[str]:
    """The installation these tests are."""
    name = f"test-{secrets.token_hex(6)}"
    yield name
    if "MOLECULE_TEST_ENGINE_PROBLEM" not in os.environ:
        asyncio.run(purge(engine_address(), instance_label(name)))


@pytest.fixture(scope="session")
def labels(instance: str) -> Mapping[str, str]:
    return names.installation_labels(instance)


@pytest.fixture(scope="session")
def agent_id(address: EngineAddress, labels: Mapping[str, str]) -> str:
    """An image whose container says ``ready`` and ``oops`` and exits with 7 when ``/configs/stop`` appears."""
    return asyncio.run(build_image(address.url, AGENT, labels))


@pytest.fixture
async def agent(engine: Engine, agent_id: str) -> ImageInfo:
    image = await engine.image(agent_id)
    assert image is not None
    return image


@pytest.fixture
async def network(engine: Engine, address: EngineAddress, instance: str) -> AsyncIterator[str]:
    """The name of a network that does not exist yet, and is removed afterwards however often it exists."""
    name = f"net-{instance}-{secrets.token_hex(3)}"
    yield name
    await remove_networks(address.url, name)


@pytest.fixture(scope="session")
def shared_network(address: EngineAddress, instance: str) -> Iterator[str]:
    """The name of a network that exists."""
    name = f"net-{instance}"
    asyncio.run(create_network(address.url, name))
    yield name
    asyncio.run(remove_networks(address.url, name))


@pytest.fixture
async def spec(engine: Engine, agent: ImageInfo, shared_network: str, labels: Mapping[str, str]) -> ContainerSpec:
    """A container of tier 2 with its volume, which exists."""
    name = f"ws-{secrets.token_hex(6)}"
    gateway = (await engine.ensure_network(shared_network)).gateway
    await engine.ensure_volume(f"{name}-configs", labels)
    return ContainerSpec(
        name=name,
        image_id=agent.id,
        labels=labels,
        mounts=[Mount(source=f"{name}-configs", target="/configs")],
        network=shared_network,
        host_gateway=gateway,
        limits=Limits(memory_mib=256, cpu_shares=512),
        tier=2,
        restart_policy="no",
        platform=agent.platform,
        environment={"WORKSPACE_ID": "w", "A": "1"},
    )


async def build_image(url: str, dockerfile: str, labels: Mapping[str, str]) -> str:
    """Build an image without the code under test, and return its id."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        entry = tarfile.TarInfo("Dockerfile")
        text = dockerfile + "".join(f'LABEL {name}="{value}"\n' for name, value in labels.items())
        entry.size = len(text.encode())
        tar.addfile(entry, io.BytesIO(text.encode()))
    async with raw_engine(url) as api:
        messages = await api.call("POST", "/build", buffer.getvalue(), forcerm="1")
    return str(next(message["aux"]["ID"] for message in messages if "aux" in message))


async def create_network(url: str, name: str) -> str:
    """Create a network, also when there is one of that name, and return its id."""
    async with raw_engine(url) as api:
        return str((await api.call("POST", "/networks/create", {"Name": name, "Driver": "bridge"}))["Id"])


async def remove_networks(url: str, name: str) -> None:
    async with raw_engine(url) as api:
        for network in await api.get("/networks"):
            if network["Name"] == name:
                for container in (await api.get(f"/networks/{network['Id']}"))["Containers"]:
                    await api.call("DELETE", f"/containers/{container}", force="1", v="1")
                await api.call("DELETE", f"/networks/{network['Id']}")
