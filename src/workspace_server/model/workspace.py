"""A workspace: what was asked for, what is on record, and which states may follow which."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any


class WorkspaceStatus(StrEnum):
    """What a client sees. One enum for code, schema and API."""

    PROVISIONING = "provisioning"
    ONLINE = "online"
    DEGRADED = "degraded"
    OFFLINE = "offline"
    FAILED = "failed"
    PAUSED = "paused"
    HIBERNATING = "hibernating"
    HIBERNATED = "hibernated"
    AWAITING_AGENT = "awaiting_agent"
    REMOVED = "removed"


_S = WorkspaceStatus

EXTERNAL = "external"
"""The runtime of agents that run elsewhere: without image, container and volumes."""

TRANSITIONS: Mapping[WorkspaceStatus, frozenset[WorkspaceStatus]] = {
    _S.PROVISIONING: frozenset({_S.ONLINE, _S.FAILED, _S.PAUSED, _S.AWAITING_AGENT, _S.REMOVED}),
    _S.ONLINE: frozenset({_S.DEGRADED, _S.OFFLINE, _S.PROVISIONING, _S.PAUSED, _S.HIBERNATING, _S.REMOVED}),
    _S.DEGRADED: frozenset({_S.ONLINE, _S.OFFLINE, _S.PROVISIONING, _S.PAUSED, _S.HIBERNATING, _S.REMOVED}),
    _S.OFFLINE: frozenset({_S.ONLINE, _S.PROVISIONING, _S.FAILED, _S.PAUSED, _S.REMOVED}),
    _S.FAILED: frozenset({_S.ONLINE, _S.PROVISIONING, _S.PAUSED, _S.REMOVED}),
    _S.PAUSED: frozenset({_S.PROVISIONING, _S.REMOVED}),
    _S.HIBERNATING: frozenset({_S.HIBERNATED, _S.ONLINE, _S.PROVISIONING, _S.PAUSED, _S.REMOVED}),
    _S.HIBERNATED: frozenset({_S.PROVISIONING, _S.PAUSED, _S.REMOVED}),
    _S.AWAITING_AGENT: frozenset({_S.ONLINE, _S.REMOVED}),
    _S.REMOVED: frozenset(),
}
"""Which status may follow which. Every UPDATE of a status names the ones it may leave, taken from here."""


def may_become(target: WorkspaceStatus) -> frozenset[WorkspaceStatus]:
    """The statuses that ``target`` may follow."""
    return frozenset(status for status, following in TRANSITIONS.items() if target in following)


class WorkspaceAccess(StrEnum):
    """What a workspace may do with its directory of this machine; none: it has a volume instead."""

    NONE = "none"
    READ_ONLY = "read_only"
    READ_WRITE = "read_write"


class Phase(StrEnum):
    """The steps of a provisioning. Each backend has its own of them, in its own order."""

    IMAGE = "image"
    ENVIRONMENT = "environment"
    END = "end"
    """Of the machine before."""
    VOLUMES = "volumes"
    CONTAINER = "container"
    START = "start"
    ONLINE = "online"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkspaceSpec:
    """A workspace as asked for. Already checked: every field is within its limits, the runtime is known."""

    name: str
    runtime: str
    tier: int
    role: str | None = None
    model: str | None = None
    parent_id: str | None = None
    budget_limit: int | None = None
    max_concurrent_tasks: int = 1
    workspace_dir: str | None = None
    workspace_access: WorkspaceAccess = WorkspaceAccess.NONE
    config_template: str | None = None
    x: float = 0.0
    y: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why the last attempt failed, in the words that every surface shows."""

    code: str
    message: str
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageOnRow:
    """The image a workspace runs, or waits for: its id once it is known, and where it comes from.

    ``digest`` is what its registry called it; ``build`` the record of its build or pull. Of a local build: when it was
    built (RFC 3339), and whether it may be out of date because nobody asked the Git host.
    """

    source: str
    id: str | None = None
    digest: str | None = None
    commit: str | None = None
    build: str | None = None
    build_id: str | None = None
    platform: str | None = None
    built_at: str | None = None
    stale: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """A workspace as recorded. ``generation`` counts its provisionings and the wishes for another one.

    ``config_template`` is a folder of config templates, ``config_digest`` the sha256 of the written config.yaml.
    ``resolve_anew``: the next one looks for the newest image; ``apply_config``: it writes the whole configuration anew;
    ``reset_session``: it begins without the agent's session. ``restarts``: when the server restarted it by itself of
    late, RFC 3339.
    """

    id: str
    name: str
    role: str | None
    tier: int
    status: WorkspaceStatus
    runtime: str
    model: str | None
    parent_id: str | None
    agent_card: Any
    url: str
    generation: int
    resolve_anew: bool
    restarts: Sequence[str]
    image: ImageOnRow | None
    failure: Failure | None
    phases: Mapping[str, Any]
    container_started_at: datetime | None
    active_tasks: int
    max_concurrent_tasks: int
    current_task: str
    uptime_seconds: int
    last_error_rate: float
    last_sample_error: str
    last_heartbeat_at: datetime | None
    last_outbound_at: datetime | None
    budget_limit: int | None
    monthly_spend: int
    workspace_dir: str | None
    workspace_access: WorkspaceAccess
    config_template: str | None
    config_digest: str | None
    apply_config: bool
    reset_session: bool
    x: float
    y: float
    collapsed: bool
    created_at: datetime
    updated_at: datetime

    @property
    def awareness_namespace(self) -> str:
        """The name under which a memory service keeps this workspace's memories."""
        return f"workspace:{self.id}"
