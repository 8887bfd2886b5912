"""A hosted tenant answers what is meant for it, and is not there for everything else."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import pytest
import pytest_asyncio
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from support.control_plane_edge import control_plane_edge
from support.server import InProcess, in_process
from workspace_server.api.tenant_guard import TenantGuard, own_hosts
from workspace_server.settings import load_settings

from .conftest import ADMIN_TOKEN

pytestmark = pytest.mark.asyncio(loop_scope="module")

ORG = "org-1"
HOST = "acme.example.org"
HEADER = {"X-Molecule-Org-Id": ORG}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def tenant(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[InProcess]:
    async with control_plane_edge() as plane:
        variables = {
            "MOLECULE_ORG_ID": ORG,
            "ADMIN_TOKEN": ADMIN_TOKEN,
            "PLATFORM_URL": f"https://{HOST}",
            "MOLECULE_CP_URL": plane.url,
            "CP_UPSTREAM_URL": plane.url,
        }
        async with in_process(tmp_path_factory.mktemp("tenant"), **variables) as app:
            yield app


async def ask(tenant: InProcess, path: str = "/workspaces", **options: Any) -> httpx.Response:
    token = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    return await tenant.call("GET", path, headers=[*token.items(), *options.get("headers", {}).items()])


async def test_without_a_word_of_whom_it_is_for_there_is_nothing_here(tenant: InProcess) -> None:
    response = await ask(tenant)

    assert (response.status_code, response.content, response.headers.get("content-type")) == (404, b"", None)


MEANT = {
    "its name": HEADER,
    "the router's state": {"Fly-Replay-Src": f"instance=1;region=x;t=1;state={ORG}"},
    "the router's state, spaced": {"Fly-Replay-Src": f"instance=1; state={ORG} "},
    "the router's state alone": {"Fly-Replay-Src": f"state={ORG}"},
    "a page by Origin": {"Host": HOST, "Origin": f"https://{HOST}"},
    "a page by plain Origin": {"Host": HOST, "Origin": f"http://{HOST}"},
    "a page by Referer": {"Host": HOST, "Referer": f"https://{HOST}/workspaces/1?a=b"},
    "a page by its bare Referer": {"Host": HOST, "Referer": f"https://{HOST}"},
    "a page by what browsers say": {"Host": HOST, "Sec-Fetch-Site": "same-origin"},
    "a page in capitals": {"Host": HOST.upper(), "Sec-Fetch-Site": "same-origin"},
}


@pytest.mark.parametrize("how", MEANT)
async def test_what_is_meant_for_it_is_answered(tenant: InProcess, how: str) -> None:
    assert (await ask(tenant, headers=MEANT[how])).status_code == 200


NOT_MEANT = {
    "another name": {"X-Molecule-Org-Id": "org-2"},
    "an empty name": {"X-Molecule-Org-Id": ""},
    "a longer name": {"X-Molecule-Org-Id": f"{ORG}0"},
    "a shorter name": {"X-Molecule-Org-Id": ORG[:-1]},
    "a name in capitals": {"X-Molecule-Org-Id": ORG.upper()},
    "two names in one": {"X-Molecule-Org-Id": f"{ORG}, org-2"},
    "another name on its own page": {"X-Molecule-Org-Id": "org-2", "Host": HOST, "Origin": f"https://{HOST}"},
    "another state": {"Fly-Replay-Src": "instance=1;state=org-2"},
    "a longer state": {"Fly-Replay-Src": f"state={ORG}0"},
    "a state inside another word": {"Fly-Replay-Src": f"mystate={ORG}"},
    "the name without a key": {"Fly-Replay-Src": ORG},
    "the host alone": {"Host": HOST},
    "a foreign page by Referer": {"Host": HOST, "Referer": "https://evil.example/"},
    "a page that looks like ours": {"Host": HOST, "Referer": f"https://{HOST}.evil.example/"},
    "a page that names ours": {"Host": HOST, "Referer": f"https://evil.example/https://{HOST}/"},
    "a name that was led here": {"Host": "evil.example", "Origin": "https://evil.example"},
    "a name that was led here, by Referer": {"Host": "evil.example", "Referer": "https://evil.example/"},
    "a name that was led here, same-origin": {"Host": "evil.example", "Sec-Fetch-Site": "same-origin"},
    "a sister's page": {"Host": HOST, "Sec-Fetch-Site": "same-site", "Referer": f"https://{HOST}/"},
    "another port": {"Host": f"{HOST}:8080", "Origin": f"https://{HOST}:8080"},
    "loopback": {"Host": "127.0.0.1:8080", "Sec-Fetch-Site": "same-origin"},
}


@pytest.mark.parametrize("how", NOT_MEANT)
async def test_what_is_meant_for_another_is_404_whoever_sends_it(tenant: InProcess, how: str) -> None:
    response = await ask(tenant, headers=NOT_MEANT[how])

    assert (response.status_code, response.content) == (404, b"")


async def test_two_names_are_as_bad_as_none(tenant: InProcess) -> None:
    transport = httpx.ASGITransport(app=tenant.app, client=("127.0.0.1", 1))
    twice = [("X-Molecule-Org-Id", ORG), ("X-Molecule-Org-Id", ORG)]
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080") as client:
        assert (await client.get("/runtimes", headers=twice)).status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/health", 200),
        ("GET", "/metrics", 404),
        ("POST", "/registry/register", 400),
        ("POST", "/registry/heartbeat", 400),
        ("GET", "/cp/auth/me", 200),
    ],
)
async def test_some_paths_are_for_everybody(tenant: InProcess, method: str, path: str, status: int) -> None:
    response = await tenant.call(method, path)

    assert (response.status_code, response.content != b"") == (status, True)


@pytest.mark.parametrize(
    "path",
    [
        *("/health/", "/healthz", "//health", "/HEALTH", "/ready", "/docs", "/openapi.json", "/registry/register/x"),
        *("/registry/registers", "/registry", "/cp", "/cpx", "/workspaces/health", "/nope", "/"),
    ],
)
async def test_no_other_path_is(tenant: InProcess, path: str) -> None:
    response = await tenant.call("GET", path)

    assert (response.status_code, response.content) == (404, b"")


async def test_a_preflight_is_answered_whomever_it_is_for(tenant: InProcess) -> None:
    headers = {
        "Origin": "http://localhost:3000",
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "x-molecule-org-slug",
    }
    response = await tenant.call("OPTIONS", "/workspaces", headers=headers)

    assert response.status_code == 200


async def test_without_an_organisation_there_is_no_guard(app: InProcess) -> None:
    response = await app.call("GET", "/workspaces", headers={"X-Molecule-Org-Id": "org-2"})

    assert response.status_code == 200


async def upgraded(headers: Mapping[str, str]) -> str:
    """How a guarded application answers somebody who wants a WebSocket."""

    async def talk(socket: WebSocket) -> None:
        await socket.accept()

    routes = [WebSocketRoute("/ws", talk), Route("/ws", lambda _: PlainTextResponse("x"))]
    app = TenantGuard(Starlette(routes=routes), ORG, frozenset({HOST}))
    scope = {
        "type": "websocket",
        "path": "/ws",
        "raw_path": b"/ws",
        "query_string": b"",
        "scheme": "ws",
        "subprotocols": [],
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        "extensions": {"websocket.http.response": {}},
    }
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return f"{sent[0]['type']} {sent[0].get('status', '')}".strip()


@pytest.mark.parametrize(
    ("headers", "answer"),
    [
        ({}, "websocket.http.response.start 404"),
        ({"Host": "evil.example", "Origin": "https://evil.example"}, "websocket.http.response.start 404"),
        (HEADER, "websocket.accept"),
        ({"Host": HOST, "Origin": f"https://{HOST}"}, "websocket.accept"),
    ],
)
async def test_a_websocket_is_guarded_as_well(headers: Mapping[str, str], answer: str) -> None:
    assert await upgraded(headers) == answer


async def test_it_is_known_by_the_urls_that_the_operator_gave() -> None:
    settings = load_settings(
        {
            "HOME": "/home/u",
            "PLATFORM_URL": "https://user:pw@Acme.example.org/base",
            "EXTERNAL_PLATFORM_URL": "http://acme.example.net:8080",
        }
    )
    assert own_hosts(settings) == {"acme.example.org", "acme.example.net:8080"}
