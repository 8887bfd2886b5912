"""One installation without its API: rows, an engine behind a proxy, and the reconciler, driven by hand."""

import asyncio
import io
import os
import secrets
import stat
import tarfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.database import place_in
from support.engine import Engine as Api
from support.engine import engine as raw_engine
from support.engine import instance_label, purge
from support.engine_faults import Hold
from support.engine_proxy import EngineProxy, engine_proxy
from support.git_repository import Repository
from workspace_server.agents import AgentRegistry, Heartbeat, Outbound
from workspace_server.concurrency import TaskScope
from workspace_server.db import (
    Database,
    EventStore,
    LeaseStore,
    SecretStore,
    TokenStore,
    WorkspaceStore,
    open_database,
)
from workspace_server.engine import Engine, EngineAddress, ImageBuilder, RegistryAccess, open_engine
from workspace_server.events import EventLog
from workspace_server.git import CheckoutStore, GitAccess, Resolver, open_http_client
from workspace_server.images import BuildBook, ImageService, image_source
from workspace_server.images.build import BuildLimits, LocalBuilds
from workspace_server.images.ledger import ImageLedger
from workspace_server.images.pull import PullLimits, Pulls
from workspace_server.images.registry import RegistryImages
from workspace_server.images.template import TemplateFiles
from workspace_server.images.wanted import WantedBuilds
from workspace_server.model import names
from workspace_server.model.workspace import Workspace, WorkspaceSpec, WorkspaceStatus
from workspace_server.runtimes import Runtimes
from workspace_server.settings import Settings, load_settings
from workspace_server.workspaces import Provisioner, Reconciler, WorkspaceService
from workspace_server.workspaces.bridge import Bridge
from workspace_server.workspaces.directories import WorkspaceDirectories
from workspace_server.workspaces.engine_backend import EngineBackend
from workspace_server.workspaces.leases import Leases
from workspace_server.workspaces.lifecycle import Lifecycle
from workspace_server.workspaces.others import OtherServers
from workspace_server.workspaces.rollout import Rollout
from workspace_server.workspaces.same_engine import SameEngine
from workspace_server.workspaces.secrets import SecretService
from workspace_server.workspaces.templates import ConfigTemplates
from workspace_server.workspaces.vault import Vault

WAIT = r"/containers/[^/]+/wait"
"""The call that a provisioning stays in until the agent has called."""

_PATIENCE = 20  # seconds: less than the engine's own


