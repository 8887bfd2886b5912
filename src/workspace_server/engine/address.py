"""Where the engine listens: found once, then given to the API client and to the docker CLI alike."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workspace_server.concurrency import Deadline
from workspace_server.errors import SettingsError
from workspace_server.process import run
from workspace_server.text import without_user

DEFAULT_URL = "unix:///var/run/docker.sock"

_SCHEMES = ("unix://", "tcp://")


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineAddress:
    """The engine's address. ``tls`` is the directory of ``ca.pem``, ``cert.pem`` and ``key.pem``, when TLS is spoken.

    ``local_socket`` says that the engine is reached through a Unix socket, so that its containers run on this machine
    (or in a virtual machine that forwards the socket).
    """

    url: str
    local_socket: bool
    tls: Path | None = None

    @property
    def socket(self) -> str | None:
        """The path of the Unix socket; None when the engine is reached over TCP."""
        return self.url.removeprefix("unix://") if self.local_socket else None

    @property
    def cli_environment(self) -> Mapping[str, str]:
        """The variables that make the docker CLI talk to this engine and to no other."""
        variables = {"DOCKER_HOST": self.url}
        if self.tls is not None:
            variables |= {"DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(self.tls)}
        return variables


async def resolve_address(docker_host: str | None, environment: Mapping[str, str], deadline: Deadline) -> EngineAddress:
    """The engine's address: ``DOCKER_HOST``, else the docker CLI's current context, else the usual Unix socket.

    The CLI is asked only when a context was chosen, so the usual case starts no process. Raises SettingsError for an
    address that cannot be used, UnavailableError ``tool_missing`` when a context is chosen and there is no docker CLI.
    """
    if docker_host:
        return _address(docker_host, "DOCKER_HOST", _environment_tls(environment))
    context = _current_context(environment)
    if context is None:
        return _address(DEFAULT_URL, "the default", None)
    return await _of_context(context, environment, deadline)


def _address(url: str, origin: str, tls: Path | None) -> EngineAddress:
    if not url.startswith(_SCHEMES) or (url.startswith("tcp://") and "@" in url):
        raise SettingsError(
            f"{origin} is {without_user(url)!r}, which is no address this server can use",
            hint=f"use {DEFAULT_URL} or tcp://127.0.0.1:2375; for a remote engine forward its socket with ssh -L",
        )
    return EngineAddress(url=url, local_socket=url.startswith("unix://"), tls=tls)


def _environment_tls(environment: Mapping[str, str]) -> Path | None:
    if not environment.get("DOCKER_TLS_VERIFY"):
        return None
    return Path(environment.get("DOCKER_CERT_PATH") or configuration_directory(environment))


def configuration_directory(environment: Mapping[str, str]) -> Path:
    """The directory of the docker configuration."""
    configured = environment.get("DOCKER_CONFIG")
    return Path(configured) if configured else Path(environment.get("HOME") or Path.home()) / ".docker"


def _current_context(environment: Mapping[str, str]) -> str | None:
    """The chosen context's name; None for the built-in ``default``, which is the default address."""
    name = environment.get("DOCKER_CONTEXT") or _configured_context(configuration_directory(environment))
    return None if name in (None, "", "default") else name


def _configured_context(directory: Path) -> str | None:
    # A file that cannot be read or parsed chooses nothing: the CLI itself goes on with the default then.
    try:
        configuration = json.loads((directory / "config.json").read_bytes())
    except (OSError, ValueError):
        return None
    name = configuration.get("currentContext") if isinstance(configuration, dict) else None
    return name if isinstance(name, str) else None


async def _of_context(name: str, environment: Mapping[str, str], deadline: Deadline) -> EngineAddress:
    done = await run(["docker", "context", "inspect", "--", name], env=environment, deadline=deadline)
    try:
        context: dict[str, Any] = json.loads(done.stdout)[0] if done.ok else {}
        url = context["Endpoints"]["docker"]["Host"]
    except (ValueError, LookupError, TypeError) as error:
        raise SettingsError(
            f"the docker context {name!r} cannot be read: {done.complaint or 'it names no address'}",
            hint="choose another one with docker context use, or set DOCKER_HOST",
        ) from error
    return _address(url, f"the docker context {name!r}", _context_tls(context))


def _context_tls(context: Mapping[str, Any]) -> Path | None:
    material, storage = context.get("TLSMaterial") or {}, context.get("Storage") or {}
    return Path(storage["TLSPath"]) / "docker" if material.get("docker") and storage.get("TLSPath") else None
