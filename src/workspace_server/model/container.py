"""Containers: what to run (``ContainerSpec``) and what was found running (``ContainerInfo``)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

FULL_HOST = 4
"""The tier whose containers are in their machine's own network."""


class Access(StrEnum):
    """What a container may do with a mount."""

    READ_WRITE = "rw"
    READ_ONLY = "ro"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A named volume or a host path at ``target``."""

    source: str
    target: str
    access: Access = Access.READ_WRITE

    @property
    def is_bind(self) -> bool:
        """Whether it is a path of the engine's machine."""
        return self.source.startswith("/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a container may use: memory in MiB, CPU in shares of which 1024 are one CPU. None: no limit."""

    memory_mib: int | None = None
    cpu_shares: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerFile:
    """A file put into a container before it starts, owned by uid and gid 1000. ``path`` is absolute."""

    path: str
    content: bytes = field(repr=False)
    mode: int = 0o644


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSpec:
    """A container as asked for. ``environment`` may hold secrets and stays out of ``repr``."""

    name: str
    image_id: str
    labels: Mapping[str, str]
    mounts: Sequence[Mount]
    network: str
    host_gateway: str
    limits: Limits
    tier: int
    restart_policy: str
    platform: str | None = None
    environment: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerInfo:
    """A container as found. ``agent_port`` is the port of its machine's loopback that leads to the agent."""

    id: str
    name: str
    labels: Mapping[str, str]
    image_id: str
    running: bool
    exit_code: int | None
    addresses: Sequence[str]
    agent_port: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkInfo:
    """The workspace network as found: its gateway's address, and its bridge's device on this machine."""

    id: str
    gateway: str
    device: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageInfo:
    """An image as found. ``platform`` is ``os/architecture[/variant]``; ``digests`` are ``repository@sha256:…``."""

    id: str
    tags: Sequence[str]
    digests: Sequence[str]
    labels: Mapping[str, str]
    platform: str
    size: int
    created_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineInfo:
    """The engine as found."""

    id: str
    version: str
    platform: str
    operating_system: str
