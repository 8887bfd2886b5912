"""Which image a name means in its registry now: one ``HEAD`` of the manifest, by the distribution API and its tokens.

The registry itself is asked, from this server's place, past the engine. No registry counts it as a pull.
"""

import asyncio
import ipaddress
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlsplit
from urllib.request import parse_http_list, parse_keqv_list

import httpx

from workspace_server.engine import Credentials, RegistryAccess
from workspace_server.engine.registry_faults import refused, unanswered
from workspace_server.images.identity import PullIdentity

_SECONDS = 10
_INDEX = "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"
_ACCEPT = {"Accept": f"{_INDEX}, {_MANIFEST}"}
_DIGEST = re.compile(r"[a-z0-9]{1,20}:[0-9a-f]{32,128}")
_REFUSALS = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.TOO_MANY_REQUESTS)
_CLIENT = "workspace-server"
_DOCKER_HUB = "registry-1.docker.io"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a registry answered, and the credentials that it could see."""

    status: int
    headers: Mapping[str, str]
    credentials: Credentials


async def newest_digest(identity: PullIdentity, access: RegistryAccess) -> str:
    """The digest of what the registry has under the name. Raises SourceError as a pull does.

    A registry that says nothing for ten seconds is unreachable.
    """
    answer = await ask(identity, access)
    said = f"it answered with status {answer.status}"
    if answer.status in _REFUSALS:
        raise refused(identity.reference, answer.status, said, answer.credentials)
    if answer.status != HTTPStatus.OK:
        raise unanswered(identity.reference, said)
    digest = answer.headers.get("docker-content-digest", "")
    if not _DIGEST.fullmatch(digest):
        raise unanswered(identity.reference, "it told no digest")
    return digest


async def ask(identity: PullIdentity, access: RegistryAccess) -> Answer:
    """Ask for the manifest, with a token where the registry wants one. Raises SourceError when nothing comes back."""
    credentials = await access.credentials(identity.host)
    try:
        # In a thread: it reads a file of certificates.
        trust = await asyncio.to_thread(access.trust, identity.host)
        # http is for this machine only: a proxy would be told credentials in plain text.
        client = httpx.AsyncClient(verify=trust, follow_redirects=False, mounts={"http://": None})
        async with asyncio.timeout(_SECONDS), client as http:
            response = await _Question(http=http, identity=identity, credentials=credentials).answer()
    except TimeoutError as error:
        raise unanswered(identity.reference, f"nothing within {_SECONDS} s") from error
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise unanswered(identity.reference, credentials.masked(str(error))) from error
    return Answer(status=response.status_code, headers=response.headers, credentials=credentials)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    http: httpx.AsyncClient
    identity: PullIdentity
    credentials: Credentials

    async def answer(self) -> httpx.Response:
        """Over TLS; as an engine does, without it on this machine only, and only where nobody speaks TLS."""
        host = _DOCKER_HUB if self.identity.host in ("docker.io", "index.docker.io") else self.identity.host
        try:
            return await self._answer(f"https://{host}")
        except httpx.TransportError as error:
            if not _is_here(host) or _is_distrust(error):
                raise
            return await self._answer(f"http://{host}")

    async def _answer(self, base: str) -> httpx.Response:
        name, tag = self.identity.repository.partition("/")[2], self.identity.reference[len(self.identity.repository) :]
        url = f"{base}/v2/{name}/manifests/{tag[1:]}"
        answer = await self.http.head(url, headers=_ACCEPT)
        if answer.status_code != HTTPStatus.UNAUTHORIZED:
            return answer
        challenges = dict(map(_challenge, reversed(answer.headers.get_list("www-authenticate"))))
        if (bearer := challenges.get("bearer")) is not None:
            answer = await self._token_answer({"scope": f"repository:{name}:pull"} | bearer)
            shown = f"Bearer {_token(answer)}" if answer.is_success else ""
        else:
            shown = f"Basic {self.credentials.basic}" if "basic" in challenges and self.credentials.basic else ""
        return await self.http.head(url, headers=_ACCEPT | {"Authorization": shown}) if shown else answer

    async def _token_answer(self, challenge: Mapping[str, str]) -> httpx.Response:
        """What the host says that gives out tokens, to a user with a password, an identity token, or a stranger."""
        realm = challenge.get("realm", "")
        if not _is_safe(realm):
            raise ValueError("it sends for a token to where credentials may not go")
        wanted = {key: value for key, value in challenge.items() if key in ("service", "scope")}
        if self.credentials.identity_token:
            refresh = {"grant_type": "refresh_token", "refresh_token": self.credentials.identity_token}
            return await self.http.post(realm, data={**wanted, **refresh, "client_id": _CLIENT})
        basic = {"Authorization": f"Basic {self.credentials.basic}"} if self.credentials.basic else {}
        return await self.http.get(realm, params=wanted, headers=basic)


def _challenge(header: str) -> tuple[str, dict[str, str]]:
    """The scheme of a challenge, and its parameters by name."""
    scheme, _, parameters = header.partition(" ")
    given: dict[str, str] = parse_keqv_list([each for each in parse_http_list(parameters) if "=" in each])
    return scheme.lower(), {name.lower(): value for name, value in given.items()}


def _token(answer: httpx.Response) -> str:
    body = answer.json()
    return str(body.get("token") or body.get("access_token")) if isinstance(body, dict) else ""


def _is_safe(realm: str) -> bool:
    """Whether credentials may be sent there: over TLS, or to this machine."""
    parts = urlsplit(realm)
    return parts.scheme == "https" or (parts.scheme == "http" and _is_here(parts.netloc))


def _is_here(host: str) -> bool:
    name = urlsplit(f"//{host}").hostname or ""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


def _is_distrust(error: BaseException | None) -> bool:
    """Whether somebody does speak TLS there, but is not who we trust."""
    while error is not None and not isinstance(error, ssl.SSLCertVerificationError):
        error = error.__cause__ or error.__context__
    return error is not None
