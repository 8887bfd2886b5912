"""The composition root: opens every part in order, and closes them in the reverse order."""

import asyncio
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
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
from workspace_server.engine import Engine, ImageBuilder, RegistryAccess, open_engine, resolve_address
from workspace_server.errors import SettingsError, WorkspaceServerError
from workspace_server.events import EventLog
from workspace_server.git import CheckoutStore, GitAccess, Resolver, open_http_client
from workspace_server.images import BuildBook, ImageService, image_source
from workspace_server.images.build import BuildLimits, LocalBuilds
from workspace_server.images.ledger import ImageLedger
from workspace_server.images.prune import Budget, Pruner
from workspace_server.images.pull import PullLimits, Pulls
from workspace_server.images.registry import RegistryImages
from workspace_server.images.survey import Survey
from workspace_server.images.template import TemplateFiles
from workspace_server.images.wanted import WantedBuilds
from workspace_server.model import names
from workspace_server.runtimes import Runtimes
from workspace_server.setting_values import Environment
from workspace_server.settings import Settings
from workspace_server.surroundings import runs_in_container
from workspace_server.workspaces import Provisioner, Reconciler, WorkspaceService
from workspace_server.workspaces.bridge import Bridge
from workspace_server.workspaces.directories import WorkspaceDirectories
from workspace_server.workspaces.leases import Leases
from workspace_server.workspaces.lifecycle import Lifecycle
from workspace_server.workspaces.logs import ContainerLogs
from workspace_server.workspaces.others import OtherServers
from workspace_server.workspaces.rollout import Rollout
from workspace_server.workspaces.same_engine import SameEngine
from workspace_server.workspaces.secrets import SecretService
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

    @property
    def owner_needs_token(self) -> bool:
        """Whether loopback is no proof of ownership, because containers might arrive from it as well."""
        apart = sys.platform == "linux" and self.engine.address.local_socket and not runs_in_container()
        known_elsewhere = self.bridge.network is not None and not self.bridge.is_here
        return self.settings.owner_proof == "required" or not apart or known_elsewhere


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
        enter = stack.enter_async_context
        directory = stack.enter_context(open_data_directory(settings.data_dir))
        database = await enter(open_database(_database_place(settings, directory)))
        instance = await installation_id(database, directory)
        leases = Leases(database=database, store=LeaseStore(server=directory.server(), boot=token_hex(8)))
        await leases.void_earlier()
        stack.push_async_callback(leases.close)
        address = await resolve_address(settings.docker_host, settings.passed_on, Deadline(_ADDRESS_SECONDS))
        engine = await enter(open_engine(address))
        agents_http = await enter(open_agents_client())
        git_access = GitAccess.from_settings(settings)
        outbound = _outbound(settings)
        outside = await enter(open_outside_client(outbound, partial(_trusted, git_access)))
        git_http = await enter(open_http_client(git_access))
        # Entered after what its tasks use, so that they have ended before any of it is closed.
        scope = await enter(TaskScope())

        store, tokens, events = WorkspaceStore(database), TokenStore(database), EventLog(EventStore(database))
        images = _image_parts(
            settings=settings, runtimes=runtimes, engine=engine, git=(git_access, git_http), rows=store, scope=scope
        )
        bridge, directories = Bridge(), WorkspaceDirectories.from_settings(settings)
        templates = ConfigTemplates(settings.configs_dir)
        secrets = _secret_service(settings, directory, database)
        provisioner = Provisioner(
            database=database,
            workspaces=store,
            tokens=tokens,
            events=events,
            images=images.service,
            secrets=secrets,
            directories=directories,
            templates=templates,
            engine=engine,
            instance=instance,
            settings=settings,
            expose=bridge.announce,
        )
        same_engine = SameEngine(database=database, engine=engine, shared=settings.database_url is not None)
        reconciler = Reconciler(
            database=database,
            workspaces=store,
            events=events,
            engine=engine,
            provisioner=provisioner,
            leases=leases,
            same_engine=same_engine,
            instance=instance,
            stale_after=settings.remote_stale_seconds,
            scope=scope,
        )
        lifecycle = Lifecycle(
            database=database,
            workspaces=store,
            events=events,
            templates=templates,
            wake=reconciler.wake,
            look=reconciler.look,
        )
        proxy = AgentProxy(database=database, workspaces=store, http=agents_http, wake=lifecycle.awake, outside=outside)
        rollout = Rollout(
            images=images.service,
            registry=images.registry,
            runtimes=runtimes,
            engine=engine,
            workspaces=store,
            lifecycle=lifecycle,
            instance=instance,
            talks_to=proxy.talks_to,
        )
        await _look_once(engine, same_engine, bridge, reconciler)
        reconciler.start()
        others = OtherServers(database=database, workspaces=store, events=events, wake=reconciler.wake_for_all)
        scope.start(others.follow(), name="other servers")
        pruning = periodic("prune", _PRUNE_SECONDS, images.pruner.keep_within, asyncio.Event(), at_once=False)
        scope.start(pruning, name="prune")
        if settings.auto_refresh:
            rollout.watch(scope, settings.auto_refresh_seconds)
        yield Services(
            settings=settings,
            instance=instance,
            owner_token=directory.owner_token(),
            database=database,
            engine=engine,
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
                secrets=secrets,
                wake=reconciler.wake,
            ),
            lifecycle=lifecycle,
            logs=ContainerLogs(engine, instance),
            templates=templates,
            directories=directories,
            secrets=secrets,
            store=store,
            tokens=tokens,
            registry=AgentRegistry(
                database=database, workspaces=store, tokens=tokens, events=events, outbound=outbound
            ),
            outbound=outbound,
            proxy=proxy,
            rollout=rollout,
        )


