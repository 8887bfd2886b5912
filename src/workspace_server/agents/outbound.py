"""Where this server may be sent to by others: the addresses that agents outside name as theirs.

A name is resolved here, every address is checked, and the one that was checked is connected to: no second resolution
can put another in its place.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Self

import httpx

from workspace_server.errors import InvalidRequestError, UnavailableError
from workspace_server.setting_values import Environment
from workspace_server.settings import Settings

_LONGEST = 2048
_RESOLVE_SECONDS = 5.0
_NEVER = [
    ip_network(text)
    for text in (
        *("0.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24"),
        *("224.0.0.0/4", "240.0.0.0/4", "::/128", "fe80::/10", "ff00::/8", "fc00::/8", "2001:db8::/32"),
    )
]
"""Link-local, unspecified, multicast, carriers' and documentation's addresses: clouds keep credentials at some."""
_PRIVATE = [ip_network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fd00::/8")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outbound:
    """The policy. ``loopback``: this machine itself is allowed, too; ``private``: private networks are."""

    loopback: bool
    private: bool

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """For a developer, agents may be on this machine, or in a private network.

        Those of the hosted product are in its private network; the loopback of its servers is nobody's.
        """
        development = settings.environment is Environment.DEVELOPMENT
        return cls(loopback=development and not settings.hosted, private=development or settings.hosted)

    def check(self, text: str) -> str:
        """A URL that may be kept. Raises InvalidRequestError for what can never be allowed; names are not resolved."""
        try:
            url = httpx.URL(text)
        except (httpx.InvalidURL, TypeError):
            raise _refused("it is no URL") from None
        if url.scheme not in ("http", "https") or not url.host or url.userinfo or url.fragment or len(text) > _LONGEST:
            raise _refused("it must be http or https, with a host, without user and fragment")
        literal = _literal(url.host)
        if literal is not None and not self.allows(literal):
            raise _refused("agents may not be at this address")
        return text

    def allows(self, address: IPv4Address | IPv6Address) -> bool:
        """Whether requests may go to this address."""
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        if any(address in network for network in _NEVER):
            return False
        if address.is_loopback:
            return self.loopback
        return self.private or not any(address in network for network in _PRIVATE)

    async def address_of(self, url: httpx.URL) -> IPv4Address | IPv6Address:
        """An address of the URL's host that requests may go to.

        Raises InvalidRequestError when there is none among its addresses, UnavailableError for a name without any.
        """
        for address in await _resolved(url):
            if self.allows(address):
                return address
        raise _refused("its name leads to addresses where agents may not be")


class CheckedTransport(httpx.AsyncBaseTransport):
    """Sends where the policy allows it, to the address that was checked. TLS is still about the name."""

    def __init__(self, outbound: Outbound, trust: Callable[[], ssl.SSLContext]) -> None:
        self._outbound = outbound
        self._trust = trust
        self._inner: httpx.AsyncHTTPTransport | None = None
        self._making = asyncio.Lock()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Raises what ``Outbound.address_of`` raises, and httpx's errors."""
        address = await self._outbound.address_of(request.url)
        directed = httpx.Request(
            request.method,
            request.url.copy_with(host=str(address)),
            headers=request.headers,
            stream=request.stream,
            extensions={**request.extensions, "sni_hostname": request.url.host},
        )
        return await (await self._ready()).handle_async_request(directed)

    async def _ready(self) -> httpx.AsyncHTTPTransport:
        """Made with the first request: reading the certificates takes a while, and most installations need none."""
        async with self._making:
            if self._inner is None:
                self._inner = httpx.AsyncHTTPTransport(verify=await asyncio.to_thread(self._trust))
            return self._inner

    async def aclose(self) -> None:
        """Close the connections."""
        if self._inner is not None:
            await self._inner.aclose()


@asynccontextmanager
async def open_outside_client(
    outbound: Outbound, trust: Callable[[], ssl.SSLContext]
) -> AsyncIterator[httpx.AsyncClient]:
    """The HTTP client for agents that run elsewhere. It follows no redirect and keeps no cookie."""
    transport = CheckedTransport(outbound, trust)
    jar = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
    async with httpx.AsyncClient(transport=transport, trust_env=False, cookies=jar, follow_redirects=False) as client:
        yield client


def _refused(why: str) -> InvalidRequestError:
    return InvalidRequestError(f"the agent's URL is refused: {why}", code="agent_url_refused")


def _literal(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


async def _resolved(url: httpx.URL) -> list[IPv4Address | IPv6Address]:
    port = url.port or (443 if url.scheme == "https" else 80)
    try:
        async with asyncio.timeout(_RESOLVE_SECONDS):
            found = await asyncio.get_running_loop().getaddrinfo(url.host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, TimeoutError) as error:
        raise UnavailableError(
            f"the name {url.host} of the agent's URL leads to no address", code="agent_unavailable"
        ) from error
    return [ip_address(each[4][0]) for each in found]
