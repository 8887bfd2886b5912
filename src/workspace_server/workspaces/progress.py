"""How far a provisioning is: the phases of one generation, kept on the row."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from workspace_server.model.workspace import Phase


class Phases:
    """The phases entered so far, as JSON for the row: ``{"image": {"state", "started_at", "seconds"}, …}``."""

    def __init__(self, recorded: Mapping[str, Any] | None = None) -> None:
        self._entries: dict[str, dict[str, Any]] = {name: dict(entry) for name, entry in (recorded or {}).items()}

    def enter(self, phase: Phase) -> None:
        """Begin ``phase``; the one before it is done."""
        self._end("done")
        self._entries[phase] = {"state": "running", "started_at": datetime.now(UTC).isoformat()}

    def finish(self) -> None:
        """The last phase is done."""
        self._end("done")

    def complete(self) -> None:
        """The agent has called, perhaps before anybody wrote that it is waited for: all phases are done."""
        if Phase.ONLINE not in self._entries:
            self.enter(Phase.ONLINE)
        self.finish()

    def fail(self) -> None:
        """The running phase failed."""
        self._end("failed")

    def as_json(self) -> dict[str, Any]:
        """For the row."""
        return dict(self._entries)

    def _end(self, state: str) -> None:
        for entry in self._entries.values():
            if entry["state"] == "running":
                entry |= {"state": state, "seconds": seconds_since(entry["started_at"])}


def begun(phase: Phase) -> dict[str, Any]:
    """A provisioning's first phase, for the row."""
    phases = Phases()
    phases.enter(phase)
    return phases.as_json()


def seconds_since(moment: str) -> float:
    """Seconds from an ISO 8601 moment until now."""
    return round((datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds(), 3)
