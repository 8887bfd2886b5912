"""The reconciler: rows say what is wanted, the backend says what is, and this closes the gap.

It works whenever it is woken and every few seconds besides. A server that dies at any line loses nothing: the next
one finds wishes without containers and containers without wishes.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import structlog

from workspace_server.concurrency import TaskScope, periodic, until_ended
from workspace_server.db import Database, WorkspaceStore
from workspace_server.errors import DeadlineError, UnavailableError, WorkspaceServerError
from workspace_server.events import EventLog
from workspace_server.model.workspace import Failure, Workspace, WorkspaceStatus
from workspace_server.workspaces.attempt import SupersededError
from workspace_server.workspaces.backend import Backend
from workspace_server.workspaces.leases import RENEW_SECONDS, Leases
from workspace_server.workspaces.observe import AT_ONCE, Observer
from workspace_server.workspaces.progress import begun
from workspace_server.workspaces.provision import Provisioner

log = structlog.get_logger(__name__)

_WISHES_SECONDS = 5.0
_FACTS_SECONDS = 15.0
_FIRST_PAUSE = 2.0
_NOT_ENDED = frozenset({"control_plane_refused", "machine_not_ended"})
"""Why a machine runs on that should not: nothing that passes by itself."""
_RESTING = frozenset({WorkspaceStatus.PAUSED, WorkspaceStatus.HIBERNATING, WorkspaceStatus.HIBERNATED})


class Reconciler:
    """Owns every task that changes the backend. At most one works on a workspace at a time."""

    def __init__(
        self,
        *,
        database: Database,
        workspaces: WorkspaceStore,
        events: EventLog,
        backend: Backend,
        provisioner: Provisioner,
        leases: Leases,
        stale_after: float,
        scope: TaskScope,
    ) -> None:
        self._database = database
        self._workspaces = workspaces
        self._backend = backend
        self._provisioner = provisioner
        self._leases = leases
        self._scope = scope
        self._wishes = asyncio.Event()
        self._facts = asyncio.Event()
        self._working: dict[str, asyncio.Task[None]] = {}
        self._clearing: dict[str, bool] = {}  # of those that are worked on: whether they are purged
        self._stopping: set[str] = set()
        self._provisioning: dict[str, int] = {}  # of those that are worked on: their generation
        self._pauses = Pauses(backend.longest_pause)
        self._observer = Observer(
            database=database,
            workspaces=workspaces,
            events=events,
            backend=backend,
            stale_after=stale_after,
            stop=self._begin_stopping,
            clear=self._begin_clearing_nobodys,
            is_worked_on=self._working.__contains__,
        )

    def wake(self) -> None:
        """There is a new wish: to run, or to go."""
        self._wishes.set()

    def look(self) -> None:
        """Something that runs is to rest: whether it does is seen by looking at the facts."""
        self._facts.set()

    def wake_for_all(self) -> None:
        """Another server wrote a wish, of whatever kind."""
        self.wake()
        self.look()

    def start(self) -> None:
        """Begin: fulfil wishes, and look at the facts, until the scope is left."""
        self._scope.start(periodic("wishes", _WISHES_SECONDS, self.fulfil, self._wishes), name="reconcile wishes")
        self._scope.start(periodic("facts", _FACTS_SECONDS, self.observe, self._facts), name="reconcile facts")
        renewing = periodic("leases", RENEW_SECONDS, self._leases.renew, asyncio.Event(), at_once=False)
        self._scope.start(renewing, name="renew leases")
        self._scope.start(self._backend.watch(self._facts.set), name="watch the machines")

    async def fulfil(self) -> None:
        """Begin what the rows ask for and nobody works on: removals first, they end what is under way."""
        if (hindrance := await self._hindrance()) is not None:
            await self._say_what_is_waited_for(hindrance)
            return
        for workspace_id, purge in await self._workspaces.to_clear():
            if self._clearing.get(workspace_id) != purge:
                self._begin_clearing(workspace_id, purge=purge)
        if await self._observer.restart_the_dead() == AT_ONCE:
            self._wishes.set()  # the others: as soon as these have begun
        for workspace in await self._workspaces.with_status(WorkspaceStatus.PROVISIONING):
            under_way = self._working.get(workspace.id)
            if under_way is None:
                self._work(workspace.id, partial(self._provision, workspace))
            elif workspace.generation > self._provisioning.get(workspace.id, workspace.generation):
                self._provisioning[workspace.id] = workspace.generation
                self._work(workspace.id, partial(self._provision_after, under_way, workspace.id))

    async def observe(self) -> None:
        """Compare the engine's containers with the rows; what died is wanted again soon."""
        if await self._hindrance() is None and await self._observer.observe():
            self._wishes.set()

    async def _hindrance(self) -> WorkspaceServerError | None:
        """Why nothing may be done on this engine now, if anything."""
        try:
            await self._backend.check()
        except WorkspaceServerError as error:
            log.warning("nothing is done on this backend", code=error.code, error=error.message, hint=error.hint)
            return error
        return None

    async def _say_what_is_waited_for(self, error: WorkspaceServerError) -> None:
        """On the rows that wait, once: a lease is taken for it, and other servers may be better off."""
        if not isinstance(error, UnavailableError | DeadlineError):
            return  # for good: it is for the others to work here
        for workspace in await self._workspaces.with_status(WorkspaceStatus.PROVISIONING):
            says_so = workspace.failure is not None and workspace.failure.code == error.code
            if not says_so and workspace.id not in self._working:
                self._work(workspace.id, partial(self._provisioner.wait, workspace, error))

    def _begin_stopping(self, workspace_id: str) -> None:
        """After what is under way on the workspace, which it ends."""
        if workspace_id not in self._stopping and workspace_id not in self._clearing:
            self._stopping.add(workspace_id)
            under_way = self._working.get(workspace_id)
            self._work(workspace_id, partial(self._stop_after, under_way, workspace_id))

    def _begin_clearing_nobodys(self, workspace_id: str) -> None:
        if workspace_id not in self._working:
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
        """Work that failed, or is another server's, is left: its wish is still on the row for the next round."""
        try:
            async with self._leases.hold(workspace_id) as mine:
                if mine:
                    await work()
        except SupersededError:
            log.info("a provisioning is wanted no longer", workspace=workspace_id)
        except WorkspaceServerError as error:
            log.warning("will try again", workspace=workspace_id, code=error.code, error=error.message)

    def _done(self, workspace_id: str, task: "asyncio.Task[None]") -> None:
        if self._working.get(workspace_id) is task:
            del self._working[workspace_id]
            self._clearing.pop(workspace_id, None)
            self._provisioning.pop(workspace_id, None)
            if workspace_id in self._stopping:
                self._stopping.discard(workspace_id)
                self._wishes.set()  # it may be wanted again by now

    async def _provision(self, workspace: Workspace) -> None:
        self._provisioning[workspace.id] = workspace.generation
        if not self._pauses.over(workspace.id, workspace.generation):
            return
        if workspace.generation and await self._provisioner.resume(workspace):
            self._pauses.lengthen(workspace.id, workspace.generation)
            await self._end_pause_of_provisioned(workspace.id)
            return
        async with self._database.write(durable=False) as tx:
            first = begun(self._backend.phases[0])
            claimed = await self._workspaces.claim(tx, workspace.id, workspace.generation, first)
        if claimed is None:
            self._wishes.set()  # wanted once more, or not any more, since the row was read
            return
        self._provisioning[workspace.id] = claimed.generation
        try:
            await self._provisioner.provision(claimed)
        finally:
            self._pauses.lengthen(workspace.id, claimed.generation)
        await self._end_pause_of_provisioned(workspace.id)

    async def _end_pause_of_provisioned(self, workspace_id: str) -> None:
        row = await self._workspaces.get(workspace_id)
        if row is None or row.status is not WorkspaceStatus.PROVISIONING:
            self._pauses.end(workspace_id)

    async def _provision_after(self, under_way: "asyncio.Task[None]", workspace_id: str) -> None:
        """What was under way is superseded. A build that it waited for goes on, and is joined.

        Here and below: whoever ends this waits for the same. What the engine was asked to make still comes.
        """
        under_way.cancel()
        await until_ended(under_way)
        row = await self._workspaces.get(workspace_id)
        if row is not None and row.status is WorkspaceStatus.PROVISIONING:
            await self._provision(row)

    async def _stop_after(self, under_way: "asyncio.Task[None] | None", workspace_id: str) -> None:
        """Remove the container of a workspace that is to rest, unless it is wanted again by now; its files stay."""
        if under_way is not None:
            under_way.cancel()
            await until_ended(under_way)
        row = await self._workspaces.get(workspace_id)
        if row is not None and row.status is WorkspaceStatus.FAILED:
            await self._backend.halt(row)
        if row is None or row.status not in _RESTING:
            return
        async with self._telling(workspace_id):
            await self._backend.stop(row)
        if row.status is WorkspaceStatus.HIBERNATING:
            async with self._database.write() as tx:
                await self._workspaces.move(tx, workspace_id, WorkspaceStatus.HIBERNATED, leaving=row.status)
        log.info("workspace stopped", workspace=workspace_id, status=row.status)

    async def _clear_after(
        self, under_way: "asyncio.Task[None] | None", workspace_id: str, *, ends_it: bool, purge: bool
    ) -> None:
        """A provisioning that is ended leaves the build it waited for to others."""
        if under_way is not None:
            if ends_it:
                under_way.cancel()
            await until_ended(under_way)
        self._pauses.end(workspace_id)
        await self._clear(workspace_id, purge=purge)

    async def _clear(self, workspace_id: str, *, purge: bool) -> None:
        """Remove everything of a removed workspace; its files only when purged."""
        async with self._telling(workspace_id):
            await self._backend.clear(workspace_id, purge=purge)
        async with self._database.write() as tx:
            wants_purge = dict(await self._workspaces.to_clear()).get(workspace_id, False)
            if wants_purge and not purge:
                return  # asked for meanwhile: the next round does it
            await self._workspaces.mark_cleared(tx, workspace_id)
        log.info("workspace removed", workspace=workspace_id, purged=purge)

    @asynccontextmanager
    async def _telling(self, workspace_id: str) -> AsyncIterator[None]:
        """A block that ends a machine: the row says why that cannot be done, as long as that is so."""
        try:
            yield
        except WorkspaceServerError as error:
            if error.code in _NOT_ENDED:
                await self._tell(workspace_id, Failure(code=error.code, message=error.message, hint=error.hint))
            raise
        await self._tell(workspace_id, None)

    async def _tell(self, workspace_id: str, failure: Failure | None) -> None:
        row = await self._workspaces.get(workspace_id)
        told = row is not None and row.failure is not None and row.failure.code in _NOT_ENDED
        if (failure is not None or told) and row is not None and row.failure != failure:
            async with self._database.write() as tx:
                await self._workspaces.tell(tx, workspace_id, failure)


class Pauses:
    """How long a workspace waits for its next provisioning, twice as long after each that came to no end.

    Their causes are passing ones, but some pass slowly. ``longest``: how many seconds it may be.
    """

    def __init__(self, longest: float) -> None:
        self._longest = longest
        self._seconds: dict[str, float] = {}
        self._until: dict[str, tuple[int, float]] = {}

    def over(self, workspace_id: str, generation: int) -> bool:
        """Whether the try after this generation may begin. A generation that was wanted since has no pause."""
        paused, until = self._until.get(workspace_id, (generation, 0.0))
        return paused != generation or asyncio.get_running_loop().time() >= until

    def lengthen(self, workspace_id: str, generation: int) -> None:
        """One more try ended: that of this generation."""
        seconds = self._seconds.get(workspace_id, _FIRST_PAUSE)
        self._seconds[workspace_id] = min(seconds * 2, self._longest)
        self._until[workspace_id] = generation, asyncio.get_running_loop().time() + seconds

    def end(self, workspace_id: str) -> None:
        """There is nothing to try any more."""
        self._seconds.pop(workspace_id, None)
        self._until.pop(workspace_id, None)
