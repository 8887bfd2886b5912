"""What the agent is doing now, counted across threads: the heartbeats report it, and a stop waits for it."""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition

RECENT = 20
"""Over how many messages the error rate goes: one failure long ago must not mark the agent for ever."""


class Work:
    """Messages being worked on, and how the latest ones ended. Safe to use from several threads."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._titles: dict[object, str] = {}
        self._outcomes: deque[bool] = deque(maxlen=RECENT)
        self._sample_error = ""

    @contextmanager
    def task(self, text: str) -> Iterator[None]:
        """Count one message as being worked on, until it is answered."""
        key = object()
        with self._changed:
            self._titles[key] = _title(text)
        try:
            yield
        finally:
            with self._changed:
                del self._titles[key]
                self._changed.notify_all()

    def succeeded(self) -> None:
        """Count a message that was answered."""
        with self._changed:
            self._outcomes.append(True)

    def failed(self, reason: str) -> None:
        """Count a message that could not be answered."""
        with self._changed:
            self._outcomes.append(False)
            self._sample_error = _title(reason)

    def report(self) -> dict[str, object]:
        """The part of a heartbeat that is about work."""
        with self._changed:
            failures = self._outcomes.count(False)
            return {
                "active_tasks": len(self._titles),
                "current_task": next(reversed(self._titles.values()), ""),
                "error_rate": failures / len(self._outcomes) if failures else 0.0,
                "sample_error": self._sample_error if failures else "",
            }

    def active(self) -> int:
        """Say how many messages are being worked on."""
        with self._changed:
            return len(self._titles)

    def wait_until_done(self, seconds: float) -> bool:
        """Wait until nothing is worked on any more; False if that takes longer."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._titles, seconds)


def _title(text: str) -> str:
    # Half of a surrogate pair is legal in JSON and in a Python string, but no text that a database would take.
    return text[:60].encode(errors="replace").decode()
