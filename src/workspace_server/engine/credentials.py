"""What a registry gets to see: credentials from the settings, else from the docker configuration; and who is one.

The engine reads no configuration of its users: whoever asks it for an image sends what the registry is to be shown.
"""

import asyncio
import base64
import json
import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import structlog
from pydantic import SecretStr

from workspace_server.certificates import trusted
from workspace_server.concurrency import Deadline
from workspace_server.engine.address import configuration_directory
from workspace_server.errors import WorkspaceServerError
from workspace_server.log import MASK
from workspace_server.process import run
from workspace_server.settings import Settings

log = structlog.get_logger(__name__)

GHCR = "ghcr.io"

_HELPER_SECONDS = 30
_ENGINE_CERTIFICATES = Path("/etc/docker/certs.d")
_CONFIGURATION = "the docker configuration"
_TOKEN_USER = "<token>"  # noqa: S105 - what helpers call the user of an identity token
_NOT_FOUND = b"credentials not found in native keychain"  # the helpers' common library, and therefore all of them


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What one registry ``host`` is shown: a user with a password or token, or an identity token, or nothing.

    ``origin`` says where that comes from, or where there was nothing, to follow "asked with".
    """

    host: str
    origin: str
    user: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)

    @property
    def headers(self) -> Mapping[str, str]:
        """What to send to the engine with a request that it takes to this host."""
        secret = {"identitytoken": self.identity_token} if self.identity_token else {}
        login = {"username": self.user, "password": self.password} if self.password else {}
        if not (shown := secret or login):
            return {}
        text = json.dumps({**shown, "serveraddress": self.host}, separators=(",", ":"))
        return {"X-Registry-Auth": base64.urlsafe_b64encode(text.encode()).decode()}

    @property
    def basic(self) -> str:
        """User and password as HTTP's Basic authentication has them; empty without a password."""
        return base64.b64encode(f"{self.user}:{self.password}".encode()).decode() if self.password else ""

    def masked(self, text: str) -> str:
        """``text`` without these credentials: a registry may repeat what it was shown."""
        for secret in (self.basic, self.password, self.identity_token):
            text = text.replace(secret, MASK) if secret else text
        return text


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """A user and a token from two variables, for the hosts that these are for; without either there is no login."""

    variables: str
    user: str
    token: str = field(repr=False)

    @classmethod
    def of(cls, variables: str, user: str | None, token: SecretStr | None) -> Self:
        """The login of two variables, either of which may be unset."""
        secret = "" if token is None else token.get_secret_value()
        return cls(variables=variables, user=(user or "").strip(), token=secret.strip())


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryAccess:
    """Finds the credentials for a registry. ``configuration`` is the file of the docker configuration.

    ``certificates``: the file and the folder of trusted certificates that the operator named.
    """

    ghcr: Login
    other: Login
    configuration: Path
    helper_environment: Mapping[str, str] = field(repr=False)
    certificates: tuple[str | None, str | None] = (None, None)

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """The access that these settings allow."""
        return cls(
            ghcr=Login.of("GHCR_USER and GHCR_TOKEN", settings.ghcr_user, settings.ghcr_token),
            other=Login.of(
                "MOLECULE_REGISTRY_USER and MOLECULE_REGISTRY_TOKEN", settings.registry_user, settings.registry_token
            ),
            configuration=configuration_directory(settings.passed_on) / "config.json",
            helper_environment=settings.for_helpers,
            certificates=(
                settings.passed_on.get("SSL_CERT_FILE") or settings.passed_on.get("CURL_CA_BUNDLE"),
                settings.passed_on.get("SSL_CERT_DIR"),
            ),
        )

    def trust(self, host: str) -> ssl.SSLContext:
        """Whom to trust to be that registry: whom the engine on this machine trusts, and every client of this server.

        Reads files. Raises SettingsError for certificates that the operator named and that cannot be read.
        """
        context = trusted(*self.certificates)
        for file in sorted((_ENGINE_CERTIFICATES / host).glob("*.crt")):
            with suppress(OSError):  # what cannot be read is trusted by nobody
                context.load_verify_locations(file)
        return context

    async def credentials(self, host: str) -> Credentials:
        """The credentials for one registry: its variables', else the docker configuration's, else none.

        Never fails: a configuration or a helper that cannot be used is logged and said in ``origin``.
        """
        login = self.ghcr if host.lower() == GHCR else self.other
        if login.user and login.token:
            return Credentials(
                host=host, origin=f"the credentials of {login.variables}", user=login.user, password=login.token
            )
        try:
            found = await self._configured(host)
        except _UnusableError as error:
            log.warning("the docker configuration's credentials cannot be used", registry=host, reason=str(error))
            found, reason = None, str(error)
        else:
            reason = f"{_CONFIGURATION} has none for {host}"
        unset = f"{login.variables} are not both set"
        return found or Credentials(host=host, origin=f"no credentials: {unset}, and {reason}")

    async def _configured(self, host: str) -> Credentials | None:
        """What the docker configuration has, by a credential helper where it names one for the host."""
        entry = await asyncio.to_thread(_entry, self.configuration, host)
        if entry.helper:
            program = f"docker-credential-{entry.helper}"
            told = await self._ask(program, entry.server)
            if told:
                return _credentials(host, f"the credentials of {program}", told)
        return _credentials(host, f"the credentials in {_CONFIGURATION}", entry.inline)

    async def _ask(self, program: str, server: str) -> Mapping[str, Any]:
        """What a credential helper has for a server, empty for nothing."""
        try:
            done = await run(
                [program, "get"],
                env=self.helper_environment,
                deadline=Deadline(_HELPER_SECONDS),
                input=server.encode(),
            )
        except WorkspaceServerError as error:
            raise _UnusableError(error.message) from error
        if not done.ok:
            if _NOT_FOUND in done.stdout + done.stderr:
                return {}
            raise _UnusableError(f"{program} ended with exit code {done.returncode}")
        try:
            told = json.loads(done.stdout)
            user, secret = str(told["Username"]), str(told["Secret"])
        except (ValueError, LookupError, TypeError) as error:
            raise _UnusableError(f"{program} answered something that is no credentials") from error
        return {"IdentityToken": secret} if user == _TOKEN_USER else {"username": user, "password": secret}


