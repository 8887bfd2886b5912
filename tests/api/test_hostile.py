"""Parameters and headers that nobody sends by mistake: refused in words, or taken for what they are; never a 500."""

import httpx
import pytest

from support.rows import build, workspace
from support.server import InProcess
from workspace_server.model.build import BuildState

pytestmark = pytest.mark.asyncio(loop_scope="module")

HUGE = "9" * 5000


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=-1",
        "limit=201",
        "limit=abc",
        "limit=1.5",
        "limit=",
        "limit=1e3",
        f"limit={HUGE}",
        "limit=%00",
        "limit=nan",
    ],
    ids=lambda query: query[:12],
)
async def test_a_limit_that_is_none_is_refused_by_name(app: InProcess, query: str) -> None:
    response = await app.call("GET", f"/images/builds?{query}")
    assert (response.status_code, response.json()["code"]) == (400, "invalid_request")
    assert response.json()["hint"].startswith("query.limit: ")


@pytest.mark.parametrize("runtime", ["nope", "..%2f..", "%00", "%ff%fe", "a" * 5000, "%F0%9F%90%9B", "hermes%20"])
async def test_a_runtime_without_builds_has_none(app: InProcess, runtime: str) -> None:
    response = await app.call("GET", f"/images/builds?runtime={runtime}")
    assert (response.status_code, response.json()) == (200, [])


async def test_an_empty_runtime_is_all_of_them(app: InProcess) -> None:
    record = build(app).id
    assert record in [each["id"] for each in (await app.call("GET", "/images/builds?runtime=")).json()]


@pytest.mark.parametrize("runtime", ["..%2f..", "%00", "%ff%fe", "a" * 5000, "hermes%20", "HERMES%0a"])
async def test_what_is_no_runtime_is_not_explained(app: InProcess, runtime: str) -> None:
    response = await app.call("GET", f"/images/explain?runtime={runtime}")
    assert (response.status_code, response.json()["code"]) == (400, "unknown_runtime")


async def test_no_runtime_is_not_explained(app: InProcess) -> None:
    response = await app.call("GET", "/images/explain")
    assert (response.status_code, response.json()["hint"]) == (400, "query.runtime: Field required")


@pytest.mark.parametrize("follow", ["2", "maybe", "", "%00", "-1", "1&follow=x", HUGE], ids=lambda text: text[:9])
@pytest.mark.parametrize("route", ["log", "provisioning"])
async def test_to_follow_or_not_is_one_or_zero(app: InProcess, route: str, follow: str) -> None:
    path = (
        f"/images/builds/{build(app).id}/log" if route == "log" else f"/workspaces/{await workspace(app)}/provisioning"
    )
    response = await app.call("GET", f"{path}?follow={follow}")
    assert (response.status_code, response.json()["code"]) == (400, "invalid_request")
    assert response.json()["hint"].startswith("query.follow: ")


@pytest.mark.parametrize("route", ["log", "provisioning"])
async def test_zero_does_not_follow(app: InProcess, route: str) -> None:
    path = (
        f"/images/builds/{build(app).id}/log" if route == "log" else f"/workspaces/{await workspace(app)}/provisioning"
    )
    response = await app.call("GET", f"{path}?follow=0")
    assert (response.status_code, response.headers["content-type"].startswith("text/event-stream")) == (200, False)


@pytest.mark.parametrize(
    "last", ["-1", "abc", "", "1.5", "0x1", "1e3", HUGE, str(2**63), "\xb2", "1,2"], ids=lambda text: text[:9]
)
@pytest.mark.parametrize("query", ["", "?follow=1"])
async def test_a_last_event_that_is_none_is_refused_by_name(app: InProcess, last: str, query: str) -> None:
    path = f"/images/builds/{build(app).id}/log{query}"
    response = await app.call("GET", path, headers=httpx.Headers({"Last-Event-ID": last}, encoding="latin-1"))
    assert (response.status_code, response.json()["hint"].startswith("header.last-event-id: ")) == (400, True)


async def test_a_last_event_beyond_the_end_of_the_log_is_refused(app: InProcess) -> None:
    record = build(app).id
    with app.services.on_engine.builds.open_log(record) as log:
        log.write(b"one\n")
    app.services.on_engine.builds.close(record, BuildState.SUCCEEDED)
    path = f"/images/builds/{record}/log?follow=1"
    statuses = [
        (await app.call("GET", path, headers={"Last-Event-ID": last})).status_code
        for last in ("4", "5", str(2**63 - 1))
    ]
    assert statuses == [200, 400, 400]
    refused = await app.call("GET", path, headers={"Last-Event-ID": "5"})
    assert refused.json()["error"] == "Last-Event-ID 5 is beyond the end of the log, byte 4"


@pytest.mark.parametrize(
    "seconds", ["-1", "0", "abc", "", "1e9", HUGE, "\xb2", "inf", "nan"], ids=lambda text: text[:9]
)
async def test_a_time_limit_that_is_none_is_none(app: InProcess, seconds: str) -> None:
    path = f"/workspaces/{await workspace(app)}/a2a"
    body = {"method": "message/send", "params": {"message": {"role": "user", "parts": []}}}
    response = await app.call(
        "POST", path, headers=httpx.Headers({"X-Timeout": seconds}, encoding="latin-1"), json=body
    )
    assert response.json()["code"] == "agent_unavailable"


@pytest.mark.parametrize("identity", ["%00", "é" * 26, "0" * 26, "Z" * 26, "01ARZ3NDEKTSV4RRFFQ69G5FA%0a", HUGE])
@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("GET", "/log"), ("GET", "/log?follow=1"), ("DELETE", "")])
async def test_what_is_no_build_is_unknown(app: InProcess, identity: str, method: str, path: str) -> None:
    response = await app.call(method, f"/images/builds/{identity}{path}")
    assert (response.status_code, response.json()["code"]) == (404, "unknown_build")
