"""What browsers want from the control plane: passed on to a real one, by a real server, and back."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from aiohttp import web

from support.control_plane_edge import ControlPlaneEdge, breaks_off, control_plane_edge, hangs_up, says, sends, waits
from support.registry import make_certificate
from support.rows import token_of, workspace
from support.server import NO_ENGINE, InProcess, ServerProcess, eventually, in_process, server_process
from workspace_server.control_plane import upstream

from .conftest import ADMIN_TOKEN

pytestmark = pytest.mark.asyncio(loop_scope="module")

ME = "/cp/auth/me"
MIB = 1024 * 1024
AWAY = {
    "error": "control plane unavailable",
    "code": "control_plane_unavailable",
    "hint": "try again; the operator checks CP_UPSTREAM_URL",
}


@dataclass(frozen=True, slots=True)
class Site:
    plane: ControlPlaneEdge
    server: ServerProcess

    async def raw(self, request: bytes) -> bytes:
        """The whole answer to bytes on a connection, which nobody makes pretty."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port)
        writer.write(request)
        await writer.drain()
        try:
            async with asyncio.timeout(20):
                return await reader.read()
        finally:
            writer.close()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    directory = tmp_path_factory.mktemp("relay")
    async with (
        control_plane_edge() as plane,
        server_process(directory, NO_ENGINE, CP_UPSTREAM_URL=plane.url, ADMIN_TOKEN=ADMIN_TOKEN) as server,
    ):
        yield Site(plane, server)


@pytest.fixture
def site(running: Site) -> Site:
    running.plane.seen.clear()
    running.plane.answers.clear()
    running.plane.streams.clear()
    running.server.client.cookies.clear()
    return running


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_any_method_is_passed_on_with_path_query_and_body(site: Site, method: str) -> None:
    body = b"" if method in ("GET", "HEAD") else b"\x00grue\xdf"

    response = await site.server.client.request(method, f"{ME}/gr%C3%BCn?a=%2F&b=c&b", content=body)

    (request,) = site.plane.seen
    assert (request.method, request.target, request.body) == (method, f"{ME}/gr%C3%BCn?a=%2F&b=c&b", body)
    assert response.status_code == 200


async def test_status_headers_and_body_come_back_as_they_are(site: Site) -> None:
    async def answer(_: web.BaseRequest) -> web.StreamResponse:
        response = web.Response(body=b"{ }", status=418, content_type="application/x-odd")
        response.headers.add("Set-Cookie", "a=1; Secure; HttpOnly")
        response.headers.add("Set-Cookie", "b=2")
        response.headers["X-Their-Own"] = "1"
        return response

    site.plane.answers[ME] = answer
    response = await site.server.client.get(ME)

    assert (response.status_code, response.content) == (418, b"{ }")
    assert response.headers.get_list("set-cookie") == ["a=1; Secure; HttpOnly", "b=2"]
    assert (response.headers["content-type"], response.headers["x-their-own"]) == ("application/x-odd", "1")
    assert len(response.headers.get_list("date")) == 1


async def test_a_compressed_answer_is_not_unpacked(site: Site) -> None:
    packed = gzip.compress(b"grue\xdf" * 100)
    site.plane.answers[ME] = sends(packed, Content_Encoding="gzip")

    async with site.server.client.stream("GET", ME) as response:
        assert b"".join([piece async for piece in response.aiter_raw()]) == packed
        assert response.headers["content-encoding"] == "gzip"


async def test_a_redirect_is_the_browsers_to_follow(site: Site) -> None:
    site.plane.answers[ME] = sends(b"", 302, Location="https://id.example.org/authorize?x=1")

    response = await site.server.client.get(ME)

    assert (response.status_code, response.headers["location"]) == (302, "https://id.example.org/authorize?x=1")
    assert len(site.plane.seen) == 1


async def test_the_control_plane_is_called_by_its_own_name_and_told_for_whom(site: Site) -> None:
    await site.server.client.get(ME, headers={"Host": "acme.example.org", "Cookie": "a=1; b=2", "X-Forwarded-For": "x"})

    (request,) = site.plane.seen
    assert request.headers["host"] == site.plane.url.removeprefix("http://")
    assert (request.headers["cookie"], request.headers["x-forwarded-for"]) == ("a=1; b=2", "x, 127.0.0.1")


async def test_cookies_of_one_browser_are_not_shown_for_another(site: Site) -> None:
    site.plane.answers[ME] = sends(b"", 200, Set_Cookie="session=hush; Path=/")
    await site.server.client.get(ME)
    site.server.client.cookies.clear()

    await site.server.client.get(ME)

    assert ["cookie" in each.headers for each in site.plane.seen] == [False, False]


