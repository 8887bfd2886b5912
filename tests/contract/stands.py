"""One server on a backend, and what its tests may do behind that backend's back: the same for every backend."""

import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from support.control_plane import ENDED, TENANT_TOKEN, ControlPlane, control_plane, variables
from support.engine import Engine, engine, instance_label, purge
from support.engine_proxy import EngineProxy, engine_proxy
from support.git_server import git_server
from support.server import InProcess, Json, eventually, in_process
from support.templates import tiny_template
from workspace_server.model import names
from workspace_server.model.workspace import Workspace

AGENT = "http://127.0.0.1:4711/a2a"
HEADERS = {"Authorization": f"Bearer {TENANT_TOKEN}", "X-Molecule-Org-Id": "org-of-tests"}


class Ground(Protocol):
    """A backend as those see it who own it."""

    noun: str

    @property
    def runtime(self) -> str:
        """A runtime whose machines run and never call."""

    @property
    def variables(self) -> Mapping[str, str]:
        """The environment of a server on it."""

    async def running(self, workspace: str) -> Sequence[str]:
        """The ids of the workspace's machines that run, as the backend itself lists them."""

    async def environment(self, workspace: str) -> Mapping[str, str]:
        """What its running machine was told."""

    async def kill(self, workspace: str) -> None:
        """Its machine ends, behind everybody's back."""

    async def down(self) -> None:
        """The backend goes away; its machines run on."""

    async def up(self) -> None:
        """It is back."""

    async def left(self, instance: str) -> Sequence[str]:
        """Every machine of the installation that runs."""


@dataclass(slots=True)
class EngineGround:
    """A container engine behind a proxy."""

    runtime: str
    repository_prefix: str
    proxy: EngineProxy
    api: Engine
    noun: str = "container"

    @property
    def variables(self) -> Mapping[str, str]:
        return {
            "DOCKER_HOST": self.proxy.address,
            "MOLECULE_LOCAL_TEMPLATE_REPO_PREFIX": self.repository_prefix,
            "MOLECULE_EXTRA_RUNTIMES": self.runtime,
            "ADMIN_TOKEN": TENANT_TOKEN,
            "PLATFORM_URL": "http://acme.example.org",
        }

    async def running(self, workspace: str) -> Sequence[str]:
        found = await self.api.listed("/containers/json", label=f"{names.WORKSPACE_ID}={workspace}")
        return [str(container["Id"]) for container in found]

    async def environment(self, workspace: str) -> Mapping[str, str]:
        (container,) = await self.running(workspace)
        inspected = await self.api.get(f"/containers/{container}/json")
        return dict(item.split("=", 1) for item in inspected["Config"]["Env"])

    async def kill(self, workspace: str) -> None:
        await self.api.call("POST", f"/containers/{names.container_name(workspace)}/kill")

    async def down(self) -> None:
        await self.proxy.down()

    async def up(self) -> None:
        await self.proxy.up()

    async def left(self, instance: str) -> Sequence[str]:
        return [str(each["Id"]) for each in await self.api.listed("/containers/json", label=instance_label(instance))]


@dataclass(slots=True)
class ControlPlaneGround:
    """A control plane."""

    served: ControlPlane
    runtime: str = "langgraph"
    noun: str = "machine"

    @property
    def variables(self) -> Mapping[str, str]:
        return variables(self.served, "http://acme.example.org")

    async def running(self, workspace: str) -> Sequence[str]:
        return [machine.id for machine in self.served.of(workspace)]

    async def environment(self, workspace: str) -> Mapping[str, str]:
        (machine,) = self.served.of(workspace)
        return machine.env

    async def kill(self, workspace: str) -> None:
        (machine,) = self.served.of(workspace)
        self.served.end(machine)

    async def down(self) -> None:
        self.served.away = True

    async def up(self) -> None:
        self.served.away = False

    async def left(self, instance: str) -> Sequence[str]:
        return [machine.id for machine in self.served.machines.values() if machine.state not in ENDED]


@dataclass(slots=True)
class Stand:
    """A server on a ground, in a directory that outlives it. The test plays the agents."""

    ground: Ground
    directory: Path
    settings: dict[str, str] = field(default_factory=dict)
    app: InProcess | None = None
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def start(self, **settings: str) -> None:
        variables = {**self.ground.variables, **self.settings, **settings}
        self.app = await self._stack.enter_async_context(in_process(self.directory, **variables))

    async def stop(self) -> None:
        self.app = None
        await self._stack.aclose()

    async def restart(self, **settings: str) -> None:
        await self.stop()
        await self.start(**settings)

    @property
    def opened(self) -> InProcess:
        assert self.app is not None
        return self.app

    async def call(self, method: str, path: str, body: Json = None, *, status: int = 200) -> Json:
        response = await self.opened.call(method, path, json=body, headers=HEADERS)
        assert response.status_code == status, f"{method} {path}: {response.status_code} {response.text}"
        return response.json()

    async def create(self, **fields: Any) -> str:
        body = {"name": "a", "runtime": self.ground.runtime, **fields}
        return str((await self.call("POST", "/workspaces", body, status=201))["id"])

    async def row(self, workspace: str) -> Workspace:
        row = await self.opened.services.store.get(workspace)
        assert row is not None
        return row

    async def until(self, workspace: str, *statuses: str, seconds: float = 30) -> Workspace:
        async def reached() -> Workspace | None:
            row = await self.row(workspace)
            return row if row.status in statuses else None

        return await eventually(reached, f"the workspace is {statuses}", seconds)

    async def until_runs(self, workspace: str, *, but: str | None = None) -> str:
        """The one machine that runs and is waited for; another one than ``but``."""

        async def runs() -> str | None:
            found, row = await self.ground.running(workspace), await self.row(workspace)
            waits = row.container_started_at is not None
            return found[0] if len(found) == 1 and found[0] != but and waits else None

        return await eventually(runs, "one machine runs, and its agent is waited for")

    async def until_nothing_runs(self, workspace: str) -> None:
        async def nothing() -> bool:
            return not await self.ground.running(workspace)

        await eventually(nothing, "nothing of it runs")

    async def agent_calls(self, workspace: str) -> None:
        await self.opened.services.registry.register(workspace, {"name": "agent"}, AGENT)

    async def online(self, **fields: Any) -> str:
        workspace = await self.create(**fields)
        await self.until_runs(workspace)
        await self.agent_calls(workspace)
        await self.until(workspace, "online")
        return workspace

    async def fails(self, workspace: str) -> str:
        """The code it fails with."""
        row = await self.until(workspace, "failed")
        assert row.failure is not None
        return row.failure.code


@asynccontextmanager
async def engine_stand(directory: Path, url: str, **settings: str) -> AsyncIterator[Stand]:
    runtime = f"t-{secrets.token_hex(6)}"
    async with git_server(directory) as git, engine_proxy(url) as proxy, engine(url) as api:
        await git.create_template(runtime, tiny_template(runtime, content=runtime))
        stand = Stand(EngineGround(runtime, git.repo_prefix, proxy, api), directory / "home", settings)
        try:
            await stand.start()
            instance = stand.opened.services.instance
            yield stand
        finally:
            await stand.stop()
            await purge(url, instance_label(instance))
            await purge(url, f"molecule.image.runtime={runtime}")


@asynccontextmanager
async def control_plane_stand(directory: Path, **settings: str) -> AsyncIterator[Stand]:
    async with control_plane() as served:
        stand = Stand(ControlPlaneGround(served), directory / "home", settings)
        try:
            await stand.start()
            yield stand
        finally:
            await stand.stop()
