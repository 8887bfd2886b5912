"""From a POST to an agent that answers, with the example template and with those of real shape."""

import secrets
from pathlib import Path

import pytest

from support.engine import Engine
from support.git_objects import read_files
from support.git_repository import Repository
from support.git_server import GitServer
from support.templates import real_template

from .site import LANGGRAPH, Serve, Site, quick_agent

pytestmark = [pytest.mark.engine, pytest.mark.slow]

ECHO = Path(__file__).parents[2] / "examples" / "echo"
PHASES = ["image", "environment", "volumes", "container", "start", "online"]


@pytest.fixture
async def echo(git_host: GitServer) -> Repository:
    return await git_host.create("examples/echo", {**read_files(ECHO), "mark": secrets.token_hex(8)})


@pytest.fixture
async def echo_site(serve: Serve, git_host: GitServer, api: Engine, echo: Repository) -> Site:
    """A server that knows the example's runtime."""
    server = await serve(MOLECULE_EXTRA_RUNTIMES="echo", MOLECULE_TEMPLATE_REPO_ECHO=echo.url)
    return Site(server=server, git=git_host, engine=api)


async def test_a_create_is_answered_at_once_and_the_workspace_comes_online(echo_site: Site, echo: Repository) -> None:
    server = echo_site.server
    hold = echo.faults.hold()  # nothing can have been looked up when the answer is there
    workspace = await server.create("echo")
    assert (await server.listed(workspace))["status"] == "provisioning"
    hold.release()
    view = await server.until(workspace, "online")
    assert [(phase["name"], phase["state"]) for phase in view["phases"]] == [(name, "done") for name in PHASES]
    assert (view["phase"], view["generation"], view["error"]) == ("online", 1, None)
    assert view["image"]["commit"] == echo.tip()
    assert view["image"]["source"] == "local-build"
    assert view["image"]["id"].startswith("sha256:")
    listed = await server.listed(workspace)
    assert (listed["status"], listed["last_sample_error"]) == ("online", "")
    assert listed["agent_card"]["name"]


async def test_the_work_is_told_step_by_step_in_the_log(echo_site: Site, echo: Repository) -> None:
    server = echo_site.server
    await server.until(await server.create("echo"), "online")
    build = (await server.builds())[0]
    told = [line for line in server.log_lines() if line["event"].startswith("local-build: ") and "runtime" in line]
    took = [line["event"].rpartition("(")[2] for line in told if "build done" in line["event"]]
    assert [line["event"] for line in told] == [
        "local-build: image missing",
        f"local-build: cloning {echo.url}",
        f"local-build: clone complete ({echo.tip()[:12]})",
        "local-build: docker build start",
        f"local-build: docker build done ({took[0]}",
    ]
    assert {(line["runtime"], line["commit"]) for line in told} == {("echo", echo.tip()[:12])}
    assert {line["build_id"] for line in told if "build_id" in line} == {build["build_id"][:12]}


async def test_a_message_reaches_the_agent_through_the_server(echo_site: Site) -> None:
    workspace = await echo_site.server.create("echo")
    await echo_site.server.until(workspace, "online")
    assert await echo_site.say(workspace, "grüß dich") == "grüß dich"


async def test_a_second_workspace_makes_no_clone_and_no_build(site: Site) -> None:
    await site.template(LANGGRAPH, quick_agent())
    first = await site.server.create(LANGGRAPH)
    await site.server.until(first, "online")
    looked_up, packs, builds = len(site.git.ref_requests()), len(site.git.packs_sent()), await site.server.builds()
    second = await site.server.create(LANGGRAPH)
    await site.server.until(second, "online")
    assert len(site.git.ref_requests()) == looked_up + 1
    assert len(site.git.packs_sent()) == packs == 1
    assert await site.server.builds() == builds
    assert len(builds) == 1
    assert (await site.container(first))["Image"] == (await site.container(second))["Image"]
    assert (await site.server.view(second))["image"]["build"] is None


async def test_a_look_up_is_one_request(site: Site) -> None:
    await site.template(LANGGRAPH, quick_agent())
    await site.server.until(await site.server.create(LANGGRAPH), "online")
    before = len(site.git.requests)
    await site.server.until(await site.server.create(LANGGRAPH), "online")
    assert [(each.method, each.service) for each in site.git.requests[before:]] == [("GET", "info/refs")]


@pytest.mark.parametrize("runtime", ["langgraph", "claude-code"])
async def test_a_template_of_real_shape_comes_online_through_the_prefix(site: Site, runtime: str) -> None:
    repository = await site.template(runtime, real_template(runtime))
    assert repository.url == f"{site.git.repo_prefix}{runtime}"
    workspace = await site.server.create(runtime)
    await site.server.until(workspace, "online", seconds=100)
    assert await site.say(workspace, "hello") == "echo: hello"
    labels = (await site.image(workspace))["Config"]["Labels"]
    assert (labels["molecule.image.runtime"], labels["molecule.image.source"]) == (runtime, repository.url)