def _outbound(settings: Settings) -> Outbound:
    """Only for a developer may agents that run elsewhere be on the same machine, or in a private network."""
    development = settings.environment is Environment.DEVELOPMENT
    return Outbound(loopback=development, private=development)


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


def _secret_service(settings: Settings, directory: DataDirectory, database: Database) -> SecretService:
    keys = [*settings.encryption_keys, *directory.encryption_keys()] or directory.make_encryption_key()
    return SecretService(database=database, store=SecretStore(database), vault=Vault(keys))


@dataclass(frozen=True, slots=True, kw_only=True)
class _ImageParts:
    service: ImageService
    registry: RegistryImages
    survey: Survey
    pruner: Pruner
    book: BuildBook


def _image_parts(
    *,
    settings: Settings,
    runtimes: Runtimes,
    engine: Engine,
    git: tuple[GitAccess, httpx.AsyncClient],
    rows: WorkspaceStore,
    scope: TaskScope,
) -> _ImageParts:
    """Everything that knows images: what ensures them, what tells of them, what removes them."""
    cache, (access, http) = settings.build_cache, git
    book, ledger = BuildBook(cache), ImageLedger(cache)
    resolver = Resolver(http=http, access=access, scope=scope)
    wanted = WantedBuilds(engine=engine, resolver=resolver, ledger=ledger)
    registry = RegistryImages(_pulls(settings, engine, book, scope))
    files = TemplateFiles(CheckoutStore(cache=cache, access=access, resolver=resolver))
    builds = _local_builds(settings, engine, files, book=book, ledger=ledger, scope=scope)
    builds.settle_interrupted()
    service = ImageService(
        source=image_source(settings),
        runtimes=runtimes,
        engine=engine,
        wanted=wanted,
        files=files,
        builds=builds,
        registry=registry,
        ledger=ledger,
    )
    survey = Survey(
        source=service.source,
        runtimes=runtimes,
        engine=engine,
        resolver=resolver,
        book=book,
        ledger=ledger,
        wanted=wanted,
        known_failure=service.known_failure,
        registry=registry,
    )
    pruner = Pruner(
        engine=engine,
        survey=survey,
        book=book,
        ledger=ledger,
        cache=cache,
        locks=cache / "locks",
        budget=Budget(bytes=settings.budget_mb * 1_000_000, images=settings.budget_images),
        used_by_rows=rows.images_in_use,
    )
    return _ImageParts(service=service, registry=registry, survey=survey, pruner=pruner, book=book)


def _pulls(settings: Settings, engine: Engine, book: BuildBook, scope: TaskScope) -> Pulls:
    return Pulls(
        engine=engine,
        access=RegistryAccess.from_settings(settings),
        book=book,
        locks=settings.build_cache / "locks",
        limits=PullLimits(seconds=settings.pull_max_seconds, stall_seconds=settings.pull_stall_seconds),
        scope=scope,
    )


def _local_builds(
    settings: Settings, engine: Engine, files: TemplateFiles, *, book: BuildBook, ledger: ImageLedger, scope: TaskScope
) -> LocalBuilds:
    return LocalBuilds(
        engine=engine,
        choose_builder=_chosen_once(settings, engine),
        files=files,
        book=book,
        ledger=ledger,
        locks=settings.build_cache / "locks",
        limits=BuildLimits(
            concurrency=settings.build_concurrency,
            seconds=settings.build_max_seconds,
            stall_seconds=settings.build_stall_seconds,
        ),
        scope=scope,
    )


def _chosen_once(settings: Settings, engine: Engine) -> Callable[[], Awaitable[ImageBuilder]]:
    """The builder, chosen when the first build needs one: a server that only looks up needs no docker CLI."""
    choosing = asyncio.Lock()
    chosen: ImageBuilder | None = None

    async def choose() -> ImageBuilder:
        nonlocal chosen
        async with choosing:
            if chosen is None:
                state = settings.build_cache / "buildx"
                chosen = await ImageBuilder.choose(settings.passed_on, engine.address, state)
                log.info("local-build: builder chosen", builder=chosen.description)
            return chosen

    return choose


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
