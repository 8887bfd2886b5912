"""An answer of the control plane, read no further than it may be long; whatever is not JSON says nothing."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import httpx

from workspace_server.control_plane.faults import LostError

PASSING = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})
"""Refusals that are about the moment, not about what was asked for."""
_NOTHING = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE})


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, read to its end."""

    status: int
    media_type: str
    body: bytes = field(repr=False)

    @property
    def fields(self) -> Mapping[str, Any] | None:
        """The JSON object that it is; None: it is none."""
        if self.media_type != "application/json":
            return None
        try:
            found = json.loads(self.body)
        except (ValueError, RecursionError):
            return None
        return found if isinstance(found, dict) else None

    @property
    def is_success(self) -> bool:
        """Whether the control plane did what it was asked for."""
        return HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES

    @property
    def is_refusal(self) -> bool:
        """Whether it is a considered no: not one of the moment, nor somebody else's word that there is no such page."""
        considered = HTTPStatus.BAD_REQUEST <= self.status < HTTPStatus.INTERNAL_SERVER_ERROR
        return considered and self.status not in PASSING and (self.status not in _NOTHING or self.fields is not None)

    @property
    def says_gone(self) -> bool:
        """Whether the control plane says that there is no such machine. Anybody can answer 404; it does so in JSON."""
        return self.status in _NOTHING and self.fields is not None


async def read(response: httpx.Response, most: int) -> Answer:
    """The answer with a body of at most so many bytes. Raises LostError for a longer one, and httpx's errors."""
    body = bytearray()
    async for chunk in response.aiter_raw():  # as it came: a few compressed bytes may stand for a great many
        body += chunk
        if len(body) > most:
            raise LostError(f"its answer is larger than {most >> 10} KiB")
    media_type = response.headers.get("Content-Type", "").split(";")[0].strip().lower()
    return Answer(response.status_code, media_type, bytes(body))


@asynccontextmanager
async def sent(http: httpx.AsyncClient, request: httpx.Request) -> AsyncIterator[httpx.Response]:
    """The answer to a request; its body is not read yet. What is left of it is not waited for."""
    response = await http.send(request, stream=True)
    try:
        yield response
    finally:
        await response.aclose()
