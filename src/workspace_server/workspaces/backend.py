"""What starts a workspace, as those see it who decide when: the engine, or whatever else gives machines."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from workspace_server.model.workspace import Phase, Workspace
from workspace_server.workspaces.attempt import Attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What a workspace's agent runs in, as found. ``url`` is where the agent listens, as far as that is known.

    ``running`` is None where nobody could be asked, or need not be.
    """

    id: str
    workspace_id: str
    generation: int
    running: bool | None
    url: str | None


Start = Callable[[], Awaitable[Machine]]
"""Replaces a workspace's old machine with a new one, which runs."""


class Backend(Protocol):
    """Starts and ends the machines of this installation's workspaces, and tells of them.

    Whatever answers in doubt raises: only its word that a machine ended, or is not there, is an end. What is away
    raises UnavailableError, and comes back.
    """

    @property
    def image_source(self) -> str:
        """Where a workspace's image comes from, as its row tells it."""

    @property
    def noun(self) -> str:
        """What its machines are called where people read of them."""

    @property
    def phases(self) -> Sequence[Phase]:
        """The steps of a provisioning here, in order."""

    @property
    def longest_pause(self) -> float:
        """Seconds between two tries of what came to no end, at most: as long as a try is dear."""

    async def check(self) -> None:
        """Raise SettingsError when this server must not work on it, UnavailableError while it is away."""

    async def prepare(self, attempt: Attempt) -> Start:
        """Everything that can fail before the old machine is touched. What it returns is called at most once."""

    async def undo(self, attempt: Attempt) -> None:
        """Remove what this attempt made: its machine, and what it kept for it."""

    async def running(self, workspace: Workspace) -> Machine | None:
        """The machine of exactly this generation, if it runs."""

    async def machines(self) -> Sequence[Machine]:
        """Every machine of this installation's workspaces, those that ended as well."""

    async def watch(self, notice: Callable[[], None]) -> None:
        """Call ``notice`` when a machine ends, and whenever something may have been missed; for ever."""

    async def wait_end(self, machine: Machine) -> str:
        """Wait until it ends; how it did, to follow "it ended"."""

    async def halt(self, workspace: Workspace) -> None:
        """End the machine of this generation, and keep what can be kept for whoever wants to look inside."""

    async def stop(self, workspace: Workspace) -> None:
        """Remove its machines; what it wrote stays. Raises SupersededError where one is of a later generation."""

    async def clear(self, workspace_id: str, *, purge: bool) -> None:
        """Remove everything of it; its files only when purged."""

    async def last_words(self, workspace_id: str) -> str:
        """The last lines that its machine wrote, as an error tells them. Never raises for the backend's sake."""
