"""A template that cannot be built: the words are whole, and the same in the API, the log and the terminal."""

import re
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import pytest
import pytest_asyncio
from aiohttp import web

from support.git_repository import Repository
from support.processes import running
from support.server import Json, eventually
from support.templates import (
    Files,
    broken_template,
    dockerfile_only,
    folder_dockerfile,
    missing_base_template,
    no_dockerfile,
    noisy_template,
    silent_template,
    symlink_dockerfile,
    tiny_template,
)

from .site import FailingSite, on_a_terminal, open_failing_site

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

SECONDS = 10  # far longer than any build here takes but the one that is to take too long
RUNTIMES = (
    *("bare", "leaving", "folder", "misconfigured", "failing", "watched", "noisy", "baseless", "limited", "cancelled"),
    *("endless", "cut"),
)
NEXT = "correct the template's repository and commit it; examples/echo in this project is a complete template"
IS_MADE = "check that this machine reaches the base image's registry, or make the image"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def site(
    engine_url: str, workspace_network: None, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[FailingSite]:
    """One server for all: each test breaks another runtime's template."""
    settings = {
        "MOLECULE_EXTRA_RUNTIMES": ",".join(RUNTIMES),
        "MOLECULE_LOCAL_BUILD_MAX_SECONDS": str(SECONDS),
        "MOLECULE_LOCAL_BUILD_CONCURRENCY": "4",
    }
    async with open_failing_site(tmp_path_factory.mktemp("site"), engine_url, **settings) as opened:
        yield opened


@dataclass(frozen=True, slots=True, kw_only=True)
class Endless:
    """A build that does not end by itself, with a workspace and a terminal that wait for it."""

    repository: Repository
    workspace: str
    terminal: Process


@pytest_asyncio.fixture(loop_scope="module", scope="module", autouse=True)
async def endless(site: FailingSite) -> AsyncIterator[Endless]:
    """Begun first of all: the other tests go on until its time is over."""
    repository = await site.template("endless", silent_template(600))
    workspace = await site.server.create("endless")
    async with building(site, "endless") as terminal:
        yield Endless(repository=repository, workspace=workspace, terminal=terminal)


def building(site: FailingSite, runtime: str) -> AbstractAsyncContextManager[Process]:
    """A terminal that builds a runtime, or waits for an equal build."""
    argv = (sys.executable, "-m", "workspace_server", "images", "build", runtime)
    return running(*argv, env=site.server.environment, stdout=PIPE, stderr=PIPE)


def the_image(runtime: str, repository: Repository) -> str:
    return f"local-build mode: the image of {runtime} ({repository.url} at {repository.tip()[:12]})"


def step(build: Json) -> str:
    """The step a build is or was at. How many there are depends on the builder."""
    at = build["step"]
    return f"step {at['n']} of {at['of']}, {at['name']}"


async def build_of(site: FailingSite, runtime: str) -> Json:
    return (await site.server.call("GET", f"/images/builds?runtime={runtime}"))[0]


async def reaches_its_run(site: FailingSite, runtime: str) -> Json:
    async def there() -> Json:
        builds = await site.server.call("GET", f"/images/builds?runtime={runtime}")
        return builds[0] if builds and builds[0]["step"] and builds[0]["step"]["name"].startswith("RUN") else None

    return await eventually(there, "the build is at its RUN")


# The files


async def test_the_files_do_not_come_in(site: FailingSite) -> None:
    repository = await site.template("cut", tiny_template())
    repository.faults.cut_off(100, "fetch")
    assert await site.fails("cut") == {
        "error": f"local-build mode: Gitea unreachable at {site.git.url.removesuffix('/')} — verify network or set"
        " MOLECULE_IMAGE_REGISTRY to a reachable registry",
        "code": "git_unreachable",
        "hint": f"the transfer of the files broke off (runtime cut, {repository.url})",
    }


@pytest.mark.parametrize(
    ("runtime", "files", "what"),
    [
        ("bare", no_dockerfile(), "has no Dockerfile at its root"),
        ("leaving", symlink_dockerfile(), "has a Dockerfile that is not a regular file inside it"),
        ("folder", folder_dockerfile(), "has a Dockerfile that is not a regular file inside it"),
    ],
    ids=["none", "link", "folder"],
)
async def test_the_template_has_no_dockerfile(site: FailingSite, runtime: str, files: Files, what: str) -> None:
    repository = await site.template(runtime, files)
    assert await site.fails(runtime) == {
        "error": f"local-build mode: the template of {runtime}, {repository.url} at commit {repository.tip()[:12]},"
        f" {what}",
        "code": "template_malformed",
        "hint": NEXT,
    }


async def test_the_templates_config_is_none(site: FailingSite) -> None:
    repository = await site.template("misconfigured", {**tiny_template(), "config.yaml": "- a\n- list\n"})
    assert await site.fails("misconfigured") == {
        "error": f"config.yaml in the template of misconfigured at commit {repository.tip()[:12]} is not a mapping",
        "code": "template_malformed",
        "hint": "correct config.yaml in the template's repository and commit it",
    }


# Steps


def failed_step(runtime: str, repository: Repository, build: Json) -> dict[str, str]:
    return {
        "error": f"{the_image(runtime, repository)} failed to build: step 3 of 4, RUN echo this"
        " step fails on purpose && exit 23: exit code 23\nthis step fails on purpose",
        "code": "build_failed",
        "hint": f"the whole log: GET {build['log']}; repair the template and commit, or try again if a download failed",
    }


async def test_a_step_fails(site: FailingSite) -> None:
    repository = await site.template("failing", broken_template(step=3, steps=4))
    workspace = await site.server.create("failing")
    error = await site.failed(workspace)
    build = (await site.server.view(workspace))["build"]
    assert error == failed_step("failing", repository, build)
    assert (build["state"], build["error"]) == ("failed", error)
    assert "RUN echo this step fails on purpose" in (await site.server.client.get(build["log"])).text
    await site.is_gone(workspace)
    site.nothing_was_pulled()


async def test_a_step_fails_while_a_terminal_alone_waits(site: FailingSite) -> None:
    repository = await site.template("watched", broken_template(step=3, steps=4))
    ended = await site.terminal("images", "build", "watched")
    build = await build_of(site, "watched")
    error = failed_step("watched", repository, build)
    assert (build["error"], ended) == (error, on_a_terminal(error))
    (logged,) = [line for line in site.server.log_lines("local-build: failed") if line["build"] == build["id"]]
    assert {key: logged[key] for key in ("error", "code", "hint")} == error
    site.nothing_was_pulled()


async def test_a_step_that_writes_much_is_quoted_with_its_last_fifty_lines(site: FailingSite) -> None:
    repository = await site.template("noisy", noisy_template(60))
    error = await site.fails("noisy")
    build = await build_of(site, "noisy")
    lines = "".join(f"\nline {n}" for n in range(11, 61))
    assert error == {
        "error": f"{the_image('noisy', repository)} failed to build: {step(build)}: exit code 23{lines}",
        "code": "build_failed",
        "hint": f"the whole log: GET {build['log']}; repair the template and commit, or try again if a download failed",
    }
    assert build["step"]["name"] == "RUN seq -f 'line %.0f' 60 && exit 23"


# The base image


async def refused_base(site: FailingSite, runtime: str, repository: Repository, image: str, hint: str) -> str:
    """Check the words for a base image that cannot be had, and return the registry's answer in them."""
    error = await site.fails(runtime)
    build = await build_of(site, runtime)
    begin = f"{the_image(runtime, repository)} cannot be built: base image {image} could not be pulled: "
    answer = error["error"].removeprefix(begin)
    assert error == {
        "error": begin + answer,
        "code": "base_image_unavailable",
        "hint": f"{hint}; log: GET {build['log']}",
    }
    assert (await site.server.client.get(build["log"])).text.rstrip().endswith(answer)
    return answer


async def test_the_base_images_registry_is_not_there(site: FailingSite) -> None:
    repository = await site.template("baseless", missing_base_template())
    image = "127.0.0.1:1/no/such-image:latest"
    assert "connection refused" in await refused_base(site, "baseless", repository, image, IS_MADE)


@asynccontextmanager
async def limiting_registry() -> AsyncIterator[str]:
    """A registry that has given enough; every builder keeps the header that says until when to itself."""
    refusal = {"errors": [{"code": "TOOMANYREQUESTS", "message": "You have reached your pull rate limit."}]}

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/v2/":
            return web.Response()
        return web.json_response(refusal, status=429, headers={"Retry-After": "3600"})

    runner = web.ServerRunner(web.Server(answer), shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def test_the_base_images_registry_limits_pulls(site: FailingSite) -> None:
    async with limiting_registry() as registry:
        image = f"{registry}/team/base:1"
        repository = await site.template("limited", dockerfile_only(f"FROM {image}\nRUN true\n"))
        hint = (
            "the registry limits pulls (its answer does not say until when): wait, or docker login as the user of this"
            " server, or make the image"
        )
        answer = await refused_base(site, "limited", repository, image, hint)
    assert re.search("429 Too Many Requests|toomanyrequests: You have reached your pull rate limit", answer)


# Ended from outside


async def test_a_build_is_cancelled(site: FailingSite) -> None:
    """In one terminal, while another one and a workspace wait for it."""
    repository = await site.template("cancelled", silent_template(600))
    async with building(site, "cancelled") as first:
        build = await reaches_its_run(site, "cancelled")
        workspace = await site.server.create("cancelled")

        async def waits() -> bool:
            return bool((await build_of(site, "cancelled"))["waiters"])

        await eventually(waits, "the workspace waits for the build")
        assert await site.terminal("images", "cancel", build["id"]) == (0, "")
        _, written = await first.communicate()
    expected = {
        "error": f"{the_image('cancelled', repository)} was not built: the owner cancelled it; it was at:"
        f" {step(build)}",
        "code": "build_cancelled",
        "hint": "create the workspace again to build it again",
    }
    assert (first.returncode, written.decode()) == on_a_terminal(expected)
    assert await site.failed(workspace) == expected
    site.nothing_was_pulled()


async def test_a_build_takes_too_long(site: FailingSite, endless: Endless) -> None:
    build = await reaches_its_run(site, "endless")
    error = await site.failed(endless.workspace)
    assert error == {
        "error": f"{the_image('endless', endless.repository)} was not built within {SECONDS} s; it was at:"
        f" {step(build)}",
        "code": "build_timeout",
        "hint": "MOLECULE_LOCAL_BUILD_MAX_SECONDS sets the limit",
    }
    _, written = await endless.terminal.communicate()
    assert (endless.terminal.returncode, written.decode()) == on_a_terminal(error)
    site.nothing_was_pulled()


async def test_a_step_hangs(engine_url: str, workspace_network: None, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The same words again at the end of the build's log."""
    settings = {"MOLECULE_EXTRA_RUNTIMES": "hanging", "MOLECULE_LOCAL_BUILD_STALL_SECONDS": "1"}
    async with open_failing_site(tmp_path_factory.mktemp("site"), engine_url, **settings) as site:
        repository = await site.template("hanging", silent_template(600))
        error = await site.fails("hanging")
        build = await build_of(site, "hanging")
        log = (await site.server.client.get(build["log"])).text
    assert error == {
        "error": f"{the_image('hanging', repository)} was not built: silent for 1 s, and no work that the engine can"
        f" show, in {step(build)}",
        "code": "build_stalled",
        "hint": "try again; MOLECULE_LOCAL_BUILD_STALL_SECONDS sets the limit (3 times as long on a foreign platform)",
    }
    assert log.splitlines()[-1] == error["error"]
