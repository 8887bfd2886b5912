"""The reconciler: rows say what is wanted, the engine says what is, and this closes the gap.

It works whenever it is woken and every few seconds besides. A server that dies at any line loses nothing: the next
one finds wishes without containers and containers without wishes.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import structlog

from workspace_server.concurrency import TaskScope, periodic
from workspace_server.db import Database, WorkspaceStore
from workspace_server.engine import Engine
from workspace_server.errors import DeadlineError, UnavailableError, WorkspaceServerError
from workspace_server.events import EventLog
from workspace_server.model import names
from workspace_server.model.container import ContainerInfo
from workspace_server.model.event import Event, EventType
from workspace_server.model.workspace import Workspace, WorkspaceStatus
from workspace_server.workspaces.attempt import SupersededError
from workspace_server.workspaces.provision import Provisioner

log = structlog.get_logger(__name__)

_WISHES_SECONDS = 5.0
_FACTS_SECONDS = 15.0
_FIRST_PAUSE = 2.0
_LONGEST_PAUSE = 300.0


class Reconciler:
    """Owns every task that changes the engine. At most one works on a workspace at a time."""

    def __init__(
        self,
        *,
        database: Database,
        workspaces: WorkspaceStore,
        events: EventLog,
        engine: Engine,
        provisioner: Provisioner,
        instance: str,
        scope: TaskScope,
    ) -> None:
        self._database = database
        self._workspaces = workspaces
        self._events = events
        self._engine = engine
        self._provisioner = provisioner
        self._instance = instance
        self._scope = scope
        self._wishes = asyncio.Event()
        self._facts = asyncio.Event()
        self._working: dict[str, asyncio.Task[None]] = {}
        self._clearing: dict[str, bool] = {}  # of those that are worked on: whether they are purged
        self._pauses = Pauses()

    def wake(self) -> None:
        """There is a new wish."""
        self._wishes.set()

    def start(self) -> None:
        """Begin: fulfil wishes, and look at the facts, until the scope is left."""
        self._scope.start(periodic("wishes", _WISHES_SECONDS, self.fulfil, self._wishes), name="reconcile wishes")
        self._scope.start(periodic("facts", _FACTS_SECONDS, self.observe, self._facts), name="reconcile facts")

    async def fulfil(self) -> None:
        """Begin what the rows ask for and nobody works on: removals first, they end what is under way."""
        for workspace_id, purge in await self._workspaces.to_clear():
            if self._clearing.get(workspace_id) != purge:
                self._begin_clearing(workspace_id, purge=purge)
        for workspace in await self._workspaces.with_status(WorkspaceStatus.PROVISIONING):
            if workspace.id not in self._working:
                self._work(workspace.id, partial(self._provision, workspace))

    async def observe(self) -> None:
        """Compare the engine's containers with the rows: mark the dead, remove those that belong to no row."""
        # The rows first: what comes online while the engine answers is not missed in that answer.
        living = await self._workspaces.with_status(WorkspaceStatus.ONLINE, WorkspaceStatus.DEGRADED)
        try:
            containers = await self._engine.containers(names.installation_labels(self._instance))
        except (UnavailableError, DeadlineError) as error:
            log.warning("the engine cannot be observed", error=error.message)
            return
        found = {
            container.labels[names.WORKSPACE_ID]: container for container in containers if _of_workspace(container)
        }
        for workspace in living:
            await self._compare(workspace, found.get(workspace.id))
        for workspace_id in found.keys() - dict(await self._workspaces.to_clear()).keys():
            row = await self._workspaces.get(workspace_id)
            is_nobodys = row is None or row.status is WorkspaceStatus.REMOVED
            if is_nobodys and workspace_id not in self._working:
                log.warning("removing a container that belongs to no workspace", workspace=workspace_id)
                self._work(workspace_id, partial(self._clear, workspace_id, purge=False))

    def _begin_clearing(self, workspace_id: str, *, purge: bool) -> None:
        """After what is under way on the workspace: a provisioning is ended, another clearing is waited for."""
        under_way = self._working.get(workspace_id)
        ends_it = workspace_id not in self._clearing
        self._clearing[workspace_id] = purge
        self._work(workspace_id, partial(self._clear_after, under_way, workspace_id, ends_it=ends_it, purge=purge))

    def _work(self, workspace_id: str, work: Callable[[], Awaitable[None]]) -> None:
        task = self._scope.start(self._tolerant(workspace_id, work), name=f"workspace {workspace_id}")
        self._working[workspace_id] = task
        task.add_done_callback(lambda done: self._done(workspace_id, done))

    async def _tolerant(self, workspace_id: str, work: Callable[[], Awaitable[None]]) -> None:
        """Work that failed is logged; its wish is still on the row, and the next round tries again."""
        try:
            await work()
        except SupersededError:
            log.info("a provisioning is wanted no longer", workspace=workspace_id)
        except WorkspaceServerError as error:
            log.warning("will try again", workspace=workspace_id, code=error.code, error=error.message)

    def _done(self, workspace_id: str, task: "asyncio.Task[None]") -> None:
        if self._working.get(workspace_id) is task:
            del self._working[workspace_id]
            self._clearing.pop(workspace_id, None)

    async def _provision(self, workspace: Workspace) -> None:
        if workspace.generation and await self._provisioner.resume(workspace):
            return
        if not self._pauses.over(workspace.id):
            return
        async with self._database.write(durable=False) as tx:
            claimed = await self._workspaces.claim(tx, workspace.id, workspace.generation)
        if claimed is None:
            return
        try:
            await self._provisioner.provision(claimed)
        finally:
            self._pauses.lengthen(workspace.id)
        row = await self._workspaces.get(workspace.id)
        if row is None or row.status is not WorkspaceStatus.PROVISIONING:
            self._pauses.end(workspace.id)

    async def _clear_after(
        self, under_way: "asyncio.Task[None] | None", workspace_id: str, *, ends_it: bool, purge: bool
    ) -> None:
        """A provisioning that is ended leaves the build it waited for to others."""
        if under_way is not None:
            if ends_it:
                under_way.cancel()
            await asyncio.wait([under_way])
        self._pauses.end(workspace_id)
        await self._clear(workspace_id, purge=purge)

    async def _clear(self, workspace_id: str, *, purge: bool) -> None:
        """Remove everything of a removed workspace from the engine, by label; its files only when purged."""
        labels = names.workspace_labels(self._instance, workspace_id)
        for container in await self._engine.containers(labels):
            await self._engine.remove_container(container.id)
        kept = set() if purge else {names.workspace_volume(workspace_id)}
        for volume in await self._engine.volumes(labels):
            if volume.name not in kept:
                await self._engine.remove_volume(volume.name)
        async with self._database.write() as tx:
            wants_purge = dict(await self._workspaces.to_clear()).get(workspace_id, False)
            if wants_purge and not purge:
                return  # asked for meanwhile: the next round does it
            await self._workspaces.mark_cleared(tx, workspace_id)
        log.info("workspace removed", workspace=workspace_id, purged=purge)

    async def _compare(self, workspace: Workspace, container: ContainerInfo | None) -> None:
        if container is not None and container.running:
            await self._keep_address(workspace, container)
            return
        async with self._database.write() as tx:
            offline = await self._workspaces.move(
                tx, workspace.id, WorkspaceStatus.OFFLINE, generation=workspace.generation
            )
            if offline is not None:
                await self._events.record(tx, Event(type=EventType.OFFLINE, workspace_id=workspace.id, payload={}))
                log.warning("workspace offline: its container does not run", workspace=workspace.id)

    async def _keep_address(self, workspace: Workspace, container: ContainerInfo) -> None:
        url = f"http://127.0.0.1:{container.agent_port}"
        if container.agent_port and workspace.url != url:
            async with self._database.write(durable=False) as tx:
                await self._workspaces.progress(tx, workspace.id, workspace.generation, url=url)


class Pauses:
    """How long a workspace waits for its next provisioning, twice as long after each that came to no end.

    Their causes are passing ones, but some pass slowly, and each try may build an image.
    """

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._until: dict[str, float] = {}

    def over(self, workspace_id: str) -> bool:
        """Whether the next try may begin."""
        return asyncio.get_running_loop().time() >= self._until.get(workspace_id, 0.0)

    def lengthen(self, workspace_id: str) -> None:
        """One more try ended."""
        seconds = self._seconds.get(workspace_id, _FIRST_PAUSE)
        self._seconds[workspace_id] = min(seconds * 2, _LONGEST_PAUSE)
        self._until[workspace_id] = asyncio.get_running_loop().time() + seconds

    def end(self, workspace_id: str) -> None:
        """There is nothing to try any more."""
        self._seconds.pop(workspace_id, None)
        self._until.pop(workspace_id, None)


def _of_workspace(container: ContainerInfo) -> bool:
    return names.WORKSPACE_ID in container.labels