@dataclass(frozen=True, slots=True, kw_only=True)
class Supply:
    """The template repositories, and the cache and images that all tests share."""

    cache: Path
    repositories: dict[str, Repository]

    def settings(self, **variables: str) -> Settings:
        named = {}
        for name, repository in self.repositories.items():
            named[f"MOLECULE_TEMPLATE_REPO_{name.upper()}"] = repository.directory.as_uri()
            named[f"MOLECULE_TEMPLATE_REF_{name.upper()}"] = repository.tip()  # no look-up: that is tested elsewhere
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.cache),
            "MOLECULE_LOCAL_BUILD_CACHE": str(self.cache),
            "MOLECULE_EXTRA_RUNTIMES": ",".join(self.repositories),
            **named,
        }
        return load_settings({**environment, **variables})


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The parts of one server, and what its tests do with them."""

    instance: str
    proxy: EngineProxy
    api: Api
    engine: Engine
    database: Database
    store: WorkspaceStore
    tokens: TokenStore
    events: EventLog
    book: BuildBook
    bridge: Bridge
    provisioner: Provisioner
    reconciler: Reconciler
    leases: Leases
    others: OtherServers
    scope: TaskScope
    service: WorkspaceService
    registry: AgentRegistry
    secrets: SecretService
    lifecycle: Lifecycle
    rollout: Rollout
    talking: set[str]
    """The workspaces that a message is under way to."""

    async def create(self, runtime: str = "idle", *, secrets: Mapping[str, str] | None = None, **fields: Any) -> str:
        spec = WorkspaceSpec(**{"name": "a", "runtime": runtime, "tier": 2, **fields})
        return await self.service.create(spec, secrets=secrets)

    async def row(self, workspace: str) -> Workspace:
        row = await self.store.get(workspace)
        assert row is not None
        return row

    async def fulfil(self) -> None:
        """One round of the reconciler, and everything that it began."""
        await self.reconciler.fulfil()
        await self.settle()

    async def settle(self) -> None:
        """Wait until nothing is worked on."""
        async with asyncio.timeout(_PATIENCE):
            while tasks := list(self.reconciler._working.values()):
                await asyncio.wait(tasks)

    async def begin(self, method: str = "POST", pattern: str = WAIT, **when: Any) -> Hold:
        """One round of the reconciler, until a call to the engine; it is held there."""
        hold = self.proxy.faults.hold(method, pattern, **when)
        await self.reconciler.fulfil()
        await arrived(hold)
        return hold

    async def waiting_for_agent(self, runtime: str = "idle", **fields: Any) -> str:
        """A workspace whose container runs and whose agent has not called yet."""
        workspace = await self.create(runtime, **fields)
        self.proxy.faults.remove(await self.begin())
        return workspace

    async def online(self, runtime: str = "idle", **fields: Any) -> str:
        """A workspace whose agent has called."""
        workspace = await self.waiting_for_agent(runtime, **fields)
        await self.call_of_agent(workspace)
        await self.settle()
        return workspace

    async def wanted_again(self, workspace: str) -> None:
        """Another provisioning is wanted, of a workspace whose container has ended."""
        await self.api.call("POST", f"/containers/{names.container_name(workspace)}/kill")
        async with self.database.write() as tx:
            assert await self.store.move(tx, workspace, WorkspaceStatus.PROVISIONING)

    async def call_of_agent(self, workspace: str) -> None:
        await self.registry.register(workspace, {"name": "agent"})

    async def beat_of_agent(self, workspace: str, *, active_tasks: int = 0) -> None:
        await self.registry.heartbeat(workspace, Heartbeat(active_tasks=active_tasks))

    async def containers(self, workspace: str | None = None) -> list[Any]:
        """What the engine has, running or not, of one workspace or of all."""
        label = instance_label(self.instance) if workspace is None else f"{names.WORKSPACE_ID}={workspace}"
        found: list[Any] = await self.api.listed("/containers/json", label=label, all="true")
        return found

    async def inspected(self, workspace: str) -> Any:
        (container,) = await self.containers(workspace)
        return await self.api.get(f"/containers/{container['Id']}/json")

    async def volumes(self) -> list[str]:
        found = await self.api.listed("/volumes", label=instance_label(self.instance))
        return sorted(volume["Name"] for volume in found["Volumes"] or [])

    async def named_volumes(self, workspace: str) -> list[str]:
        """The workspace's volumes whatever labels they carry: the engine itself makes some without any."""
        wanted = [names.config_volume(workspace), names.workspace_volume(workspace), names.session_volume(workspace)]
        return [name for name in wanted if await self.api.exists(f"/volumes/{name}")]


