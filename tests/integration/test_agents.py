"""Agents that end, that stay silent, and whose container is taken away."""

import json

import pytest

from support.engine import Engine
from support.git_server import GitServer
from support.server import eventually
from support.templates import config, tiny_template

from .site import LANGGRAPH, Serve, Site, quick_agent

pytestmark = [pytest.mark.engine, pytest.mark.slow]


@pytest.fixture
async def hasty_site(serve: Serve, git_host: GitServer, api: Engine) -> Site:
    """A server that gives agents one second for their first call."""
    server = await serve(MOLECULE_LOCAL_TEMPLATE_REPO_PREFIX=git_host.repo_prefix, PROVISION_TIMEOUT_SECONDS="1")
    return Site(server=server, git=git_host, engine=api)


async def test_an_agent_that_ends_is_a_failure_with_its_code_and_its_last_lines(site: Site) -> None:
    dockerfile = "FROM python:3.11-slim\nCMD seq -f 'line %.0f' 40; echo last words; exit 7\n"
    await site.template(LANGGRAPH, {"Dockerfile": dockerfile, "config.yaml": config(LANGGRAPH)})
    workspace = await site.server.create(LANGGRAPH)
    said = "\n".join([*(f"line {n}" for n in range(12, 41)), "last words"])
    assert await site.failed(workspace) == {
        "error": f"the agent's container ended with exit code 7 before the agent's first call\n{said}",
        "code": "agent_exited",
        "hint": "correct what the last lines complain of, then create the workspace again",
    }
    await site.is_gone(workspace)


async def test_an_agent_that_ends_without_a_word_is_said_to_have_said_nothing(site: Site) -> None:
    await site.template(LANGGRAPH, {"Dockerfile": "FROM python:3.11-slim\nCMD exit 0\n"})
    error = await site.failed(await site.server.create(LANGGRAPH))
    assert error["error"] == (
        "the agent's container ended with exit code 0 before the agent's first call\n(it wrote nothing)"
    )


async def test_an_agent_that_never_calls_is_a_failure_and_its_container_is_kept(hasty_site: Site) -> None:
    files = tiny_template()
    files["Dockerfile"] = str(files["Dockerfile"]).replace("sleep infinity", "echo waiting; sleep infinity")
    await hasty_site.template(LANGGRAPH, files)
    workspace = await hasty_site.server.create(LANGGRAPH)
    assert await hasty_site.failed(workspace) == {
        "error": "the container runs, but its agent did not call this server within 1 s\nwaiting",
        "code": "agent_silent",
        "hint": f"does the container reach http://host.docker.internal:{hasty_site.server.port}?"
        " PROVISION_TIMEOUT_SECONDS sets the limit",
    }
    container = await hasty_site.container(workspace)
    assert container["State"]["Status"] == "exited"
    assert await hasty_site.volumes(workspace) == {f"ws-{workspace[:12]}-configs", f"ws-{workspace}-workspace"}


async def test_an_agent_that_calls_after_all_is_online_again(hasty_site: Site) -> None:
    """Its container was stopped and kept; when a person starts it, its register wins."""
    files = quick_agent()
    late = "test -e /configs/again && exec python3 -u adapter.py; touch /configs/again; trap exit TERM; sleep 99 & wait"
    files["Dockerfile"] = "\n".join([*str(files["Dockerfile"]).splitlines()[:-1], f"CMD {late}", ""])
    await hasty_site.template(LANGGRAPH, files)
    workspace = await hasty_site.server.create(LANGGRAPH)
    assert (await hasty_site.failed(workspace))["code"] == "agent_silent"
    container = await hasty_site.container(workspace)
    await hasty_site.engine.call("POST", f"/containers/{container['Id']}/start")

    async def online() -> bool:
        listed = await hasty_site.server.listed(workspace)
        return (listed["status"], listed["last_sample_error"]) == ("online", "")

    await eventually(online, "the workspace is online")


async def test_a_container_that_is_taken_away_is_noticed_and_comes_back(site: Site) -> None:
    await site.template(LANGGRAPH, quick_agent())
    workspace = await site.server.create(LANGGRAPH)
    await site.server.until(workspace, "online")
    container = await site.container(workspace)
    await site.engine.call("DELETE", f"/containers/{container['Id']}", force="true")

    await is_back(site, workspace, container["Id"])
    (line,) = site.server.log_lines("workspace offline")
    assert (line["workspace"], line["reason"]) == (workspace, "its container does not run")


async def is_back(site: Site, workspace: str, taken: str) -> None:
    """Wait until a workspace is online in another container than the one that was taken away."""

    async def online() -> bool:
        found = [each["Id"] for each in await site.containers(workspace)]
        return (await site.server.listed(workspace))["status"] == "online" and found not in ([], [taken])

    await eventually(online, "the workspace is online in another container")


async def test_a_container_that_was_taken_away_while_no_server_ran_comes_back(site: Site) -> None:
    await site.template(LANGGRAPH, quick_agent())
    workspace = await site.server.create(LANGGRAPH)
    await site.server.until(workspace, "online")
    container = await site.container(workspace)
    await site.server.stop()
    await site.engine.call("DELETE", f"/containers/{container['Id']}", force="true")
    await site.server.start()
    await is_back(site, workspace, container["Id"])


async def test_an_agent_on_the_gateway_is_known_by_its_token_and_by_its_address(site: Site) -> None:
    """From inside a workspace's container: its own reads with its token, a list for nobody, itself by its address."""
    await site.template(LANGGRAPH, quick_agent())
    workspace = await site.server.create(LANGGRAPH)
    await site.server.until(workspace, "online")
    program = """
import json, os, urllib.error, urllib.request
def ask(path, **headers):
    request = urllib.request.Request(os.environ["PLATFORM_URL"] + path, headers=headers)
    try:
        return urllib.request.urlopen(request, timeout=5).status
    except urllib.error.HTTPError as error:
        return error.code
own = "/workspaces/" + os.environ["WORKSPACE_ID"]
token = {"Authorization": "Bearer " + open("/configs/.auth_token").read()}
claim = {"X-Workspace-ID": os.environ["WORKSPACE_ID"]}
print(json.dumps([
    ask(own), ask(own, **claim), ask(own, **token),
    ask(own + "/provisioning", **claim), ask(own + "/provisioning", **token),
    ask("/workspaces"), ask("/workspaces", **claim), ask("/workspaces", **token),
]))
"""
    container = await site.container(workspace)
    answers = json.loads(await site.run(container["Id"], "python3", "-c", program))
    assert answers == [401, 200, 200, 403, 200, 401, 403, 403]
