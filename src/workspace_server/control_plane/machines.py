"""The control plane's calls about machines: start one, end one, how it is, what it wrote on its console.

Each is one request with a deadline, of whose answer no more is read than it may have. What is not exactly the answer
that the protocol has is doubt, and no word about the machine.
"""

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum, auto
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import httpx

from workspace_server.concurrency import Deadline
from workspace_server.control_plane.access import Access
from workspace_server.control_plane.answers import PASSING, Answer, read, sent
from workspace_server.control_plane.connection import CONNECT_SECONDS, LARGEST_ANSWER
from workspace_server.control_plane.faults import (
    LostError,
    RefusedError,
    instance_unknown,
    refusal_words,
    translated,
    unavailable,
)
from workspace_server.errors import DeadlineError, NotFoundError, UnavailableError

LARGEST_CONSOLE = 256 * 1024
_SECONDS = 120.0
_LONGEST_ID = 255
_ID = re.compile(r"[\x21-\x7e]+")
_SAYS_NONE = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND, HTTPStatus.GONE, HTTPStatus.UNPROCESSABLE_ENTITY})
"""Refusals of a repeated Start that are about the workspace: in JSON, the first one was not accepted either."""
_TROUBLE_SECONDS = 60.0


class State(StrEnum):
    """What the control plane says of a machine."""

    STARTING = auto()
    RUNNING = auto()
    ENDING = auto()
    ENDED = auto()
    GONE = auto()
    """There is none. Whoever stands before a control plane may say that as well: see ``Absences``."""
    UNCLEAR = auto()
    """A word that the protocol does not have: no word about it."""


