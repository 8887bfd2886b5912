"""Machines against rows: which of a control plane's machines nobody would ever end."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from support.control_plane import ENDED, ControlPlane
from support.database import place_in

_ROWS = sa.text("SELECT id, instance_generation, instance_id FROM workspaces WHERE instance_generation IS NOT NULL")


@dataclass(slots=True)
class Trial:
    """One fault, and the most machines that were leaked or lost at once: while it lasted, and when all was well again.

    *Leaked*: the control plane runs it, and no row knows of it. *Lost*: the answer to its start was not the right one;
    a row knows that it was asked for, and not yet which one it is.
    """

    during: str
    name: str
    injected: int = 0
    survived: bool = False
    leaked: set[str] = field(default_factory=set)
    lost: set[str] = field(default_factory=set)
    leaked_after: set[str] = field(default_factory=set)
    lost_after: set[str] = field(default_factory=set)
    lost_became: str = "-"

    @property
    def cells(self) -> tuple[str, ...]:
        survived = "yes" if self.survived and self.injected else "NO"
        counts = (len(self.leaked), len(self.lost), len(self.leaked_after), len(self.lost_after))
        return (self.during, self.name, str(self.injected), survived, *map(str, counts), self.lost_became)


_HEAD = ("during", "fault", "injected", "survived", "leaked", "lost", "leaked after", "lost after", "the lost one was")


def markdown(trials: Iterable[Trial]) -> list[str]:
    """The table's lines, a line of sums last."""
    rows = sorted(trials, key=lambda trial: (trial.during, trial.name))
    good = sum(trial.survived and trial.injected > 0 for trial in rows)
    sums = (
        "all",
        f"{len(rows)} faults",
        str(sum(trial.injected for trial in rows)),
        f"{good} of {len(rows)}",
        *(str(sum(len(getattr(trial, name)) for trial in rows)) for name in ("leaked", "lost")),
        *(str(sum(len(getattr(trial, name)) for trial in rows)) for name in ("leaked_after", "lost_after")),
        "",
    )
    cells = [_HEAD, tuple("---" for _ in _HEAD), *(trial.cells for trial in rows), sums]
    return [f"| {' | '.join(line)} |" for line in cells]


class Ledger:
    """Compares the control plane's own list with the rows, past both programs' code."""

    def __init__(self, served: ControlPlane, rows: AsyncEngine) -> None:
        self._served = served
        self._rows = rows

    async def compare(self) -> tuple[set[str], set[str]]:
        """The leaked and the lost machines."""
        listed = list(self._served.running)
        async with self._rows.connect() as connection:
            rows = (await connection.execute(_ROWS)).all()
        known = {row[2] for row in rows if row[2] is not None}
        asked_for = {(row[0], str(row[1])) for row in rows if row[2] is None}
        run_on = [each for each in listed if each.state not in ENDED and each.id not in known]
        lost = {each.id for each in run_on if (each.workspace_id, each.generation) in asked_for}
        return {each.id for each in run_on} - lost, lost & self._served.unanswered

    async def watch(self, trial: Trial) -> None:
        """Note the worst, until it is cancelled."""
        while True:
            leaked, lost = await self.compare()
            trial.leaked |= leaked
            trial.lost |= lost
            await asyncio.sleep(0.02)


@asynccontextmanager
async def watched(served: ControlPlane, directory: Path, data: Path, trial: Trial) -> AsyncIterator[Ledger]:
    """A ledger that looks all the time, and once more at the end, at the rows of the server in ``directory``."""
    match await place_in(directory):
        case str(url):
            rows = create_async_engine(url.replace("postgresql:", "postgresql+asyncpg:"))
        case _:
            rows = create_async_engine(f"sqlite+aiosqlite:///{data / 'molecule.db'}")
    ledger = Ledger(served, rows)
    watching = asyncio.create_task(ledger.watch(trial))
    try:
        yield ledger
        trial.leaked_after, trial.lost_after = await ledger.compare()
        running = {machine.id for machine in served.running}
        if trial.lost:
            fates = {"confirmed" if machine in running else "ended" for machine in trial.lost}
            trial.lost_became = " or ".join(sorted(fates))
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        await rows.dispose()
