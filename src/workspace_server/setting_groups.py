"""The settings of images, of workspaces and of the control plane: groups of the server's settings."""

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from workspace_server.model.repository import DEFAULT_TEMPLATE_PREFIX, RepositoryUrl
from workspace_server.setting_values import (
    AutoRefresh,
    DeployModeName,
    HeaderSecret,
    Place,
    Places,
    Platform,
    PrivateWebAddress,
    Ref,
    Registry,
    Repository,
    RuntimeNames,
    Secret,
    WebAddress,
    is_private,
)

_CONTROL_PLANE = "https://api.moleculesai.app"


class Group(BaseModel):
    """Parsed settings. The aliases are the environment's names; every field has a description and an example."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, validate_default=True)


class ImageSettings(Group):
    """Where images come from, and how much that may cost."""

    image_registry: Registry = Field(
        None,
        alias="MOLECULE_IMAGE_REGISTRY",
        description="Registry prefix of the workspace images. Unset: images are built from source.",
        examples=["registry.example.org/molecule-ai"],
    )
    image_pull: Literal["missing", "always"] = Field(
        "missing",
        alias="MOLECULE_IMAGE_PULL",
        description="When an image is pulled from the registry: when it is missing, or at every start of a workspace.",
        examples=["always"],
    )
    auto_refresh: AutoRefresh = Field(
        default=False,
        alias="IMAGE_AUTO_REFRESH",
        description="Whether the registry is watched, and workspaces are moved to newly pushed images by themselves.",
        examples=["true"],
    )
    auto_refresh_seconds: int = Field(
        300,
        alias="MOLECULE_IMAGE_AUTO_REFRESH_SECONDS",
        ge=1,
        description="How often the registry is asked for each runtime's newest image.",
        examples=["300"],
    )
    pull_stall_seconds: int = Field(
        300, alias="MOLECULE_IMAGE_PULL_STALL_SECONDS", ge=1, description="Limit without progress.", examples=["300"]
    )
    pull_max_seconds: int = Field(
        3600, alias="MOLECULE_IMAGE_PULL_MAX_SECONDS", ge=1, description="Time limit of one pull.", examples=["3600"]
    )
    ghcr_user: str | None = Field(
        None, alias="GHCR_USER", description="User at ghcr.io; with GHCR_TOKEN.", examples=["octocat"]
    )
    ghcr_token: Secret = Field(
        None, alias="GHCR_TOKEN", description="Token of GHCR_USER; shown to ghcr.io only.", examples=["a read token"]
    )
    registry_user: str | None = Field(
        None,
        alias="MOLECULE_REGISTRY_USER",
        description="User at the registry, unless that is ghcr.io; with MOLECULE_REGISTRY_TOKEN.",
        examples=["puller"],
    )
    registry_token: Secret = Field(
        None,
        alias="MOLECULE_REGISTRY_TOKEN",
        description="Token or password of MOLECULE_REGISTRY_USER. Unset: the docker configuration is asked.",
        examples=["a read token"],
    )
    image_platform: Platform = Field(
        None,
        alias="MOLECULE_IMAGE_PLATFORM",
        description="Platform of the images. Unset: linux/amd64 for builds; empty: the engine's own.",
        examples=["linux/arm64"],
    )
    build_cache: Place = Field(
        alias="MOLECULE_LOCAL_BUILD_CACHE",
        description="Checkouts, build records and build logs.",
        examples=["/var/cache/molecule"],
    )
    template_prefix: Repository = Field(
        RepositoryUrl.parse(DEFAULT_TEMPLATE_PREFIX),
        alias="MOLECULE_LOCAL_TEMPLATE_REPO_PREFIX",
        description="URL of the template repositories up to the runtime's name.",
        examples=["https://git.example.org/our-forks/template-"],
    )
    gitea_token: Secret = Field(
        None,
        alias="MOLECULE_GITEA_TOKEN",
        description="Read token for private template repositories.",
        examples=["a token with read access"],
    )
    extra_runtimes: RuntimeNames = Field(
        (),
        alias="MOLECULE_EXTRA_RUNTIMES",
        description="Names of further runtimes, comma separated.",
        examples=["echo,my-agent"],
    )
    template_repositories: Mapping[str, Repository] = Field(
        default_factory=dict,
        alias="MOLECULE_TEMPLATE_REPO_*",
        description="Repository URL of one runtime's template.",
        examples=["https://git.example.org/team/echo"],
    )
    template_refs: Mapping[str, Ref] = Field(
        default_factory=dict,
        alias="MOLECULE_TEMPLATE_REF_*",
        description="Branch, tag or commit of one runtime's template.",
        examples=["v1.2"],
    )
    offline: bool = Field(
        default=False,
        alias="MOLECULE_LOCAL_BUILD_OFFLINE",
        description="Never ask the Git host: run the newest image that was built from the template, marked stale.",
        examples=["1"],
    )
    build_concurrency: int = Field(
        2,
        alias="MOLECULE_LOCAL_BUILD_CONCURRENCY",
        ge=1,
        le=64,
        description="Builds that may run at once.",
        examples=["2"],
    )
    build_max_seconds: int = Field(
        3600, alias="MOLECULE_LOCAL_BUILD_MAX_SECONDS", ge=1, description="Time limit of one build.", examples=["3600"]
    )
    build_stall_seconds: int = Field(
        300,
        alias="MOLECULE_LOCAL_BUILD_STALL_SECONDS",
        ge=1,
        description="How long a step of a build may be silent without work that the engine can show; three times as"
        " long on a foreign platform.",
        examples=["300"],
    )
    budget_mb: int = Field(
        20480,
        alias="MOLECULE_LOCAL_BUILD_BUDGET_MB",
        ge=1,
        description="What local images, checkouts and logs may take together, in MB; the least recently used go first.",
        examples=["20480"],
    )
    budget_images: int = Field(
        50,
        alias="MOLECULE_LOCAL_BUILD_BUDGET_IMAGES",
        ge=1,
        description="How many local images are kept.",
        examples=["50"],
    )


class WorkspaceSettings(Group):
    """What workspaces get."""

    provision_timeout_seconds: int | None = Field(
        None,
        alias="PROVISION_TIMEOUT_SECONDS",
        ge=1,
        description="Time from a container's start to its agent's first call. Unset: 600, hermes 1800.",
        examples=["600"],
    )
    max_tier: int | None = Field(
        None,
        alias="MOLECULE_MAX_TIER",
        ge=1,
        le=4,
        description="Highest tier a new workspace may have.",
        examples=["2"],
    )
    configs_dir: Place | None = Field(
        None,
        alias="CONFIGS_DIR",
        description="Config templates: folders with a config.yaml and what else goes into /configs.",
        examples=["/srv/workspace-configs-templates"],
    )
    workspace_roots: Places = Field(
        (),
        alias="MOLECULE_WORKSPACE_ROOTS",
        description="Where directories that workspaces may be given lie, colon separated. Unset: the home directory.",
        examples=["/srv/projects:/home/me/src"],
    )
    tier2_memory_mb: int = Field(
        512, alias="TIER2_MEMORY_MB", ge=1, description="Memory of tier 2, MiB.", examples=["512"]
    )
    tier3_memory_mb: int = Field(
        2048, alias="TIER3_MEMORY_MB", ge=1, description="Memory of tier 3, MiB.", examples=["2048"]
    )
    tier4_memory_mb: int = Field(
        4096, alias="TIER4_MEMORY_MB", ge=1, description="Memory of tier 4, MiB.", examples=["4096"]
    )
    tier2_cpu_shares: int = Field(
        1024, alias="TIER2_CPU_SHARES", ge=1, description="CPU of tier 2; 1024 is one.", examples=["1024"]
    )
    tier3_cpu_shares: int = Field(
        2048, alias="TIER3_CPU_SHARES", ge=1, description="CPU of tier 3; 1024 is one.", examples=["2048"]
    )
    tier4_cpu_shares: int = Field(
        4096, alias="TIER4_CPU_SHARES", ge=1, description="CPU of tier 4; 1024 is one.", examples=["4096"]
    )
    restart_policy: Literal["no", "always", "unless-stopped", "on-failure"] = Field(
        "no",
        alias="MOLECULE_WORKSPACE_RESTART_POLICY",
        description="The engine's restart policy of workspace containers; the server restarts them by itself.",
        examples=["no"],
    )
    remote_stale_seconds: int = Field(
        90,
        alias="REMOTE_LIVENESS_STALE_AFTER",
        ge=1,
        description="Seconds without a heartbeat after which an agent that runs elsewhere is offline.",
        examples=["90"],
    )


class ControlPlaneSettings(Group):
    """The control plane of the hosted product, where it is what starts workspaces."""

    org_id: str | None = Field(
        None,
        alias="MOLECULE_ORG_ID",
        pattern=r"^[A-Za-z0-9._-]{1,128}$",
        description="Organisation this server works for; set, its workspaces are started by the control plane.",
        examples=["org-1234"],
    )
    org_slug: str | None = Field(
        None,
        alias="MOLECULE_ORG_SLUG",
        pattern=r"^[A-Za-z0-9._-]{1,128}$",
        description="Name of the organisation in addresses; with CP_UPSTREAM_URL, its members' sessions are accepted.",
        examples=["acme"],
    )
    deploy_mode: DeployModeName = Field(
        None,
        alias="MOLECULE_DEPLOY_MODE",
        description="saas: agents elsewhere may be in private networks; self-hosted (selfhosted, standalone): not."
        " Unset: saas where MOLECULE_ORG_ID is set.",
        examples=["self-hosted"],
    )
    cp_url: WebAddress = Field(
        _CONTROL_PLANE,
        alias="MOLECULE_CP_URL",
        description="URL of the control plane.",
        examples=["https://cp.example.org"],
    )
    cp_provision_url: WebAddress | None = Field(
        None,
        alias="CP_PROVISION_URL",
        description="URL of the control plane for starting workspaces, if that is another one.",
        examples=["https://cp.example.org"],
    )
    cp_upstream_url: PrivateWebAddress | None = Field(
        None,
        alias="CP_UPSTREAM_URL",
        description="Where calls of /cp/ are passed on to, and sessions are checked.",
        examples=["https://cp.example.org"],
    )
    cp_shared_secret: HeaderSecret = Field(
        None,
        alias="MOLECULE_CP_SHARED_SECRET",
        description="Secret that the control plane's calls for workspaces are made with.",
        examples=["a-long-random-string"],
    )
    provision_shared_secret: HeaderSecret = Field(
        None,
        alias="PROVISION_SHARED_SECRET",
        description="Older name of MOLECULE_CP_SHARED_SECRET, asked when that is unset.",
        examples=["a-long-random-string"],
    )
    cp_admin_token: HeaderSecret = Field(
        None,
        alias="CP_ADMIN_API_TOKEN",
        description="Token of the control plane's calls for administrators. Unset: the shared secret.",
        examples=["a-long-random-string"],
    )

    @property
    def asks_control_plane_safely(self) -> bool:
        """Whether nobody on the way reads what the control plane is sent."""
        return all(is_private(url) for url in (self.cp_url, self.cp_provision_url) if url is not None)
