"""Workspaces and builds written past the API, in states that no test has to wait for."""

from typing import Any
from uuid import uuid4

import sqlalchemy as sa

from workspace_server.db.schema import events as event_rows
from workspace_server.images import BuildRecord
from workspace_server.images.identity import BuildIdentity
from workspace_server.model.repository import RepositoryUrl
from workspace_server.model.workspace import WorkspaceSpec, WorkspaceStatus
from workspace_server.runtimes import Template

from .server import InProcess

COMMIT = "0123456789abcdef0123456789abcdef01234567"


async def workspace(
    app: InProcess,
    *,
    status: WorkspaceStatus = WorkspaceStatus.ONLINE,
    parent_id: str | None = None,
    spec: dict[str, Any] | None = None,
    **columns: Any,
) -> str:
    """Record a workspace and return its id; ``columns`` are what an agent or a provisioning would write."""
    identity = str(uuid4())
    store = app.services.store
    wanted = WorkspaceSpec(**{"name": "a", "runtime": "langgraph", "tier": 2, "parent_id": parent_id, **(spec or {})})
    async with app.services.database.write() as tx:
        await store.insert(tx, identity, wanted)
        if columns:
            assert await store.touch(tx, identity, **columns)
        if status is not WorkspaceStatus.PROVISIONING:
            assert await store.move(tx, identity, status, leaving=WorkspaceStatus.PROVISIONING)
    return identity


async def token_of(app: InProcess, workspace_id: str) -> str:
    """Issue a token of a workspace."""
    async with app.services.database.write() as tx:
        return await app.services.tokens.issue(tx, workspace_id)


def build(app: InProcess, runtime: str = "langgraph") -> BuildRecord:
    """Begin a build's record."""
    url = RepositoryUrl.parse("https://git.example.org/template")
    template = Template(runtime=runtime, url=url, ref=None, is_default=False)
    identity = BuildIdentity(template=template, commit=COMMIT, platform="linux/amd64")
    return app.services.on_engine.builds.open(identity, "no image")


async def events(app: InProcess, workspace_id: str) -> list[tuple[str, Any]]:
    """Return the recorded events of a workspace, oldest first: type and payload."""
    rows = event_rows.c
    query = sa.select(rows.event_type, rows.payload).where(rows.workspace_id == workspace_id)
    async with app.services.database.read() as connection:
        found = (await connection.execute(query.order_by(rows.created_at, rows.id))).all()
    return [(each.event_type, each.payload) for each in found]
