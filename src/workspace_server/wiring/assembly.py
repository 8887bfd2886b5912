"""The composition root: opens every part in order, and closes them in the reverse order."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import assert_never

import structlog

from workspace_server.agents import AgentProxy, AgentRegistry
from workspace_server.errors import SettingsError, WorkspaceServerError
from workspace_server.settings import Settings
from workspace_server.wiring.control_plane import ControlPlaneParts, ControlPlaneSide
from workspace_server.wiring.engine import EngineParts, EngineSide, start_engine_work
from workspace_server.wiring.ground import Ground, open_ground
from workspace_server.wiring.links import ControlPlaneLink, EngineLink
from workspace_server.wiring.services import Services
from workspace_server.workspaces import Provisioner, Reconciler, WorkspaceService
from workspace_server.workspaces.bootstrap import Bootstraps
from workspace_server.workspaces.lifecycle import Lifecycle
from workspace_server.workspaces.others import OtherServers

log = structlog.get_logger(__name__)

_FIRST_LOOK_SECONDS = 1.0


@asynccontextmanager
async def open_services(settings: Settings) -> AsyncIterator[Services]:
    """Open everything the server needs, look at the machines once, and start the reconciler.

    What starts workspaces may be away. Raises SettingsError for a configuration that cannot work, UnavailableError when
    the data directory cannot be used.
    """
    if settings.redis_url is not None:
        log.info("REDIS_URL is ignored: what it was for is in the database")
    async with open_ground(settings) as ground:
        side = _side(ground)
        reconciler = _reconciler(ground, side)
        services = _services(ground, side, reconciler)
        await _look_once(side, reconciler)
        _start(ground, services, reconciler)
        yield services


def _side(ground: Ground) -> EngineSide | ControlPlaneSide:
    match ground.link:
        case EngineLink():
            return EngineSide(ground, ground.link)
        case ControlPlaneLink():
            return ControlPlaneSide(ground, ground.link)
        case _:
            assert_never(ground.link)


def _reconciler(ground: Ground, side: EngineSide | ControlPlaneSide) -> Reconciler:
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


def _services(ground: Ground, side: EngineSide | ControlPlaneSide, reconciler: Reconciler) -> Services:
    """The parts that requests need. Nothing of them runs yet."""
    lifecycle = _lifecycle(ground, reconciler)
    proxy = _proxy(ground, side, lifecycle)
    return Services(
        settings=ground.settings,
        instance=ground.instance,
        owner_token=ground.data.owner_token(),
        database=ground.database,
        backend=side.parts(lifecycle, proxy.talks_to),
        image_source=side.backend.image_source,
        phases=side.backend.phases,
        runtimes=ground.runtimes,
        workspaces=_workspaces(ground, reconciler),
        lifecycle=lifecycle,
        bootstraps=Bootstraps(
            database=ground.database, workspaces=ground.store, events=ground.events, look=reconciler.look
        ),
        templates=ground.templates,
        directories=ground.directories,
        secrets=ground.secrets,
        store=ground.store,
        tokens=ground.tokens,
        registry=_registry(ground, side),
        outbound=ground.outbound,
        proxy=proxy,
        members=ground.tenant.members,
        upstream=ground.tenant.upstream,
    )


def _workspaces(ground: Ground, reconciler: Reconciler) -> WorkspaceService:
    return WorkspaceService(
        database=ground.database,
        workspaces=ground.store,
        tokens=ground.tokens,
        events=ground.events,
        secrets=ground.secrets,
        wake=reconciler.wake,
    )


def _lifecycle(ground: Ground, reconciler: Reconciler) -> Lifecycle:
    return Lifecycle(
        database=ground.database,
        workspaces=ground.store,
        events=ground.events,
        templates=ground.templates,
        wake=reconciler.wake,
        look=reconciler.look,
    )


def _proxy(ground: Ground, side: EngineSide | ControlPlaneSide, lifecycle: Lifecycle) -> AgentProxy:
    return AgentProxy(
        database=ground.database,
        workspaces=ground.store,
        http=ground.agents_http,
        wake=lifecycle.awake,
        outside=ground.outside,
        machines_elsewhere=side.machines_elsewhere,
    )


def _registry(ground: Ground, side: EngineSide | ControlPlaneSide) -> AgentRegistry:
    return AgentRegistry(
        database=ground.database,
        workspaces=ground.store,
        tokens=ground.tokens,
        events=ground.events,
        outbound=ground.outbound,
        machines_elsewhere=side.machines_elsewhere,
    )


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


def _start(ground: Ground, services: Services, reconciler: Reconciler) -> None:
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
