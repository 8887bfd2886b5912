"""The routes of images, of runtimes, and of builds that are begun and ended."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from support.build_host import build_host
from support.rows import build
from support.server import InProcess, Json, in_process
from support.templates import broken_template, calling_template
from workspace_server.images import ImageService
from workspace_server.model.build import BuildState

from .site import Site, open_site

pytestmark = pytest.mark.asyncio(loop_scope="module")

REGISTRY = "registry.example.org/team"


# Refusals


async def test_an_unknown_build_cannot_be_cancelled(app: InProcess) -> None:
    response = await app.call("DELETE", "/images/builds/01ARZ3NDEKTSV4RRFFQ69G5FAV")
    assert (response.status_code, response.json()["code"]) == (404, "unknown_build")


async def test_a_build_that_ended_cannot_be_cancelled(app: InProcess) -> None:
    record = build(app).id
    app.services.on_engine.builds.close(record, BuildState.SUCCEEDED)
    response = await app.call("DELETE", f"/images/builds/{record}")
    assert (response.status_code, response.json()["code"]) == (409, "build_ended")


@pytest.mark.parametrize(
    ("settings", "headers", "who"),
    [
        ({}, {}, "the owner"),
        ({"ADMIN_TOKEN": "s3cret"}, {"Authorization": "Bearer s3cret"}, "the administrator"),
    ],
)
async def test_a_cancel_says_who_wants_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], headers: dict[str, str], who: str
) -> None:
    told = []

    async def cancel(service: ImageService, record_id: str, who: str) -> None:
        told.append((record_id, who))

    monkeypatch.setattr(ImageService, "cancel_build", cancel)
    async with in_process(tmp_path, **settings) as app:
        response = await app.call("DELETE", "/images/builds/01ARZ3NDEKTSV4RRFFQ69G5FAV", headers=headers)
    assert (response.status_code, told) == (200, [("01ARZ3NDEKTSV4RRFFQ69G5FAV", who)])


async def test_an_unknown_runtime_is_not_built(app: InProcess) -> None:
    response = await app.call("POST", "/images/builds", json={"runtime": "nope"})
    assert (response.status_code, response.json()["code"]) == (400, "unknown_runtime")


async def test_an_unknown_runtime_is_not_explained(app: InProcess) -> None:
    response = await app.call("GET", "/images/explain?runtime=nope")
    assert (response.status_code, response.json()["code"]) == (400, "unknown_runtime")


@pytest.mark.parametrize(
    "body",
    [{}, {"runtime": ""}, {"runtime": 1}, {"runtime": "hermes", "force": "yes"}, {"runtime": "hermes", "pull": 1}],
)
async def test_a_build_request_that_is_none_is_refused(app: InProcess, body: Json) -> None:
    response = await app.call("POST", "/images/builds", json=body)
    assert (response.status_code, response.json()["error"]) == (400, "invalid build request")


async def test_without_an_engine_the_images_cannot_be_listed(app: InProcess) -> None:
    response = await app.call("GET", "/images")
    assert (response.status_code, response.json()["code"]) == (503, "engine_unavailable")


async def test_without_an_engine_every_runtime_is_listed_with_that_reason(app: InProcess) -> None:
    response = await app.call("GET", "/runtimes")
    listed = response.json()
    assert (response.status_code, len(listed)) == (200, 9)
    assert {(each["provisionable"], each["image"], each["reason"]["code"]) for each in listed} == {
        (False, None, "engine_unavailable")
    }


# In registry mode


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def registry_app(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[InProcess]:
    async with in_process(tmp_path_factory.mktemp("registry"), MOLECULE_IMAGE_REGISTRY=REGISTRY) as opened:
        yield opened


async def test_in_registry_mode_the_runtimes_are_listed_without_templates_and_with_the_engine_that_is_away(
    registry_app: InProcess,
) -> None:
    listed = (await registry_app.call("GET", "/runtimes")).json()
    assert {(each["image_source"], each["template"], each["provisionable"]) for each in listed} == {
        ("registry", None, False)
    }
    assert {each["reason"]["code"] for each in listed} == {"engine_unavailable"}


async def test_in_registry_mode_nothing_is_explained(registry_app: InProcess) -> None:
    response = await registry_app.call("GET", "/images/explain?runtime=hermes")
    assert (response.status_code, response.json()["code"]) == (400, "not_built_here")


async def test_in_registry_mode_nothing_is_built(registry_app: InProcess) -> None:
    response = await registry_app.call("POST", "/images/builds", json={"runtime": "hermes"})
    assert (response.status_code, response.json()["code"]) == (409, "not_built_here")


# On an engine


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def site(
    engine_url: str, workspace_network: None, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Site]:
    async with open_site(tmp_path_factory.mktemp("site"), engine_url) as opened:
        yield opened


@pytest.mark.engine
async def test_a_build_ahead_of_need_is_accepted_and_made(site: Site) -> None:
    runtime = await site.new()
    begun = await site.begin(runtime)
    ended = await site.ended(begun["id"])
    assert (begun["runtime"], begun["reason"], ended["state"]) == (runtime, "no image", "succeeded")


@pytest.mark.engine
async def test_an_image_that_is_there_is_a_hit(site: Site) -> None:
    runtime, ended = await site.built()
    hit = await site.begin(runtime, 200)
    assert (hit["state"], hit["id"], hit["image_id"], hit["commit"]) == (
        "hit",
        None,
        ended["image_id"],
        ended["commit"],
    )


@pytest.mark.engine
async def test_a_forced_build_is_a_new_one(site: Site) -> None:
    runtime, ended = await site.built()
    forced = await site.ended((await site.begin(runtime, force=True))["id"])
    assert (forced["reason"], forced["state"], forced["id"] != ended["id"]) == ("forced", "succeeded", True)


@pytest.mark.engine
async def test_a_built_image_is_listed_explained_and_shown_with_its_runtime(site: Site) -> None:
    runtime, ended = await site.built()
    (image,) = [each for each in (await site.app.call("GET", "/images")).json() if each["runtime"] == runtime]
    explained = (await site.app.call("GET", f"/images/explain?runtime={runtime}")).json()
    (listed,) = [each for each in (await site.app.call("GET", "/runtimes")).json() if each["name"] == runtime]
    assert (explained["verdict"], listed["provisionable"], listed["head"]) == ("hit", True, ended["commit"])
    assert {image["id"], explained["image"]["id"], listed["image"]["id"]} == {ended["image_id"]}


@pytest.mark.engine
async def test_a_runtime_without_a_repository_says_why_in_the_form_of_an_error(site: Site) -> None:
    (listed,) = [each for each in (await site.app.call("GET", "/runtimes")).json() if each["name"] == "hermes"]
    assert (listed["provisionable"], listed["reason"]["code"], listed["head"]) == (False, "template_repo_missing", None)


@pytest.mark.engine
async def test_a_runtime_whose_newest_commit_failed_to_build_says_so(site: Site) -> None:
    runtime = site.runtimes.pop()
    await site.git.create_template(runtime, {**broken_template(), "mark": runtime})
    ended = await site.ended((await site.begin(runtime))["id"])
    (listed,) = [each for each in await site.get("/runtimes") if each["name"] == runtime]
    assert (listed["provisionable"], listed["head"]) == (False, ended["commit"])
    assert listed["reason"]["error"] == ended["error"]["error"]
    assert "is not tried again yet" in listed["reason"]["hint"]


@pytest.mark.engine
async def test_a_build_that_is_to_pull_asks_for_base_images_that_are_here(site: Site) -> None:
    """The base image is in no registry, so that it was asked for is seen by the failure."""
    _, ended = await site.built(pull=True)
    assert ended["error"]["code"] == "base_image_unavailable"


@pytest.mark.engine
async def test_a_workspace_whose_build_is_cancelled_fails_with_that(site: Site, engine_url: str) -> None:
    runtime = site.runtimes.pop()
    async with build_host(engine_url) as host:
        gate = host.hold(f"/{runtime}")
        await site.git.create_template(runtime, calling_template(f"{host.url}/{runtime}"))
        created = await site.workspace(runtime)
        await asyncio.wait_for(gate.arrived.wait(), 60)
        (record,) = await site.get(f"/images/builds?runtime={runtime}")
        answer = await site.app.call("DELETE", f"/images/builds/{record['id']}")
        view = await site.view(created, "failed")
    assert (answer.status_code, answer.json()) == (200, {"status": "cancelled"})
    assert view["error"]["code"] == "build_cancelled"


@pytest.mark.engine
async def test_a_dry_run_of_a_clean_up_says_what_would_stay_and_why(site: Site) -> None:
    runtime, ended = await site.built()
    report = (await site.app.call("POST", "/images/prune", json={"dry_run": True})).json()
    kept = {
        (each["kind"], each["why"]) for each in report["kept"] if runtime in each["name"] or each["name"] == ended["id"]
    }
    assert kept == {(kind, "used in the last ten minutes") for kind in ("image", "checkout", "objects", "log")}
    assert (report["removed"], report["freed"], report["budget"]) == ([], 0, 20_480_000_000)
