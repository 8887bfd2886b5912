"""Agents that run elsewhere: they have a row, and no image, no container, no volumes."""

from dataclasses import dataclass

from workspace_server.errors import ConflictError
from workspace_server.model.workspace import EXTERNAL, Workspace, WorkspaceStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Connected:
    """A new external workspace. ``token`` is shown once, to whoever starts the agent; None where its URL was given."""

    id: str
    status: WorkspaceStatus
    token: str | None


def is_external(workspace: Workspace) -> bool:
    """Whether the agent runs elsewhere."""
    return workspace.runtime == EXTERNAL


def refuse_external(workspace: Workspace) -> None:
    """Raise ConflictError ``external_agent``: an agent that runs elsewhere is started and stopped there."""
    if is_external(workspace):
        raise ConflictError(
            f"the agent of {workspace.name} runs elsewhere: this server neither starts nor stops it",
            code="external_agent",
            hint="restart it where it runs, or remove the workspace",
        )
