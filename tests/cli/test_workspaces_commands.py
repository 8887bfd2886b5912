"""``workspace-server workspaces …``, against a server that runs as a process of its own, with agents that answer."""

import asyncio
import json
import os
import re
import secrets
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from support.git_server import GitServer, git_server
from support.ports import free_port
from support.processes import running
from support.server import ServerProcess, eventually, server_process
from support.templates import agent_template, config, tiny_template

from .conftest import Ended
from .process import run

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

TALKS, WAITS, ENDS, NEEDY = (f"t-{secrets.token_hex(6)}" for _ in range(4))
NOBODY = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True, slots=True)
class Site:
    """A server, and commands that ask it."""

    server: ServerProcess

    async def command(self, *arguments: str, **variables: str) -> Ended:
        return await run({**self.server.environment, **variables}, "workspaces", *arguments)

    async def said(self, *arguments: str) -> str:
        """What a command that ends well prints."""
        ended = await self.command(*arguments)
        assert (ended.code, ended.err) == (0, ""), ended
        return ended.out

    async def json(self, *arguments: str) -> Any:
        return json.loads(await self.said(*arguments, "--json"))

    async def waiting(self, name: str = "a") -> str:
        """A workspace whose agent never calls."""
        workspace = await self.server.create(WAITS, name)

        async def started() -> bool:
            return bool((await self.server.view(workspace))["phase"] == "online")

        await eventually(started, "its container runs")
        return workspace


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def site(
    engine_url: str, workspace_network: None, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Site]:
    directory = tmp_path_factory.mktemp("site")
    ends = {**tiny_template(ENDS), "Dockerfile": 'FROM python:3.11-slim\nCMD ["sh", "-c", "echo no key; exit 3"]\n'}
    needy = config(NEEDY).replace("{}", "{required_env: [A_KEY]}")
    async with git_server(directory) as git:
        await templates(git, ends, {**agent_template(NEEDY), "config.yaml": needy})
        variables = {
            "MOLECULE_LOCAL_TEMPLATE_REPO_PREFIX": git.repo_prefix,
            "MOLECULE_EXTRA_RUNTIMES": f"{TALKS},{WAITS},{ENDS},{NEEDY}",
        }
        async with server_process(directory, engine_url, **variables) as server:
            yield Site(server)


async def templates(git: GitServer, ends: Any, needy: Any) -> None:
    await git.create_template(TALKS, agent_template(TALKS))
    await git.create_template(WAITS, tiny_template(WAITS, content=WAITS))
    await git.create_template(ENDS, ends)
    await git.create_template(NEEDY, needy)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def ada(site: Site) -> str:
    """A workspace with an agent, made by the command; its id."""
    said = (await site.said("create", "Ada", "--runtime", TALKS, "--tier", "2", "--role", "critic")).splitlines()
    created, *steps, last = said
    workspace = created.removeprefix("created: ")
    assert [re.sub(r" \d.*", "", step) for step in steps if "✓" in step] == [
        "  ✓ image",
        "  ✓ configuration",
        "  ✓ network and volumes",
        "  ✓ container",
        "  ✓ start",
        "  ✓ agent's first call",
    ]
    assert last == f"online: {workspace}"
    return workspace


async def test_create_as_json_is_how_it_ended_and_nothing_else(site: Site) -> None:
    view = await site.json("create", "b", "--runtime", TALKS)

    assert (view["status"], view["generation"], view["error"]) == ("online", 1, None)


async def test_create_without_waiting_ends_at_once(site: Site) -> None:
    created = await site.json("create", "c", "--runtime", WAITS, "--no-wait")

    assert created["status"] == "provisioning"


async def test_create_that_fails_ends_with_the_servers_words(site: Site) -> None:
    ended = await site.command("create", "d", "--runtime", ENDS)
    as_json = await site.command("create", "d2", "--runtime", ENDS, "--json")

    assert (ended.code, as_json.code, json.loads(as_json.out)["error"]["code"]) == (1, 1, "agent_exited")
    assert ended.err.startswith(
        "error: the agent's container ended with exit code 3 before the agent's first call\nno key"
    )


async def test_create_takes_secrets_from_variables_whose_names_it_is_given(site: Site) -> None:
    ended = await site.command("create", "e", "--runtime", NEEDY, "--secret", "A_KEY", "--json", A_KEY="a value")

    assert (ended.code, json.loads(ended.out)["status"], "a value" in ended.out + ended.err) == (0, "online", False)


async def test_create_with_a_variable_that_is_not_there_is_a_wrong_use(site: Site) -> None:
    ended = await site.command("create", "f", "--runtime", NEEDY, "--secret", "A_KEY")

    assert (ended.code, "there is no variable A_KEY in this shell" in ended.err) == (2, True)


