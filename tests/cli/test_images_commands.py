"""``workspace-server images …`` and ``runtimes``, against a server that runs as a process of its own."""

import asyncio
import json
import os
import re
import secrets
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from support.build_host import BuildHost, build_host
from support.gate import Gate
from support.git_server import GitServer, git_server
from support.ports import free_port
from support.processes import running
from support.server import ServerProcess, server_process
from support.templates import broken_template, calling_template, tiny_template

from .conftest import Ended
from .process import run

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]


@dataclass(frozen=True, slots=True)
class Site:
    """A server, its Git host, and runtimes of this module alone."""

    server: ServerProcess
    git: GitServer
    host: BuildHost
    runtimes: list[str]

    async def command(self, *arguments: str) -> Ended:
        return await run(self.server.environment, *arguments)

    async def said(self, *arguments: str) -> str:
        """What a command that ends well prints."""
        ended = await self.command(*arguments)
        assert (ended.code, ended.err) == (0, ""), ended
        return ended.out

    async def json(self, *arguments: str) -> Any:
        return json.loads(await self.said(*arguments, "--json"))

    async def new(self) -> str:
        """A runtime that has a template now."""
        runtime = self.runtimes.pop()
        await self.git.create_template(runtime, tiny_template(runtime, content=runtime))
        return runtime

    @asynccontextmanager
    async def building(self) -> AsyncIterator[tuple[str, Gate]]:
        """A build that waits at a gate: its id, and the gate."""
        runtime = self.runtimes.pop()
        gate = self.host.hold(f"/{runtime}")
        await self.git.create_template(runtime, calling_template(f"{self.host.url}/{runtime}"))
        begun = await self.server.call("POST", "/images/builds", {"runtime": runtime}, status=202)
        await asyncio.wait_for(gate.arrived.wait(), 60)
        try:
            yield begun["id"], gate
        finally:
            gate.release()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def site(
    engine_url: str, workspace_network: None, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Site]:
    directory = tmp_path_factory.mktemp("site")
    runtimes = [f"t-{secrets.token_hex(6)}" for _ in range(20)]
    async with git_server(directory) as git, build_host(engine_url) as host:
        variables = {
            "MOLECULE_LOCAL_TEMPLATE_REPO_PREFIX": git.repo_prefix,
            "MOLECULE_EXTRA_RUNTIMES": ",".join(runtimes),
        }
        async with server_process(directory, engine_url, **variables) as server:
            yield Site(server, git, host, list(runtimes))


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def built(site: Site) -> Any:
    """A build that was made by the command."""
    return await site.json("images", "build", await site.new())


async def test_build_says_each_step_and_the_images_id(site: Site) -> None:
    runtime = await site.new()
    head, *steps, last = (await site.said("images", "build", runtime)).splitlines()
    assert (head.startswith(f"  building {runtime} at "), last.startswith("built: sha256:")) == (True, True)
    assert [re.sub(r"\(.*", "", step) for step in steps[:1]] == [
        "  step 1 of 2: FROM docker.io/library/python:3.11-slim "
    ]
    assert all(re.search(r" \((cached|\d+\.\d s)\)$", step) for step in steps)


async def test_build_as_json_is_the_ended_build_and_nothing_else(built: Any) -> None:
    assert (built["state"], built["reason"], built["error"]) == ("succeeded", "no image", None)


async def test_build_of_what_is_there_says_so(site: Site, built: Any) -> None:
    assert await site.said("images", "build", built["runtime"]) == f"already built: {built['image_id']}\n"


async def test_build_forced_builds_again(site: Site) -> None:
    runtime = await site.new()
    builds = [await site.json("images", "build", "--force", "--no-cache", runtime) for _ in range(2)]
    assert [(build["state"], build["reason"]) for build in builds] == [("succeeded", "forced")] * 2
    assert builds[0]["id"] != builds[1]["id"]
    listed = await site.json("images", "builds", runtime, "--limit", "1")
    assert [build["id"] for build in listed] == [builds[1]["id"]]


async def test_build_pulling_asks_for_base_images_that_are_here(site: Site) -> None:
    """The base image is in no registry, so that it was asked for is seen by the failure."""
    ended = await site.command("images", "build", "--pull", await site.new())
    assert (ended.code, "base image docker.io/library/python:3.11-slim could not be pulled" in ended.err) == (1, True)


