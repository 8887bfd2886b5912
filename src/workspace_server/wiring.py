"""The composition root: opens every part in order, and closes them in the reverse order."""

import asyncio
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from secrets import token_hex

import httpx
import structlog

from workspace_server.agents import AgentProxy, AgentRegistry, Outbound, open_agents_client, open_outside_client
from workspace_server.certificates import trusted
from workspace_server.concurrency import Deadline, TaskScope, periodic
from workspace_server.control_plane.members import Members
from workspace_server.control_plane.upstream import Upstream
from workspace_server.db import (
    Database,
    EventStore,
    LeaseStore,
    SecretStore,
    TokenStore,
    WorkspaceStore,
    open_database,
)
from workspace_server.db.directory import DataDirectory, open_data_directory
from workspace_server.db.installation import installation_id
from workspace_server.engine import Engine, open_engine, resolve_address
from workspace_server.errors import SettingsError, WorkspaceServerError
from workspace_server.events import EventLog
from workspace_server.git import GitAccess, open_http_client
from workspace_server.images import BuildBook, ImageService
from workspace_server.images.prune import Pruner
from workspace_server.images.survey import Survey
from workspace_server.model import names
from workspace_server.runtimes import Runtimes
from workspace_server.settings import Settings
from workspace_server.surroundings import runs_in_container
from workspace_server.wiring_images import ImageParts, image_parts
from workspace_server.wiring_tenant import Tenant, open_tenant
from workspace_server.workspaces import Provisioner, Reconciler, WorkspaceService
from workspace_server.workspaces.bridge import Bridge
from workspace_server.workspaces.directories import WorkspaceDirectories
from workspace_server.workspaces.engine_backend import EngineBackend
from workspace_server.workspaces.leases import Leases
from workspace_server.workspaces.lifecycle import Lifecycle
from workspace_server.workspaces.logs import ContainerLogs
from workspace_server.workspaces.others import OtherServers
from workspace_server.workspaces.rollout import Rollout
from workspace_server.workspaces.same_engine import SameEngine
from workspace_server.workspaces.secrets import Given, SecretService, nothing_given
from workspace_server.workspaces.templates import ConfigTemplates
from workspace_server.workspaces.vault import Vault

log = structlog.get_logger(__name__)

