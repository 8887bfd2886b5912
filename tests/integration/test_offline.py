"""``MOLECULE_LOCAL_BUILD_OFFLINE=1``: the Git host is never asked, and what may be out of date is said to be."""

import json
import sys
from asyncio.subprocess import PIPE

import pytest

from support.processes import running

from .site import LANGGRAPH, Site, quick_agent

pytestmark = [pytest.mark.engine, pytest.mark.slow]


async def said(site: Site, *arguments: str) -> str:
    command = (sys.executable, "-m", "workspace_server", *arguments)
    async with running(*command, env=site.server.environment, stdout=PIPE, stderr=PIPE) as process:
        out, err = await process.communicate()
        assert process.returncode == 0, err.decode()
        return out.decode()


async def test_the_newest_image_runs_marked_stale_wherever_it_is_shown(site: Site) -> None:
    repository = await site.template(LANGGRAPH, quick_agent())
    built = repository.tip()
    first = await site.server.create(LANGGRAPH)
    fresh = (await site.server.until(first, "online"))["image"]
    await repository.commit({"later": "yes"})
    site.server.environment["MOLECULE_LOCAL_BUILD_OFFLINE"] = "1"
    await site.server.restart()
    site.git.requests.clear()

    second = await site.server.create(LANGGRAPH)
    shown = (await site.server.until(second, "online"))["image"]
    explained = await site.server.call("GET", f"/images/explain?runtime={LANGGRAPH}")
    runtimes = {each["name"]: each for each in await site.server.call("GET", "/runtimes")}
    hit = await site.server.call("POST", "/images/builds", {"runtime": LANGGRAPH})
    printed = (await said(site, "images", "explain", LANGGRAPH), await said(site, "runtimes"))

    assert (fresh["stale"], shown["stale"], shown["commit"], shown["id"]) == (False, True, built, fresh["id"])
    assert shown["built_at"] == fresh["built_at"] is not None
    assert [explained[key] for key in ("verdict", "stale")] == ["hit", True]
    assert explained["image"]["built_at"] == fresh["built_at"]
    row = runtimes[LANGGRAPH]
    assert (row["provisionable"], row["head"], row["image"]["stale"]) == (True, None, True)
    assert row["image"]["built_at"] == fresh["built_at"]
    assert (hit["state"], hit["image_id"]) == ("hit", fresh["id"])
    assert "\n  stale: offline, so the Git host was not asked; built " in printed[0]
    assert " ago, stale " in next(line for line in printed[1].splitlines() if line.startswith(LANGGRAPH))
    (found, *_) = reversed(site.server.log_lines("local-build: image found"))
    assert (found["stale"], found["commit"]) == (True, built[:12])
    assert site.git.requests == []


async def test_what_was_never_built_fails_in_words_and_asks_nobody(site: Site) -> None:
    await site.template("hermes", quick_agent("hermes"))
    site.server.environment["MOLECULE_LOCAL_BUILD_OFFLINE"] = "1"
    await site.server.restart()

    error = await site.failed(await site.server.create("hermes"))
    runtimes = {each["name"]: each for each in await site.server.call("GET", "/runtimes")}

    assert error == {
        "error": f"local-build mode: offline, and no image of hermes was built here from {site.git.repo_prefix}hermes"
        " for linux/amd64",
        "code": "git_offline",
        "hint": "unset MOLECULE_LOCAL_BUILD_OFFLINE where the Git host can be reached, and build it once",
    }
    assert (runtimes["hermes"]["provisionable"], runtimes["hermes"]["reason"]) == (False, error)
    assert (site.git.requests, json.dumps(await site.server.builds())) == ([], "[]")


async def test_a_pinned_commit_is_not_stale_and_is_built_again_from_the_cache(site: Site) -> None:
    repository = await site.template(LANGGRAPH, quick_agent())
    first = await site.server.create(LANGGRAPH)
    image = (await site.server.until(first, "online"))["image"]
    await site.server.call("DELETE", f"/workspaces/{first}?purge=true")
    await site.is_gone(first)
    await site.engine.call("DELETE", f"/images/{image['id']}", force="true")
    pinned = {"MOLECULE_LOCAL_BUILD_OFFLINE": "1", "MOLECULE_TEMPLATE_REF_LANGGRAPH": repository.tip()}
    site.server.environment.update(pinned)
    await site.server.restart()
    site.git.requests.clear()

    second = await site.server.create(LANGGRAPH)
    shown = (await site.server.until(second, "online"))["image"]

    assert (shown["commit"], shown["stale"], site.git.requests) == (repository.tip(), False, [])
    assert (await site.server.builds())[0]["reason"] == "image was removed"
