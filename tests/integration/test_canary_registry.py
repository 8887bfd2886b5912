"""A registry's credentials are used for pulls, refreshes and the watcher, and looked for everywhere they must not be.

As in the other canary test: a registry that repeats what it was shown, failures of every kind, and then a search of all
that is left. After that the token is planted in every kind of place, and the same search has to find it.
"""

import base64
import os
import secrets
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from support.engine import Engine, engine, purge
from support.images import waiting_image
from support.process_watch import ProcessWatch, Seen
from support.processes import running
from support.registry import registry
from support.registry_front import Refusal, RegistryFront, registry_front
from support.secret_search import SecretSearch
from support.server import ServerProcess, eventually, server_process

from .evidence import Evidence
from .press import Press

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

USER = "puller"
TOKEN = f"canary/registry+{secrets.token_hex(12)}=%2F~"
CREDENTIALS = "Basic " + base64.b64encode(f"{USER}:{TOKEN}".encode()).decode()
SECRETS = {
    "MOLECULE_REGISTRY_TOKEN": TOKEN,
    "GHCR_TOKEN": f"canary/ghcr+{secrets.token_hex(12)}=%2F~",
    "ADMIN_TOKEN": f"canary/admin+{secrets.token_hex(12)}=%2F~",
}
KINDS = (
    *("log", "API answer", "command output", "home directory", "build log", "database file", "database row"),
    *("event row", "container", "image configuration", "process arguments", "other host"),
)


@dataclass(slots=True, kw_only=True)
class Run:
    """What happened, and what was found."""

    server: ServerProcess
    front: RegistryFront
    press: Press
    engine: Engine
    clean: SecretSearch = field(default_factory=lambda: SecretSearch(SECRETS))
    planted: SecretSearch = field(default_factory=lambda: SecretSearch(SECRETS))
    codes: dict[str, str] = field(default_factory=dict)

    async def fails(self, runtime: str, refusal: Refusal | None) -> None:
        self.front.refusal = refusal
        workspace = await self.server.create(runtime, tier=2)

        async def failed() -> bool:
            view = await self.server.view(workspace)
            self.codes[runtime] = (view["error"] or {}).get("code", "")
            return bool(view["status"] == "failed")

        await eventually(failed, f"{runtime} failed")
        self.front.refusal = None


async def go_through_everything(run: Run) -> None:
    """Pulls that work and that fail, a refresh, and the watcher's own questions."""
    server = run.server
    await run.press.push("langgraph")
    workspace = await server.create("langgraph", tier=2)
    await server.until(workspace, "online")
    repeated = f"you sent {TOKEN} as {CREDENTIALS}"
    await run.fails("codex", Refusal(status=403, code="DENIED", message=repeated))
    await run.fails("crewai", Refusal(status=429, code="TOOMANYREQUESTS", message=repeated))
    await run.fails("autogen", Refusal(status=500, code="UNKNOWN", message=repeated))
    await run.fails("hermes", None)
    await server.call("POST", "/admin/workspace-images/refresh")
    await run.press.push("langgraph")
    await eventually(lambda: server.log_lines("image watcher: a newer image"), "the watcher noticed")
    await eventually(lambda: server.log_lines("workspace moves to a newer image"), "it moves")
    await server.until(workspace, "online")
    run.front.refusal = Refusal(status=403, code="DENIED", message=repeated)
    await eventually(lambda: server.log_lines("image watcher: failed"), "the watcher is refused")
    run.front.refusal = None


async def search_everything(run: Run, evidence: Evidence) -> None:
    await run.server.call("GET", "/workspaces")
    await evidence.print_newest_log()
    await evidence.collect()
    evidence.search.look("process arguments", "server", Path(f"/proc/{run.server.pid}/cmdline").read_text())  # noqa: ASYNC240 - a test's
    for seen in run.front.blobs_seen:
        evidence.search.look("other host", seen.path, f"{seen.method} {seen.path} {seen.authorization}")


