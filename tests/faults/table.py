"""What was injected, and what became of it: one row a fault, printed as one Markdown table."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Literal

Kind = Literal["SQLite", "PostgreSQL"]
SQLITE: Final = "SQLite"
POSTGRESQL: Final = "PostgreSQL"


@dataclass(slots=True)
class Trial:
    """One fault. ``before`` and ``after`` are left over: at the fault's worst moment, and when all was well again.

    Not ``applicable`` is a fault of a database that the run does not use.
    """

    group: str
    name: str
    applicable: bool = True
    injected: int = 0
    survived: bool = False
    before: list[str] = field(default_factory=list)
    after: list[str] = field(default_factory=list)
    seconds: float | None = None
    _over: float = 0.0

    def hit(self) -> None:
        """The fault was seen to happen."""
        self.injected += 1

    def over(self) -> None:
        """The fault is over; from now on the time to recover is counted."""
        self._over = time.monotonic()

    def recovered(self) -> None:
        """All is well again."""
        self.seconds = time.monotonic() - self._over
        self.survived = True

    @property
    def cells(self) -> tuple[str, ...]:
        """The row as it is shown."""
        if not self.applicable:
            return (self.group, self.name, "", "not applicable", "", "", "")
        took = "never" if self.seconds is None else f"{self.seconds:.1f} s"
        survived = "yes" if self.survived and self.injected else "NO"
        return (self.group, self.name, str(self.injected), survived, str(len(self.before)), str(len(self.after)), took)


_HEAD = ("kind", "fault", "injected", "survived", "left over before", "left over after", "time to recover")


def markdown(trials: Iterable[Trial]) -> list[str]:
    """The table's lines, a line of sums last."""
    rows = sorted(trials, key=lambda trial: (trial.group, trial.name))
    tried = [trial for trial in rows if trial.applicable]
    good = sum(trial.survived and trial.injected > 0 for trial in tried)
    longest = max((trial.seconds or 0 for trial in tried), default=0)
    sums = (
        "all",
        f"{len(tried)} faults",
        str(sum(trial.injected for trial in tried)),
        f"{good} of {len(tried)}",
        str(sum(len(trial.before) for trial in tried)),
        str(sum(len(trial.after) for trial in tried)),
        f"at most {longest:.1f} s",
    )
    cells = [_HEAD, tuple("---" for _ in _HEAD), *(trial.cells for trial in rows), sums]
    return [f"| {' | '.join(line)} |" for line in cells]
