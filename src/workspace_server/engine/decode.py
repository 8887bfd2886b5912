"""The engine's JSON as what was found. Pure."""

import ipaddress
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from workspace_server.model.container import ContainerInfo, EngineInfo, ImageInfo, NetworkInfo
from workspace_server.model.names import AGENT_PORT, HOST_PORT

_ARCHITECTURES = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "armv7l": "arm/v7",
    "armv6l": "arm/v6",
    "i386": "386",
    "i686": "386",
}

_UNKNOWN = ("", "0001-01-01T00:00:00Z")  # what engines say of an image that does not know when it was made


def engine_info(data: Mapping[str, Any]) -> EngineInfo:
    """From ``GET /info``, which names architectures as the kernel does."""
    architecture = data["Architecture"]
    return EngineInfo(
        id=data["ID"],
        version=data["ServerVersion"],
        platform=f"{data['OSType']}/{_ARCHITECTURES.get(architecture, architecture)}",
        operating_system=data["OperatingSystem"],
    )


def image_info(data: Mapping[str, Any]) -> ImageInfo:
    """From ``GET /images/{name}/json``."""
    return ImageInfo(
        id=data["Id"],
        tags=tuple(data.get("RepoTags") or ()),
        digests=tuple(data.get("RepoDigests") or ()),
        labels=(data.get("Config") or {}).get("Labels") or {},
        platform="/".join(part for part in (data["Os"], data["Architecture"], data.get("Variant")) if part),
        size=data["Size"],
        created_at=None if data.get("Created") in (None, *_UNKNOWN) else datetime.fromisoformat(data["Created"]),
    )


def container_info(data: Mapping[str, Any]) -> ContainerInfo:
    """From ``GET /containers/{id}/json``."""
    state, network, labels = data["State"], data["NetworkSettings"], data["Config"]["Labels"] or {}
    never_started = state["Status"] == "created"
    return ContainerInfo(
        id=data["Id"],
        name=data["Name"].removeprefix("/"),
        labels=labels,
        image_id=data["Image"],
        running=state["Running"],
        exit_code=None if state["Running"] or never_started else state["ExitCode"],
        addresses=_addresses(network["Networks"]),
        agent_port=_agent_port(
            (binding["HostIp"], int(binding["HostPort"]))
            for binding in (network["Ports"] or {}).get(f"{AGENT_PORT}/tcp") or ()
        )
        or _host_port(labels),
    )


def listed_container_info(data: Mapping[str, Any]) -> ContainerInfo | None:
    """From an item of ``GET /containers/json``; None for a stopped one, whose exit code is not in the list."""
    if data["State"] not in ("running", "paused", "created"):
        return None
    return ContainerInfo(
        id=data["Id"],
        name=data["Names"][0].removeprefix("/"),
        labels=data["Labels"] or {},
        image_id=data["ImageID"],
        running=data["State"] != "created",
        exit_code=None,
        addresses=_addresses(data["NetworkSettings"]["Networks"]),
        agent_port=_agent_port(
            (port["IP"], port["PublicPort"])
            for port in data["Ports"] or ()
            if port["PrivatePort"] == AGENT_PORT and port["Type"] == "tcp" and "PublicPort" in port
        )
        or _host_port(data["Labels"] or {}),
    )


def network_info(data: Mapping[str, Any]) -> NetworkInfo:
    """From ``GET /networks/{id}``. An unnamed bridge device is called after the network."""
    options = data.get("Options") or {}
    return NetworkInfo(
        id=data["Id"],
        gateway=_gateway((data.get("IPAM") or {}).get("Config") or ()),
        device=options.get("com.docker.network.bridge.name") or f"br-{data['Id'][:12]}",
    )


def _addresses(networks: Mapping[str, Any] | None) -> tuple[str, ...]:
    found = (network.get(key) for network in (networks or {}).values() for key in ("IPAddress", "GlobalIPv6Address"))
    return tuple(address for address in found if address)


def _agent_port(bindings: Iterable[tuple[str, int]]) -> int | None:
    return next((port for host, port in bindings if host in ("127.0.0.1", "0.0.0.0")), None)  # noqa: S104 - compared


def _host_port(labels: Mapping[str, str]) -> int | None:
    """Where the agent of a container in its machine's own network listens: nothing is published there."""
    port = labels.get(HOST_PORT, "")
    return int(port) if port.isascii() and port.isdigit() else None


def _gateway(ranges: Iterable[Mapping[str, Any]]) -> str:
    """The IPv4 gateway; the subnet's first address where none is written down: that is what the engine takes."""
    for each in ranges:
        subnet = ipaddress.ip_network(each["Subnet"], strict=False)
        if subnet.version == 4:  # noqa: PLR2004 - IPv4
            return str(each.get("Gateway") or subnet[1]).partition("/")[0]
    return ""
