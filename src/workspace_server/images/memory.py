"""Builds that failed through their template: the same commit gives the same answer for a while, at once."""

import time
from dataclasses import dataclass

from workspace_server.errors import TemplateError, WorkspaceServerError

SECONDS = 600
_REMEMBERED = frozenset({"build_failed", "template_malformed"})


@dataclass(frozen=True, slots=True)
class _Failure:
    error: WorkspaceServerError
    at: float


class FailureMemory:
    """Remembers failures by build id. Only the template's own: whatever else failed may work the next time."""

    def __init__(self) -> None:
        self._failures: dict[str, _Failure] = {}

    def remember(self, build_id: str, error: WorkspaceServerError) -> None:
        """The build failed with ``error``."""
        now = time.monotonic()
        self._failures = {key: kept for key, kept in self._failures.items() if now - kept.at < SECONDS}
        if error.code in _REMEMBERED:
            self._failures[build_id] = _Failure(error, now)

    def recall(self, build_id: str) -> WorkspaceServerError | None:
        """The failure of that build in the last ten minutes, saying how long ago it was and how to try again."""
        kept = self._failures.get(build_id)
        if kept is None or (age := time.monotonic() - kept.at) >= SECONDS:
            return None
        return TemplateError(
            kept.error.message,
            code=kept.error.code,
            hint=f"it was built {age:.0f} s ago and is not tried again yet: commit a repair, "
            'or POST /images/builds {"runtime":…,"force":true}',
        )

    def forget(self, build_id: str) -> None:
        """A person wants it tried again."""
        self._failures.pop(build_id, None)
