"""When a workspace whose container died is started again by itself: soon, later, or never. Pure."""

from collections.abc import Sequence
from datetime import datetime, timedelta

WINDOW = timedelta(minutes=10)
LIMIT = 5
_LONGEST_PAUSE = timedelta(minutes=1)


def recent(restarts: Sequence[str], now: datetime) -> list[str]:
    """Of the moments (RFC 3339) of restarts, those that still count."""
    return [moment for moment in restarts if now - datetime.fromisoformat(moment) < WINDOW]


def due_at(restarts: Sequence[str], died_at: datetime, now: datetime) -> datetime | None:
    """When it may be started again: at once the first time, then after 2, 4, 8, … seconds; None: not any more.

    A crash that comes back five times in ten minutes is no accident.
    """
    count = len(recent(restarts, now))
    if count >= LIMIT:
        return None
    died_at = min(died_at, now)  # a clock that was set back must not make it wait for hours
    return died_at + (min(timedelta(seconds=2**count), _LONGEST_PAUSE) if count else timedelta())
