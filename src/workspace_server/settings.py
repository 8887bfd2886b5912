"""Every setting of the server, and the only reader of the environment.

``load_settings`` parses the whole environment once, at start. A wrong value refuses to start: the error names the
variable, its value and a valid example.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from workspace_server.model.repository import DEFAULT_TEMPLATE_PREFIX, RepositoryUrl
from workspace_server.model.secret import parse_encryption_key
from workspace_server.setting_refusals import refusal
from workspace_server.setting_values import (
    FOR_HELPERS,
    PASSED_ON,
    AutoRefresh,
    DatabaseUrl,
    EncryptionKey,
    Environment,
    EnvironmentName,
    Place,
    Places,
    Platform,
    Ref,
    Registry,
    Repository,
    RuntimeNames,
    Secret,
    user_directory,
)

_PASSWORD = re.compile(r"\w+://[^/?#\s:@]*:([^/?#\s]+)@")


_BLANK_SAYS_SOMETHING = frozenset({"MOLECULE_IMAGE_PLATFORM", "CORS_ORIGINS"})


class Settings(BaseModel):
    """All settings, parsed. The aliases are the environment's names; every field has a description and an example."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, validate_default=True)

    port: int = Field(8080, alias="PORT", ge=1, le=65535, description="Port the server listens on.", examples=["8080"])
    bind: str | None = Field(
        None,
        alias="MOLECULE_BIND",
        description="Address to listen on instead of the safe default.",
        examples=["127.0.0.1"],
    )
    platform_url: str | None = Field(
        None,
        alias="PLATFORM_URL",
        pattern=r"^https?://[^/\s]+(/[^\s]*)?$",
        description="URL under which agents reach this server.",
        examples=["http://host.docker.internal:8080"],
    )
    environment: EnvironmentName = Field(
        Environment.DEVELOPMENT,
        alias="MOLECULE_ENV",
        description="development (dev), staging or production (prod).",
        examples=["production"],
    )
    admin_token: Secret = Field(
        None, alias="ADMIN_TOKEN", description="Bearer token of the administrator.", examples=["a long random string"]
    )
    secrets_key: EncryptionKey = Field(
        None,
        alias="SECRETS_ENCRYPTION_KEY",
        description="Key of secrets at rest: 32 characters or base64 of 32 bytes. Unset: one in the data directory.",
        examples=["32-random-characters-of-your-own"],
    )
    previous_secrets_key: EncryptionKey = Field(
        None,
        alias="SECRETS_ENCRYPTION_KEY_PREVIOUS",
        description="Key that secrets may still be kept under, until `workspace-server secrets rotate` has run.",
        examples=["the-key-that-it-was-before-today"],
    )
    owner_proof: Literal["auto", "required"] = Field(
        "auto",
        alias="MOLECULE_OWNER_TOKEN",
        description="Whether the owner must show the token in the data directory even on loopback.",
        examples=["required"],
    )
    cors_origins: str = Field(
        "http://localhost:3000,http://localhost:3001",
        alias="CORS_ORIGINS",
        description="Origins of web pages that may call this server, comma separated.",
        examples=["https://ui.example.org"],
    )
    data_dir: Place = Field(
        alias="MOLECULE_DATA_DIR",
        description="Database, keys and tokens of this installation.",
        examples=["/var/lib/molecule"],
    )
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
    docker_host: str | None = Field(
        None,
        alias="DOCKER_HOST",
        description="Address of the container engine.",
        examples=["unix:///var/run/docker.sock"],
    )
    log_format: Literal["auto", "human", "json"] = Field(
        "auto",
        alias="MOLECULE_LOG_FORMAT",
        description="Log lines for people or machines; auto asks the terminal.",
        examples=["json"],
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", alias="MOLECULE_LOG_LEVEL", description="Least important log lines to write.", examples=["debug"]
    )
    database_url: DatabaseUrl = Field(
        None,
        alias="DATABASE_URL",
        description="PostgreSQL database of this server. Unset: SQLite in the data directory.",
        examples=["postgresql://user:password@db.example.org/molecule"],
    )
    redis_url: Secret = Field(None, alias="REDIS_URL", description="Ignored: Redis is not used.", examples=["(unset)"])
    org_id: str | None = Field(
        None, alias="MOLECULE_ORG_ID", description="Not supported yet: no control plane.", examples=["(unset)"]
    )
    passed_on: Mapping[str, str] = Field(repr=False, exclude=True)
    for_helpers: Mapping[str, str] = Field(repr=False, exclude=True)

    @model_validator(mode="after")
    def _hang_together(self) -> Self:
        if self.environment is Environment.PRODUCTION and self.admin_token is None:
            raise ValueError(
                "MOLECULE_ENV=production needs ADMIN_TOKEN: without it only this machine's owner has access"
            )
        if self.environment is Environment.PRODUCTION and self.secrets_key is None:
            raise ValueError(
                "MOLECULE_ENV=production needs SECRETS_ENCRYPTION_KEY: a key beside the database protects nothing"
            )
        if self.previous_secrets_key is not None and self.secrets_key is None:
            raise ValueError("SECRETS_ENCRYPTION_KEY_PREVIOUS is set without SECRETS_ENCRYPTION_KEY")
        if self.database_url is not None and self.secrets_key is None:
            raise ValueError("DATABASE_URL needs SECRETS_ENCRYPTION_KEY: all servers on a database share the key")
        if self.org_id is not None:
            raise ValueError("MOLECULE_ORG_ID is set, but this version has no control-plane backend; unset it")
        if (self.registry_user is None) != (self.registry_token is None):
            raise ValueError("MOLECULE_REGISTRY_USER and MOLECULE_REGISTRY_TOKEN go together: set both, or neither")
        return self

    @property
    def allowed_origins(self) -> frozenset[str]:
        """The origins of web pages that may call."""
        return frozenset(origin.strip() for origin in self.cors_origins.split(",") if origin.strip())

    @property
    def agents_url(self) -> str:
        """The URL under which agents reach this server; it may have a password in it."""
        return self.platform_url or f"http://host.docker.internal:{self.port}"

    @property
    def encryption_keys(self) -> list[bytes]:
        """The keys of the secrets at rest that the operator gave: the one to seal with first."""
        given = (self.secrets_key, self.previous_secrets_key)
        return [parse_encryption_key(key.get_secret_value()) for key in given if key is not None]

    @property
    def secrets(self) -> frozenset[str]:
        """The values that must never be seen in a log: tokens, keys, and passwords inside URLs."""
        found = (
            *(self.admin_token, self.gitea_token, self.ghcr_token, self.registry_token),
            *(self.database_url, self.redis_url, self.secrets_key, self.previous_secrets_key),
        )
        tokens = [secret.get_secret_value() for secret in found if secret is not None]
        urls = (self.platform_url or "", *tokens, *self.passed_on.values())
        passwords = (match[1] for url in urls if (match := _PASSWORD.match(url)))
        return frozenset((*tokens, *passwords))

    @property
    def home(self) -> Path:
        """The home directory of whoever runs the server."""
        return Path(self.passed_on.get("HOME") or Path.home())

    def start_limit(self, runtime: str) -> float:
        """Seconds a runtime's agent has from its container's start to its first call."""
        return self.provision_timeout_seconds or (1800 if runtime == "hermes" else 600)


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Parse the environment; raises SettingsError that names every wrong variable, its value and an example."""
    environ = os.environ if environ is None else environ
    given = {alias: environ[alias] for alias in _aliases() if alias in environ}
    # Compose files and unit files pass on what they do not set as empty: blank is unset, unless it says something.
    values: dict[str, Any] = {
        alias: value for alias, value in given.items() if value.strip() or alias in _BLANK_SAYS_SOMETHING
    }
    data = user_directory(environ, "XDG_DATA_HOME", ".local/share") / "molecule"
    cache = user_directory(environ, "XDG_CACHE_HOME", ".cache") / "molecule" / "workspace-template-build"
    for variable, default in (("MOLECULE_DATA_DIR", data), ("MOLECULE_LOCAL_BUILD_CACHE", cache)):
        values.setdefault(variable, default)
    for family in ("MOLECULE_TEMPLATE_REPO_", "MOLECULE_TEMPLATE_REF_"):
        values[f"{family}*"] = {
            name.removeprefix(family).lower().replace("_", "-"): value
            for name, value in environ.items()
            if name.startswith(family) and value.strip()
        }
    values["passed_on"] = passed_on = {name: value for name, value in environ.items() if PASSED_ON.fullmatch(name)}
    values["for_helpers"] = passed_on | {k: value for k, value in environ.items() if FOR_HELPERS.fullmatch(k)}
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise refusal(error, list(Settings.model_fields.values())) from None


def current_environment() -> dict[str, str]:
    """A copy of this process's environment, for a command that starts a server with other settings."""
    return dict(os.environ)


def _aliases() -> list[str]:
    return [field.alias for field in Settings.model_fields.values() if field.alias and "*" not in field.alias]
