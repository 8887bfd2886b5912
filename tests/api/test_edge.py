"""What holds for every request: paths nobody knows, origins of web pages, security headers, errors nobody foresaw."""

import pytest

from support.rows import workspace
from support.server import InProcess

pytestmark = pytest.mark.asyncio(loop_scope="module")

KNOWN = "http://localhost:3000"
METHODS = {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "strict-origin-when-cross-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "content-security-policy": "default-src 'self'",
}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/nope"),
        ("POST", "/nope"),
        ("PUT", "/workspaces"),
        ("DELETE", "/health"),
        ("PATCH", "/registry/heartbeat"),
        ("GET", "/registry/register"),
        ("OPTIONS", "/health"),
        ("HEAD", "/health"),
        ("HEAD", "/workspaces"),
        ("GET", "/workspaces/a/b"),
        ("GET", "//health"),
        ("GET", "/images/builds/..%2f..%2fetc"),
    ],
)
async def test_an_unknown_path_or_method_is_404_in_plain_text(app: InProcess, method: str, path: str) -> None:
    response = await app.call(method, path)
    assert response.status_code == 404
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert response.text == ("" if method == "HEAD" else "404 page not found")


@pytest.mark.parametrize("path", ["/health", "/workspaces", "/workspaces/nope/a2a", "/no/such/path"])
@pytest.mark.parametrize("method", sorted(METHODS - {"OPTIONS"}))
async def test_a_preflight_of_a_known_origin_is_answered_on_any_path(app: InProcess, path: str, method: str) -> None:
    headers = {
        "Origin": KNOWN,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "content-type,x-workspace-id,authorization",
    }
    response = await app.call("OPTIONS", path, headers=headers)
    assert response.is_success
    assert response.headers["access-control-allow-origin"] == KNOWN
    assert response.headers["access-control-allow-credentials"] == "true"
    assert set(response.headers["access-control-allow-methods"].split(", ")) == METHODS
    allowed = {name.lower() for name in response.headers["access-control-allow-headers"].split(", ")}
    assert allowed >= {"origin", "content-type", "x-workspace-id", "authorization"}
    assert "Origin" in response.headers["vary"]


@pytest.mark.parametrize("origin", [KNOWN, "http://localhost:3001"])
async def test_a_known_origin_may_read_the_answer(app: InProcess, origin: str) -> None:
    response = await app.call("GET", "/workspaces", headers={"Origin": origin})
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == origin
    assert response.headers["access-control-allow-credentials"] == "true"


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "https://localhost:3000",
        "http://localhost:3000.evil.example",
        "http://localhost:30000",
        "http://localhost",
        "null",
    ],
)
@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/health"), ("POST", "/workspaces"), ("OPTIONS", "/workspaces"), ("GET", "/nope")]
)
async def test_any_other_origin_is_403(app: InProcess, origin: str, method: str, path: str) -> None:
    response = await app.call(method, path, headers={"Origin": origin, "Access-Control-Request-Method": "GET"})
    assert (response.status_code, response.content) == (403, b"")
    assert "access-control-allow-origin" not in response.headers


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_page_of_this_server_itself_is_no_foreign_origin(app: InProcess, scheme: str) -> None:
    response = await app.call("GET", "/health", headers={"Origin": f"{scheme}://127.0.0.1:8080"})
    assert response.status_code == 200


@pytest.mark.parametrize("path", ["/health", "/ready", "/workspaces", "/nope", "/images/builds", "/openapi.json"])
async def test_every_answer_has_the_security_headers(app: InProcess, path: str) -> None:
    headers = (await app.call("GET", path)).headers
    assert {name: headers.get(name) for name in HEADERS} == HEADERS


async def test_a_refused_origin_has_the_security_headers(app: InProcess) -> None:
    headers = (await app.call("GET", "/health", headers={"Origin": "http://evil.example"})).headers
    assert {name: headers.get(name) for name in HEADERS} == HEADERS


async def test_an_error_nobody_foresaw_tells_nothing_of_the_inside(
    app: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise RuntimeError("SELECT secret FROM /var/lib/molecule")

    monkeypatch.setattr("workspace_server.api.forms.public_workspace", fail)
    response = await app.call("GET", f"/workspaces/{await workspace(app)}")
    assert response.status_code == 500
    assert response.json() == {"error": "internal error", "code": "internal", "hint": "the server's log says more"}
    assert {name: response.headers.get(name) for name in HEADERS} == HEADERS
    logged = next(line for line in app.logs if line["event"] == "request failed")
    assert str(logged["exc_info"]) == "SELECT secret FROM /var/lib/molecule"


async def test_a_dependency_that_is_away_is_503_and_says_when_to_try_again(app: InProcess) -> None:
    identity = await workspace(app)
    response = await app.call("POST", f"/workspaces/{identity}/a2a", json={"method": "message/send"})
    assert response.status_code == 503
    assert response.headers["retry-after"] == "5"
    assert response.json() == {
        "error": "the workspace a is online: it has no agent to talk to",
        "code": "agent_unavailable",
        "hint": f"GET /workspaces/{identity}/provisioning says how far it is",
    }


async def test_what_cannot_be_served_is_in_the_log_in_the_words_of_the_answer(app: InProcess) -> None:
    path = f"/workspaces/{await workspace(app)}/a2a"
    response = await app.call("POST", path, json={"method": "message/send"})
    assert [line for line in app.logs if line.get("path") == path] == [
        {
            "event": "request cannot be served",
            "log_level": "warning",
            "method": "POST",
            "path": path,
            **response.json(),
        }
    ]


async def test_what_the_caller_did_wrong_is_not_in_the_log(app: InProcess) -> None:
    response = await app.call("GET", "/workspaces/no-uuid")
    assert response.status_code == 400
    assert [line for line in app.logs if line.get("path") == "/workspaces/no-uuid"] == []
