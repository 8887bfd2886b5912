"""What the values of single settings may be: each parsed from its text, or refused with the reason."""

import re
from collections.abc import Mapping
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, PlainSerializer, SecretStr

from workspace_server.model.reference import RegistryPrefix
from workspace_server.model.repository import RepositoryUrl
from workspace_server.model.secret import parse_encryption_key

# Runtimes' folders lie in the cache beside the server's own, so these names are taken.
_OF_THE_CACHE = "builds|buildx|images|locks"
RUNTIME_NAME = re.compile(rf"(?!(?:external|{_OF_THE_CACHE})$|.*-default$)" r"[a-z0-9](?:[a-z0-9-]{0,37}[a-z0-9])?")

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_VISIBLE = re.compile(r"[\x21-\x7e]+")
_WEB_ADDRESS = re.compile(r"https?://[^/?#\s@]+(/[^?#\s]*)?")
_REF = re.compile(r"(?!.*(\.\.|@\{|//|\.lock(/|$)))[A-Za-z0-9_][A-Za-z0-9._/+@-]*(?<![./])")
_PLATFORM = re.compile(r"[a-z0-9]{1,20}/[a-z0-9_]{1,20}(/[a-z0-9.]{1,20})?")  # parts of an image's tag, too

# What a child process (git, docker) may know of our environment: where programs, the user's own configuration and
# trusted certificates lie, and how to get out through a proxy. Nothing else, so no secret by accident.
PASSED_ON = re.compile(
    r"PATH|HOME|USER|LANG|LC_[A-Z]+|TZ|TMPDIR|XDG_[A-Z_]+|DOCKER_(CONFIG|CONTEXT|CERT_PATH|TLS_VERIFY)"
    r"|(HTTPS?|NO|ALL)_PROXY|(https?|no|all)_proxy"
    r"|SSL_CERT_(FILE|DIR)|CURL_CA_BUNDLE|GIT_SSL_CA(INFO|PATH)"
)

# What a credential helper of the docker configuration may know besides: where a cloud's or a key ring's access lies.
FOR_HELPERS = re.compile(
    r"AWS_\w+|AZURE_\w+|GOOGLE_\w+|CLOUDSDK_\w+|GNUPGHOME|PASSWORD_STORE_DIR|DBUS_SESSION_BUS_ADDRESS"
)


class Environment(StrEnum):
    """What kind of deployment this is (``MOLECULE_ENV``)."""

    DEVELOPMENT = "development"
    STAGING = "staging"
    PRODUCTION = "production"


class DeployMode(StrEnum):
    """Whose machine this server runs on (``MOLECULE_DEPLOY_MODE``)."""

    SAAS = "saas"
    SELF_HOSTED = "self-hosted"


def _environment(value: str) -> str:
    short = {"dev": "development", "prod": "production", "": "development"}
    name = value.strip().lower()
    return short.get(name, name)


def _deploy_mode(value: str | None) -> str | None:
    if value is None:
        return None
    name = value.strip().lower()
    return "self-hosted" if name in ("selfhosted", "standalone") else name


def _registry(value: str | None) -> RegistryPrefix | None:
    return None if value is None else RegistryPrefix.parse(value.strip())


def _platform(value: str | None) -> str | None:
    if value and not _PLATFORM.fullmatch(value):
        raise ValueError("is not a platform (os/architecture)")
    return value


def _auto_refresh(value: object) -> object:
    if not isinstance(value, str):
        return value
    word = value.strip().lower()
    if word not in ("true", "false", "0", "no", "off"):
        raise ValueError("must be 'true' or 'false'")
    return word == "true"


def _runtime_names(value: object) -> object:
    if not isinstance(value, str):
        return value
    names = tuple(name.strip() for name in value.split(",") if name.strip())
    for name in names:
        if not RUNTIME_NAME.fullmatch(name):
            raise ValueError(f"has a name that is not a runtime's: {name!r} (letters a-z, digits and -, at most 39)")
    return names


