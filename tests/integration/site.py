"""What the integration tests do with a server, its Git host and its engine."""

import os
import secrets
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.engine import Engine, EngineError, Leftovers, engine
from support.engine_proxy import EngineProxy, engine_proxy
from support.git_repository import Repository
from support.git_server import GitServer, git_server
from support.processes import running
from support.server import Json, ServerProcess, eventually, server_process
from support.templates import Files, agent_template

Serve = Callable[..., Awaitable[ServerProcess]]

LANGGRAPH = "langgraph"


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A server, the Git host of its templates, and its engine seen past it."""

    server: ServerProcess
    git: GitServer
    engine: Engine
    # In every template, so that its commits and images are of this test alone.
    mark: str = field(default_factory=lambda: secrets.token_hex(8))

    async def template(self, runtime: str, files: Files) -> Repository:
        """Make the template repository of a runtime."""
        return await self.git.create_template(runtime, {**files, "mark": self.mark})

    async def containers(self, workspace: str) -> list[Json]:
        """Inspect the containers of a workspace, in whatever state; what is removed meanwhile is left out."""
        label = f"molecule.workspace.id={workspace}"
        listed = await self.engine.listed("/containers/json", label=label, all="true")
        found = []
        for each in listed:
            try:
                found.append(await self.engine.get(f"/containers/{each['Id']}/json"))
            except EngineError as error:
                if error.status != 404:
                    raise
        return found

    async def container(self, workspace: str) -> Json:
        """Inspect a workspace's one container."""
        (found,) = await self.containers(workspace)
        return found

    async def volumes(self, workspace: str) -> set[str]:
        """Return the names of a workspace's volumes."""
        found = await self.engine.listed("/volumes", label=f"molecule.workspace.id={workspace}")
        return {each["Name"] for each in found["Volumes"] or []}

    async def image(self, workspace: str) -> Json:
        """Inspect the image that a workspace's container was made from."""
        container = await self.container(workspace)
        return await self.engine.get(f"/images/{container['Image']}/json")

    async def images(self, build_id: str) -> list[Json]:
        """Return the images of a build id."""
        found: list[Json] = await self.engine.listed("/images/json", label=f"molecule.image.build_id={build_id}")
        return found

    async def is_gone(self, workspace: str) -> None:
        """Wait until the engine has nothing of a workspace."""

        async def nothing() -> bool:
            return not await Leftovers.find(self.engine, f"molecule.workspace.id={workspace}")

        await eventually(nothing, "nothing of the workspace is left on the engine")

    async def say(self, workspace: str, text: str) -> str:
        """Send a message to a workspace's agent through the server, and return the text of the answer."""
        message = {"role": "user", "parts": [{"kind": "text", "text": text}]}
        body = {"method": "message/send", "params": {"message": message}}
        reply = await self.server.call("POST", f"/workspaces/{workspace}/a2a", body)
        return "".join(part["text"] for part in reply["result"]["parts"])

    async def run(self, container: str, *argv: str) -> str:
        """Run a program in a running container, and return what it wrote."""
        environment = {"PATH": os.environ["PATH"], "DOCKER_HOST": self.server.engine}
        async with running("docker", "exec", container, *argv, env=environment, stdout=PIPE, stderr=PIPE) as process:
            out, err = await process.communicate()
            assert process.returncode == 0, err.decode()
            return out.decode()

    async def failed(self, workspace: str) -> dict[str, str]:
        """Wait until a workspace failed, and return the error, after comparing the places where it is shown."""
        view = await self.server.until(workspace, "failed")
        error: dict[str, str] = view["error"]
        listed = await self.server.listed(workspace)
        assert listed["status"] == "failed"
        assert listed["last_sample_error"] == f"{error['error']}\nhint: {error['hint']}"
        (logged,) = [line for line in self.server.log_lines("provisioning failed") if line["workspace"] == workspace]
        assert {key: logged[key] for key in ("error", "code", "hint")} == error
        return error

    async def is_complete(self, workspace: str) -> None:
        """Check that a workspace has everything it needs, once, and that no work on its template was left half done."""
        await self.container(workspace)
        assert await self.volumes(workspace) == {f"ws-{workspace[:12]}-configs", f"ws-{workspace}-workspace"}
        build = (await self.server.builds())[0]
        assert len(await self.images(build["build_id"])) == 1
        left = [path.name for path in self.server.cache.glob("*/*") if path.name.startswith(("staging-", "discarded-"))]
        assert left == []


@dataclass(frozen=True, slots=True, kw_only=True)
class FailingSite(Site):
    """A site whose workspaces fail: each in the same words everywhere, and none by looking for another source."""

    proxy: EngineProxy

    async def fails(self, runtime: str) -> dict[str, str]:
        """Create a workspace, and return the error it failed with, the same in every place where it is shown."""
        error = await self.failed(await self.server.create(runtime))
        self.nothing_was_pulled()
        return error

    def nothing_was_pulled(self) -> None:
        """Check that the engine was asked for no image of a registry. A base image is the builder's affair."""
        assert self.proxy.count("POST", "/images/create") == 0

    async def terminal(self, *arguments: str) -> tuple[int, str]:
        """Run a command of this server's owner, and return its exit code and what it wrote to stderr."""
        argv = (sys.executable, "-m", "workspace_server", *arguments)
        async with running(*argv, env=self.server.environment, stdout=PIPE, stderr=PIPE) as process:
            _, written = await process.communicate()
            return process.returncode or 0, written.decode()


def on_a_terminal(error: dict[str, str]) -> tuple[int, str]:
    """How a command ends that was told this error."""
    return 1, f"error: {error['error']}\nhint: {error['hint']}\n"


def quick_agent(runtime: str = LANGGRAPH, *, run: str = "") -> Files:
    """An agent that is built in a moment and calls every second; ``run`` is one more instruction of its Dockerfile."""
    files = agent_template(runtime)
    lines = str(files["Dockerfile"]).splitlines()
    files["Dockerfile"] = "\n".join([*lines[:-1], "ENV HEARTBEAT_INTERVAL=1", run, lines[-1], ""])
    return files


@asynccontextmanager
async def open_site(directory: Path, engine_url: str, **settings: Any) -> AsyncIterator[Site]:
    """A site for several tests."""
    async with git_server(directory) as git, engine(engine_url) as api:
        prefix = {"MOLECULE_LOCAL_TEMPLATE_REPO_PREFIX": git.repo_prefix}
        async with server_process(directory, engine_url, **prefix, **settings) as server:
            yield Site(server=server, git=git, engine=api)


@asynccontextmanager
async def open_failing_site(directory: Path, engine_url: str, **settings: str) -> AsyncIterator[FailingSite]:
    """A site for several tests of failures; its server is between a Git host and an engine that both can break."""
    async with git_server(directory) as git, engine(engine_url) as api, engine_proxy(engine_url) as proxy:
        prefix = {"MOLECULE_LOCAL_TEMPLATE_REPO_PREFIX": git.repo_prefix, **settings}
        async with server_process(directory, engine_url, behind=proxy.address, **prefix) as server:
            yield FailingSite(server=server, git=git, engine=api, proxy=proxy)
