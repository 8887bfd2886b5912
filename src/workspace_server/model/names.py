"""What things are called on the engine: containers, volumes, the network, and the labels that say whose they are."""

from collections.abc import Mapping

NETWORK = "molecule-monorepo-net"
AGENT_PORT = 8000

MANAGED = "molecule.platform.managed"
INSTANCE = "molecule.platform.instance"
WORKSPACE_ID = "molecule.workspace.id"
GENERATION = "molecule.workspace.generation"
HOST_PORT = "molecule.workspace.port"
BUILD_ID = "molecule.image.build_id"
KEY = "molecule.image.key"
COMMIT = "molecule.image.commit"
SOURCE = "molecule.image.source"
PLATFORM = "molecule.image.platform"
DOCKERFILE = "molecule.image.dockerfile"
RUNTIME = "molecule.image.runtime"


def container_name(workspace_id: str) -> str:
    """The workspace's container; also its host name on the workspace network."""
    return f"ws-{workspace_id[:12]}"


def config_volume(workspace_id: str) -> str:
    """The volume behind ``/configs``."""
    return f"{container_name(workspace_id)}-configs"


def workspace_volume(workspace_id: str) -> str:
    """The volume behind ``/workspace``. The full id: clients and operators know it by this name."""
    return f"ws-{workspace_id}-workspace"


def session_volume(workspace_id: str) -> str:
    """The volume behind ``/root/.claude/sessions``, for the runtime ``claude-code``."""
    return f"{container_name(workspace_id)}-claude-sessions"


def workspace_volumes(workspace_id: str) -> frozenset[str]:
    """Every volume that a workspace may have."""
    return frozenset({config_volume(workspace_id), workspace_volume(workspace_id), session_volume(workspace_id)})


def installation_labels(instance: str) -> Mapping[str, str]:
    """The labels of everything this installation makes on the engine."""
    return {MANAGED: "true", INSTANCE: instance}


def workspace_labels(instance: str, workspace_id: str) -> Mapping[str, str]:
    """The labels of everything that belongs to one workspace."""
    return {**installation_labels(instance), WORKSPACE_ID: workspace_id}