def _repository(value: object) -> object:
    return RepositoryUrl.parse(value) if isinstance(value, str) else value


def _ref(value: str) -> str:
    if not (_COMMIT.fullmatch(value) or _REF.fullmatch(value)):
        raise ValueError("is not a branch, a tag or a full commit")
    return value


def _place(value: Path) -> Path:
    if not value.is_absolute():
        raise ValueError("is no absolute path")
    return value


def _places(value: object) -> object:
    if not isinstance(value, str):
        return value
    return tuple(_place(Path(part)) for part in value.split(":") if part)


def _encryption_key(value: "Secret") -> "Secret":
    if value is not None:
        parse_encryption_key(value.get_secret_value())
    return value


def _header_secret(value: "Secret") -> "Secret":
    if value is not None and not fits_a_header(value.get_secret_value()):
        raise ValueError("must be visible ASCII characters alone: it is sent in a header")
    return value


def _database_url(value: "Secret") -> "Secret":
    if value is not None and not value.get_secret_value().startswith(("postgresql://", "postgres://")):
        raise ValueError("does not begin with postgresql:// or postgres://; there is no other database but SQLite's")
    return value


def _web_address(value: str) -> str:
    if not _WEB_ADDRESS.fullmatch(value):
        raise ValueError("is not the URL of a web server")
    return value.rstrip("/")


def _private_address(value: str) -> str:
    if not is_private(value):
        raise ValueError("must begin with https://, unless it is on this machine: sessions are shown to it")
    return value


Secret = SecretStr | None
HeaderSecret = Annotated[Secret, AfterValidator(_header_secret)]
"""One that is sent as it is."""
DatabaseUrl = Annotated[Secret, AfterValidator(_database_url)]
"""Of PostgreSQL, with a password in it."""
EncryptionKey = Annotated[Secret, AfterValidator(_encryption_key)]
"""The key's text; what it stands for is checked, and never shown."""
EnvironmentName = Annotated[Environment, BeforeValidator(_environment)]
DeployModeName = Annotated[DeployMode | None, BeforeValidator(_deploy_mode)]
Registry = Annotated[RegistryPrefix | None, BeforeValidator(_registry), PlainSerializer(str)]
Platform = Annotated[str | None, BeforeValidator(_platform)]
"""``os/architecture[/variant]``; empty: no preference."""
RuntimeNames = Annotated[tuple[str, ...], BeforeValidator(_runtime_names)]
Repository = Annotated[RepositoryUrl, BeforeValidator(_repository), PlainSerializer(str)]
AutoRefresh = Annotated[bool, BeforeValidator(_auto_refresh)]
"""On for ``true`` alone, in any case, as it always was; what else might mean yes is refused, not ignored."""
WebAddress = Annotated[str, AfterValidator(_web_address)]
"""``http`` or ``https``, no user, no slash at the end."""
PrivateWebAddress = Annotated[WebAddress, AfterValidator(_private_address)]
"""One that is reached in secret."""
Place = Annotated[Path, AfterValidator(_place)]
Places = Annotated[tuple[Path, ...], BeforeValidator(_places)]
"""Absolute paths, separated by colons."""
Ref = Annotated[str, BeforeValidator(_ref)]


def fits_a_header(value: str) -> bool:
    """Whether a value can be sent in a header, and arrives as it was."""
    return _VISIBLE.fullmatch(value) is not None


def is_private(url: str) -> bool:
    """Whether a web address is reached in secret: by TLS, or without leaving this machine."""
    parts = urlsplit(url)
    if parts.scheme == "https" or parts.hostname == "localhost":
        return True
    try:
        return ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return False


def user_directory(environ: Mapping[str, str], variable: str, below_home: str) -> Path:
    """A directory of the user's own, as the XDG base directory specification has it."""
    configured = environ.get(variable, "")
    if configured.startswith("/"):
        return Path(configured)
    return Path(environ.get("HOME") or Path.home()) / below_home