async def plant_everywhere(run: Run) -> None:
    """An image that is labelled with the token, a workspace that is named after it, and what none of both reaches."""
    platform = (await run.engine.get("/version"))["Arch"]
    image = waiting_image({"molecule.image.runtime": run.press.label, "planted": TOKEN}, f"linux/{platform}")
    await run.press.hub.push("team/workspace-template-planted", image)
    workspace = await run.server.create("planted", TOKEN, role=TOKEN, tier=2)
    started = run.server.log_lines
    await eventually(lambda: any(line["workspace"] == workspace for line in started("workspace started")), "it runs")
    with run.server.log.open("a") as log:
        log.write(f'{{"event":"planted {TOKEN}"}}\n')
    newest = (await run.server.builds())[0]["id"]
    with (run.server.cache / "builds" / newest / "log").open("a") as log:
        log.write(f"planted {TOKEN}\n")
    async with httpx.AsyncClient(trust_env=False) as client:
        await client.get(f"http://{run.front.blob_host}/v2/planted", headers={"Authorization": CREDENTIALS})


async def planted_process(evidence: Evidence) -> None:
    watch = ProcessWatch(os.getpid())
    async with running("sh", "-c", "read line", TOKEN, env={"PATH": os.environ["PATH"]}, stdin=PIPE) as process:

        def seen() -> list[Seen]:
            watch.look()
            return [each for each in watch.seen if each.pid == process.pid]

        for each in await eventually(seen, "the planted process is seen"):
            evidence.search.look("process arguments", each.pid, "\n".join(each.argv))


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def run(engine_url: str, workspace_network: None, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Run]:
    directory = tmp_path_factory.mktemp("canary-registry")
    for folder in ("server", "press"):
        (directory / folder).mkdir()
    async with (
        registry(directory / "registry") as hub,
        registry_front(hub, accounts={USER: TOKEN}) as front,
        engine(engine_url) as api,
    ):
        press = Press(hub=hub, directory=directory / "press", engine_url=engine_url)
        environment = {
            **SECRETS,
            "GHCR_USER": USER,
            "MOLECULE_REGISTRY_USER": USER,
            "MOLECULE_IMAGE_REGISTRY": f"{front.host}/team",
            "MOLECULE_EXTRA_RUNTIMES": "planted",
            "IMAGE_AUTO_REFRESH": "true",
            "MOLECULE_IMAGE_AUTO_REFRESH_SECONDS": "1",
            "MOLECULE_LOG_FORMAT": "json",
            "MOLECULE_LOG_LEVEL": "debug",
        }
        try:
            async with server_process(directory / "server", engine_url, **environment) as server:
                server.client.headers["Authorization"] = f"Bearer {SECRETS['ADMIN_TOKEN']}"
                run = Run(server=server, front=front, press=press, engine=api)
                await observed(run)
                yield run
        finally:
            await purge(engine_url, f"molecule.image.runtime={press.label}")


async def observed(run: Run) -> None:
    """Go through everything, search, plant, search again."""
    evidence = Evidence(run.server, run.engine, run.clean, builds_here=False)
    evidence.listen()
    await go_through_everything(run)
    await evidence.ask_everything()
    await evidence.run_commands()
    await search_everything(run, evidence)

    evidence.search = run.planted
    await plant_everywhere(run)
    await search_everything(run, evidence)
    await planted_process(evidence)


@pytest.mark.parametrize("kind", KINDS)
async def test_no_secret_is_in_any(run: Run, kind: str) -> None:
    """And the same search finds a planted one there."""
    assert run.clean.of(kind) == []
    assert run.clean.searched[kind] > 0
    assert {hit.secret for hit in run.planted.of(kind)} == {"MOLECULE_REGISTRY_TOKEN"}


async def test_the_registry_was_shown_the_token_and_accepted_it(run: Run) -> None:
    asked = [seen for seen in run.front.seen if seen.path == "/token"]

    assert {(seen.authorization, seen.user) for seen in asked} == {(CREDENTIALS, USER)}


async def test_everything_failed_as_it_was_meant_to(run: Run) -> None:
    assert run.codes == {
        "codex": "registry_denied",
        "crewai": "registry_rate_limited",
        "autogen": "registry_unreachable",
        "hermes": "image_not_found",
    }
