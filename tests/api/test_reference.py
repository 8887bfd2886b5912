"""The examples of ``docs/reference/images-api.md`` have the fields of real answers, all of them and no other."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from support.build_host import build_host
from support.templates import calling_template

from .site import Site, open_site

PAGE = Path(__file__).parents[2] / "docs/reference/images-api.md"
SECTION = re.compile(r"^## `(?P<route>[^`]+)`\n(?P<text>.*?)(?=^## |\Z)", re.DOTALL | re.MULTILINE)
EXAMPLE = re.compile(r"```json\n(.*?)```", re.DOTALL)

EXAMPLES: dict[str, Any] = {
    section["route"]: json.loads(example[1])
    for section in SECTION.finditer(PAGE.read_text())
    if (example := EXAMPLE.search(section["text"]))
}
BUILD = "GET /images/builds/{id}"
VIEW = "GET /workspaces/{id}/provisioning"
ANSWERS = {
    "GET /ready": ["ready"],
    "GET /runtimes": ["runtimes"],
    "GET /images": ["images"],
    "GET /images/explain?runtime=hermes": ["miss", "hit explained"],
    BUILD: ["begun", "joined", "running", "cancelled", "built", "hit"],
    "DELETE /images/builds/{id}": ["cancel"],
    "POST /images/prune": ["prune"],
    VIEW: ["provisioning", "failed"],
}
"""By route, the answers that are compared with its example."""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def answers(
    engine_url: str, workspace_network: None, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[dict[str, Any]]:
    """What the routes answer, from before a build to after it."""
    async with open_site(tmp_path_factory.mktemp("site"), engine_url) as site, build_host(engine_url) as host:
        yield {**await while_building(site, host), **await after_building(site)}


async def while_building(site: Site, host: Any) -> dict[str, Any]:
    runtime = site.runtimes.pop()
    gate = host.hold(f"/{runtime}")
    await site.git.create_template(runtime, calling_template(f"{host.url}/{runtime}"))
    miss = await site.get(f"/images/explain?runtime={runtime}")
    begun = await site.begin(runtime)
    workspace = await site.workspace(runtime)
    await asyncio.wait_for(gate.arrived.wait(), 60)
    running = await site.get(f"/images/builds/{begun['id']}")
    while not (provisioning := await site.view(workspace, "provisioning"))["build"]:  # noqa: ASYNC110 - nothing tells
        await asyncio.sleep(0)
    joined = await site.begin(runtime)
    cancel = (await site.app.call("DELETE", f"/images/builds/{begun['id']}")).json()
    return {
        "miss": miss,
        "begun": begun,
        "running": running,
        "joined": joined,
        "provisioning": provisioning,
        "cancel": cancel,
        "cancelled": await site.get(f"/images/builds/{begun['id']}"),
        "failed": await site.view(workspace, "failed"),
    }


async def after_building(site: Site) -> dict[str, Any]:
    runtime, built = await site.built()
    dry_run = {"dry_run": True}
    return {
        "built": built,
        "hit": await site.begin(runtime, 200),
        "hit explained": await site.get(f"/images/explain?runtime={runtime}"),
        "images": [each for each in await site.get("/images") if each["runtime"] == runtime],
        "runtimes": await site.get("/runtimes"),
        "ready": await site.get("/ready"),
        "prune": (await site.app.call("POST", "/images/prune", json=dry_run)).json(),
    }


def differences(example: Any, answer: Any, where: str = "") -> list[str]:
    """Where an answer has another form than its example. Null goes with anything, an item with any of the items."""
    match example, answer:
        case (None, _) | (_, None):
            return []
        case dict(), dict():
            found = [f"{where}.{key} is missing" for key in example.keys() - answer.keys()]
            found += [f"{where}.{key} is not in the example" for key in answer.keys() - example.keys()]
            both = example.keys() & answer.keys()
            return found + [each for key in both for each in differences(example[key], answer[key], f"{where}.{key}")]
        case list(), list():
            kinds = [[differences(kind, item, f"{where}[]") for kind in example] for item in answer]
            return [min(found, key=len)[0] for found in kinds if all(found)]
    number = (int, float)
    alike = isinstance(answer, number) if isinstance(example, number) else type(answer) is type(example)
    return [] if alike else [f"{where} is {answer!r}, not like {example!r}"]


def test_every_route_has_an_example_that_is_compared() -> None:
    request = "POST /images/builds"
    told_elsewhere = "POST /admin/workspace-images/refresh?runtime=&recreate=&force="  # word for word, in test_rollout
    assert set(EXAMPLES) == set(ANSWERS) | {request, told_elsewhere}


@pytest.mark.engine
@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("route", "name"),
    [(route, name) for route, names in ANSWERS.items() for name in names],
    ids=lambda text: text,
)
async def test_an_answer_has_the_fields_of_its_example_and_no_other(
    answers: dict[str, Any], route: str, name: str
) -> None:
    assert differences(EXAMPLES[route], answers[name]) == []


@pytest.mark.engine
@pytest.mark.asyncio(loop_scope="module")
async def test_the_compared_answers_have_something_in_them(answers: dict[str, Any]) -> None:
    """A list of nothing and a null go with every example."""
    running, view = answers["running"], answers["provisioning"]
    assert [running[key] is None for key in ("builder", "step", "started_at", "log")] == [False] * 4
    assert (len(running["steps"]), running["step"]["running"], running["step"]["seconds"] > 0) == (2, True, True)
    assert (view["image"]["build"], view["build"]["id"]) == (running["id"], running["id"])
    assert all(answers[name] for name in ("images", "runtimes"))
    assert {each["image"] is None for each in answers["runtimes"]} == {True, False}
    assert {each["reason"] is None for each in answers["runtimes"]} == {True, False}
    assert all(answers["prune"]["kept"])
    assert {answers["cancelled"]["error"]["code"], answers["failed"]["error"]["code"]} == {"build_cancelled"}


@pytest.mark.parametrize(
    ("example", "answer", "found"),
    [
        ({"a": 1}, {}, [".a is missing"]),
        ({}, {"a": 1}, [".a is not in the example"]),
        ({"a": {"b": 1}}, {"a": {}}, [".a.b is missing"]),
        ([{"a": 1}], [{"a": 1}, {}], ["[].a is missing"]),
        ({"a": 1}, {"a": "1"}, [".a is '1', not like 1"]),
        ({"a": 1.5}, {"a": 1}, []),
        ({"a": None}, {"a": 1}, []),
    ],
)
def test_a_field_that_is_missing_is_found(example: Any, answer: Any, found: list[str]) -> None:
    assert differences(example, answer) == found
