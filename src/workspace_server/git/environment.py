"""What a git child process may know: a scrubbed environment, and the token for one origin only."""

import base64
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urlsplit

from workspace_server.model.repository import RepositoryUrl
from workspace_server.settings import Settings

# Of what settings pass on to children, the part that concerns git. HOME is for programs that git starts; git's own
# user configuration is switched off below.
_FOR_GIT = re.compile(
    r"PATH|HOME|TMPDIR|TZ|(HTTPS?|NO|ALL)_PROXY|(https?|no|all)_proxy"
    r"|SSL_CERT_(FILE|DIR)|CURL_CA_BUNDLE|GIT_SSL_CA(INFO|PATH)"
)

_CERTIFICATE_FILES = ("GIT_SSL_CAINFO", "SSL_CERT_FILE", "CURL_CA_BUNDLE")
_CERTIFICATE_FOLDERS = ("GIT_SSL_CAPATH", "SSL_CERT_DIR")

_VARIABLES: Mapping[str, str] = {
    "LC_ALL": "C",  # the little that is read of git's messages is read in English
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "false",  # asks nobody, and fails
    "SSH_ASKPASS": "false",
    "GIT_LFS_SKIP_SMUDGE": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",  # a commit is what its id says
    "GIT_NO_LAZY_FETCH": "1",
}

_CONFIGURATION: Mapping[str, str] = {
    "core.hooksPath": os.devnull,
    "core.attributesFile": os.devnull,
    "core.autocrlf": "false",
    "core.symlinks": "true",
    "core.fileMode": "true",
    "core.fsmonitor": "false",
    "credential.helper": "",  # empty: forget all helpers
    "filter.lfs.smudge": "",
    "filter.lfs.process": "",
    "filter.lfs.required": "false",
    "core.bigFileThreshold": "64m",  # larger files are passed on in pieces, instead of being held in memory
    "fetch.unpackLimit": "1",  # one file for all objects of a fetch, whose size can be limited
    "gc.auto": "0",  # the objects of earlier commits make the next fetch small
    "maintenance.auto": "false",
    "fetch.recurseSubmodules": "false",
    "submodule.recurse": "false",
    "protocol.version": "2",
    # git would send the token to wherever a redirect leads, origin or not. Our look-up follows them, inside the origin.
    "http.followRedirects": "false",
    "http.lowSpeedLimit": "1",  # byte a second: a silent host is given up
    "http.lowSpeedTime": "60",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class GitAccess:
    """What git is given of our environment, and the token with the URL whose origin alone may see it."""

    passed_on: Mapping[str, str] = field(repr=False)
    token: str | None = field(repr=False)
    token_for: RepositoryUrl
    offline: bool = False

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """The access these settings allow."""
        token = settings.gitea_token
        return cls(
            passed_on=settings.passed_on,
            token=None if token is None else token.get_secret_value(),
            token_for=settings.template_prefix,
            offline=settings.offline,
        )

    def may_ask(self, url: RepositoryUrl) -> bool:
        """Whether the repository may be asked at all: offline, only one in a folder of this machine."""
        return not self.offline or url.scheme == "file"

    def authorization(self, url: RepositoryUrl) -> str | None:
        """The value of the ``Authorization`` header for a request to ``url``; None where the token must not go."""
        if self.token is None or url.scheme == "file" or origin(url.text) != origin(self.token_for.text):
            return None
        return "Basic " + base64.b64encode(f"oauth2:{self.token}".encode()).decode()

    def environment(self, url: RepositoryUrl, *, with_token: bool = False) -> dict[str, str]:
        """The whole environment of a git process that works on the repository ``url``.

        With ``with_token`` the token is in it, bound to the origin: only for a process that talks to the host.
        """
        configuration = dict(_CONFIGURATION)
        authorization = self.authorization(url) if with_token else None
        if authorization is not None:
            configuration[f"http.{url.origin}/.extraHeader"] = f"Authorization: {authorization}"
        return {
            **self._certificates(),
            **{name: value for name, value in self.passed_on.items() if _FOR_GIT.fullmatch(name)},
            **({"NO_PROXY": "*", "no_proxy": "*"} if url.scheme == "http" else {}),  # http never leaves this machine
            **_VARIABLES,
            "GIT_ALLOW_PROTOCOL": url.scheme,
            **_as_variables(configuration),
        }

    def _certificates(self) -> dict[str, str]:
        """Trusted certificates under git's own names for them, so that git trusts whom our look-up trusts."""
        file, directory = self.certificate_file, self.certificate_directory
        return {
            **({"GIT_SSL_CAINFO": file} if file else {}),
            **({"GIT_SSL_CAPATH": directory} if directory else {}),
        }

    @property
    def certificate_file(self) -> str | None:
        """The file of trusted certificates that the operator set, if any."""
        return next((self.passed_on[name] for name in _CERTIFICATE_FILES if self.passed_on.get(name)), None)

    @property
    def certificate_directory(self) -> str | None:
        """The folder of trusted certificates that the operator set, if any."""
        return next((self.passed_on[name] for name in _CERTIFICATE_FOLDERS if self.passed_on.get(name)), None)


def origin(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port of a URL, the port also where the scheme implies it; raises ValueError."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or {"https": 443, "http": 80}.get(parts.scheme)


def _as_variables(configuration: Mapping[str, str]) -> dict[str, str]:
    """Configuration as environment variables: seen by one process, and in no file and no argument."""
    variables = {"GIT_CONFIG_COUNT": str(len(configuration))}
    for n, (key, value) in enumerate(configuration.items()):
        variables |= {f"GIT_CONFIG_KEY_{n}": key, f"GIT_CONFIG_VALUE_{n}": value}
    return variables