async def test_build_that_fails_ends_with_the_servers_words(site: Site) -> None:
    runtime = site.runtimes.pop()
    await site.git.create_template(runtime, {**broken_template(), "mark": runtime})
    ended = await site.command("images", "build", runtime)
    assert (ended.code, ended.err.startswith(f"error: local-build mode: the image of {runtime} (")) == (1, True)
    assert "exit code 23" in ended.err
    assert "hint: the whole log: GET /images/builds/" in ended.err
    assert re.search(r"^  step 2 of 3: RUN .* \(failed after \d\.\d s\)$", ended.out, re.MULTILINE)
    again = await site.command("images", "build", runtime, "--force", "--json")
    assert (again.code, json.loads(again.out)["error"]["code"]) == (1, "build_failed")


async def test_build_that_is_interrupted_says_that_it_goes_on_and_how_to_end_it(site: Site) -> None:
    async with site.building() as (build, _):
        (runtime,) = [each["runtime"] for each in await site.server.builds() if each["id"] == build]
        argv = (sys.executable, "-m", "workspace_server", "images", "build", runtime)
        env = site.server.environment
        async with running(*argv, env=env, stdin=DEVNULL, stdout=PIPE, stderr=PIPE) as process:
            assert process.stdout is not None
            first = await asyncio.wait_for(process.stdout.readline(), 30)
            process.send_signal(signal.SIGINT)
            _, err = await asyncio.wait_for(process.communicate(), 30)
        state = (await site.server.call("GET", f"/images/builds/{build}"))["state"]
    assert (first.startswith(b"  building "), process.returncode, state) == (True, 130, "running")
    assert err.decode() == f"the build goes on; to end it: workspace-server images cancel {build}\n"


async def test_build_of_an_unknown_runtime_names_the_known_ones(site: Site) -> None:
    ended = await site.command("images", "build", "nope")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith("error: unknown runtime: nope\nhint: known runtimes: autogen, ")


async def test_list_has_a_row_for_each_image(site: Site, built: Any) -> None:
    (row,) = [line for line in (await site.said("images", "list")).splitlines() if built["runtime"] in line]
    assert row.split()[:2] == [built["runtime"], built["commit"][:12]]


async def test_list_as_json_is_the_servers_answer(site: Site, built: Any) -> None:
    (image,) = [each for each in await site.json("images", "list") if each["build_id"] == built["build_id"]]
    assert (image["runtime"], image["last_used_at"] is not None) == (built["runtime"], True)


async def test_builds_has_a_row_for_each_build(site: Site, built: Any) -> None:
    (row,) = [line for line in (await site.said("images", "builds")).splitlines() if built["id"] in line]
    assert row.split()[:4] == [built["id"], built["runtime"], built["commit"][:12], "succeeded"]


async def test_builds_as_json_is_the_servers_answer(site: Site, built: Any) -> None:
    assert built in await site.json("images", "builds")


async def test_explain_says_hit_or_miss_and_from_what(site: Site, built: Any) -> None:
    lines = (await site.said("images", "explain", built["runtime"])).splitlines()
    assert lines[0] == f"{built['runtime']}: hit"
    assert f"  commit    {built['commit']}" in lines
    assert f"  build id  {built['build_id']}" in lines


async def test_explain_says_why_it_is_a_miss(site: Site) -> None:
    runtime = await site.new()
    assert (await site.said("images", "explain", runtime)).splitlines()[0] == f"{runtime}: miss: no image"


async def test_explain_as_json_is_the_servers_answer(site: Site) -> None:
    answer = await site.json("images", "explain", await site.new())
    assert (answer["verdict"], answer["reason"], answer["image"]) == ("miss", "no image", None)


async def test_log_is_the_whole_log(site: Site, built: Any) -> None:
    kept = site.server.cache / "builds" / built["id"] / "log"
    assert await site.said("images", "log", built["id"]) == kept.read_text()


async def test_log_as_json_is_the_lines(site: Site, built: Any) -> None:
    kept = site.server.cache / "builds" / built["id"] / "log"
    assert await site.json("images", "log", built["id"]) == kept.read_text().splitlines()