@asynccontextmanager
async def world(
    directory: Path, url: str, supply: Supply, instance: str, *, place: str | None = None, **variables: str
) -> AsyncIterator[World]:
    """A server on the data of ``directory``, or on the PostgreSQL database of the URL ``place``.

    Leaving it is its end, and leaves its containers as they are.
    """
    settings = supply.settings(**variables)
    directory.mkdir(exist_ok=True)  # noqa: ASYNC240 - a test's
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        proxy = await enter(engine_proxy(url))
        address = EngineAddress(url=proxy.address, local_socket=True)
        api = await enter(raw_engine(url))
        database = await enter(open_database(place or await place_in(directory)))
        leases = Leases(database=database, store=LeaseStore(server=str(directory), boot=secrets.token_hex(4)))
        await leases.void_earlier()
        stack.push_async_callback(leases.close)
        engine = await enter(open_engine(address))
        access = GitAccess.from_settings(settings)
        http = await enter(open_http_client(access))
        scope = await enter(TaskScope())

        store, tokens, events = WorkspaceStore(database), TokenStore(database), EventLog(EventStore(database))
        resolver = Resolver(http=http, access=access, scope=scope)
        files = TemplateFiles(CheckoutStore(cache=supply.cache, access=access, resolver=resolver))
        book, ledger = BuildBook(supply.cache), ImageLedger(supply.cache)

        async def choose() -> ImageBuilder:
            return await ImageBuilder.choose(settings.passed_on, address, supply.cache / "buildx")

        builds = LocalBuilds(
            engine=engine,
            choose_builder=choose,
            files=files,
            book=book,
            ledger=ledger,
            locks=supply.cache / "locks",
            limits=BuildLimits(concurrency=2, seconds=60, stall_seconds=60),
            scope=scope,
        )
        pulls = Pulls(
            engine=engine,
            access=RegistryAccess.from_settings(settings),
            book=book,
            locks=supply.cache / "locks",
            limits=PullLimits(seconds=60, stall_seconds=60),
            scope=scope,
        )
        runtimes = Runtimes.from_settings(settings)
        images = ImageService(
            source=image_source(settings),
            runtimes=runtimes,
            engine=engine,
            wanted=WantedBuilds(engine=engine, resolver=resolver, ledger=ledger),
            files=files,
            builds=builds,
            registry=RegistryImages(pulls),
            ledger=ledger,
        )
        bridge = Bridge()
        sealed = SecretService(database=database, store=SecretStore(database), vault=Vault([b"k" * 32]))
        backend = EngineBackend(
            tokens=tokens,
            images=images,
            secrets=sealed,
            directories=WorkspaceDirectories.from_settings(settings),
            templates=ConfigTemplates(settings.configs_dir),
            engine=engine,
            same_engine=SameEngine(database=database, engine=engine, shared=place is not None),
            instance=instance,
            settings=settings,
            expose=bridge.announce,
        )
        provisioner = Provisioner(
            database=database, workspaces=store, events=events, backend=backend, settings=settings
        )
        reconciler = Reconciler(
            database=database,
            workspaces=store,
            events=events,
            backend=backend,
            provisioner=provisioner,
            leases=leases,
            stale_after=settings.remote_stale_seconds,
            scope=scope,
        )
        service = WorkspaceService(
            database=database,
            workspaces=store,
            tokens=tokens,
            events=events,
            secrets=sealed,
            wake=reconciler.wake,
        )
        lifecycle = Lifecycle(
            database=database,
            workspaces=store,
            events=events,
            templates=ConfigTemplates(settings.configs_dir),
            wake=reconciler.wake,
            look=reconciler.look,
        )
        talking: set[str] = set()
        rollout = Rollout(
            images=images,
            registry=RegistryImages(pulls),
            runtimes=runtimes,
            engine=engine,
            workspaces=store,
            lifecycle=lifecycle,
            instance=instance,
            talks_to=talking.__contains__,
        )
        yield World(
            instance=instance,
            proxy=proxy,
            api=api,
            engine=engine,
            database=database,
            store=store,
            tokens=tokens,
            events=events,
            book=book,
            bridge=bridge,
            provisioner=provisioner,
            reconciler=reconciler,
            leases=leases,
            others=OtherServers(database=database, workspaces=store, events=events, wake=reconciler.wake_for_all),
            scope=scope,
            service=service,
            secrets=sealed,
            lifecycle=lifecycle,
            rollout=rollout,
            talking=talking,
            registry=AgentRegistry(
                database=database,
                workspaces=store,
                tokens=tokens,
                events=events,
                outbound=Outbound(loopback=True, private=True),
                machines_elsewhere=False,
            ),
        )
        proxy.faults.clear()


@asynccontextmanager
async def installation(url: str) -> AsyncIterator[str]:
    """The id of an installation; everything it made on the engine is removed afterwards."""
    instance = f"test-{secrets.token_hex(6)}"
    try:
        yield instance
    finally:
        await purge(url, instance_label(instance))


async def arrived(hold: Hold) -> None:
    async with asyncio.timeout(_PATIENCE):
        await hold.arrived.wait()


async def file_in(api: Api, container: str, path: str) -> tuple[bytes, int, int]:
    """A file's content, owner and permissions inside a container, running or not."""
    async with api.stream(f"/containers/{container}/archive", path=path) as body:
        with tarfile.open(fileobj=io.BytesIO(await body.read())) as archive:
            (member,) = archive.getmembers()
            content = archive.extractfile(member)
            assert content is not None
            return content.read(), member.uid, stat.S_IMODE(member.mode)
