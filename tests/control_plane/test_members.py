"""Whose session it is: what the control plane is asked, what counts as its yes, and how long its word is kept."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import pytest
from structlog.testing import capture_logs

from support.control_plane_edge import ControlPlaneEdge, breaks_off, control_plane_edge, hangs_up, says, sends, waits
from workspace_server.concurrency import TaskScope
from workspace_server.control_plane import members as module
from workspace_server.control_plane.connection import open_control_plane_client
from workspace_server.control_plane.members import MOST_VERDICTS, Members, Verdicts

PATH = "/cp/auth/tenant-member"
COOKIES = b"a=1; session=hush"
YES = says({"member": True, "user_id": "u-1"})


@pytest.fixture
async def plane() -> AsyncIterator[ControlPlaneEdge]:
    async with control_plane_edge() as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with open_control_plane_client(ssl.create_default_context) as client:
        yield client


@dataclass
class Clock:
    time: float = 1000.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def members(plane: ControlPlaneEdge, http: httpx.AsyncClient, clock: Clock) -> AsyncIterator[Members]:
    async with TaskScope() as scope:
        yield Members(http=http, upstream=plane.url, slug="acme", scope=scope, clock=clock)


async def test_a_member_is_who_the_control_plane_confirms(plane: ControlPlaneEdge, members: Members) -> None:
    plane.answers[PATH] = YES

    assert await members.has(COOKIES)


async def test_it_is_shown_all_cookies_and_told_the_tenants_name(plane: ControlPlaneEdge, members: Members) -> None:
    await members.has(COOKIES)

    (request,) = plane.seen
    assert (request.method, request.target) == ("GET", f"{PATH}?slug=acme")
    assert request.headers["cookie"] == "a=1; session=hush"
    assert "authorization" not in request.headers


NO = {
    "no member": says({"member": False, "user_id": "u-1"}),
    "a member without an id": says({"member": True}),
    "a member with an empty id": says({"member": True, "user_id": ""}),
    "an id that is no text": says({"member": True, "user_id": 7}),
    "almost true": says({"member": "true", "user_id": "u-1"}),
    "one": says({"member": 1, "user_id": "u-1"}),
    "201": says({"member": True, "user_id": "u-1"}, status=201),
    "401": says({"member": True, "user_id": "u-1"}, status=401),
    "500": says({"member": True, "user_id": "u-1"}, status=500),
    "a redirect": sends(b"", 302, Location=PATH),
    "a list": says([True]),
    "no JSON": sends(b"<html>", Content_Type="text/html"),
    "10 MiB": sends(b'{"member": true, "user_id": "' + b"x" * 10 * 1024 * 1024 + b'"}'),
}


@pytest.mark.parametrize("answer", NO)
async def test_anything_else_is_a_no_that_is_kept_for_5_s(
    plane: ControlPlaneEdge, members: Members, clock: Clock, answer: str
) -> None:
    plane.answers[PATH] = NO[answer]
    assert not await members.has(COOKIES)
    plane.answers[PATH] = YES
    clock.time += 4.9
    assert not await members.has(COOKIES)
    clock.time += 0.2
    assert await members.has(COOKIES)


async def test_a_yes_is_kept_for_30_s(plane: ControlPlaneEdge, members: Members, clock: Clock) -> None:
    plane.answers[PATH] = YES
    assert await members.has(COOKIES)
    plane.answers[PATH] = says({"member": False})
    clock.time += 29.9
    assert await members.has(COOKIES)
    clock.time += 0.2
    assert not await members.has(COOKIES)
    assert len(plane.seen) == 2


async def test_a_word_about_one_session_is_not_one_about_another(plane: ControlPlaneEdge, members: Members) -> None:
    plane.answers[PATH] = YES
    assert await members.has(COOKIES)
    plane.answers[PATH] = says({"member": False})
    assert not await members.has(COOKIES + b"x")


BROKEN = {"hangs up": hangs_up, "breaks off": breaks_off(b'{"member": true')}


@pytest.mark.parametrize("fault", BROKEN)
async def test_a_connection_that_fails_is_a_no_that_is_not_kept(
    plane: ControlPlaneEdge, members: Members, fault: str
) -> None:
    plane.answers[PATH] = BROKEN[fault]
    with capture_logs() as logs:
        assert not await members.has(COOKIES)
    plane.answers[PATH] = YES
    assert await members.has(COOKIES)
    assert [(line["code"], line["log_level"]) for line in logs] == [("control_plane_unavailable", "warning")]
    assert "hush" not in str(logs)


async def test_silence_is_waited_for_3_s_and_not_kept(
    plane: ControlPlaneEdge, members: Members, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert module._SECONDS == 3.0
    monkeypatch.setattr(module, "_SECONDS", 0.1)
    plane.answers[PATH] = waits(asyncio.Event(), YES)
    assert not await members.has(COOKIES)
    monkeypatch.undo()
    plane.answers[PATH] = YES
    assert await members.has(COOKIES)


async def test_equal_sessions_at_the_same_time_are_asked_for_once(plane: ControlPlaneEdge, members: Members) -> None:
    allowed = asyncio.Event()
    plane.answers[PATH] = waits(allowed, YES)
    asking = [asyncio.create_task(members.has(COOKIES)) for _ in range(20)]
    await asyncio.sleep(0)
    allowed.set()
    assert await asyncio.gather(*asking) == [True] * 20
    assert len(plane.seen) == 1


async def test_one_who_stops_waiting_does_not_take_the_answer_from_others(
    plane: ControlPlaneEdge, members: Members
) -> None:
    allowed = asyncio.Event()
    plane.answers[PATH] = waits(allowed, YES)
    one, other = asyncio.create_task(members.has(COOKIES)), asyncio.create_task(members.has(COOKIES))
    await asyncio.wait({one, other}, timeout=0.05)
    one.cancel()
    allowed.set()
    assert await other


def test_no_more_than_ten_thousand_words_are_kept_and_the_least_recently_used_goes_first(clock: Clock) -> None:
    kept = Verdicts(clock)
    for number in range(MOST_VERDICTS):
        kept.put(str(number).encode(), verdict=True)
    assert kept.get(b"0") is True
    kept.put(b"one more", verdict=True)
    assert (MOST_VERDICTS, len(kept), kept.get(b"0"), kept.get(b"1")) == (10_000, 10_000, True, None)


def test_no_session_is_kept_in_clear(clock: Clock) -> None:
    kept = Verdicts(clock)
    assert "hush" not in repr(vars(kept))
