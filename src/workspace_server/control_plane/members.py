"""Whose browser session it is: the control plane is asked whether it is that of a member of this organisation."""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable

import httpx
import structlog

from workspace_server.concurrency import Deadline, SingleFlight, TaskScope
from workspace_server.control_plane.connection import json_of
from workspace_server.errors import DeadlineError

log = structlog.get_logger(__name__)

_SECONDS = 3.0
_YES_SECONDS = 30.0
_NO_SECONDS = 5.0
MOST_VERDICTS = 10_000

Key = bytes
"""SHA-256 of slug and cookies: no session is kept."""


class Members:
    """Tells members by the cookies that the control plane gave their browsers."""

    def __init__(
        self,
        *,
        http: httpx.AsyncClient,
        upstream: str,
        slug: str,
        scope: TaskScope,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._http = http
        self._url = f"{upstream}/cp/auth/tenant-member"
        self._slug = slug
        self._flights: SingleFlight[Key, bool] = SingleFlight(scope)
        self._verdicts = Verdicts(clock)

    async def has(self, cookies: bytes) -> bool:
        """Whether the control plane confirms that these cookies are a member's.

        It is asked once for equal cookies that come at the same time, and its word counts for a while: 30 s a yes,
        5 s a no. While it is away, nobody is a member.
        """
        key = hashlib.sha256(self._slug.encode() + b"\0" + cookies).digest()
        known = self._verdicts.get(key)
        return await self._flights.do(key, lambda: self._ask(key, cookies)) if known is None else known

    async def _ask(self, key: Key, cookies: bytes) -> bool:
        request = self._http.build_request(
            "GET",
            self._url,
            params={"slug": self._slug},
            headers=[
                (b"Cookie", cookies),
                (b"Accept", b"application/json"),
                (b"Accept-Encoding", b"identity"),
            ],
        )
        try:
            async with Deadline(_SECONDS).limit("checking a session"):
                response = await self._http.send(request, stream=True)
                try:
                    confirmed = await _confirms(response)
                finally:
                    await response.aclose()
        except (httpx.TransportError, DeadlineError) as error:
            why = error.message if isinstance(error, DeadlineError) else "the control plane does not answer"
            hint = "nobody is let in by a session until it answers; check CP_UPSTREAM_URL"
            log.warning("a session cannot be checked", error=why, code="control_plane_unavailable", hint=hint)
            return False
        self._verdicts.put(key, confirmed)
        return confirmed


async def _confirms(response: httpx.Response) -> bool:
    if response.status_code != httpx.codes.OK:
        return False
    try:
        answer = await json_of(response)
    except ValueError:
        return False
    if not isinstance(answer, dict):
        return False
    user = answer.get("user_id")
    return answer.get("member") is True and isinstance(user, str) and bool(user)


class Verdicts:
    """The control plane's latest answers, the least recently used given up first."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._kept: OrderedDict[Key, tuple[float, bool]] = OrderedDict()

    def get(self, key: Key) -> bool | None:
        """What was answered, unless that is too long ago."""
        until, verdict = self._kept.get(key, (0.0, False))
        if key not in self._kept or self._clock() >= until:
            return None
        self._kept.move_to_end(key)
        return verdict

    def put(self, key: Key, verdict: bool) -> None:  # noqa: FBT001 - it is the value that is kept
        """Keep an answer for its time."""
        self._kept[key] = (self._clock() + (_YES_SECONDS if verdict else _NO_SECONDS), verdict)
        self._kept.move_to_end(key)
        while len(self._kept) > MOST_VERDICTS:
            self._kept.popitem(last=False)

    def __len__(self) -> int:
        return len(self._kept)