_FIRST_LOOK_SECONDS = 1.0
_ADDRESS_SECONDS = 10.0
_PRUNE_SECONDS = 6 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Every part that a request may need. ``owner_token`` is the plaintext of the file in the data directory."""

    settings: Settings
    instance: str
    owner_token: str
    database: Database
    engine: Engine
    same_engine: SameEngine
    bridge: Bridge
    runtimes: Runtimes
    images: ImageService
    builds: BuildBook
    survey: Survey
    pruner: Pruner
    workspaces: WorkspaceService
    lifecycle: Lifecycle
    logs: ContainerLogs
    directories: WorkspaceDirectories
    templates: ConfigTemplates
    secrets: SecretService
    store: WorkspaceStore
    tokens: TokenStore
    registry: AgentRegistry
    proxy: AgentProxy
    outbound: Outbound
    rollout: Rollout
    members: Members | None
    upstream: Upstream | None

    @property
    def owner_needs_token(self) -> bool:
        """Whether loopback is no proof of ownership, because containers might arrive from it as well."""
        apart = sys.platform == "linux" and self.engine.address.local_socket and not runs_in_container()
        known_elsewhere = self.bridge.network is not None and not self.bridge.is_here
        return self.settings.owner_proof == "required" or not apart or known_elsewhere


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ground:
    """What every part stands on: data, connections, and the scope of all tasks."""

    settings: Settings
    instance: str
    directory: DataDirectory
    database: Database
    store: WorkspaceStore
    tokens: TokenStore
    events: EventLog
    secrets: SecretService
    leases: Leases
    engine: Engine
    git: tuple[GitAccess, httpx.AsyncClient]
    agents_http: httpx.AsyncClient
    outbound: Outbound
    outside: httpx.AsyncClient
    tenant: Tenant
    scope: TaskScope


@asynccontextmanager
async def open_services(settings: Settings) -> AsyncIterator[Services]:
    """Open everything the server needs, look at the engine once, and start the reconciler.

    The engine may be away. Raises SettingsError for a configuration that cannot work, UnavailableError when the data
    directory cannot be used.
    """
    runtimes = Runtimes.from_settings(settings)
    if settings.redis_url is not None:
        log.info("REDIS_URL is ignored: what it was for is in the database")
    async with AsyncExitStack() as stack:
        ground = await _open_ground(settings, stack)
        images = image_parts(
            settings=settings,
            runtimes=runtimes,
            engine=ground.engine,
            git=ground.git,
            rows=ground.store,
            scope=ground.scope,
        )
        services, reconciler = _services(ground, runtimes, images)
        await _look_once(ground.engine, services.same_engine, services.bridge, reconciler)
        _start(ground, services, reconciler)
        yield services


async def _open_ground(settings: Settings, stack: AsyncExitStack) -> _Ground:
    enter = stack.enter_async_context
    directory = stack.enter_context(open_data_directory(settings.data_dir))
    database = await enter(open_database(_database_place(settings, directory)))
    instance = await installation_id(database, directory)
    leases = Leases(database=database, store=LeaseStore(server=directory.server(), boot=token_hex(8)))
    await leases.void_earlier()
    stack.push_async_callback(leases.close)
    address = await resolve_address(settings.docker_host, settings.passed_on, Deadline(_ADDRESS_SECONDS))
    git_access, outbound = GitAccess.from_settings(settings), Outbound.from_settings(settings)
    tenant = await enter(open_tenant(settings, partial(_trusted, git_access)))
    return _Ground(
        settings=settings,
        instance=instance,
        directory=directory,
        database=database,
        store=WorkspaceStore(database),
        tokens=TokenStore(database),
        events=EventLog(EventStore(database)),
        secrets=_secret_service(settings, directory, database, tenant.variables),
        leases=leases,
        engine=await enter(open_engine(address)),
        git=(git_access, await enter(open_http_client(git_access))),
        agents_http=await enter(open_agents_client()),
        outbound=outbound,
        outside=await enter(open_outside_client(outbound, partial(_trusted, git_access))),
        tenant=tenant,
        # Entered after what its tasks use, so that they have ended before any of it is closed.
        scope=await enter(TaskScope()),
    )


def _services(ground: _Ground, runtimes: Runtimes, images: ImageParts) -> tuple[Services, Reconciler]:
    """The parts on their ground; nothing of them runs yet."""
    database, store, tokens, events = ground.database, ground.store, ground.tokens, ground.events
    bridge, templates = Bridge(), ConfigTemplates(ground.settings.configs_dir)
    directories = WorkspaceDirectories.from_settings(ground.settings)
    same_engine = SameEngine(database=database, engine=ground.engine, shared=ground.settings.database_url is not None)
    backend = EngineBackend(
        tokens=tokens,
        images=images.service,
        secrets=ground.secrets,
        directories=directories,
        templates=templates,
        engine=ground.engine,
        same_engine=same_engine,
        instance=ground.instance,
        settings=ground.settings,
        expose=bridge.announce,
    )
    provisioner = Provisioner(
        database=database, workspaces=store, events=events, backend=backend, settings=ground.settings
    )
    reconciler = Reconciler(
        database=database,
        workspaces=store,
        events=events,
        backend=backend,
        provisioner=provisioner,
        leases=ground.leases,
        stale_after=ground.settings.remote_stale_seconds,
        scope=ground.scope,
    )
    lifecycle = Lifecycle(
        database=database,
        workspaces=store,
        events=events,
        templates=templates,
        wake=reconciler.wake,
        look=reconciler.look,
    )
    proxy = AgentProxy(
        database=database,
        workspaces=store,
        http=ground.agents_http,
        wake=lifecycle.awake,
        outside=ground.outside,
    )
    services = Services(
        settings=ground.settings,
        instance=ground.instance,
        owner_token=ground.directory.owner_token(),
        database=database,
        engine=ground.engine,
        same_engine=same_engine,
        bridge=bridge,
        runtimes=runtimes,
        images=images.service,
        builds=images.book,
        survey=images.survey,
        pruner=images.pruner,
        workspaces=WorkspaceService(
            database=database,
            workspaces=store,
            tokens=tokens,
            events=events,
            secrets=ground.secrets,
            wake=reconciler.wake,
        ),
        lifecycle=lifecycle,
        logs=ContainerLogs(ground.engine, ground.instance),
        templates=templates,
        directories=directories,
        secrets=ground.secrets,
        store=store,
        tokens=tokens,
        registry=AgentRegistry(
            database=database, workspaces=store, tokens=tokens, events=events, outbound=ground.outbound
        ),
        outbound=ground.outbound,
        proxy=proxy,
        rollout=Rollout(
            images=images.service,
            registry=images.registry,
            runtimes=runtimes,
            engine=ground.engine,
            workspaces=store,
            lifecycle=lifecycle,
            instance=ground.instance,
            talks_to=proxy.talks_to,
        ),
        members=ground.tenant.members,
        upstream=ground.tenant.upstream,
    )
    return services, reconciler


def _start(ground: _Ground, services: Services, reconciler: Reconciler) -> None:
    """Begin the work that goes on by itself, until the scope is left."""
    reconciler.start()
    others = OtherServers(
        database=ground.database, workspaces=ground.store, events=ground.events, wake=reconciler.wake_for_all
    )
    ground.scope.start(others.follow(), name="other servers")
    pruning = periodic("prune", _PRUNE_SECONDS, services.pruner.keep_within, asyncio.Event(), at_once=False)
    ground.scope.start(pruning, name="prune")
    if ground.settings.auto_refresh:
        services.rollout.watch(ground.scope, ground.settings.auto_refresh_seconds)


def _trusted(access: GitAccess) -> ssl.SSLContext:
    return trusted(access.certificate_file, access.certificate_directory)


@asynccontextmanager
async def rotating_secrets(settings: Settings) -> AsyncIterator[SecretService]:
    """The secrets of an installation whose server does not run, to be sealed anew inside the block.

    Where the key is this installation's own, a new one is made first, and the old ones are forgotten at the end.
    """
    with open_data_directory(settings.data_dir) as directory:
        own = not settings.encryption_keys
        if own:
            directory.make_encryption_key()
        async with open_database(_database_place(settings, directory)) as database:
            yield _secret_service(settings, directory, database)
        if own:
            directory.keep_encryption_keys(directory.encryption_keys()[:1])


def _database_place(settings: Settings, directory: DataDirectory) -> Path | str:
    return directory.database if settings.database_url is None else settings.database_url.get_secret_value()


def _secret_service(
    settings: Settings, directory: DataDirectory, database: Database, given: Given = nothing_given
) -> SecretService:
    keys = [*settings.encryption_keys, *directory.encryption_keys()] or directory.make_encryption_key()
    return SecretService(database=database, store=SecretStore(database), vault=Vault(keys), given=given)


async def _look_once(engine: Engine, same_engine: SameEngine, bridge: Bridge, reconciler: Reconciler) -> None:
    """Before the server listens: make the network, and compare rows with containers. The engine may be away.

    Raises SettingsError ``another_engine``.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(_FIRST_LOOK_SECONDS):
            try:
                await same_engine.check()
                await bridge.announce(await engine.ensure_network(names.NETWORK))
            except SettingsError:
                raise
            except WorkspaceServerError as error:
                log.warning("the engine is away; wishes wait", code=error.code, error=error.message, hint=error.hint)
                return
            await reconciler.observe()
