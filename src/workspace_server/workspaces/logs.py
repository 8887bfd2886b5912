"""What a workspace's container writes: for whoever asks, and as the last words of one that failed."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from workspace_server.engine import Engine
from workspace_server.errors import NotFoundError, WorkspaceServerError
from workspace_server.model import names
from workspace_server.model.workspace import Workspace
from workspace_server.text import plain, shortened

MOST_LINES = 10_000
_LAST_LINES = 30
_LONGEST_LINE = 500


@dataclass(frozen=True, slots=True)
class LogEnd:
    """The container ended, with this exit code; None: it is gone."""

    exit_code: int | None


class ContainerLogs:
    """The output of workspaces' containers. Nothing of it is kept here: the engine has it."""

    def __init__(self, engine: Engine, instance: str) -> None:
        self._engine = engine
        self._instance = instance

    async def container(self, workspace: Workspace) -> str:
        """The id of its newest container; raises NotFoundError ``no_container``."""
        found = await self._engine.containers(names.workspace_labels(self._instance, workspace.id))
        if not found:
            raise NotFoundError(
                f"the workspace {workspace.name} has no container: it is {workspace.status}",
                code="no_container",
                hint=f"GET /workspaces/{workspace.id}/provisioning says how far it is, or why it failed",
            )
        return max(found, key=lambda each: int(each.labels.get(names.GENERATION, "0"))).id

    async def tail(self, container_id: str, lines: int) -> str:
        """Its last lines, as it wrote them."""
        return await self._engine.logs_tail(container_id, lines)

    async def follow(self, container_id: str, lines: int) -> AsyncGenerator[str | LogEnd, None]:
        """Its last lines and each further one, and at last how it ended."""
        async with aclosing(self._engine.follow_log(container_id, lines)) as written:
            async for line in written:
                yield line
        ended = await self._engine.container(container_id)
        yield LogEnd(ended.exit_code if ended else None)


async def last_words(engine: Engine, container: str) -> str:
    """The last lines of a container (id or name) as an error tells them: no terminal obeys them, none is endless."""
    try:
        return as_last_words(await engine.logs_tail(container, _LAST_LINES))
    except WorkspaceServerError:
        return "(its log could not be read)"


def as_last_words(written: str) -> str:
    """The end of what was written, as an error tells it: no terminal obeys it, and no line is endless."""
    lines = plain(written).strip().splitlines()[-_LAST_LINES:]
    return "\n".join(shortened(line, _LONGEST_LINE) for line in lines) or "(it wrote nothing)"
