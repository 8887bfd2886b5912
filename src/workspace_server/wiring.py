"""The composition root: opens every part in order, and closes them in the reverse order."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from secrets import token_hex
from typing import assert_never

import httpx
import structlog

from workspace_server.agents import AgentProxy, AgentRegistry, Outbound, open_agents_client, open_outside_client
from workspace_server.certificates import trusted
from workspace_server.concurrency import TaskScope
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
from workspace_server.db.installation import installation_id, same_backend, wanted_backend
from workspace_server.errors import ConflictError, SettingsError, WorkspaceServerError
from workspace_server.events import EventLog
from workspace_server.git import GitAccess
from workspace_server.images import BuildBook
from workspace_server.model.workspace import Phase
from workspace_server.runtimes import Runtimes
from workspace_server.settings import Settings
from workspace_server.surroundings import runs_in_container
from workspace_server.wiring_control_plane import (
    ControlPlaneLink,
    ControlPlaneParts,
    ControlPlaneSide,
    open_control_plane_link,
)
from workspace_server.wiring_engine import EngineLink, EngineParts, EngineSide, open_engine_link, start_engine_work
from workspace_server.wiring_tenant import Tenant, open_tenant
from workspace_server.workspaces import Provisioner, Reconciler, WorkspaceService
from workspace_server.workspaces.bootstrap import Bootstraps
from workspace_server.workspaces.directories import WorkspaceDirectories
from workspace_server.workspaces.leases import Leases
from workspace_server.workspaces.lifecycle import Lifecycle
from workspace_server.workspaces.others import OtherServers
from workspace_server.workspaces.secrets import Given, SecretService, nothing_given
from workspace_server.workspaces.templates import ConfigTemplates
from workspace_server.workspaces.vault import Vault

log = structlog.get_logger(__name__)

_FIRST_LOOK_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Every part that a request may need. ``owner_token`` is the plaintext of the file in the data directory.

    ``backend``: what there is besides, because of what starts the workspaces; whoever needs any of it asks which it is.
    """

    settings: Settings
    instance: str
    owner_token: str
    database: Database
    backend: EngineParts | ControlPlaneParts
    image_source: str
    phases: Sequence[Phase]
    runtimes: Runtimes
    workspaces: WorkspaceService
    lifecycle: Lifecycle
    bootstraps: Bootstraps
    directories: WorkspaceDirectories
    templates: ConfigTemplates
    secrets: SecretService
    store: WorkspaceStore
    tokens: TokenStore
    registry: AgentRegistry
    proxy: AgentProxy
    outbound: Outbound
    members: Members | None
    upstream: Upstream | None

    @property
    def builds(self) -> BuildBook | None:
        """The builds of images; None where none are made."""
        return self.backend.builds if isinstance(self.backend, EngineParts) else None

    @property
    def on_engine(self) -> EngineParts:
        """What there is because of an engine. Raises ConflictError ``no_engine_here`` where there is none."""
        match self.backend:
            case EngineParts():
                return self.backend
            case ControlPlaneParts():
                raise ConflictError(
                    "workspaces are machines of the control plane here: this server has no engine, no images, no logs",
                    code="no_engine_here",
                    hint="GET /workspaces/{id}/console shows what a machine writes; GET /runtimes what can be started",
                )
            case _:
                assert_never(self.backend)

    @property
    def owner_needs_token(self) -> bool:
        """Whether loopback is no proof of ownership, because containers might arrive from it as well."""
        if self.settings.owner_proof == "required":
            return True
        match self.backend:
            case EngineParts():
                return self.backend.containers_may_come_from_loopback
            case ControlPlaneParts():
                return runs_in_container()
            case _:
                assert_never(self.backend)


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
    link: EngineLink | ControlPlaneLink
    agents_http: httpx.AsyncClient
    outbound: Outbound
    outside: httpx.AsyncClient
    tenant: Tenant
    scope: TaskScope


@asynccontextmanager
async def open_services(settings: Settings) -> AsyncIterator[Services]:
    """Open everything the server needs, look at the machines once, and start the reconciler.

    What starts workspaces may be away. Raises SettingsError for a configuration that cannot work, UnavailableError when
    the data directory cannot be used.
    """
    runtimes = Runtimes.from_settings(settings)
    if settings.redis_url is not None:
        log.info("REDIS_URL is ignored: what it was for is in the database")
    async with AsyncExitStack() as stack:
        ground = await _open_ground(settings, stack)
        templates = ConfigTemplates(settings.configs_dir)
        directories = WorkspaceDirectories.from_settings(settings)
        side = _side(ground, runtimes, templates, directories)
        services, reconciler = _services(ground, runtimes, side, templates, directories)
        await _look_once(side, reconciler)
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
    await same_backend(database, wanted_backend(settings.org_id))
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
        link=await enter(_open_link(settings, git_access)),
        agents_http=await enter(open_agents_client()),
        outbound=outbound,
        outside=await enter(open_outside_client(outbound, partial(_trusted, git_access))),
        tenant=tenant,
        # Entered after what its tasks use, so that they have ended before any of it is closed.
        scope=await enter(TaskScope()),
    )


