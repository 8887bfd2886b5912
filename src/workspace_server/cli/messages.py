"""Messages to agents, and what of their answers is for people."""

from collections.abc import Iterator, Mapping
from typing import Any

from workspace_server.cli.client import Client, path_of
from workspace_server.errors import WorkspaceServerError


async def send_text(client: Client, workspace_id: str, text: str, *, seconds: float) -> Any:
    """The agent's answer to a text, as JSON-RPC. Raises like ``Client.call``."""
    message = {"role": "user", "parts": [{"kind": "text", "text": text}]}
    body = {"method": "message/send", "params": {"message": message}}
    return await client.call("POST", path_of("workspaces", workspace_id, "a2a"), body, seconds=seconds)


def text_of(reply: Any) -> str:
    """The text of an agent's answer; raises WorkspaceServerError ``agent_error`` for a refusal of the agent."""
    if isinstance(reply, Mapping) and isinstance(error := reply.get("error"), Mapping):
        raise WorkspaceServerError(
            f"the agent answered with an error: {error.get('message', error)}",
            code="agent_error",
            hint="workspace-server workspaces logs says more",
        )
    return "".join(_texts(reply.get("result") if isinstance(reply, Mapping) else None))


def _texts(part: Any) -> Iterator[str]:
    """The texts of a message, of a task's artifacts, or of a task's status, whichever it is."""
    if not isinstance(part, Mapping):
        return
    for each in part.get("parts") or ():
        if isinstance(each, Mapping) and isinstance(text := each.get("text"), str):
            yield text
    for artifact in part.get("artifacts") or ():
        yield from _texts(artifact)
    if not part.get("artifacts") and isinstance(status := part.get("status"), Mapping):
        yield from _texts(status.get("message"))
