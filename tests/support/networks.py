"""Places to call from: containers of a network, and another host of the LAN."""

import json
import os
import secrets
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import IPv4Network
from typing import Any

from .engine import Engine
from .processes import running

NETWORK = "molecule-monorepo-net"


async def gateway(api: Engine, network: str = NETWORK) -> str:
    """The gateway's address; the subnet's first where the engine chose it itself and does not say so."""
    config = (await api.get(f"/networks/{network}"))["IPAM"]["Config"][0]
    return config.get("Gateway") or str(next(IPv4Network(config["Subnet"]).hosts()))


async def container_prints(api: Engine, network: str, label: str, program: str, *arguments: str) -> Any:
    """The JSON that a Python program prints in a container of a network."""
    name, _, value = label.partition("=")
    config = {
        "Image": "python:3.11-slim",
        "Cmd": ["python3", "-c", program, *arguments],
        "Labels": {name: value},
        "HostConfig": {"NetworkMode": network},
        "Tty": True,  # so that its log is plain text
    }
    container = (await api.call("POST", "/containers/create", config))["Id"]
    await api.call("POST", f"/containers/{container}/start")
    await api.call("POST", f"/containers/{container}/wait")
    async with api.stream(f"/containers/{container}/logs", stdout="1") as log:
        return json.loads(await log.read())


async def output(*argv: str) -> str:
    """What a program wrote; fails when it failed."""
    async with running(*argv, env={"PATH": os.environ["PATH"]}, stdout=PIPE, stderr=PIPE) as process:
        out, err = await process.communicate()
        assert process.returncode == 0, f"{argv[:3]}: {err.decode()}"
        return out.decode()


@asynccontextmanager
async def neighbour(towards: str) -> AsyncIterator[str]:
    """A network namespace that is to this machine what another host of its LAN is, with a route to an address."""
    name = f"lan-{secrets.token_hex(3)}"
    subnet = f"10.{secrets.randbelow(56) + 200}.{secrets.randbelow(256)}"
    await output("ip", "netns", "add", name)
    try:
        await output("ip", "link", "add", name, "type", "veth", "peer", "name", "lan", "netns", name)
        await output("ip", "addr", "add", f"{subnet}.1/30", "dev", name)
        await output("ip", "link", "set", name, "up")
        await output("ip", "-n", name, "addr", "add", f"{subnet}.2/30", "dev", "lan")
        await output("ip", "-n", name, "link", "set", "lan", "up")
        await output("ip", "-n", name, "route", "add", towards, "via", f"{subnet}.1")
        yield name
    finally:
        await output("ip", "netns", "delete", name)  # its end of the pair, and so the other, goes with it
