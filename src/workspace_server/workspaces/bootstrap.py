"""A machine that did not come up, as whoever started it saw: the workspace's provisioning has failed."""

from collections.abc import Callable

from workspace_server.db import Database, WorkspaceStore
from workspace_server.errors import TemplateError
from workspace_server.events import EventLog
from workspace_server.model.event import Event, EventType
from workspace_server.model.workspace import Failure, Phase, WorkspaceStatus
from workspace_server.text import plain, shortened
from workspace_server.workspaces.progress import Phases

MOST_BYTES = 8192
_LONGEST_ERROR = 1000
_UNSAID = "the workspace's machine did not come up"
_LEFT_OUT = "… (the beginning is left out)\n"


class Bootstraps:
    """Takes the reports of machines that did not come up."""

    def __init__(
        self, *, database: Database, workspaces: WorkspaceStore, events: EventLog, look: Callable[[], None]
    ) -> None:
        self._database = database
        self._workspaces = workspaces
        self._events = events
        self._look = look

    async def fail(self, workspace_id: str, error: str, log_tail: str) -> bool:
        """Whether the workspace failed with these words: only one that waits for its machine's first call can.

        Of the log the end is kept, where a program says what it died of.
        """
        said = shortened(" ".join(plain(error).split()), _LONGEST_ERROR) or _UNSAID
        tail = end_of(plain(log_tail), MOST_BYTES)
        why = TemplateError(
            said,
            code="bootstrap_failed",
            hint="the workspace's last_sample_error has the end of the machine's log; correct it, then restart",
        )
        text = f"{said}\n\n{end_of(tail, MOST_BYTES - len(said.encode()) - 2)}".rstrip()
        async with self._database.write() as tx:
            row = await self._workspaces.get(workspace_id)
            if row is None or Phase.START not in row.phases:  # of this generation no machine was asked for yet
                return False
            phases = Phases(row.phases)
            phases.fail()
            failed = await self._workspaces.move(
                tx,
                workspace_id,
                WorkspaceStatus.FAILED,
                leaving=WorkspaceStatus.PROVISIONING,
                generation=row.generation,
                phases=phases.as_json(),
                failure=Failure(code=why.code, message=why.message, hint=why.hint),
                last_sample_error=text,
            )
            if failed is None:
                return False
            payload = {**why.as_dict(), "log_tail": tail, "source": "bootstrap_watcher"}
            await self._events.record(
                tx, Event(type=EventType.PROVISION_FAILED, workspace_id=workspace_id, payload=payload)
            )
        self._look()  # the machine need not run on
        return True


def end_of(text: str, most: int) -> str:
    """The last bytes of a text, whole characters; the first line says that something was left out."""
    encoded = text.encode()
    if len(encoded) <= most:
        return text
    return _LEFT_OUT + encoded[len(encoded) - most + len(_LEFT_OUT.encode()) :].decode(errors="ignore")
