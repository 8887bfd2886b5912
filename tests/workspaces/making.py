"""Workspaces as they would be read from a row, for what needs no database."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from workspace_server.images import EnsuredImage
from workspace_server.model.container import NetworkInfo
from workspace_server.model.workspace import Workspace, WorkspaceAccess, WorkspaceStatus

ID = "0123abcd-4567-89ab-cdef-0123456789ab"
INSTANCE = "an-instance"
MOMENT = datetime(2026, 1, 1, tzinfo=UTC)

_WORKSPACE = Workspace(
    id=ID,
    name="Ada",
    role=None,
    tier=2,
    status=WorkspaceStatus.PROVISIONING,
    runtime="langgraph",
    model=None,
    parent_id=None,
    agent_card=None,
    url="",
    generation=3,
    resolve_anew=True,
    restarts=(),
    image=None,
    failure=None,
    phases={},
    container_started_at=None,
    active_tasks=0,
    max_concurrent_tasks=1,
    current_task="",
    uptime_seconds=0,
    last_error_rate=0.0,
    last_sample_error="",
    last_heartbeat_at=None,
    last_outbound_at=None,
    budget_limit=None,
    monthly_spend=0,
    workspace_dir=None,
    workspace_access=WorkspaceAccess.NONE,
    config_template=None,
    config_digest=None,
    apply_config=False,
    reset_session=False,
    x=0.0,
    y=0.0,
    collapsed=False,
    created_at=MOMENT,
    updated_at=MOMENT,
)
NETWORK = NetworkInfo(id="33e89f8b7663" + "0" * 52, gateway="172.23.0.1", device="br-33e89f8b7663")
IMAGE = EnsuredImage(
    id="sha256:" + "ab" * 32,
    source="local-build",
    platform="linux/amd64",
    commit="0" * 40,
    build_id="cd" * 32,
    build="01J",
)


def workspace(**fields: Any) -> Workspace:
    return replace(_WORKSPACE, **fields)
