"""Secrets over HTTP: values go in, and come out for the workspace itself only."""

from typing import Any

import pytest

from support.rows import token_of, workspace
from support.server import InProcess

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def save(app: InProcess, path: str, key: str = "API_KEY", value: str = "hush-hush", method: str = "POST") -> Any:
    response = await app.call(method, path, json={"key": key, "value": value})
    assert response.status_code == 200, response.text
    return response.json()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_a_secret_is_saved_listed_and_never_shown(app: InProcess, method: str) -> None:
    identity = await workspace(app)
    saved = await save(app, f"/workspaces/{identity}/secrets", method=method)
    listed = await app.call("GET", f"/workspaces/{identity}/secrets")

    assert saved == {"status": "saved", "key": "API_KEY"}
    own = [each for each in listed.json() if each["scope"] == "workspace"]
    assert [(each["key"], each["has_value"], sorted(each)) for each in own] == [
        ("API_KEY", True, ["created_at", "has_value", "key", "scope", "updated_at"])
    ]
    assert "hush" not in listed.text


async def test_a_create_takes_secrets(app: InProcess) -> None:
    created = await app.call("POST", "/workspaces", json={"name": "a", "secrets": {"A": "1", "B": "2"}})
    listed = await app.call("GET", f"/workspaces/{created.json()['id']}/secrets")

    assert [each["key"] for each in listed.json() if each["scope"] == "workspace"] == ["A", "B"]


@pytest.mark.parametrize("secrets", [{"PLATFORM_URL": "x"}, {"A-B": "x"}, {"A": "a\0b"}, {"A": 1}, ["A"]])
async def test_a_create_with_a_wrong_secret_makes_nothing(app: InProcess, secrets: Any) -> None:
    before = len((await app.call("GET", "/workspaces")).json())
    answer = await app.call("POST", "/workspaces", json={"name": "a", "secrets": secrets})

    assert (answer.status_code, len((await app.call("GET", "/workspaces")).json())) == (400, before)


async def test_a_secret_is_removed(app: InProcess) -> None:
    identity = await workspace(app)
    await save(app, f"/workspaces/{identity}/secrets")
    removed = await app.call("DELETE", f"/workspaces/{identity}/secrets/API_KEY")
    again = await app.call("DELETE", f"/workspaces/{identity}/secrets/API_KEY")

    assert removed.json() == {"status": "deleted", "key": "API_KEY"}
    assert (again.status_code, again.json()) == (404, {"error": "secret not found", "code": "secret_not_found"})


@pytest.mark.parametrize("prefix", ["/settings", "/admin"])
async def test_a_secret_of_all_is_saved_listed_and_removed(app: InProcess, prefix: str) -> None:
    key = f"KEY_OF_{prefix[1:].upper()}"
    saved = await save(app, f"{prefix}/secrets", key)
    listed = (await app.call("GET", f"{prefix}/secrets")).json()
    removed = await app.call("DELETE", f"{prefix}/secrets/{key}")

    assert saved == {"status": "saved", "key": key, "scope": "global"}
    assert [each["scope"] for each in listed if each["key"] == key] == ["global"]
    assert removed.json() == {"status": "deleted", "key": key, "scope": "global"}


async def test_a_workspace_reads_its_values_with_its_token(app: InProcess) -> None:
    identity = await workspace(app)
    await save(app, f"/workspaces/{identity}/secrets")
    headers = bearer(await token_of(app, identity))
    answer = await app.call("GET", f"/workspaces/{identity}/secrets/values", headers=headers)

    assert answer.json()["API_KEY"] == "hush-hush"


async def test_nobody_else_reads_its_values(app: InProcess) -> None:
    """Not the owner, not another workspace, not a stranger."""
    identity, other = await workspace(app), await workspace(app)
    await save(app, f"/workspaces/{identity}/secrets")
    path = f"/workspaces/{identity}/secrets/values"
    strangers = [
        await app.call("GET", path),
        await app.call("GET", path, headers=bearer(await token_of(app, other))),
        await app.call("GET", path, peer="10.0.0.1"),
    ]

    assert [answer.status_code for answer in strangers] == [403, 403, 401]
    assert [answer for answer in strangers if "hush" in answer.text] == []


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
async def test_a_workspace_does_not_touch_the_secrets_of_others_or_of_all(app: InProcess, method: str) -> None:
    identity, other = await workspace(app), await workspace(app)
    headers, body = bearer(await token_of(app, identity)), {"key": "A", "value": "x"}
    end = "/A" if method == "DELETE" else ""
    answers = [
        await app.call(method, f"{path}/secrets{end}", headers=headers, json=body)
        for path in (f"/workspaces/{other}", "/settings", "/admin")
        if (method, path) != ("PUT", "/admin")
    ]

    assert {answer.status_code for answer in answers} == {403}


@pytest.mark.parametrize(
    "body", [{}, {"key": "A"}, {"value": "x"}, {"key": "", "value": "x"}, {"key": "A", "value": ""}]
)
async def test_a_body_without_key_or_value_is_refused(app: InProcess, body: dict[str, str]) -> None:
    answer = await app.call("POST", f"/workspaces/{await workspace(app)}/secrets", json=body)

    assert (answer.status_code, answer.json()["error"]) == (400, "invalid request body")


async def test_the_secrets_of_an_unknown_workspace_are_not_found(app: InProcess) -> None:
    answer = await app.call("GET", "/workspaces/00000000-0000-0000-0000-000000000000/secrets")

    assert answer.status_code == 404


async def test_no_value_is_in_the_log(app: InProcess) -> None:
    await save(app, f"/workspaces/{await workspace(app)}/secrets", value="a-value-that-is-seen-nowhere")

    assert "a-value-that-is-seen-nowhere" not in str(app.logs)
