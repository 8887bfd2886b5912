"""The description of the API: complete, and readable without a network."""

import re
from typing import Any

import pytest

from support.server import InProcess

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAGES = ["/docs", "/redoc"]
_SOURCES = re.compile(r"""(?:src|href|url|spec-url)\s*[=:]\s*["']([^"']+)["']""")
_ELSEWHERE = re.compile(r"""["'(]\s*(?:https?:)?//[^"')\s]+""")


async def description(app: InProcess) -> dict[str, Any]:
    document: dict[str, Any] = (await app.call("GET", "/openapi.json")).json()
    return document


async def operations(app: InProcess) -> dict[str, dict[str, Any]]:
    paths = (await description(app))["paths"]
    return {f"{method.upper()} {path}": operation for path, all_ in paths.items() for method, operation in all_.items()}


@pytest.mark.parametrize("page", PAGES)
async def test_the_page_asks_no_other_host(app: InProcess, page: str) -> None:
    text = (await app.call("GET", page)).text
    assert _ELSEWHERE.findall(text) == []


@pytest.mark.parametrize("page", PAGES)
async def test_everything_the_page_loads_is_here(app: InProcess, page: str) -> None:
    response = await app.call("GET", page)
    assert response.headers["content-type"].startswith("text/html")
    sources = _SOURCES.findall(response.text)
    assert "/openapi.json" in sources
    for source in sources:
        loaded = await app.call("GET", source)
        assert (loaded.status_code, bool(loaded.content)) == (200, True), source


@pytest.mark.parametrize("page", PAGES)
async def test_the_pages_policy_lets_its_own_scripts_run(app: InProcess, page: str) -> None:
    policy = (await app.call("GET", page)).headers["content-security-policy"]
    assert "script-src 'self' 'unsafe-inline'" in policy
    assert "http" not in policy


async def test_every_route_has_a_summary_and_a_description(app: InProcess) -> None:
    found = await operations(app)
    assert found
    lacking = [name for name, each in found.items() if not each.get("summary") or not each.get("description")]
    assert lacking == []


async def test_every_parameter_but_those_of_the_path_has_a_description(app: InProcess) -> None:
    lacking = [
        f"{name}: {parameter['name']}"
        for name, each in (await operations(app)).items()
        for parameter in each.get("parameters", [])
        if parameter["in"] != "path" and not parameter.get("description")
    ]
    assert lacking == []


async def test_every_body_says_what_its_fields_are(app: InProcess) -> None:
    bodies = {
        name: each["requestBody"]["content"]["application/json"]["schema"]
        for name, each in (await operations(app)).items()
        if "requestBody" in each
    }
    assert set(bodies) >= {"POST /workspaces", "POST /registry/register", "POST /registry/heartbeat"}
    lacking = [
        f"{name}: {field}"
        for name, schema in bodies.items()
        for field, properties in schema["properties"].items()
        if not properties.get("description")
    ]
    assert lacking == []


async def test_every_reference_leads_somewhere(app: InProcess) -> None:
    document = await description(app)
    references: list[str] = []

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            references.extend([node["$ref"]] if isinstance(node.get("$ref"), str) else [])
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    walk(document)
    known = {f"#/components/schemas/{name}" for name in document.get("components", {}).get("schemas", {})}
    assert set(references) - known == set()


async def test_no_route_promises_a_status_that_is_never_sent(app: InProcess) -> None:
    """A wrong request is 400 here, never FastAPI's own 422."""
    promising = [name for name, each in (await operations(app)).items() if "422" in each["responses"]]
    assert promising == []
