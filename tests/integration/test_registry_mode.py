"""Registry mode, from outside: failures in their final words, the same everywhere, and where its token is not."""

import base64
import json
import secrets
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from support.engine import engine, purge
from support.gate import Gate
from support.git_server import git_server
from support.images import packed_image, waiting_image
from support.processes import running
from support.registry import Registry, registry
from support.registry_front import Refusal, RegistryFront, registry_front
from support.server import eventually, server_process

from .site import Site

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

USER, TOKEN = "puller", f"hush-{secrets.token_hex(12)}"
ASKED = "(asked with the credentials of MOLECULE_REGISTRY_USER and MOLECULE_REGISTRY_TOKEN)"
LABEL = f"molecule.image.runtime=registry-{secrets.token_hex(6)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """A server in registry mode, a registry behind a front, and a Git host that nobody is to ask."""

    site: Site
    hub: Registry
    front: RegistryFront

    def reference(self, runtime: str) -> str:
        return f"{self.front.host}/team/workspace-template-{runtime}:latest"

    async def failed(self, runtime: str) -> dict[str, str]:
        """The error of a new workspace, compared in all the places where it is shown."""
        return await self.site.failed(await self.site.server.create(runtime))

    async def put(self, runtime: str, *, platform: str = "linux/amd64") -> str:
        """Push an image; the digest of its layer."""
        image = packed_image(dict([LABEL.split("=")]), platform=platform)
        await self.hub.push(f"team/workspace-template-{runtime}", image)
        return image.layers[0]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def shared(
    engine_url: str, workspace_network: None, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Shared]:
    """One server for all: each test is about another runtime."""
    directory = tmp_path_factory.mktemp("registry-mode")
    async with (
        registry(directory / "registry") as hub,
        registry_front(hub, accounts={USER: TOKEN}) as front,
        git_server(directory) as git,
        engine(engine_url) as api,
        server_process(
            directory,
            engine_url,
            MOLECULE_IMAGE_REGISTRY=f"{front.host}/team",
            MOLECULE_IMAGE_PLATFORM="linux/amd64",
            MOLECULE_EXTRA_RUNTIMES="absent,there",
            MOLECULE_IMAGE_PULL_STALL_SECONDS="2",
            MOLECULE_REGISTRY_USER=USER,
            MOLECULE_REGISTRY_TOKEN=TOKEN,
            MOLECULE_LOCAL_TEMPLATE_REPO_PREFIX=git.repo_prefix,
        ) as server,
    ):
        yield Shared(site=Site(server=server, git=git, engine=api), hub=hub, front=front)
        await purge(engine_url, server.label)
        await purge(engine_url, LABEL)


@pytest.fixture(autouse=True)
def _healthy(shared: Shared) -> Iterator[None]:
    yield
    shared.front.refusal = None
    if shared.front.gate is not None:
        shared.front.gate.release()
        shared.front.gate = None


async def test_the_image_is_missing(shared: Shared) -> None:
    assert await shared.failed("autogen") == {
        "error": f"the registry {shared.front.host} has no image {shared.reference('autogen')}: manifest for"
        f" {shared.reference('autogen')} not found: manifest unknown: manifest unknown {ASKED}",
        "code": "image_not_found",
        "hint": "push the image there, or correct MOLECULE_IMAGE_REGISTRY",
    }


async def test_the_registry_denies(shared: Shared) -> None:
    expired = "Your authorization token has expired. Reauthenticate and try again."
    shared.front.refusal = Refusal(status=403, code="DENIED", message=expired)
    error = await shared.failed("claude-code")

    reference = shared.reference("claude-code")
    assert error["error"].startswith(f"the registry {shared.front.host} refused to give the image {reference}: ")
    assert error["error"].endswith(f"denied: {expired} {ASKED}")
    assert error["code"] == "registry_denied"


async def test_the_registry_is_down(shared: Shared) -> None:
    shared.front.refusal = Refusal(status=503, code="UNAVAILABLE", message="try later")
    error = await shared.failed("codex")

    assert error["error"] == (
        f"the image {shared.reference('codex')} could not be pulled from the registry {shared.front.host}:"
        f" received unexpected HTTP status: 503 Service Unavailable {ASKED}"
    )
    assert error["code"] == "registry_unreachable"


async def test_the_registry_is_asked_too_often(shared: Shared) -> None:
    message = "retry-after: 1m30s, allowed: 44000/minute"
    shared.front.refusal = Refusal(status=429, code="TOOMANYREQUESTS", message=message)
    error = await shared.failed("crewai")

    assert f"did not give the image {shared.reference('crewai')}; it may be asked again in 90 s" in error["error"]
    assert error["code"] == "registry_rate_limited"


async def test_the_image_is_for_another_platform(shared: Shared) -> None:
    await shared.put("deepagents", platform="linux/arm64")
    error = await shared.failed("deepagents")

    assert error == {
        "error": f"the registry {shared.front.host} has the image {shared.reference('deepagents')}, but not for"
        " linux/amd64: it is for linux/arm64",
        "code": "image_platform_mismatch",
        "hint": "push the image for this platform, or set MOLECULE_IMAGE_PLATFORM to one that it is there for",
    }


async def test_a_layer_is_damaged(shared: Shared) -> None:
    layer = await shared.put("gemini-cli")
    shared.hub.damage(layer, b"something else")
    error = await shared.failed("gemini-cli")

    assert error["error"] == (
        f"the image {shared.reference('gemini-cli')} in the registry {shared.front.host} is incomplete or damaged:"
        f" filesystem layer verification failed for digest {layer}"
    )
    assert error["code"] == "image_corrupted"


async def test_the_registry_is_stuck(shared: Shared) -> None:
    await shared.put("hermes")
    shared.front.gate = Gate()
    error = await shared.failed("hermes")

    assert error["error"].startswith(
        f"the pull of the image {shared.reference('hermes')} made no progress for 2 s; it was at: step 1 of 1, layer "
    )
    assert error["code"] == "pull_stalled"


async def test_a_pull_is_seen_followed_and_cancelled_like_a_build(shared: Shared) -> None:
    server = shared.site.server
    await shared.put("openclaw")
    shared.front.gate = Gate()
    workspace = await server.create("openclaw")
    await eventually(shared.front.gate.arrived.is_set, "layers are asked for")
    view = await server.view(workspace)
    (listed,) = await server.call("GET", "/images/builds?runtime=openclaw")
    await server.call("DELETE", f"/images/builds/{listed['id']}")
    error = await shared.site.failed(workspace)
    log = (await server.client.get(listed["log"])).text

    assert (view["image"]["source"], view["image"]["build"], view["build"]["id"]) == (
        "registry",
        listed["id"],
        listed["id"],
    )
    assert (listed["phase"], listed["image"], listed["commit"]) == ("pull", shared.reference("openclaw"), None)
    assert (listed["step"]["n"], listed["step"]["of"], listed["step"]["name"][:6]) == (1, 1, "layer ")
    assert log.startswith("Pulling from team/workspace-template-openclaw\n")
    assert error["code"] == "pull_cancelled"


async def test_the_runtimes_command_says_what_the_registry_has(shared: Shared) -> None:
    await shared.put("there")
    command = (sys.executable, "-m", "workspace_server", "runtimes")
    async with running(*command, env=shared.site.server.environment, stdout=PIPE, stderr=PIPE) as process:
        out, err = await process.communicate()
    rows = {line.split()[0]: line for line in out.decode().splitlines()}

    assert (process.returncode, err) == (0, b"")
    assert rows["there"].split()[1:] == ["registry", "yes"]
    assert f"no: the registry {shared.front.host} has no image {shared.reference('absent')}" in rows["absent"]


async def test_the_token_is_nowhere_but_at_the_registry(shared: Shared) -> None:
    server, site = shared.site.server, shared.site
    image = waiting_image(dict([LABEL.split("=")]), "linux/amd64")
    await shared.hub.push("team/workspace-template-langgraph", image)
    workspace = await server.create("langgraph", tier=2)

    async def runs() -> bool:
        return any(each["State"]["Running"] for each in await site.containers(workspace))

    await eventually(runs, "its container runs")
    await server.call("GET", "/runtimes")
    answers = {path: await server.client.get(path) for path in ("/workspaces", "/images/builds", "/runtimes", "/ready")}
    texts = {path: answer.text for path, answer in answers.items()}
    texts["container"] = json.dumps(await site.containers(workspace))
    texts["image"] = json.dumps(await site.image(workspace))
    texts["arguments"] = Path(f"/proc/{server.pid}/cmdline").read_text()  # noqa: ASYNC240 - a test's

    assert {seen.user for seen in shared.front.seen if seen.path == "/token"} == {USER}
    assert (places(server.home.parent), [name for name, text in texts.items() if has_token(text)]) == ([], [])
    planted = server.data / "planted"
    planted.write_bytes(b"x" + base64.b64encode(f"{USER}:{TOKEN}".encode()))
    found = places(server.home.parent)
    planted.unlink()
    assert found == [planted]


async def test_no_git_host_was_asked_and_nothing_was_built(shared: Shared) -> None:
    assert shared.site.git.requests == []
    assert [build["id"] for build in await shared.site.server.builds() if build["image"] is None] == []


def has_token(text: str) -> bool:
    return any(secret in text for secret in (TOKEN, base64.b64encode(f"{USER}:{TOKEN}".encode()).decode()))


def places(directory: Path) -> list[Path]:
    """The files that hold the token, in the server's directories and its log."""
    files = [file for file in directory.rglob("*") if file.is_file() and "registry" not in file.parts]
    return [file for file in files if has_token(file.read_bytes().decode(errors="replace"))]
