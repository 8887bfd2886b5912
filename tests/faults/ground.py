"""A server on a real engine, what breaks between them, and the count of what belongs to nobody."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from integration.site import LANGGRAPH, Site, quick_agent
from support.engine import engine
from support.engine_proxy import EngineProxy, engine_proxy
from support.gate import Gate
from support.git_repository import Repository
from support.git_server import git_server
from support.server import Json, eventually, server_process

from .table import Trial

WORKSPACE = "molecule.workspace.id"
GENERATION = "molecule.workspace.generation"
_RUNS = ("online", "degraded")


@dataclass(frozen=True, slots=True)
class Thing:
    """A container or a volume on the engine, and whose it says it is."""

    kind: str
    name: str
    workspace: str
    generation: str = ""  # of containers
    running: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground(Site):
    """A site with a proxy between the server and its engine.

    ``made`` are the ids of all that was ever created; the files of those in ``forgotten`` are kept for their people.
    """

    proxy: EngineProxy
    repository: Repository
    made: list[str] = field(default_factory=list)
    forgotten: set[str] = field(default_factory=set)

    async def create(self, name: str = "a") -> str:
        """Create a workspace; its id."""
        workspace = await self.server.create(LANGGRAPH, name)
        self.made.append(workspace)
        return workspace

    async def online(self, name: str = "a") -> str:
        """Create a workspace, and wait until it is online."""
        workspace = await self.create(name)
        await self.server.until(workspace, "online")
        return workspace

    async def move_template(self) -> None:
        """One more commit, so that there is something to refresh."""
        await self.repository.commit({**quick_agent(), "mark": self.mark, "moved": str(time.monotonic_ns())})

    async def things(self) -> list[Thing]:
        """The engine's own listing of all that is this installation's, by label, or by name where a label lacks."""
        containers = await self.engine.listed("/containers/json", label=self.server.label, all="true")
        volumes = (await self.engine.get("/volumes"))["Volumes"] or []
        return [
            Thing(
                "container",
                each["Names"][0],
                each["Labels"].get(WORKSPACE, ""),
                each["Labels"].get(GENERATION, ""),
                each["State"] == "running",
            )
            for each in containers
        ] + [
            Thing("volume", each["Name"], whose)
            for each in volumes
            if (whose := self._whose(each)) or self.server.instance in (each["Labels"] or {}).values()
        ]

    def _whose(self, volume: Json) -> str:
        labels = volume["Labels"] or {}
        by_name = (each for each in self.made if volume["Name"].startswith(f"ws-{each[:12]}"))
        named = labels.get(WORKSPACE, "") if self.server.instance in labels.values() else ""
        return str(named or next(by_name, ""))

    async def rows(self) -> dict[str, Json]:
        """The rows by id, as the API shows them."""
        listed = await self.server.call("GET", "/workspaces")
        return {each["id"]: await self.server.view(each["id"]) for each in listed}

    async def left_over(self, things: list[Thing] | None = None) -> list[str]:
        """Of the engine's listing, what no row has: of no workspace, of an earlier generation, or one too many."""
        rows = await self.rows()
        found: list[str] = []
        seen: set[str] = set()
        for thing in things if things is not None else await self.things():
            row = rows.get(thing.workspace)
            stale = row is not None and thing.kind == "container" and thing.generation != str(row["generation"])
            if thing.workspace in self.forgotten and thing.name.endswith("-workspace"):
                continue
            if row is None or stale or (thing.kind == "container" and thing.workspace in seen):
                found.append(f"{thing.kind} {thing.name}")
            if thing.kind == "container":
                seen.add(thing.workspace)
        return found

    async def differences(self) -> list[str]:
        """What rows and engine do not agree about; empty when every row runs in one container with its volumes."""
        rows, things = await self.rows(), await self.things()
        found = await self.left_over(things)
        for workspace, row in rows.items():
            own = [thing for thing in things if thing.workspace == workspace]
            containers = [thing for thing in own if thing.kind == "container" and thing.running]
            if row["status"] not in _RUNS or any(phase["state"] == "running" for phase in row["phases"]):
                found.append(f"{workspace} is {row['status']}: {row['error']}")
            elif (len(containers), len(own) - len(containers)) != (1, 2):
                found.append(f"{workspace} has {own}")
        return found

    async def recovers(
        self,
        trial: Trial,
        at_worst: list[Thing],
        *,
        seconds: float = 90,
    ) -> None:
        """Wait until rows and engine agree, and note how long it took and what was left over."""
        last: list[str] = []

        async def agree() -> bool:
            nonlocal last
            last = await self.differences()
            return not last

        try:
            await eventually(agree, "rows and engine agree", seconds)
            trial.recovered()
        except AssertionError:
            raise AssertionError(f"{trial.name}: not within {seconds} s: {last}") from None
        finally:
            trial.before = await self.left_over(at_worst)
            trial.after = await self.left_over()


@asynccontextmanager
async def open_ground(directory: Path, engine_url: str, **settings: str) -> AsyncIterator[Ground]:
    """A server whose one template is an agent that is built in a moment."""
    async with git_server(directory) as git, engine(engine_url) as api, engine_proxy(engine_url) as proxy:
        prefix = {"MOLECULE_LOCAL_TEMPLATE_REPO_PREFIX": git.repo_prefix, **settings}
        async with server_process(directory, engine_url, behind=proxy.address, **prefix) as server:
            site = Site(server=server, git=git, engine=api)
            repository = await site.template(LANGGRAPH, quick_agent())
            ground = Ground(server=server, git=git, engine=api, proxy=proxy, repository=repository, mark=site.mark)
            try:
                yield ground
            finally:
                proxy.faults.clear()
                await proxy.up()


async def held(gate: Gate) -> None:
    """Wait until somebody waits at the gate."""
    await asyncio.wait_for(gate.arrived.wait(), 60)
