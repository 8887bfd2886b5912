"""Whatever is called in whatever order: no workspace changes its status in a way that the table forbids."""

import asyncio
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from workspace_server.db import WorkspaceStore, open_database
from workspace_server.db.schema import workspaces
from workspace_server.model.workspace import TRANSITIONS, WorkspaceStatus

from .conftest import spec

Status = WorkspaceStatus
STATUS = st.sampled_from(Status)
GENERATION = st.integers(0, 3)


@dataclass
class Expected:
    """A row as it must be."""

    status: WorkspaceStatus
    parent: str | None
    generation: int = 0
    purge: bool = False


class Workspaces(RuleBasedStateMachine):
    """Calls of the store beside a model of it that knows nothing but the table of transitions."""

    ids = Bundle("ids")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.Runner()
        self.stack = AsyncExitStack()
        folder = self.stack.enter_context(tempfile.TemporaryDirectory())
        self.database = self.loop.run(self.stack.enter_async_context(open_database(Path(folder) / "molecule.db")))
        self.store = WorkspaceStore(self.database)
        self.inserted = 0
        self.expected: dict[str, Expected] = {}
        self.seen: dict[str, WorkspaceStatus] = {}

    def teardown(self) -> None:
        self.loop.run(self.stack.aclose())
        self.loop.close()

    def call(self, method: str, *arguments: Any, **options: Any) -> Any:
        async def transaction() -> Any:
            async with self.database.write(durable=False) as tx:
                return await getattr(self.store, method)(tx, *arguments, **options)

        return self.loop.run(transaction())

    @rule(target=ids, parent=st.none() | ids)
    def insert(self, parent: str | None) -> str:
        self.inserted += 1
        workspace_id = f"w{self.inserted}"
        parent = parent if parent in self.expected else None
        self.call("insert", workspace_id, spec(parent_id=parent))
        self.expected[workspace_id] = Expected(status=Status.PROVISIONING, parent=parent)
        return workspace_id

    @rule(workspace_id=ids, generation=GENERATION)
    def claim(self, workspace_id: str, generation: int) -> None:
        row = self.expected.get(workspace_id)
        counts = row is not None and (row.status, row.generation) == (Status.PROVISIONING, generation)
        claimed = self.call("claim", workspace_id, generation)

        assert (claimed is not None) == counts
        if row is not None and counts:
            row.generation += 1

    @rule(workspace_id=ids, generation=GENERATION)
    def progress(self, workspace_id: str, generation: int) -> None:
        row = self.expected.get(workspace_id)
        running = (Status.PROVISIONING, Status.ONLINE, Status.DEGRADED)
        written = self.call("progress", workspace_id, generation, url=f"http://{generation}")

        assert (written is not None) == (row is not None and row.generation == generation and row.status in running)

    @rule(workspace_id=ids, goal=STATUS, leaving=st.none() | STATUS, generation=st.none() | GENERATION)
    def move(
        self, workspace_id: str, goal: WorkspaceStatus, leaving: WorkspaceStatus | None, generation: int | None
    ) -> None:
        row = self.expected.get(workspace_id)
        allowed = (
            row is not None
            and goal in TRANSITIONS[row.status]
            and leaving in (None, row.status)
            and generation in (None, row.generation)
        )
        moved = self.call("move", workspace_id, goal, leaving=leaving, generation=generation)

        assert (moved is not None) == allowed
        if row is not None and allowed:
            row.status = goal

    @rule(workspace_id=ids)
    def touch(self, workspace_id: str) -> None:
        row = self.expected.get(workspace_id)
        touched = self.call("touch", workspace_id, active_tasks=1)

        assert (touched is not None) == (row is not None and row.status is not Status.REMOVED)

    @rule(workspace_id=ids, purge=st.booleans())
    def remove(self, workspace_id: str, *, purge: bool) -> None:
        below = self.below(workspace_id)
        present = {each for each in below if self.expected[each].status is not Status.REMOVED}
        removed = self.call("remove", workspace_id, purge=purge)

        assert (set(removed), len(removed)) == (present, len(present))
        for child, parent in ((each, self.expected[each].parent) for each in removed):
            assert parent not in removed or removed.index(child) < removed.index(parent)
        for each in below:
            self.expected[each].status = Status.REMOVED
            self.expected[each].purge |= purge

    @rule(workspace_id=ids)
    def mark_cleared(self, workspace_id: str) -> None:
        row = self.expected.get(workspace_id)
        if row is None or row.status is not Status.REMOVED:
            return
        self.call("mark_cleared", workspace_id)
        if row.purge:
            del self.expected[workspace_id]
            for each in self.expected.values():
                each.parent = None if each.parent == workspace_id else each.parent

    def below(self, workspace_id: str) -> set[str]:
        found = {workspace_id} & self.expected.keys()
        while fresh := {each for each, row in self.expected.items() if row.parent in found} - found:
            found |= fresh
        return found

    @invariant()
    def rows_are_as_expected_and_came_there_by_the_table(self) -> None:
        async def rows() -> dict[str, tuple[str, int, str | None, bool]]:
            columns = [workspaces.c[name] for name in ("id", "status", "generation", "parent_id", "purge")]
            async with self.database.read() as connection:
                return {row[0]: tuple(row[1:]) for row in await connection.execute(sa.select(*columns))}

        recorded = self.loop.run(rows())

        assert recorded == {
            each: (row.status, row.generation, row.parent, row.purge) for each, row in self.expected.items()
        }
        for each, (status, *_) in recorded.items():
            before, now = self.seen.get(each, Status.PROVISIONING), Status(status)
            assert now is before or now in TRANSITIONS[before]
            self.seen[each] = now


Workspaces.TestCase.settings = settings(
    max_examples=25, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestWorkspaces = Workspaces.TestCase
