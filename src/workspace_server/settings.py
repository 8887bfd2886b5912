"""Every setting of the server, and the only reader of the environment.

``load_settings`` parses the whole environment once, at start. A wrong value refuses to start: the error names the
variable, its value and a valid example.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from workspace_server.model.secret import parse_encryption_key
from workspace_server.setting_groups import ControlPlaneSettings, ImageSettings, WorkspaceSettings
from workspace_server.setting_refusals import refusal
from workspace_server.setting_values import (
    FOR_HELPERS,
    PASSED_ON,
    DatabaseUrl,
    DeployMode,
    EncryptionKey,
    Environment,
    EnvironmentName,
    Place,
    Secret,
    fits_a_header,
    user_directory,
)

_PASSWORD = re.compile(r"\w+://[^/?#\s:@]*:([^/?#\s]+)@")


_BLANK_SAYS_SOMETHING = frozenset({"MOLECULE_IMAGE_PLATFORM", "CORS_ORIGINS"})


class Settings(ControlPlaneSettings, WorkspaceSettings, ImageSettings):
    """All settings, parsed. The aliases are the environment's names; every field has a description and an example."""

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
    external_platform_url: str | None = Field(
        None,
        alias="EXTERNAL_PLATFORM_URL",
        pattern=r"^https?://[^/\s]+(/[^\s]*)?$",
        description="URL under which agents that run elsewhere reach this server. Unset: the one that its caller used.",
        examples=["https://agents.example.org"],
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
        if self.org_id is not None and self.admin_token is None:
            raise ValueError(
                "MOLECULE_ORG_ID needs ADMIN_TOKEN: a hosted server has no owner on its machine,"
                " and the control plane knows it by this token"
            )
        if self.org_id is not None and self.admin_token and not fits_a_header(self.admin_token.get_secret_value()):
            raise ValueError("MOLECULE_ORG_ID needs an ADMIN_TOKEN of visible ASCII characters: it is sent in a header")
        if self.org_id is not None and self.platform_url is None:
            raise ValueError(
                "MOLECULE_ORG_ID needs PLATFORM_URL: host.docker.internal means nothing to machines elsewhere"
            )
        if self.org_id is not None and not self.asks_control_plane_safely:
            raise ValueError(
                "MOLECULE_ORG_ID needs a control plane at https:// (MOLECULE_CP_URL, CP_PROVISION_URL), or on this"
                " machine: the secrets of workspaces would be sent in plain text"
            )
        if (self.registry_user is None) != (self.registry_token is None):
            raise ValueError("MOLECULE_REGISTRY_USER and MOLECULE_REGISTRY_TOKEN go together: set both, or neither")
        return self

    @property
    def allowed_origins(self) -> frozenset[str]:
        """The origins of web pages that may call."""
        return frozenset(origin.strip() for origin in self.cors_origins.split(",") if origin.strip())

    @property
    def hosted(self) -> bool:
        """Whether this server is part of the hosted product, whose private network agents elsewhere may be in.

        Not the same as who starts workspaces: only ``org_id`` decides that.
        """
        if self.deploy_mode is None:
            return self.org_id is not None
        return self.deploy_mode is DeployMode.SAAS

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
            *(self.cp_shared_secret, self.provision_shared_secret, self.cp_admin_token),
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