async def test_log_followed_is_the_log_to_its_end(site: Site) -> None:
    async with site.building() as (build, gate):
        so_far = await site.said("images", "log", build)
        following = asyncio.create_task(site.said("images", "log", "-f", build))
        gate.release()
        said = await following
    assert said == (site.server.cache / "builds" / build / "log").read_text()
    assert (said.startswith(so_far), len(said) > len(so_far) > 0) == (True, True)


async def test_log_followed_as_json_is_an_event_a_line_and_the_ended_build_at_last(site: Site, built: Any) -> None:
    events = [json.loads(line) for line in (await site.said("images", "log", "-f", "--json", built["id"])).splitlines()]
    lines = [event["data"]["text"] for event in events if event["event"] == "line"]
    assert lines == await site.json("images", "log", built["id"])
    assert (events[-1]["event"], events[-1]["data"]) == ("end", built)


@pytest.mark.parametrize("arguments", [["log"], ["log", "-f"], ["log", "--json"], ["log", "-f", "--json"], ["cancel"]])
async def test_an_unknown_build_is_an_error(site: Site, arguments: list[str]) -> None:
    ended = await site.command("images", *arguments, "nope")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == "error: no build nope\nhint: GET /images/builds lists them\n"


@pytest.mark.parametrize(("options", "said"), [([], "cancelled\n"), (["--json"], '{\n  "status": "cancelled"\n}\n')])
async def test_cancel_ends_a_build(site: Site, options: list[str], said: str) -> None:
    async with site.building() as (build, gate):
        assert await site.said("images", "cancel", build, *options) == said
        await asyncio.wait_for(gate.left.wait(), 5)
    assert (await site.server.call("GET", f"/images/builds/{build}"))["state"] == "cancelled"


async def test_cancel_of_an_ended_build_is_an_error(site: Site, built: Any) -> None:
    ended = await site.command("images", "cancel", built["id"])
    assert (ended.code, "is not under way in this server" in ended.err) == (1, True)


async def test_prune_sums_up(site: Site, built: Any) -> None:
    said = (await site.said("images", "prune")).splitlines()
    assert said[0].split() == ["removed", "name", "size", "why"]
    assert said[-1].startswith("0 B freed, ")
    assert said[-1].endswith(" left of a budget of 20.5 GB")


async def test_prune_as_a_dry_run_says_why_the_rest_is_kept(site: Site, built: Any) -> None:
    said = await site.said("images", "prune", "--dry-run")
    (row,) = [line for line in said.splitlines() if built["id"] in line]
    assert (said.split()[:2], "used in the last ten minutes" in row) == (["would", "remove"], True)


async def test_prune_as_json_is_the_servers_answer(site: Site, built: Any) -> None:
    answer = await site.json("images", "prune", "--dry-run")
    assert (answer["removed"], answer["freed"]) == ([], 0)


async def test_runtimes_says_what_can_be_provisioned(site: Site, built: Any) -> None:
    rows = {line.split()[0]: line for line in (await site.said("runtimes")).splitlines()}
    assert rows[built["runtime"]].split()[:3] == [built["runtime"], "local-build", built["commit"][:12]]
    assert rows[built["runtime"]].rstrip().endswith(" yes")


async def test_runtimes_says_why_one_cannot_be_provisioned(site: Site) -> None:
    rows = [line for line in (await site.said("runtimes")).splitlines() if line.startswith("hermes ")]
    assert ["no: does not exist: the template repository" in row for row in rows] == [True]


async def test_runtimes_as_json_is_the_servers_answer(site: Site, built: Any) -> None:
    (found,) = [each for each in await site.json("runtimes") if each["name"] == built["runtime"]]
    assert (found["provisionable"], found["head"], found["image"]["id"]) == (True, built["commit"], built["image_id"])


@pytest.mark.parametrize(
    "arguments",
    [
        ["runtimes"],
        *(["images", name] for name in ("list", "builds", "prune")),
        *(["images", name, "x"] for name in ("build", "explain", "log", "cancel")),
        ["images", "log", "-f", "x"],
    ],
    ids=" ".join,
)
async def test_without_a_server_a_command_says_how_to_start_one(
    arguments: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    port, home = free_port(), str(tmp_path_factory.mktemp("home"))
    ended = await run({"PATH": os.defpath, "HOME": home, "PORT": str(port)}, *arguments)
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == (
        f"error: no server answers at http://127.0.0.1:{port}\nhint: start it: workspace-server serve\n"
    )
