"""A container as asked for, in the engine's JSON. Pure: golden files show what every tier may do."""

from collections.abc import Sequence
from typing import Any

from workspace_server.model.container import FULL_HOST, ContainerSpec, Mount
from workspace_server.model.names import AGENT_PORT

_PORT = f"{AGENT_PORT}/tcp"
_SANDBOX_TMP = "rw,noexec,nosuid,size=64m"
ENGINE_SOCKET = "/var/run/docker.sock"
"""Where an engine's socket usually lies, and where the agents of tier 4 find it."""

CPU_SHARES = 1024
"""So many shares are one CPU."""


def container_config(spec: ContainerSpec, cpus: int | None = None, socket: str = ENGINE_SOCKET) -> dict[str, Any]:
    """The body of ``POST /containers/create``. An unknown tier is encoded as tier 2.

    ``cpus``: how many the engine's machine has, where that is known. Engines refuse a limit of more. ``socket``: the
    path of the engine's socket on its machine, for tier 4.
    """
    return {
        "Image": spec.image_id,
        "Env": [f"{name}={value}" for name, value in sorted(spec.environment.items())],
        "Labels": dict(sorted(spec.labels.items())),
        "ExposedPorts": {_PORT: {}},
        "AttachStdin": False,
        "AttachStdout": False,
        "AttachStderr": False,
        "OpenStdin": False,
        "Tty": False,
        "HostConfig": _host_config(spec, cpus, socket),
        **_network_config(spec),
    }


def _host_config(spec: ContainerSpec, cpus: int | None, socket: str) -> dict[str, Any]:
    return {
        "Mounts": [_mount(mount) for mount in _mounts(spec, socket)],
        "ExtraHosts": [f"host.docker.internal:{spec.host_gateway}"],
        "RestartPolicy": {"Name": spec.restart_policy},
        **_reach(spec),
        **_limits(spec, cpus),
        **_powers(spec.tier),
    }


def _mounts(spec: ContainerSpec, socket: str) -> Sequence[Mount]:
    match spec.tier:
        case 1:  # the sandbox sees its configuration and nothing else
            return [mount for mount in spec.mounts if mount.target == "/configs"]
        case _ if spec.tier == FULL_HOST:
            return [*spec.mounts, Mount(source=socket, target=ENGINE_SOCKET)]
        case _:
            return spec.mounts


def _mount(mount: Mount) -> dict[str, Any]:
    # "Mounts", not "Binds": a bind of a path that does not exist is refused instead of made, owned by root.
    return {
        "Type": "bind" if mount.is_bind else "volume",
        "Source": mount.source,
        "Target": mount.target,
        "ReadOnly": mount.access == "ro",
    }


def _reach(spec: ContainerSpec) -> dict[str, Any]:
    """How the agent is reached. A container in the host's network has nothing to publish: its ports are the host's."""
    if spec.tier == FULL_HOST:
        return {"NetworkMode": "host"}
    return {"NetworkMode": spec.network, "PortBindings": {_PORT: [{"HostIp": "127.0.0.1", "HostPort": ""}]}}


def _network_config(spec: ContainerSpec) -> dict[str, Any]:
    if spec.tier == FULL_HOST:
        return {}
    return {"NetworkingConfig": {"EndpointsConfig": {spec.network: {"Aliases": [spec.name]}}}}


def _limits(spec: ContainerSpec, cpus: int | None) -> dict[str, Any]:
    limits: dict[str, Any] = {}
    if spec.limits.memory_mib is not None:
        limits["Memory"] = spec.limits.memory_mib * 1024 * 1024
    if spec.limits.cpu_shares is not None:
        shares = min(spec.limits.cpu_shares, (cpus or spec.limits.cpu_shares) * CPU_SHARES)
        limits["NanoCpus"] = shares * 1_000_000_000 // CPU_SHARES
    return limits


def _powers(tier: int) -> dict[str, Any]:
    match tier:
        case 1:
            return {"ReadonlyRootfs": True, "Tmpfs": {"/tmp": _SANDBOX_TMP}}  # noqa: S108 - inside the container
        case 3 | 4:
            return {"Privileged": True, "PidMode": "host"}
        case _:
            return {}
