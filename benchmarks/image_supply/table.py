"""Rows of the table: what was measured, against what, the medians, their ratio, and the goal. Pure."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

HEAD = "| what | against | ours | theirs | ratio | goal | |\n|---|---|---|---|---|---|---|"
VERDICTS = {True: "reached", False: "**missed**", None: ""}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line. ``reached`` is None where there is no goal to reach."""

    what: str
    against: str = ""
    ours: str
    theirs: str = ""
    ratio: str = ""
    goal: str = ""
    reached: bool | None = None

    def __str__(self) -> str:
        cells = (self.what, self.against, self.ours, self.theirs, self.ratio, self.goal, VERDICTS[self.reached])
        return f"| {' | '.join(cells)} |"


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    return "\n".join([HEAD, *map(str, rows)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The seconds of every run of both sides."""

    what: str
    against: str
    ours: Sequence[float]
    theirs: Sequence[float]

    @property
    def ratio(self) -> float:
        """The median of ours by that of theirs."""
        return statistics.median(self.ours) / statistics.median(self.theirs)

    def at_most(self, limit: float) -> Row:
        """Ours should take at most ``limit`` times as long."""
        return self._row(f"**{self.ratio:.2f} x**", f"≤ {limit:g} x", reached=self.ratio <= limit)

    def faster(self, limit: float) -> Row:
        """Ours should be at least ``limit`` times as fast."""
        factor = 1 / self.ratio
        return self._row(f"**{factor:.1f} x faster**", f"≥ {limit:g} x faster", reached=factor >= limit)

    def without_goal(self) -> Row:
        """For orientation."""
        return self._row(f"{self.ratio:.2f} x", "", reached=None)

    def _row(self, ratio: str, goal: str, *, reached: bool | None) -> Row:
        ours, theirs = shown(self.ours), shown(self.theirs)
        return Row(
            what=self.what, against=self.against, ours=ours, theirs=theirs, ratio=ratio, goal=goal, reached=reached
        )


def shown(seconds: Sequence[float]) -> str:
    """The median for people: milliseconds below ten seconds."""
    median = statistics.median(seconds)
    return f"{median * 1000:.0f} ms" if median < 10 else f"{median:.1f} s"  # noqa: PLR2004 - see above
