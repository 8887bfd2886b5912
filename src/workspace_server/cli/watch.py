"""Watching a build or a workspace to its end."""

import asyncio
from typing import Any

from rich.console import Console

from workspace_server.cli.client import Client, error_of
from workspace_server.cli.display import Display, build_display, workspace_display

_POLL_SECONDS = 0.2


async def watch_until_online(client: Client, workspace_id: str, console: Console) -> None:
    """Show the phases until the workspace is online. Raises the error it failed with, in the server's words."""
    check_online(await watch_provisioning(client, workspace_id, console))


def check_online(view: Any) -> None:
    """Raise the error that a provisioning ended with, in the server's words, unless the workspace is online."""
    if view["status"] not in ("online", "degraded"):
        raise error_of(view["error"] or {"error": f"the workspace is {view['status']}", "code": "conflict"})


async def watch_provisioning(client: Client, workspace_id: str, console: Console | None) -> Any:
    """Show a provisioning until it ends, on no console nothing; its last view, well or not."""
    if console is None:
        return await _settled(client, workspace_id, None)
    with workspace_display(console) as display:
        return await _settled(client, workspace_id, display)


async def _settled(client: Client, workspace_id: str, display: Display | None) -> Any:
    build, was_provisioning = None, False
    while True:
        view = await client.call("GET", f"/workspaces/{workspace_id}/provisioning")
        was_provisioning |= view["status"] == "provisioning"  # else its build is an old story
        if display is not None:
            if view["build"] and was_provisioning and (build is None or build["finished_at"] is None):
                build = await client.call("GET", f"/images/builds/{view['build']['id']}")
            display.show(view | {"build": build})
        if view["status"] != "provisioning":
            return view
        await asyncio.sleep(_POLL_SECONDS)


async def watch_build(client: Client, build_id: str, console: Console | None) -> Any:
    """Show a build until it ends, on no console nothing; the ended build, well or not."""
    if console is None:
        return await _ended(client, build_id, None)
    with build_display(console) as display:
        return await _ended(client, build_id, display)


async def _ended(client: Client, build_id: str, display: Display | None) -> Any:
    while True:
        build = await client.call("GET", f"/images/builds/{build_id}")
        if display is not None:
            display.show(build)
        if build["finished_at"] is not None:
            return build
        await asyncio.sleep(_POLL_SECONDS)
