"""Watching a workspace come online: its phases and the steps of its build, as a live display or as plain lines."""

import asyncio
from contextlib import nullcontext
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from workspace_server.cli.client import Client
from workspace_server.errors import WorkspaceServerError

_POLL_SECONDS = 0.2
_NAMES = {
    "image": "image",
    "environment": "configuration",
    "volumes": "network and volumes",
    "container": "container",
    "start": "start",
    "online": "agent's first call",
}
_MARKS = {"done": "✓", "failed": "✗", "waiting": "·"}


async def watch_until_online(client: Client, workspace_id: str, console: Console) -> None:
    """Show the phases until the workspace is online. Raises the error it failed with, in the server's words."""
    display = LivePhases(console) if console.is_terminal else PlainPhases(console)
    with display:
        while True:
            view = await client.call("GET", f"/workspaces/{workspace_id}/provisioning")
            display.show(view)
            match view["status"]:
                case "online" | "degraded":
                    return
                case "provisioning":
                    await asyncio.sleep(_POLL_SECONDS)
                case _:
                    error = view["error"] or {"error": f"the workspace is {view['status']}", "code": "conflict"}
                    raise WorkspaceServerError(error["error"], code=error["code"], hint=error.get("hint", ""))


async def watch_build(client: Client, build_id: str, console: Console | None) -> Any:
    """Show a build's steps until it ends; the ended build. Raises the error it failed with, in the server's words."""
    status = console.status("building") if console and console.is_terminal else nullcontext()
    said: set[str] = set()
    with status as shown:
        while True:
            build = await client.call("GET", f"/images/builds/{build_id}")
            line = f"{build['phase']}: {_where(build)}".rstrip(": ")
            if shown is not None:
                shown.update(line)
            elif console is not None and line not in said:
                console.print(line, markup=False, emoji=False, soft_wrap=True)
            said.add(line)
            if build["finished_at"] is not None:
                break
            await asyncio.sleep(_POLL_SECONDS)
    if build["error"] is not None:
        error = build["error"]
        raise WorkspaceServerError(error["error"], code=error["code"], hint=error.get("hint", ""))
    return build


def _where(build: Any) -> str:
    step = build["step"]
    return f"step {step['n']} of {step['of']}, {step['name']}" if step and build["phase"] == "build" else ""


class LivePhases:
    """A table of the phases that is drawn again and again, for a terminal."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, refresh_per_second=8, transient=False)
        self._spinner = Spinner("dots")

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.__exit__(None, None, None)

    def show(self, view: Any) -> None:
        """Draw the present state."""
        rows = Table.grid(padding=(0, 1))
        for phase in view["phases"]:
            running = phase["state"] == "running"
            mark = self._spinner if running else Text(_MARKS[phase["state"]], style=_style(phase["state"]))
            rows.add_row("", mark, _NAMES[phase["name"]], _seconds(phase))
        self._live.update(Group(rows, *_build_rows(view)))


class PlainPhases:
    """A line whenever a phase or a build step ends, for a log."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._said: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def show(self, view: Any) -> None:
        """Say what is new."""
        step = (view["build"] or {}).get("step")
        if step and view["phase"] == "image":
            self._say(f"  building: step {step['n']} of {step['of']}, {step['name']}")
        for phase in view["phases"]:
            if phase["state"] in ("done", "failed"):
                self._say(f"  {_MARKS[phase['state']]} {_NAMES[phase['name']]} {_seconds(phase)}")

    def _say(self, line: str) -> None:
        key = line.rsplit(" ", 2)[0] if line.endswith(" s") else line
        if key not in self._said:
            self._said.add(key)
            self._console.print(line, markup=False, highlight=False, emoji=False, soft_wrap=True)


def _build_rows(view: Any) -> list[Any]:
    """The build that the workspace waits for: a bar, and the step it is at."""
    build = view["build"]
    if not build or view["phase"] != "image" or not build["step"]:
        return []
    step = build["step"]
    bar = Table.grid(padding=(0, 1))
    bar.add_row("    ", ProgressBar(total=step["of"], completed=step["n"], width=24), f"{step['n']} of {step['of']}")
    return [bar, Text(f"     {step['name']}", style="dim", overflow="ellipsis", no_wrap=True)]


def _seconds(phase: Any) -> str:
    return f"{phase['seconds']:.1f} s" if "seconds" in phase else ""


def _style(state: str) -> str:
    return {"done": "green", "failed": "red"}.get(state, "dim")
