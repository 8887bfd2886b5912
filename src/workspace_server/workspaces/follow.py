"""Following a workspace's provisioning: its row and the build that it waits for, until it is provisioned or failed."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from workspace_server.concurrency import first_of
from workspace_server.db import WorkspaceStore
from workspace_server.errors import NotFoundError
from workspace_server.images import BuildBook, BuildRecord
from workspace_server.model.workspace import Workspace, WorkspaceStatus

Progress = tuple[Workspace, BuildRecord | None]


async def follow(rows: WorkspaceStore, book: BuildBook | None, workspace_id: str) -> AsyncGenerator[Progress, None]:
    """How far a workspace is: at once, then at each change, and at last when it is not being provisioned any more.

    Changes that come faster than they are taken come as one. The row is read again only when it was written.
    """
    shown: Any = None
    with rows.changes.listen(workspace_id) as row_changed:
        row_changed.set()
        while row_changed.is_set():
            row_changed.clear()
            workspace = await rows.get(workspace_id)
            if workspace is None:
                return  # removed and forgotten
            with _changes_of(workspace, book) as build_changed:
                while not row_changed.is_set():
                    build_changed.clear()
                    build = build_of(workspace, book)
                    visible = _visible(workspace, build)
                    if visible != shown:
                        shown = visible
                        yield workspace, build
                    if workspace.status is not WorkspaceStatus.PROVISIONING:
                        return
                    await first_of(row_changed.wait(), build_changed.wait())


def build_of(workspace: Workspace, book: BuildBook | None) -> BuildRecord | None:
    """The build that a workspace waits for, or waited for; None when there was none, or its record is gone."""
    build_id = _build_id(workspace)
    try:
        return book.get(build_id) if book and build_id else None
    except NotFoundError:
        return None


def _changes_of(workspace: Workspace, book: BuildBook | None) -> AbstractContextManager[asyncio.Event]:
    return nullcontext(asyncio.Event()) if book is None else book.changes.listen(_build_id(workspace))


def _build_id(workspace: Workspace) -> str | None:
    return workspace.image.build if workspace.image else None


def _visible(workspace: Workspace, build: BuildRecord | None) -> Any:
    """What must change to be worth telling: not the seconds that pass, nor who else waits."""
    row = (workspace.status, workspace.generation, workspace.phases, workspace.image, workspace.failure)
    return row, build and (build.id, build.state, build.phase, build.waits_for, build.step)
