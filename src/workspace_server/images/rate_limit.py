"""How long a registry wants to be left alone: the one thing that the engine does not pass on of its answers.

One question to the registry itself, by the distribution API and its tokens. It asks which image a tag names and reads
none, so no registry counts it as a pull.
"""

import asyncio
import ipaddress
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from urllib.parse import urlsplit
from urllib.request import parse_http_list, parse_keqv_list

import httpx

from workspace_server.engine import Credentials
from workspace_server.images.identity import PullIdentity

_SECONDS = 5
_INDEX = "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"
_ACCEPT = {"Accept": f"{_INDEX}, {_MANIFEST}"}
_TOLD_IN = ("retry-after", "ratelimit-reset")


async def seconds_to_wait(identity: PullIdentity, credentials: Credentials) -> int | None:
    """Ask the image's registry; None when it does not say, does not limit us any more, or cannot be asked from here."""
    with suppress(TimeoutError, httpx.HTTPError, httpx.InvalidURL, ValueError):
        async with asyncio.timeout(_SECONDS), httpx.AsyncClient(follow_redirects=False) as http:
            # As an engine does: plain HTTP on this machine only, and only where nobody speaks TLS.
            if _is_here(identity.host):
                with suppress(httpx.TransportError):
                    return await _ask(http, f"https://{identity.host}", identity, credentials)
                return await _ask(http, f"http://{identity.host}", identity, credentials)
            return await _ask(http, f"https://{identity.host}", identity, credentials)
    return None


async def _ask(http: httpx.AsyncClient, base: str, identity: PullIdentity, credentials: Credentials) -> int | None:
    name, tag = identity.repository.partition("/")[2], identity.reference.removeprefix(identity.repository)[1:]
    url = f"{base}/v2/{name}/manifests/{tag}"
    answer = await http.head(url, headers=_ACCEPT)
    if answer.status_code == HTTPStatus.UNAUTHORIZED:
        scheme, _, parameters = answer.headers.get("www-authenticate", "").partition(" ")
        challenge: dict[str, str] = parse_keqv_list(parse_http_list(parameters))
        basic = {"Authorization": f"Basic {credentials.basic}"} if credentials.basic else {}
        if scheme.lower() == "basic":
            answer = await http.head(url, headers=_ACCEPT | basic)
        elif scheme.lower() == "bearer" and _is_safe(challenge.get("realm", "")):
            wanted = {key: value for key, value in challenge.items() if key in ("service", "scope")}
            answer = await http.get(challenge["realm"], params=wanted, headers=basic)
            if answer.is_success:
                answer = await http.head(url, headers=_ACCEPT | {"Authorization": f"Bearer {_token(answer)}"})
    return _told(answer.headers) if answer.status_code == HTTPStatus.TOO_MANY_REQUESTS else None


def _token(answer: httpx.Response) -> str:
    body = answer.json()
    return str(body.get("token") or body.get("access_token")) if isinstance(body, dict) else ""


def _told(headers: Mapping[str, str]) -> int | None:
    """Whole seconds from now, from a header that has seconds or a date."""
    value = next((headers[name] for name in _TOLD_IN if name in headers), None)
    if value is None or value.isdecimal():
        return None if value is None else max(1, int(value))
    return max(1, round((parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()))


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