@pytest.mark.parametrize(
    "target",
    [
        *("/cp/admin/workspaces", "/cp/workspaces/provision", "/cp/tenants/config", "/cp/orgsecrets", "/cp/"),
        *("/cp/auth/../admin", "/cp/auth/%2e%2e/admin", "/cp/auth/..%2fadmin", "/cp/auth/%252e%252e/admin"),
        *("/cp/auth//admin", "/cp//auth/me", "/cp/auth/..;/admin", "/cp/auth/x/../../admin", "/cp/auth/%5c..%5cadmin"),
        *("/cp/auth/%00", "/cp/auth/%09"),
    ],
)
async def test_any_other_path_is_404_without_a_word_and_nobody_is_asked(site: Site, target: str) -> None:
    request = f"GET {target} HTTP/1.1\r\nHost: acme.example.org\r\nConnection: close\r\n\r\n"
    answer = await site.raw(request.encode())

    assert answer.startswith(b"HTTP/1.1 404 ")
    assert answer.endswith(b"\r\n\r\n")
    assert site.plane.seen == []


async def test_a_path_with_a_line_in_it_is_404_and_nobody_is_asked(site: Site) -> None:
    response = await site.server.client.get("/cp/auth/%0d%0aHost:%20evil.example")

    assert (response.status_code, site.plane.seen) == (404, [])


@pytest.mark.parametrize("target", ["http://evil.example/cp/auth/me", "//evil.example/cp/auth/me", "@evil.example/"])
async def test_no_other_host_is_ever_asked(site: Site, target: str) -> None:
    request = f"GET {target} HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
    await site.raw(request.encode())

    assert {each.headers["host"] for each in site.plane.seen} <= {site.plane.url.removeprefix("http://")}


async def test_a_request_is_passed_on_while_it_is_sent(site: Site) -> None:
    first_is_there, second_may_come = asyncio.Event(), asyncio.Event()

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        assert await request.content.readany() == b"first"
        first_is_there.set()
        return web.Response(body=await request.read())

    async def body() -> AsyncIterator[bytes]:
        yield b"first"
        await second_may_come.wait()
        yield b"second"

    site.plane.streams[ME] = answer
    sending = asyncio.create_task(site.server.client.post(ME, content=body()))
    async with asyncio.timeout(20):
        await first_is_there.wait()
        second_may_come.set()
        assert (await sending).content == b"second"


async def test_an_answer_comes_back_while_it_is_sent(site: Site) -> None:
    second_may_come = asyncio.Event()

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"first")
        await second_may_come.wait()
        await response.write(b"second")
        return response

    site.plane.answers[ME] = answer
    async with asyncio.timeout(20), site.server.client.stream("GET", ME) as response:
        pieces = response.aiter_raw()
        assert await anext(pieces) == b"first"
        second_may_come.set()
        assert await anext(pieces) == b"second"


async def test_ten_mebibytes_pass_in_both_directions(site: Site) -> None:
    async def echo(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=site.plane.seen[-1].body)

    site.plane.answers[ME] = echo
    body = b"x" * 10 * MIB
    assert (await site.server.client.post(ME, content=body)).content == body


async def test_a_larger_request_is_refused_before_anybody_is_asked(site: Site) -> None:
    response = await site.server.client.post(ME, content=b"x" * (10 * MIB + 1))

    assert (response.status_code, response.json()["code"], site.plane.seen) == (400, "body_too_large", [])


async def test_a_request_that_grows_larger_is_refused(site: Site) -> None:
    async def body() -> AsyncIterator[bytes]:
        for _ in range(11):
            yield b"x" * MIB

    response = await site.server.client.post(ME, content=body())

    assert (response.status_code, response.json()["code"], site.plane.seen) == (400, "body_too_large", [])


async def test_an_answer_that_says_it_is_larger_is_refused(site: Site) -> None:
    site.plane.answers[ME] = sends(b"x" * (10 * MIB + 1))

    response = await site.server.client.get(ME)

    assert (response.status_code, response.json()["code"]) == (502, "reply_too_large")


async def test_an_answer_that_grows_larger_is_cut_off(site: Site) -> None:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(12):
            await response.write(b"x" * MIB)
        return response

    site.plane.answers[ME] = answer
    with pytest.raises(httpx.RemoteProtocolError):
        await site.server.client.get(ME)


async def test_an_answer_that_breaks_off_is_not_passed_off_as_whole(site: Site) -> None:
    site.plane.answers[ME] = breaks_off(b"half")

    with pytest.raises(httpx.RemoteProtocolError):
        await site.server.client.get(ME)

    (line,) = await eventually(
        lambda: [line for line in site.server.log_lines() if line.get("why") == "the connection broke"], "it is logged"
    )
    assert (line["event"], line["path"]) == ("an answer of the control plane was cut off", ME)


async def test_one_that_hangs_up_is_502(site: Site) -> None:
    site.plane.answers[ME] = hangs_up

    response = await site.server.client.get(ME)

    assert (response.status_code, response.json()) == (502, AWAY)


async def test_who_goes_away_is_not_waited_for(site: Site) -> None:
    asked, ended = asyncio.Event(), asyncio.Event()

    async def answer(_: web.BaseRequest) -> web.StreamResponse:
        asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return web.Response()

    site.plane.answers[ME] = answer
    calling = asyncio.create_task(site.server.client.post(ME, content=b"x"))
    async with asyncio.timeout(20):
        await asked.wait()
        calling.cancel()
        await ended.wait()