class _UnusableError(Exception):
    """The docker configuration, or a helper it names, cannot be used; the text says why, without any secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """What the docker configuration says of a host: the helper to ask for ``server``, and what it holds itself."""

    helper: str | None
    server: str
    inline: Mapping[str, Any] = field(repr=False)


def _entry(configuration: Path, host: str) -> _Entry:
    # Imported here: it takes longer than the server's start may, and most servers never need it.
    from docker import auth  # noqa: PLC0415
    from docker.errors import DockerException  # noqa: PLC0415

    name = auth.resolve_index_name(host)
    server = auth.INDEX_URL if name == auth.INDEX_NAME else host
    try:
        text = json.loads(configuration.read_bytes())
        # Without anything in it, the library would go and look for other files.
        found = auth.load_config(config_dict=text) if text else auth.AuthConfig({})
        # The library would start the helper itself, with all of this process's environment.
        inline = auth.AuthConfig({"auths": found.auths}).resolve_authconfig(host)
        return _Entry(helper=found.get_credential_store(name), server=server, inline=inline or {})
    except FileNotFoundError:
        return _Entry(helper=None, server=server, inline={})
    except OSError as error:
        raise _UnusableError(f"{_CONFIGURATION} cannot be read: {error.strerror}") from error
    except (DockerException, ValueError, AttributeError, TypeError) as error:  # whatever its JSON may be
        raise _UnusableError(f"{_CONFIGURATION} is not valid") from error


def _credentials(host: str, origin: str, found: Mapping[str, Any]) -> Credentials | None:
    token, user, password = found.get("IdentityToken"), found.get("username"), found.get("password")
    if token:
        return Credentials(host=host, origin=origin, identity_token=token)
    return Credentials(host=host, origin=origin, user=user, password=password) if user and password else None