async def test_create_below_another(site: Site, ada: str) -> None:
    view = await site.json("create", "child", "--runtime", WAITS, "--parent", "Ada", "--no-wait")

    assert (await site.server.listed(view["id"]))["parent_id"] == ada


async def test_create_with_a_directory_and_a_template(site: Site) -> None:
    project = site.server.home / "project"
    made(project)
    view = await site.json("create", "l", "--template", WAITS, "--dir", str(project), "--access", "none", "--no-wait")
    refused = await site.command("create", "m", "--template", "nope")

    assert view["workspace_access"] == "none"
    assert (await site.server.listed(view["id"]))["workspace_dir"] == str(project)
    assert (refused.code, refused.err) == (
        1,
        "error: there is no config template nope\nhint: CONFIGS_DIR has none\n",
    )


def made(directory: Path) -> None:
    directory.mkdir()


async def test_create_that_is_interrupted_says_that_it_goes_on(site: Site) -> None:
    argv = (sys.executable, "-m", "workspace_server", "workspaces", "create", "g", "--runtime", WAITS)
    async with running(*argv, env=site.server.environment, stdin=DEVNULL, stdout=PIPE, stderr=PIPE) as process:
        assert process.stdout is not None
        workspace = (await asyncio.wait_for(process.stdout.readline(), 30)).decode().split()[1]
        await asyncio.wait_for(process.stdout.readline(), 30)  # a step: it watches
        process.send_signal(signal.SIGINT)
        _, err = await asyncio.wait_for(process.communicate(), 30)

    assert process.returncode == 130
    assert err.decode() == f"it goes on; to see how far it is: workspace-server workspaces show {workspace}\n"
    assert (await site.server.view(workspace))["status"] == "provisioning"


async def test_list_has_a_row_for_each_workspace(site: Site, ada: str) -> None:
    (row,) = [line for line in (await site.said("list")).splitlines() if ada in line]

    assert row.split() == ["Ada", ada, TALKS, "2", "online"]


async def test_list_as_json_is_the_servers_answer(site: Site, ada: str) -> None:
    assert ada in [each["id"] for each in await site.json("list")]


@pytest.mark.parametrize("by", ["name", "id", "beginning"])
async def test_show_says_what_it_is_and_how_far(site: Site, ada: str, by: str) -> None:
    lines = (await site.said("show", {"name": "Ada", "id": ada, "beginning": ada[:8]}[by])).splitlines()

    assert lines[:6] == [
        "name     Ada",
        f"id       {ada}",
        "status   online",
        f"runtime  {TALKS}",
        "tier     2",
        "role     critic",
    ]
    assert re.match(r"image    [0-9a-f]{12}, local-build [0-9a-f]{12}, built ", lines[6])
    assert [line[:3] for line in lines[-6:]] == ["  ✓"] * 6


async def test_show_says_why_it_failed(site: Site) -> None:
    workspace = (await site.json("create", "h", "--runtime", ENDS, "--no-wait"))["id"]
    await site.server.until(workspace, "failed")
    said = await site.said("show", workspace)

    assert ("\n  ✗ agent's first call " in said, "\nerror: the agent's container ended with exit code 3" in said) == (
        True,
        True,
    )


async def test_show_as_json_is_the_workspace_and_its_provisioning(site: Site, ada: str) -> None:
    shown = await site.json("show", "Ada")

    assert (shown["id"], shown["role"], shown["provisioning"]["status"]) == (ada, "critic", "online")


async def test_logs_are_what_the_container_wrote(site: Site, ada: str) -> None:
    lines = await site.json("logs", "Ada")

    assert (f"registered as {ada}" in "\n".join(lines), (await site.said("logs", ada)).splitlines()[: len(lines)]) == (
        True,
        lines,
    )
    assert len(await site.json("logs", "Ada", "--tail", "1")) == 1


@pytest.mark.parametrize("options", [[], ["--json"]])
async def test_logs_followed_go_on_until_the_container_ends(site: Site, options: list[str]) -> None:
    workspace = (await site.json("create", "i", "--runtime", TALKS))["workspace_id"]
    argv = (sys.executable, "-m", "workspace_server", "workspaces", "logs", "-f", workspace, *options)
    async with running(*argv, env=site.server.environment, stdin=DEVNULL, stdout=PIPE, stderr=PIPE) as process:
        assert process.stdout is not None
        first = (await asyncio.wait_for(process.stdout.readline(), 30)).decode()
        await site.said("pause", workspace)
        out, err = await asyncio.wait_for(process.communicate(), 30)

    assert (process.returncode, err.decode().startswith("error")) == (0, False)
    if options:
        assert (json.loads(first)["event"], json.loads(out.decode().splitlines()[-1])["event"]) == ("line", "end")