async def test_who_goes_away_in_the_middle_of_the_request_is_no_error(site: Site) -> None:
    begun = asyncio.Event()

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        begun.set()
        await request.read()
        return web.Response()

    site.plane.streams[ME] = answer
    _, writer = await asyncio.open_connection("127.0.0.1", site.server.port)
    writer.write(f"POST {ME} HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf".encode())
    async with asyncio.timeout(20):
        await begun.wait()
    writer.close()
    await writer.wait_closed()

    await site.server.client.get("/health")
    assert [line for line in site.server.log_lines() if "Exception" in line["event"]] == []


async def test_a_foreign_page_is_refused(site: Site) -> None:
    response = await site.server.client.post(ME, headers={"Origin": "https://evil.example"})

    assert (response.status_code, site.plane.seen) == (403, [])


async def test_what_the_control_plane_says_of_its_pages_counts_and_the_rest_is_ours(site: Site) -> None:
    site.plane.answers[ME] = sends(b"", Content_Security_Policy="default-src 'none'")

    headers = (await site.server.client.get(ME)).headers

    assert headers.get_list("content-security-policy") == ["default-src 'none'"]
    assert headers["x-frame-options"] == "DENY"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def opened(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[InProcess, ControlPlaneEdge]]:
    async with (
        control_plane_edge() as plane,
        in_process(tmp_path_factory.mktemp("inside"), CP_UPSTREAM_URL=plane.url, ADMIN_TOKEN=ADMIN_TOKEN) as app,
    ):
        yield app, plane


@pytest.fixture
def inside(opened: tuple[InProcess, ControlPlaneEdge]) -> tuple[InProcess, ControlPlaneEdge]:
    _, plane = opened
    plane.seen.clear()
    plane.answers.clear()
    return opened


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer  ", "Token ", "", "Bearer\t"])
@pytest.mark.parametrize("whose", ["administrator", "owner", "workspace"])
async def test_a_token_of_this_server_is_never_passed_on(
    inside: tuple[InProcess, ControlPlaneEdge], whose: str, scheme: str
) -> None:
    app, plane = inside
    tokens = {"administrator": ADMIN_TOKEN, "owner": app.services.owner_token}
    token = tokens.get(whose) or await token_of(app, await workspace(app))

    await app.call("GET", ME, headers={"Authorization": f"{scheme}{token}", "Cookie": "session=1"})

    sent = plane.seen[-1].headers
    assert ("authorization" in sent, sent["cookie"]) == (False, "session=1")


async def test_a_token_of_the_control_planes_own_is_passed_on(inside: tuple[InProcess, ControlPlaneEdge]) -> None:
    app, plane = inside
    await app.call("GET", ME, headers={"Authorization": "Bearer of-the-control-plane"})

    assert plane.seen[-1].headers["authorization"] == "Bearer of-the-control-plane"


async def test_one_that_stays_silent_is_502(
    inside: tuple[InProcess, ControlPlaneEdge], monkeypatch: pytest.MonkeyPatch
) -> None:
    app, plane = inside
    monkeypatch.setattr(upstream, "_SILENCE_SECONDS", 0.1)
    plane.answers[ME] = waits(asyncio.Event(), says({}))

    response = await app.call("GET", ME)

    assert (response.status_code, response.json()) == (502, AWAY)


async def test_one_that_is_away_is_502(tmp_path: Path) -> None:
    async with in_process(tmp_path, CP_UPSTREAM_URL="http://127.0.0.1:1") as app:
        response = await app.call("GET", ME)

    assert (response.status_code, response.json()) == (502, AWAY)


async def test_without_a_control_plane_there_is_nothing_at_its_paths(app: InProcess) -> None:
    response = await app.call("GET", ME)

    assert (response.status_code, response.text) == (404, "404 page not found")


async def test_a_path_of_the_control_planes_address_comes_before_the_calls(tmp_path: Path) -> None:
    async with (
        control_plane_edge() as plane,
        in_process(tmp_path, CP_UPSTREAM_URL=f"{plane.url}/base/") as app,
    ):
        await app.call("GET", f"{ME}?a=b")

    assert [each.target for each in plane.seen] == [f"/base{ME}?a=b"]


@pytest.mark.parametrize(("trusts", "status"), [(True, 200), (False, 502)])
async def test_sessions_are_shown_over_tls_to_whom_the_operator_trusts(
    tmp_path: Path, *, trusts: bool, status: int
) -> None:
    certificate = await make_certificate(tmp_path)
    trust = {"SSL_CERT_FILE": str(certificate.certificate)} if trusts else {}
    async with (
        control_plane_edge(certificate) as plane,
        in_process(tmp_path / "data", CP_UPSTREAM_URL=plane.url, **trust) as app,
    ):
        assert (await app.call("GET", ME, headers={"Cookie": "session=1"})).status_code == status
        assert len(plane.seen) == (1 if trusts else 0)
