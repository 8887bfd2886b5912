"""A database of one test, and workspaces in it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from workspace_server.db import Database, WorkspaceStore, open_database
from workspace_server.model.workspace import Workspace, WorkspaceSpec, WorkspaceStatus

Create = Callable[..., Awaitable[str]]

WAYS = {
    WorkspaceStatus.PROVISIONING: "",
    WorkspaceStatus.ONLINE: "online",
    WorkspaceStatus.DEGRADED: "online degraded",
    WorkspaceStatus.OFFLINE: "online offline",
    WorkspaceStatus.FAILED: "failed",
    WorkspaceStatus.PAUSED: "paused",
    WorkspaceStatus.HIBERNATING: "online hibernating",
    WorkspaceStatus.HIBERNATED: "online hibernating hibernated",
    WorkspaceStatus.AWAITING_AGENT: "awaiting_agent",
    WorkspaceStatus.REMOVED: "removed",
}
"""The statuses through which a new workspace gets to each."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "molecule.db"


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest) -> Path | str:
    """An empty database: what is promised of one is promised of the other."""
    return request.getfixturevalue("path" if request.param == "sqlite" else "postgres_url")


@pytest.fixture
async def database(place: Path | str) -> AsyncIterator[Database]:
    async with open_database(place) as opened:
        yield opened


@pytest.fixture
def store(database: Database) -> WorkspaceStore:
    return WorkspaceStore(database)


@pytest.fixture
def create(database: Database, store: WorkspaceStore) -> Create:
    """Record a workspace, by default a new one without a parent, and return its id."""

    async def insert(
        workspace_id: str = "w", *, parent: str | None = None, status: WorkspaceStatus = WorkspaceStatus.PROVISIONING
    ) -> str:
        async with database.write() as tx:
            await store.insert(tx, workspace_id, spec(parent_id=parent))
            for word in WAYS[status].split():
                assert await store.move(tx, workspace_id, WorkspaceStatus(word))
        return workspace_id

    return insert


def spec(**changes: object) -> WorkspaceSpec:
    return WorkspaceSpec(**{"name": "a", "runtime": "langgraph", "tier": 2, **changes})


async def found(store: WorkspaceStore, workspace_id: str = "w") -> Workspace:
    workspace = await store.get(workspace_id)
    assert workspace is not None
    return workspace