async def test_message_prints_what_the_agent_answers(site: Site, ada: str) -> None:
    assert await site.said("message", "Ada", "Hello") == "echo: Hello\n"


async def test_message_as_json_is_the_whole_answer(site: Site, ada: str) -> None:
    reply = await site.json("message", ada, "Hello")

    assert (reply["jsonrpc"], reply["result"]["role"]) == ("2.0", "agent")


async def test_message_to_a_workspace_without_an_agent_is_an_error(site: Site) -> None:
    workspace = await site.waiting("silent")
    await site.server.call("POST", f"/workspaces/{workspace}/pause")
    ended = await site.command("message", workspace, "Hello")

    assert (ended.code, ended.err.startswith("error: the workspace silent is paused: it has no agent")) == (1, True)


async def test_restart_waits_for_the_agent_of_the_new_container(site: Site) -> None:
    workspace = (await site.json("create", "j", "--runtime", TALKS))["workspace_id"]

    assert (await site.said("restart", workspace)).splitlines()[-1] == f"online: {workspace}"
    assert (await site.json("restart", workspace))["generation"] > 2
    assert await site.said("restart", workspace, "--no-wait") == f"being provisioned: {workspace}\n"


async def test_pause_stops_a_family_and_resume_starts_it(site: Site) -> None:
    workspace = (await site.json("create", "k", "--runtime", TALKS))["workspace_id"]
    await site.said("create", "k2", "--runtime", WAITS, "--parent", workspace, "--no-wait")

    assert await site.said("pause", workspace) == "paused: 2 workspaces\n"
    assert (await site.said("resume", workspace)).splitlines()[-1] == f"online: {workspace}"
    assert (await site.json("pause", workspace)) == {"status": "paused", "paused_count": 2}


async def test_resume_of_what_is_not_paused_is_an_error(site: Site, ada: str) -> None:
    ended = await site.command("resume", "Ada")

    assert (ended.code, ended.err) == (1, "error: workspace not found or not paused\n")


async def test_delete_removes_what_somebody_said_yes_to(site: Site) -> None:
    workspace = await site.waiting("old")
    await site.server.create(WAITS, "below old", parent_id=workspace)
    refused = await site.command("delete", "old")

    assert (refused.code, refused.out) == (1, "")
    assert refused.err == (
        f"error: nobody said yes to: remove old ({workspace}) and 1 workspace below it\nhint: repeat with --yes\n"
    )
    assert await site.said("delete", "old", "--yes") == "removed: 2 workspaces\n"


async def test_delete_can_purge_what_was_removed_before(site: Site) -> None:
    workspace = await site.waiting("older")

    assert await site.said("delete", "-y", workspace) == "removed: 1 workspace\n"
    assert (await site.json("delete", "-y", workspace, "--purge"))["status"] == "purged"


@pytest.mark.parametrize("command", ["show", "logs", "message", "restart", "pause", "resume", "delete"])
@pytest.mark.parametrize(("wanted", "words"), [("nope", "there is no workspace nope"), (NOBODY, "workspace not found")])
async def test_an_unknown_workspace_is_an_error(site: Site, command: str, wanted: str, words: str) -> None:
    ended = await site.command(command, wanted, *(["text"] if command == "message" else []))

    assert (ended.code, ended.out, ended.err.splitlines()[0]) == (1, "", f"error: {words}")


async def test_a_name_that_several_have_is_not_guessed(site: Site) -> None:
    ids = [(await site.json("create", "twin", "--runtime", WAITS, "--no-wait"))["id"] for _ in range(2)]
    ended = await site.command("pause", "twin")

    assert (ended.code, ended.err) == (
        1,
        f"error: several workspaces are called twin\nhint: use an id: {', '.join(ids)}\n",
    )


@pytest.mark.parametrize(
    "arguments",
    [["list"], ["create", "x"], *([name, "x"] for name in ("show", "logs", "restart", "pause", "resume", "delete"))],
    ids=" ".join,
)
async def test_without_a_server_a_command_says_how_to_start_one(
    arguments: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    port, home = free_port(), str(tmp_path_factory.mktemp("home"))
    ended = await run({"PATH": os.defpath, "HOME": home, "PORT": str(port)}, "workspaces", *arguments)

    assert (ended.code, ended.out) == (1, "")
    assert ended.err == (
        f"error: no server answers at http://127.0.0.1:{port}\nhint: start it: workspace-server serve\n"
    )
