"""Failures in their final words: the same in the provisioning view, in the list, and in the log."""

import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from support.engine_events import engine_events
from support.processes import running
from support.templates import broken_template, missing_base_template, no_dockerfile, symlink_dockerfile

from .site import Site, open_site, quick_agent

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

NEXT = "correct the template's repository and commit it; examples/echo in this project is a complete template"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def shared(
    engine_url: str, workspace_network: None, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Site]:
    """One server for all: each test breaks another runtime's template."""
    async with open_site(tmp_path_factory.mktemp("site"), engine_url) as site:
        yield site


def unreachable(site: Site, runtime: str) -> dict[str, str]:
    return {
        "error": f"local-build mode: Gitea unreachable at {site.git.url.removesuffix('/')} — verify network or set"
        " MOLECULE_IMAGE_REGISTRY to a reachable registry",
        "code": "git_unreachable",
        "hint": f"the connection failed: connection refused (runtime {runtime}, {site.git.repo_prefix}{runtime})",
    }


async def test_the_git_host_is_unreachable(shared: Site, engine_url: str) -> None:
    """And no other source is asked: the engine's own events show no pull."""
    await shared.git.stop()
    async with engine_events(engine_url) as events:
        error = await shared.failed(await shared.server.create("autogen"))
        await events.settle()
        pulled = [event for event in events.of("image", "pull") if "workspace-template" in event.id]
    await shared.git.start()
    assert error == unreachable(shared, "autogen")
    assert pulled == []


async def test_a_terminal_shows_the_same_words(shared: Site) -> None:
    command = (sys.executable, "-m", "workspace_server", "images", "build", "autogen")
    await shared.git.stop()
    async with running(*command, env=shared.server.environment, stdout=PIPE, stderr=PIPE) as process:
        _, written = await process.communicate()
    await shared.git.start()
    error = unreachable(shared, "autogen")
    assert (process.returncode, written.decode()) == (1, f"error: {error['error']}\nhint: {error['hint']}\n")


async def test_the_repository_is_missing(shared: Site) -> None:
    error = await shared.failed(await shared.server.create("crewai"))
    url = f"{shared.git.repo_prefix}crewai"
    assert error["error"].startswith(f"does not exist: the template repository {url} of runtime crewai; ")
    assert error["code"] == "template_repo_missing"
    assert error["hint"] == (
        "the host answered HTTP 404; set MOLECULE_TEMPLATE_REPO_CREWAI to the URL of its repository, or"
        " MOLECULE_IMAGE_REGISTRY to a registry that has its image"
    )


async def test_the_repository_is_missing_or_private(shared: Site) -> None:
    """What a Git host answers to strangers in either case; the token is named last."""
    repository = await shared.template("deepagents", quick_agent("deepagents"))
    repository.faults.require_token("a-token")
    error = await shared.failed(await shared.server.create("deepagents"))
    assert error["error"].startswith(
        f"does not exist or is private: the template repository {repository.url} of runtime deepagents; "
    )
    assert error["code"] == "template_repo_missing"
    assert error["hint"].endswith("; if it is private, set MOLECULE_GITEA_TOKEN")


async def test_the_repository_is_empty(shared: Site) -> None:
    repository = await shared.git.create_template("openclaw", None)
    error = await shared.failed(await shared.server.create("openclaw"))
    assert error["error"] == (
        f"a commit at HEAD was not found in the template repository {repository.url} of runtime openclaw"
    )
    assert error["code"] == "template_ref_missing"


@pytest.mark.parametrize(
    ("files", "what"),
    [
        pytest.param(no_dockerfile(), "has no Dockerfile at its root", id="none"),
        pytest.param(symlink_dockerfile(), "has a Dockerfile that is not a regular file inside it", id="link"),
    ],
)
async def test_the_template_has_no_dockerfile(shared: Site, files: dict[str, str], what: str) -> None:
    if "codex" not in " ".join(shared.git.repositories):
        await shared.template("codex", {})
    repository = next(each for path, each in shared.git.repositories.items() if path.endswith("codex"))
    await repository.commit({**files, "mark": shared.mark}, replace=True)
    assert await shared.failed(await shared.server.create("codex")) == {
        "error": f"local-build mode: the template of codex, {repository.url} at commit {repository.tip()[:12]}, {what}",
        "code": "template_malformed",
        "hint": NEXT,
    }


async def test_a_step_of_the_build_fails(shared: Site) -> None:
    repository = await shared.template("hermes", broken_template(step=3, steps=4))
    workspace = await shared.server.create("hermes")
    error = await shared.failed(workspace)
    build = (await shared.server.view(workspace))["build"]
    steps = build["step"]["of"]  # 4, but the classic builder counts each label as a step
    assert error == {
        "error": f"local-build mode: the image of hermes ({repository.url} at {repository.tip()[:12]}) failed to build:"
        f" step 3 of {steps}, RUN echo this step fails on purpose && exit 23: exit code 23\nthis step fails on purpose",
        "code": "build_failed",
        "hint": f"the whole log: GET {build['log']}; repair the template and commit, or try again if a download failed",
    }
    assert (build["state"], build["error"]) == ("failed", error)
    log = (await shared.server.client.get(build["log"])).text
    assert "RUN echo this step fails on purpose" in log
    await shared.is_gone(workspace)


async def test_the_base_image_cannot_be_pulled(shared: Site) -> None:
    repository = await shared.template("gemini-cli", missing_base_template())
    workspace = await shared.server.create("gemini-cli")
    error = await shared.failed(workspace)
    assert error["error"].startswith(
        f"local-build mode: the image of gemini-cli ({repository.url} at {repository.tip()[:12]}) cannot be built:"
        " base image 127.0.0.1:1/no/such-image:latest could not be pulled: "
    )
    assert error["code"] == "base_image_unavailable"
    log = (await shared.server.view(workspace))["build"]["log"]
    assert error["hint"] == (
        f"check that this machine reaches the base image's registry, or make the image; log: GET {log}"
    )


async def test_an_unknown_runtime_asks_nobody(shared: Site) -> None:
    before = len(shared.git.requests)
    error = await shared.server.call("POST", "/workspaces", {"name": "a", "runtime": "nope"}, status=400)
    assert error == {
        "error": "unknown runtime: nope",
        "code": "unknown_runtime",
        "hint": "known runtimes: autogen, claude-code, codex, crewai, deepagents, gemini-cli, hermes, langgraph,"
        " openclaw",
    }
    assert len(shared.git.requests) == before
