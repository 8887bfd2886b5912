"""From a workspace and an image to the container that is asked for. Pure."""

from collections.abc import Mapping

from workspace_server.images import EnsuredImage
from workspace_server.model import names
from workspace_server.model.container import Access, ContainerSpec, Limits, Mount
from workspace_server.model.workspace import Workspace, WorkspaceAccess
from workspace_server.settings import Settings
from workspace_server.workspaces.environment import CONFIG_PATH

SESSION_RUNTIME = "claude-code"


def volume_names(workspace: Workspace) -> list[str]:
    """The named volumes of a workspace."""
    return [mount.source for mount in _mounts(workspace) if not mount.is_bind]


def _mounts(workspace: Workspace) -> list[Mount]:
    mounts = [Mount(source=names.config_volume(workspace.id), target=CONFIG_PATH), _files(workspace)]
    if workspace.runtime == SESSION_RUNTIME:
        mounts.append(Mount(source=names.session_volume(workspace.id), target="/root/.claude/sessions"))
    return mounts


def _files(workspace: Workspace) -> Mount:
    """What is behind ``/workspace``: a directory of this machine where there is one to be used, else a volume."""
    match workspace.workspace_dir, workspace.workspace_access:
        case None, _:
            pass
        case _, WorkspaceAccess.NONE:
            pass
        case directory, WorkspaceAccess.READ_ONLY:
            return Mount(source=directory, target="/workspace", access=Access.READ_ONLY)
        case directory, WorkspaceAccess.READ_WRITE:
            return Mount(source=directory, target="/workspace")
    return Mount(source=names.workspace_volume(workspace.id), target="/workspace")


def container_spec(
    workspace: Workspace,
    image: EnsuredImage,
    variables: Mapping[str, str],
    *,
    host_gateway: str,
    instance: str,
    settings: Settings,
    host_port: int | None = None,
) -> ContainerSpec:
    """The container of a workspace's present generation, with these environment variables.

    ``host_gateway`` leads from it to this machine; ``host_port`` is where its agent listens, in its machine's network.
    """
    return ContainerSpec(
        name=names.container_name(workspace.id),
        image_id=image.id,
        platform=image.platform,
        labels={
            **names.workspace_labels(instance, workspace.id),
            names.GENERATION: str(workspace.generation),
            **({names.BUILD_ID: image.build_id} if image.build_id else {}),
            **({names.HOST_PORT: str(host_port)} if host_port else {}),
        },
        mounts=_mounts(workspace),
        network=names.NETWORK,
        host_gateway=host_gateway,
        limits=tier_limits(workspace.tier, settings),
        tier=workspace.tier,
        restart_policy=settings.restart_policy,
        environment=variables,
    )


def tier_limits(tier: int, settings: Settings) -> Limits:
    """What a container of a tier may use; tier 1 is bounded by having nothing but its configuration."""
    match tier:
        case 1:
            return Limits()
        case 3:
            return Limits(memory_mib=settings.tier3_memory_mb, cpu_shares=settings.tier3_cpu_shares)
        case 4:
            return Limits(memory_mib=settings.tier4_memory_mb, cpu_shares=settings.tier4_cpu_shares)
        case _:
            return Limits(memory_mib=settings.tier2_memory_mb, cpu_shares=settings.tier2_cpu_shares)
