"""One generation of a workspace on its way: what it reaches is written to the row for as long as it still counts."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, TypeVar

from workspace_server.db import Database, Transaction, WorkspaceStore
from workspace_server.errors import WorkspaceServerError
from workspace_server.events import EventLog
from workspace_server.model.event import Event, EventType
from workspace_server.model.workspace import Failure, ImageOnRow, Phase, Workspace, WorkspaceStatus
from workspace_server.workspaces.progress import Phases

T = TypeVar("T")

_CALLED = frozenset({WorkspaceStatus.ONLINE, WorkspaceStatus.DEGRADED})


class SupersededError(Exception):
    """A signal to stop: the row was removed, or a newer generation began."""


class Attempt:
    """Writes the progress of one provisioning. Every write is fenced by the generation.

    ``made`` names what its backend made that was not there before, besides the machine.
    """

    def __init__(
        self, workspace: Workspace, source: str, database: Database, store: WorkspaceStore, events: EventLog
    ) -> None:
        self.workspace = workspace
        self.made: list[str] = []
        self._phases = Phases(workspace.phases)
        self._image = workspace.image or ImageOnRow(source=source)
        self._database = database
        self._store = store
        self._events = events

    async def enter(self, phase: Phase, **changes: Any) -> None:
        """Begin a phase and write it, with other ``changes`` of the row. Raises SupersededError."""
        self._phases.enter(phase)
        await self._write(**changes)

    async def enter_with(self, phase: Phase, change: Callable[[Transaction], Awaitable[T]]) -> T:
        """Begin a phase, and make a change in the same transaction: right only as long as this attempt counts.

        It is durable: a machine is made of it, which a database that forgot it would not know again. Raises
        SupersededError; then nothing was changed.
        """
        self._phases.enter(phase)
        async with self._database.write() as tx:
            row = await self._progress(tx)
            result = await change(tx)
        self.workspace = row
        return result

    async def finish(self) -> None:
        """The last phase is done."""
        self._phases.finish()
        await self._write()

    async def note_build(self, build: str) -> None:
        """The image waits for this build."""
        await self.note_image(replace(self._image, build=build))

    async def note_image(self, image: ImageOnRow) -> None:
        """What is known of the image by now."""
        self._image = image
        await self._write(image=image)

    async def fail(self, error: WorkspaceServerError) -> None:
        """The provisioning failed for good: status, words and event in one transaction."""
        self._phases.fail()
        async with self._database.write() as tx:
            failed = await self._store.move(
                tx,
                self.workspace.id,
                WorkspaceStatus.FAILED,
                leaving=WorkspaceStatus.PROVISIONING,
                generation=self.workspace.generation,
                phases=self._phases.as_json(),
                **_words(error),
            )
            if failed is not None:
                await self._events.record(
                    tx,
                    Event(type=EventType.PROVISION_FAILED, workspace_id=self.workspace.id, payload=error.as_dict()),
                )

    async def wait_for_better_times(self, error: WorkspaceServerError) -> None:
        """What we depend on is away: the wish stays, and the row says what it waits for.

        Where the agent has called nevertheless, nothing waits any more.
        """
        words = _words(error)
        if self.workspace.failure == words["failure"]:
            return
        self._phases.fail()
        async with self._database.write(durable=False) as tx:
            row = await self._store.get(self.workspace.id)
            if row is None or row.status not in _CALLED or row.generation != self.workspace.generation:
                self.workspace = await self._progress(tx, **words)

    async def _write(self, **changes: Any) -> None:
        async with self._database.write(durable=False) as tx:
            row = await self._progress(tx, **changes)
        self.workspace = row

    async def _progress(self, tx: Transaction, **changes: Any) -> Workspace:
        row = await self._store.progress(
            tx, self.workspace.id, self.workspace.generation, phases=self._phases.as_json(), **changes
        )
        if row is not None and row.status is not WorkspaceStatus.PROVISIONING:
            # The agent has called. Nobody takes up what is online: should this server die now, this is its last phase.
            self._phases.complete()
            row = await self._store.progress(tx, row.id, row.generation, phases=self._phases.as_json())
        if row is None:
            raise SupersededError
        return row


def _words(error: WorkspaceServerError) -> dict[str, Any]:
    failure = Failure(code=error.code, message=error.message, hint=error.hint)
    return {"failure": failure, "last_sample_error": str(error)}
