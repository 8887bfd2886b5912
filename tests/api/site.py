"""The application on a real engine, with a Git host and runtimes of one module alone."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from support.engine import instance_label, purge
from support.git_server import GitServer, git_server
from support.server import InProcess, Json, eventually, in_process
from support.templates import tiny_template


@dataclass(frozen=True, slots=True)
class Site:
    """``runtimes`` are names that have no template yet."""

    app: InProcess
    git: GitServer
    runtimes: list[str]

    async def new(self) -> str:
        """A runtime that has a template now."""
        runtime = self.runtimes.pop()
        await self.git.create_template(runtime, tiny_template(runtime, content=runtime))
        return runtime

    async def get(self, path: str) -> Json:
        response = await self.app.call("GET", path)
        assert response.status_code == 200, response.text
        return response.json()

    async def begin(self, runtime: str, status: int = 202, **wish: bool) -> Json:
        response = await self.app.call("POST", "/images/builds", json={"runtime": runtime, **wish})
        assert response.status_code == status, response.text
        return response.json()

    async def ended(self, record: str) -> Json:
        async def end() -> Json:
            form = await self.get(f"/images/builds/{record}")
            return form if form["finished_at"] else None

        return await eventually(end, "the build ended")

    async def built(self, **wish: bool) -> tuple[str, Json]:
        runtime = await self.new()
        return runtime, await self.ended((await self.begin(runtime, **wish))["id"])

    async def workspace(self, runtime: str) -> str:
        """A workspace of the runtime that is being provisioned."""
        response = await self.app.call("POST", "/workspaces", json={"name": "a", "runtime": runtime})
        assert response.status_code == 201, response.text
        return str(response.json()["id"])

    async def view(self, workspace: str, status: str) -> Json:
        """How far a workspace is, once it has that status."""

        async def reached() -> Json:
            view = await self.get(f"/workspaces/{workspace}/provisioning")
            return view if view["status"] == status else None

        return await eventually(reached, f"the workspace is {status}")


@asynccontextmanager
async def open_site(directory: Path, engine_url: str) -> AsyncIterator[Site]:
    """Nothing of it is left on the engine afterwards."""
    runtimes = [f"t-{secrets.token_hex(6)}" for _ in range(12)]
    async with git_server(directory) as git:
        variables = {
            "DOCKER_HOST": engine_url,
            "MOLECULE_LOCAL_TEMPLATE_REPO_PREFIX": git.repo_prefix,
            "MOLECULE_EXTRA_RUNTIMES": ",".join(runtimes),
        }
        try:
            async with in_process(directory, **variables) as app:
                instance = app.services.instance
                yield Site(app, git, list(runtimes))
        finally:
            await purge(engine_url, instance_label(instance))
            for runtime in runtimes:
                await purge(engine_url, f"molecule.image.runtime={runtime}")
