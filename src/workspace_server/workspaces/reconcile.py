"""The reconciler: rows say what is wanted, the engine says what is, and this closes the gap.

It works whenever it is woken and every few seconds besides. A server that dies at any line loses nothing: the next
one finds wishes without containers and containers without wishes.
"""

import asyncio
from collections.abc import Coroutine

import structlog

from workspace_server.concurrency import TaskScope, periodic
from workspace_server.db import Database, WorkspaceStore
from workspace_server.engine import Engine
from workspace_server.errors import UnavailableError, WorkspaceServerError
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
            await self._stop(workspace_id)
            self._work(workspace_id, self._clear(workspace_id, purge=purge))
        for workspace in await self._workspaces.with_status(WorkspaceStatus.PROVISIONING):
            if workspace.id not in self._working:
                self._work(workspace.id, self._provision(workspace))

    async def observe(self) -> None:
        """Compare the engine's containers with the rows: mark the dead, remove those that belong to no row."""
        try:
            containers = await self._engine.containers(names.installation_labels(self._instance))
        except UnavailableError as error:
            log.warning("the engine cannot be observed", error=error.message)
            return
        found = {
            container.labels[names.WORKSPACE_ID]: container for container in containers if _of_workspace(container)
        }
        living = await self._workspaces.with_status(WorkspaceStatus.ONLINE, WorkspaceStatus.DEGRADED)
        for workspace in living:
            await self._compare(workspace, found.get(workspace.id))
        for workspace_id in found.keys() - self._working.keys():
            if await self._workspaces.get(workspace_id) is None:
                log.warning("removing a container that belongs to no workspace", workspace=workspace_id)
                self._work(workspace_id, self._clear(workspace_id, purge=False))

    def _work(self, workspace_id: str, work: Coroutine[object, object, None]) -> None:
        task = self._scope.start(self._tolerant(workspace_id, work), name=f"workspace {workspace_id}")
        self._working[workspace_id] = task
        task.add_done_callback(lambda done: self._done(workspace_id, done))

    async def _tolerant(self, workspace_id: str, work: Coroutine[object, object, None]) -> None:
        """Work that failed is logged; its wish is still on the row, and the next round tries again."""
        try:
            await work
        except SupersededError:
            log.info("a provisioning is wanted no longer", workspace=workspace_id)
        except WorkspaceServerError as error:
            log.warning("will try again", workspace=workspace_id, code=error.code, error=error.message)

    def _done(self, workspace_id: str, task: "asyncio.Task[None]") -> None:
        if self._working.get(workspace_id) is task:
            del self._working[workspace_id]

    async def _stop(self, workspace_id: str) -> None:
        """End the work on a workspace that was removed. A build it waited for goes on, for others."""
        task = self._working.get(workspace_id)
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _provision(self, workspace: Workspace) -> None:
        if workspace.generation and await self._provisioner.resume(workspace):
            return
        async with self._database.write(durable=False) as tx:
            claimed = await self._workspaces.claim(tx, workspace.id, workspace.generation)
        if claimed is not None:
            await self._provisioner.provision(claimed)

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


def _of_workspace(container: ContainerInfo) -> bool:
    return names.WORKSPACE_ID in container.labels
