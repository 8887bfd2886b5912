"""From a claimed workspace to a running machine whose agent has called."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from datetime import UTC, datetime
from typing import Final, TypeVar

import structlog

from workspace_server.concurrency import Deadline, first_of
from workspace_server.db import Database, WorkspaceStore
from workspace_server.errors import DeadlineError, TemplateError, UnavailableError, WorkspaceServerError
from workspace_server.events import EventLog
from workspace_server.model.event import Event, EventType
from workspace_server.model.workspace import Phase, Workspace, WorkspaceStatus
from workspace_server.settings import Settings
from workspace_server.text import without_user
from workspace_server.workspaces.attempt import Attempt
from workspace_server.workspaces.backend import Backend, Machine

log = structlog.get_logger(__name__)

T = TypeVar("T")

_GRACE_SECONDS = 60.0
_RESTARTS_AT_ONCE = 4
_SILENT: Final = "agent_silent"
_ENDS_THE_WAIT = frozenset(
    {
        *(EventType.ONLINE, EventType.REMOVED, EventType.PROVISIONING, EventType.PAUSED),
        EventType.PROVISION_FAILED,
    }
)
_PASSING = frozenset(
    {
        *("engine_unavailable", "engine_timeout", "database_unavailable"),
        *("control_plane_unavailable", "instance_unknown", "machine_not_ended"),
    }
)
"""What is away comes back: a wish that needs it waits."""


class Provisioner:
    """Provisions workspaces on a backend: from a claimed row to an agent that called, or to why it did not."""

    def __init__(
        self,
        *,
        database: Database,
        workspaces: WorkspaceStore,
        events: EventLog,
        backend: Backend,
        settings: Settings,
    ) -> None:
        self._database = database
        self._workspaces = workspaces
        self._events = events
        self._backend = backend
        self._settings = settings
        # Many that are restarted together, by a secret of all or a reboot, come one after the other.
        self._turns = asyncio.Semaphore(_RESTARTS_AT_ONCE)

    async def provision(self, workspace: Workspace) -> None:
        """Make the machine of a claimed workspace and wait for its agent; a failure is written to the row.

        Raises SupersededError when the workspace was removed meanwhile.
        """
        attempt = self._attempt(workspace)
        async with self._settled(attempt):
            await self._run(attempt)

    async def resume(self, workspace: Workspace) -> bool:
        """Go on where an earlier server stopped, when this generation's machine runs already."""
        attempt = self._attempt(workspace)
        async with self._patient(attempt):
            machine = await self._backend.running(workspace)
            if machine is None:
                return False
            async with self._settled(attempt):
                with self._events.listen() as news:
                    await self._started(attempt, machine)
                    await self._until_online(attempt, machine, news, grace=_GRACE_SECONDS)
        return True

    async def wait(self, workspace: Workspace, error: WorkspaceServerError) -> None:
        """Let the row say what its wish waits for. Raises SupersededError."""
        await self._attempt(workspace).wait_for_better_times(error)

    @asynccontextmanager
    async def _settled(self, attempt: Attempt) -> AsyncIterator[None]:
        """A block whose failure is written to the row, for good unless it is a passing one."""
        async with self._patient(attempt):
            try:
                yield
            except WorkspaceServerError as error:
                if error.code in _PASSING:
                    raise
                await self._give_up(attempt, error)

    @asynccontextmanager
    async def _patient(self, attempt: Attempt) -> AsyncIterator[None]:
        """A block that leaves a wish a wish when what it needs is away."""
        try:
            yield
        except (UnavailableError, DeadlineError) as error:
            if error.code not in _PASSING:
                raise
            words = {"code": error.code, "error": error.message, "hint": error.hint}
            log.warning("provisioning waits", workspace=attempt.workspace.id, **words)
            await attempt.wait_for_better_times(error)

    def _attempt(self, workspace: Workspace) -> Attempt:
        return Attempt(workspace, self._backend.image_source, self._database, self._workspaces, self._events)

    async def _run(self, attempt: Attempt) -> None:
        start = await self._backend.prepare(attempt)
        with self._events.listen() as news:
            async with self._turns if attempt.workspace.generation > 1 else nullcontext():
                machine = await start()
                await self._started(attempt, machine)
            await self._until_online(attempt, machine, news)

    async def _started(self, attempt: Attempt, machine: Machine) -> None:
        """Record where the agent listens, and that its time to call began."""
        url = {} if machine.url is None else {"url": machine.url}  # else its agent names it, and may have done so
        started = attempt.workspace.container_started_at or datetime.now(UTC)
        cleared = {} if attempt.workspace.failure is None else {"failure": None, "last_sample_error": ""}
        await attempt.enter(Phase.ONLINE, container_started_at=started, **url, **cleared)
        log.info("workspace started", workspace=attempt.workspace.id, machine=machine.id[:12], **url)

    async def _until_online(
        self, attempt: Attempt, machine: Machine, news: "asyncio.Queue[Event]", *, grace: float = 0.0
    ) -> None:
        """Wait for the agent's first call. Raises TemplateError when its machine ends, or stays silent too long.

        ``grace`` is how long it may take at least: nobody could call while there was no server.
        """
        workspace = attempt.workspace
        limit = self._settings.start_limit(workspace.runtime)
        started = workspace.container_started_at or datetime.now(UTC)
        spent = max(0.0, (datetime.now(UTC) - started).total_seconds())  # clocks are set back, too
        failure: TemplateError | None = None
        try:
            async with Deadline(max(limit - spent, min(limit, grace))).limit("waiting for the agent"):
                ended = await first_of(self._online(workspace, news), self._backend.wait_end(machine))
            if ended is not None:
                failure = await self._exited(machine, ended)
        except DeadlineError:
            failure = await self._silent(machine, limit)
        if failure is not None and await self._still_waits(workspace):  # a call while we looked counts
            if failure.code == _SILENT:
                await self._halt(workspace)
            raise failure
        await attempt.finish()
        log.info("workspace online", workspace=workspace.id, name=workspace.name)

    async def _online(self, workspace: Workspace, news: "asyncio.Queue[Event]") -> None:
        row = await self._workspaces.get(workspace.id)
        while row is not None and row.status is WorkspaceStatus.PROVISIONING:
            event = await news.get()
            if event.workspace_id == workspace.id and event.type in _ENDS_THE_WAIT:
                return

    async def _still_waits(self, workspace: Workspace) -> bool:
        row = await self._workspaces.get(workspace.id)
        return row is not None and row.status is WorkspaceStatus.PROVISIONING

    async def _exited(self, machine: Machine, how: str) -> TemplateError:
        return TemplateError(
            f"the agent's {self._backend.noun} ended {how} before the agent's first call\n"
            + await self._backend.last_words(machine.workspace_id),
            code="agent_exited",
            hint="correct what the last lines complain of, then create the workspace again",
        )

    async def _silent(self, machine: Machine, limit: float) -> TemplateError:
        lines, url = await self._backend.last_words(machine.workspace_id), without_user(self._settings.agents_url)
        return TemplateError(
            f"the {self._backend.noun} runs, but its agent did not call this server within {limit:g} s\n{lines}",
            code=_SILENT,
            hint=f"does the {self._backend.noun} reach {url}? PROVISION_TIMEOUT_SECONDS sets the limit",
        )

    async def _give_up(self, attempt: Attempt, error: WorkspaceServerError) -> None:
        """Undo what this attempt made, and say why it failed."""
        workspace = attempt.workspace
        words = {"code": error.code, "error": error.message, "hint": error.hint}
        log.warning("provisioning failed", workspace=workspace.id, runtime=workspace.runtime, **words)
        if error.code != _SILENT:
            await self._undo(attempt)
        await attempt.fail(error)

    async def _halt(self, workspace: Workspace) -> None:
        """End it, and keep it for whoever wants to look inside. What cannot be ended now is, when it is seen to run."""
        with self._logged("could not end a machine whose agent is silent", workspace):
            await self._backend.halt(workspace)

    async def _undo(self, attempt: Attempt) -> None:
        with self._logged("could not undo a provisioning", attempt.workspace):
            await self._backend.undo(attempt)

    @contextmanager
    def _logged(self, what: str, workspace: Workspace) -> Iterator[None]:
        """Whatever fails here, the failure that led here is the one to tell of."""
        try:
            yield
        except WorkspaceServerError as error:
            log.warning(what, workspace=workspace.id, error=error.message)