_STATES = {
    "pending": State.STARTING,
    "running": State.RUNNING,
    "stopping": State.ENDING,
    "shutting-down": State.ENDING,
    "stopped": State.ENDED,
    "terminated": State.ENDED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A machine that is asked for. ``secrets`` are values of ``env`` that no error may repeat."""

    workspace_id: str
    runtime: str
    tier: int
    platform_url: str
    env: Mapping[str, str] = field(repr=False)
    secrets: frozenset[str] = field(default=frozenset(), repr=False)


class Absences:
    """Machines that the control plane says it does not have: believed when it has said nothing else for ``seconds``."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._since: dict[str, float] = {}

    def are_believed(self, instance_id: str, state: State) -> bool:
        """Note what was said of a machine now; whether it is believed that there is none."""
        if state is not State.GONE:
            self.forget(instance_id)
            return False
        now = time.monotonic()
        return now - self._since.setdefault(instance_id, now) >= self._seconds

    def forget(self, instance_id: str) -> None:
        """Nobody asks about it any more, or it is there."""
        self._since.pop(instance_id, None)


class ControlPlane:
    """Starts and ends machines for workspaces."""

    def __init__(self, http: httpx.AsyncClient, access: Access, *, seconds: float = _SECONDS) -> None:
        self._http = http
        self._access = access
        self._seconds = seconds
        self.url = access.url
        self._trouble: tuple[float, UnavailableError] | None = None

    @property
    def trouble(self) -> UnavailableError | None:
        """Why its last call about a machine came to nothing, within the last minute; None when it did not."""
        if self._trouble is None or time.monotonic() - self._trouble[0] > _TROUBLE_SECONDS:
            return None
        return self._trouble[1]

    async def start(self, order: Order, *, again: bool) -> str:
        """Ask for a machine; the id of the one that was made, now or by the same order before (``again``).

        Raises UnavailableError ``instance_unknown`` when it may have been made, ``control_plane_unavailable`` when it
        was not, and RefusedError: then, too, none was made.
        """
        what = "start the workspace's machine"
        body = {
            "org_id": self._access.org_id,
            "workspace_id": order.workspace_id,
            "runtime": order.runtime,
            "tier": order.tier,
            "platform_url": order.platform_url,
            "env": dict(order.env),
        }
        try:
            answer = await self._call(
                "POST", "/cp/workspaces/provision", what, bearer=self._access.shared_secret, json=body
            )
            if answer.is_refusal:
                words = refusal_words(answer.body, self._access.secrets | order.secrets)
                if again and (answer.status not in _SAYS_NONE or answer.fields is None):
                    raise LostError(f"asked again, it refused (HTTP {answer.status}): {words}")
                raise RefusedError(what, answer.status, words)
            if answer.status in PASSING:
                raise LostError(f"it answered HTTP {answer.status}", sent=answer.status == HTTPStatus.REQUEST_TIMEOUT)
            # To a repeated order many answer 200: what it asks for was there already.
            if answer.status != HTTPStatus.CREATED and not (again and answer.status == HTTPStatus.OK):
                raise LostError(f"it answered HTTP {answer.status}")
            return _instance_id(answer, order.workspace_id)
        except LostError as fault:
            if fault.sent or again:
                raise self._troubled(instance_unknown(fault.cause)) from fault
            raise self._troubled(unavailable(what, fault)) from fault

    async def stop(self, workspace_id: str, instance_id: str) -> bool:
        """Ask for a machine's end: whether it was accepted; if not, there is none, it is said.

        Raises RefusedError, UnavailableError.
        """
        what = "end the workspace's machine"
        with self._doubt(what):
            answer = await self._call(
                "DELETE",
                f"/cp/workspaces/{quote(workspace_id, safe='')}",
                what,
                bearer=self._access.shared_secret,
                params={"instance_id": instance_id},
            )
            if answer.is_success or answer.says_gone:
                return answer.is_success
            if answer.is_refusal:
                raise RefusedError(what, answer.status, refusal_words(answer.body, self._access.secrets))
            raise LostError(f"it answered HTTP {answer.status}")

    async def state(self, workspace_id: str, instance_id: str) -> State:
        """How a machine is. Raises UnavailableError in doubt: that is no word about the machine."""
        what = "tell how the workspace's machine is"
        with self._doubt(what):
            answer = await self._call(
                "GET",
                f"/cp/workspaces/{quote(workspace_id, safe='')}/status",
                what,
                bearer=self._access.shared_secret,
                params={"instance_id": instance_id},
            )
            if answer.says_gone:
                return State.GONE
            if not answer.is_success:
                raise LostError(f"it answered HTTP {answer.status}")
            if answer.fields is None:
                raise LostError("its answer is no JSON object")
            return _STATES.get(str(answer.fields.get("state")), State.UNCLEAR)

    async def console(self, workspace_id: str) -> str:
        """What a workspace's machine wrote on its console. Raises NotFoundError, UnavailableError."""
        what = "show the machine's console"
        with self._doubt(what, is_trouble=False):
            answer = await self._call(
                "GET",
                f"/cp/admin/workspaces/{quote(workspace_id, safe='')}/console",
                what,
                bearer=self._access.admin_key,
                most=LARGEST_CONSOLE,
            )
            if answer.says_gone:
                raise NotFoundError("the control plane has no machine of this workspace", code="no_machine")
            output = answer.fields.get("output") if answer.is_success and answer.fields else None
            if not isinstance(output, str):
                raise LostError(f"it answered HTTP {answer.status} without an output")
            return output

    async def _call(
        self, method: str, path: str, what: str, *, bearer: str | None, most: int = LARGEST_ANSWER, **body: Any
    ) -> Answer:
        """One request; its answer, read to its end. Raises LostError."""
        timeout = httpx.Timeout(self._seconds, connect=CONNECT_SECONDS)
        try:
            async with Deadline(self._seconds).limit(what):
                with translated():
                    request = self._http.build_request(
                        method, self.url + path, headers=self._access.headers(bearer), timeout=timeout, **body
                    )
                    async with sent(self._http, request) as response:
                        answer = await read(response, most)
        except DeadlineError as error:
            raise LostError("it did not answer in time") from error
        self._trouble = None
        return answer

    @contextmanager
    def _doubt(self, what: str, *, is_trouble: bool = True) -> Iterator[None]:
        """A call of which nothing is known when its answer is lost."""
        try:
            yield
        except LostError as fault:
            error = unavailable(what, fault)
            raise (self._troubled(error) if is_trouble else error) from fault

    def _troubled(self, error: UnavailableError) -> UnavailableError:
        self._trouble = time.monotonic(), error
        return error


def _instance_id(answer: Answer, workspace_id: str) -> str:
    """The id in the answer to a Start. Raises LostError when there is none: the machine is there nevertheless."""
    found = answer.fields.get("instance_id") if answer.fields else None
    usable = isinstance(found, str) and _ID.fullmatch(found) and len(found) <= _LONGEST_ID and found != workspace_id
    if not usable:
        raise LostError("its answer names no machine")
    return str(found)