def _open_link(
    settings: Settings, git: GitAccess
) -> AbstractAsyncContextManager[EngineLink] | AbstractAsyncContextManager[ControlPlaneLink]:
    """The one choice of what starts workspaces. With a control plane, no engine is ever looked for."""
    if settings.org_id is None:
        return open_engine_link(settings, git)
    return open_control_plane_link(settings, partial(_trusted, git))


def _side(
    ground: _Ground, runtimes: Runtimes, templates: ConfigTemplates, directories: WorkspaceDirectories
) -> EngineSide | ControlPlaneSide:
    match ground.link:
        case EngineLink():
            return EngineSide(
                ground.link,
                settings=ground.settings,
                runtimes=runtimes,
                instance=ground.instance,
                database=ground.database,
                store=ground.store,
                tokens=ground.tokens,
                secrets=ground.secrets,
                directories=directories,
                templates=templates,
                scope=ground.scope,
            )
        case ControlPlaneLink():
            return ControlPlaneSide(
                ground.link,
                settings=ground.settings,
                database=ground.database,
                store=ground.store,
                tokens=ground.tokens,
                secrets=ground.secrets,
            )
        case _:
            assert_never(ground.link)


def _services(
    ground: _Ground,
    runtimes: Runtimes,
    side: EngineSide | ControlPlaneSide,
    templates: ConfigTemplates,
    directories: WorkspaceDirectories,
) -> tuple[Services, Reconciler]:
    """The parts on their ground; nothing of them runs yet."""
    database, store, tokens, events = ground.database, ground.store, ground.tokens, ground.events
    elsewhere = isinstance(side, ControlPlaneSide)
    reconciler = _reconciler(ground, side)
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
        machines_elsewhere=elsewhere,
    )
    services = Services(
        settings=ground.settings,
        instance=ground.instance,
        owner_token=ground.directory.owner_token(),
        database=database,
        backend=side.parts(lifecycle, proxy.talks_to),
        image_source=side.backend.image_source,
        phases=side.backend.phases,
        runtimes=runtimes,
        workspaces=WorkspaceService(
            database=database,
            workspaces=store,
            tokens=tokens,
            events=events,
            secrets=ground.secrets,
            wake=reconciler.wake,
        ),
        lifecycle=lifecycle,
        bootstraps=Bootstraps(database=database, workspaces=store, events=events, look=reconciler.look),
        templates=templates,
        directories=directories,
        secrets=ground.secrets,
        store=store,
        tokens=tokens,
        registry=AgentRegistry(
            database=database,
            workspaces=store,
            tokens=tokens,
            events=events,
            outbound=ground.outbound,
            machines_elsewhere=elsewhere,
        ),
        outbound=ground.outbound,
        proxy=proxy,
        members=ground.tenant.members,
        upstream=ground.tenant.upstream,
    )
    return services, reconciler


def _reconciler(ground: _Ground, side: EngineSide | ControlPlaneSide) -> Reconciler:
    provisioner = Provisioner(
        database=ground.database,
        workspaces=ground.store,
        events=ground.events,
        backend=side.backend,
        settings=ground.settings,
    )
    return Reconciler(
        database=ground.database,
        workspaces=ground.store,
        events=ground.events,
        backend=side.backend,
        provisioner=provisioner,
        leases=ground.leases,
        stale_after=ground.settings.remote_stale_seconds,
        scope=ground.scope,
    )


def _start(ground: _Ground, services: Services, reconciler: Reconciler) -> None:
    """Begin the work that goes on by itself, until the scope is left."""
    reconciler.start()
    others = OtherServers(
        database=ground.database, workspaces=ground.store, events=ground.events, wake=reconciler.wake_for_all
    )
    ground.scope.start(others.follow(), name="other servers")
    match services.backend:
        case EngineParts():
            start_engine_work(services.backend, ground.settings, ground.scope)
        case ControlPlaneParts():
            pass  # what it starts, it looks after
        case _:
            assert_never(services.backend)


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


async def _look_once(side: EngineSide | ControlPlaneSide, reconciler: Reconciler) -> None:
    """Before the server listens: compare rows with machines. The engine, or the control plane, may be away.

    Raises SettingsError ``another_engine``.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(_FIRST_LOOK_SECONDS):
            try:
                await side.meet()
            except SettingsError:
                raise
            except WorkspaceServerError as error:
                log.warning("the engine is away; wishes wait", code=error.code, error=error.message, hint=error.hint)
                return
            await reconciler.observe()
