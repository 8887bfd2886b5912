"""Calls of /cp/ as they are passed on: which paths, which headers, and to one origin only."""

import re
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager

import httpx

from workspace_server.control_plane.connection import CONNECT_SECONDS
from workspace_server.errors import SourceError

LARGEST_BODY = 10 * 1024 * 1024
"""Bytes of a request or an answer that is passed on."""
_SILENCE_SECONDS = 30.0

Headers = Sequence[tuple[bytes, bytes]]

_BELOW = (b"/cp/auth/", b"/cp/orgs/", b"/cp/billing/", b"/cp/templates/", b"/cp/legal/")
_EXACT = (b"/cp/orgs", b"/cp/templates")

# What a path may be written with. Of what is escaped, nothing that another server might read as a slash, a dot, a
# parameter, the end of the path, or as one more escape.
_PATH = re.compile(
    rb"(?:[A-Za-z0-9._~!$&'()*+,=:@/-]|%(?!2[eEfF5]|5[cC]|3[bBfF]|23|[01][0-9A-Fa-f]|7[fF])[0-9A-Fa-f]{2})+"
)
_STEPS = re.compile(rb"//|/\.{1,2}(?:/|$)")

_HOP_BY_HOP = frozenset(
    {
        *(b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection"),
        *(b"te", b"trailer", b"transfer-encoding", b"upgrade"),
    }
)
_OURS_IN_REQUESTS = frozenset({b"host", b"expect"})
_OURS_IN_ANSWERS = frozenset({b"date"})


def is_passed_on(path: bytes) -> bool:
    """Whether a call of this path, as it came on the wire, goes to the control plane."""
    known = path in _EXACT or path.startswith(_BELOW)
    return known and _PATH.fullmatch(path) is not None and _STEPS.search(path) is None


def request_headers(headers: Headers, *, peer: str, authorization: bool) -> list[tuple[bytes, bytes]]:
    """What the control plane is told of a request's headers; its credentials only where they are not this server's."""
    dropped = _OURS_IN_REQUESTS if authorization else _OURS_IN_REQUESTS | {b"authorization"}
    kept = _end_to_end(headers, dropped | {b"x-forwarded-for"})
    through = [value for name, value in headers if name.lower() == b"x-forwarded-for"]
    return [*kept, (b"x-forwarded-for", b", ".join([*through, peer.encode()]))]


def answer_headers(headers: Headers) -> list[tuple[bytes, bytes]]:
    """What the caller is told of an answer's headers."""
    return [(name.lower(), value) for name, value in _end_to_end(headers, _OURS_IN_ANSWERS)]


def _end_to_end(headers: Headers, dropped: Iterable[bytes]) -> list[tuple[bytes, bytes]]:
    """The headers that are not about one connection alone, and not ``dropped``."""
    named = {
        word.strip().lower() for name, value in headers if name.lower() == b"connection" for word in value.split(b",")
    }
    unwanted = _HOP_BY_HOP | named | set(dropped)
    return [(name, value) for name, value in headers if name.lower() not in unwanted]


class Upstream:
    """The control plane as browsers know it."""

    def __init__(self, http: httpx.AsyncClient, url: str) -> None:
        self._http = http
        self._base = httpx.URL(url)

    @asynccontextmanager
    async def asked(
        self, method: str, target: bytes, headers: Headers, body: AsyncIterator[bytes] | None
    ) -> AsyncIterator[httpx.Response]:
        """The answer to a request for ``target``, a path and a query that ``is_passed_on``; its body is not read yet.

        Raises SourceError ``control_plane_unavailable``, and what ``body`` raises.
        """
        request = httpx.Request(
            method,
            self._base.copy_with(raw_path=self._base.raw_path.rstrip(b"/") + target),
            headers=list(headers),
            content=body,
            extensions={"timeout": httpx.Timeout(_SILENCE_SECONDS, connect=CONNECT_SECONDS).as_dict()},
        )
        try:
            response = await self._http.send(request, stream=True)
        except httpx.TransportError as error:
            raise SourceError(
                "control plane unavailable",
                code="control_plane_unavailable",
                hint="try again; the operator checks CP_UPSTREAM_URL",
            ) from error
        try:
            yield response
        finally:
            await response.aclose()
