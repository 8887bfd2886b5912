"""How a build and a workspace's phases are shown: as a picture that is drawn again and again, or as lines for a log.

Both take the server's JSON. A build looks the same alone and below the workspace that waits for it.
"""

from collections.abc import Hashable, Iterator, Sequence
from typing import Any, Protocol, Self

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from workspace_server.cli.output import built, duration, one_line, size

_NAMES = {
    "image": "image",
    "environment": "configuration",
    "volumes": "network and volumes",
    "container": "container",
    "start": "start",
    "end": "old machine's end",
    "online": "agent's first call",
}
_BUILD_PHASES = ("fetch", "build", "verify")
_PULL_PHASES = ("pull", "verify")
_WAITS = {
    "lock": "waiting: another server builds the same image",
    "place": "waiting for a place: as many builds run as may run at once",
}
_MARKS = {"done": "✓", "failed": "✗", "waiting": "·"}
_STYLES = {"done": "green", "failed": "red"}
_INDENT = 5
_LONGEST_BAR = 40
_BESIDE_BAR = 14  # columns: the indent, and " 12 of 34"


class Display(Protocol):
    """Shows what a server tells of one thing, again and again."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *error: object) -> None: ...

    def show(self, view: Any) -> None:
        """Show the present state."""


def build_display(console: Console) -> Display:
    """A display of one build, in the form of ``GET /images/builds/{id}``."""
    return _BuildPicture(console) if console.is_terminal else _BuildLines(console)


def workspace_display(console: Console) -> Display:
    """A display of one provisioning, whose ``build`` has its steps."""
    return _WorkspacePicture(console) if console.is_terminal else _WorkspaceLines(console)


# For a terminal


class _Picture:
    """Something that is drawn again and again; the last picture stays."""

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
        self._live.update(self._drawn(view), refresh=True)

    def _drawn(self, view: Any) -> RenderableType:
        raise NotImplementedError

    def _mark(self, state: str) -> RenderableType:
        return self._spinner if state == "running" else Text(_MARKS[state], style=_STYLES.get(state, "dim"))


class _BuildPicture(_Picture):
    def _drawn(self, view: Any) -> RenderableType:
        state = _state(view)
        head = Table.grid(padding=(0, 1))
        name = Text(_name(view), overflow="ellipsis", no_wrap=True)
        head.add_row("", self._mark(state), name, duration(view["seconds"]))
        return head if state == "done" else Group(head, _Build(view, self._spinner))


class _WorkspacePicture(_Picture):
    def _drawn(self, view: Any) -> RenderableType:
        build = view["build"] if view["phase"] == "image" else None
        first, *rest = view["phases"]
        return Group(
            self._rows([first], view),
            *([_Build(build, self._spinner)] if build else []),
            self._rows(rest, view),
        )

    def _rows(self, phases: Sequence[Any], view: Any) -> Table:
        rows = Table.grid(padding=(0, 1))
        rows.add_column(width=0)
        rows.add_column(width=1)
        rows.add_column(width=max(map(len, _NAMES.values())))
        for phase in phases:
            rows.add_row("", self._mark(phase["state"]), _NAMES[phase["name"]], _took(phase, view))
        return rows


class _Build:
    """A build: how far it is, and the step that it is at. As wide as there is room, never wider."""

    def __init__(self, build: Any, spinner: Spinner) -> None:
        self._build = build
        self._spinner = spinner

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        build, step = self._build, self._build["step"]
        yield self._phases(console, options)
        if build["waits_for"]:
            yield _line(_WAITS[build["waits_for"]], "", "yellow", options)
        elif step:
            yield self._bar(step, options)
            yield _line(step["name"], _how_long(step), "red" if step["failed"] else "dim", options)

    def _phases(self, console: Console, options: ConsoleOptions) -> Text:
        """All of them in one line, each with its mark."""
        line = Text(" " * _INDENT, no_wrap=True)
        for name, state in _build_phases(self._build):
            mark = self._spinner.render(console.get_time()) if state == "running" else _MARKS[state]
            line.append_text(mark if isinstance(mark, Text) else Text(str(mark), style=_STYLES.get(state, "dim")))
            line.append(f" {name}  ", style="" if state == "running" else "dim")
        line.rstrip()
        line.truncate(options.max_width)
        return line

    def _bar(self, step: Any, options: ConsoleOptions) -> Table:
        ended = sum(not each["running"] and not each["failed"] for each in self._build["steps"])
        width = max(1, min(_LONGEST_BAR, options.max_width - _BESIDE_BAR))
        row = Table.grid(padding=(0, 1))
        bar = ProgressBar(total=step["of"], completed=min(ended, step["of"]), width=width)
        row.add_row(" " * (_INDENT - 1), bar, Text(f"{step['n']} of {step['of']}", no_wrap=True))
        return row


def _line(text: str, end: str, style: str, options: ConsoleOptions) -> Text:
    """An indented line that is cut to fit, except for its end."""
    room = options.max_width - _INDENT - (len(end) + 2 if end else 0)
    cut = Text(one_line(text), style=style, no_wrap=True)
    cut.truncate(max(1, room), overflow="ellipsis")
    return Text(" " * _INDENT, no_wrap=True).append_text(cut).append(f"  {end}" if end else "")


# For a log


class _Lines:
    """Lines, each said once."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._said: set[Hashable] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def _say(self, news: Iterator[tuple[Hashable, str]]) -> None:
        for what, line in news:
            if what not in self._said:
                self._said.add(what)
                self._console.print(f"  {line}", markup=False, highlight=False, emoji=False, soft_wrap=True)


class _BuildLines(_Lines):
    def show(self, view: Any) -> None:
        """Say what is new."""
        self._say(_build_news(view))


class _WorkspaceLines(_Lines):
    def show(self, view: Any) -> None:
        """Say what is new."""
        if view["build"]:
            self._say(_build_news(view["build"]))
        self._say(_phase_news(view))


def _build_news(build: Any) -> Iterator[tuple[Hashable, str]]:
    """What can be said of a build so far: what it waited for, that it began, and each step that has ended."""
    if build["waits_for"]:
        yield build["waits_for"], _WAITS[build["waits_for"]]
    if build["builder"]:
        yield "begin", f"building {_name(build)} with {build['builder']}"
    elif build["image"]:
        yield "begin", f"pulling {_name(build)}"
    for step in build["steps"]:
        if step["running"] or step["seconds"] is None:
            continue  # not yet; or ended because another failed
        failed = "failed after " if step["failed"] else ""
        line = f"step {step['n']} of {step['of']}: {one_line(step['name'])} ({failed}{_how_long(step)})"
        yield (step["n"], step["name"]), line


def _phase_news(view: Any) -> Iterator[tuple[Hashable, str]]:
    for phase in view["phases"]:
        if phase["state"] in ("done", "failed"):
            yield phase["name"], _phase_line(phase, view)


# What both say


def phase_lines(view: Any) -> Iterator[str]:
    """The phases that a provisioning has reached, each with its mark."""
    for phase in view["phases"]:
        if phase["state"] != "waiting":
            yield f"  {_phase_line(phase, view)}"


def _phase_line(phase: Any, view: Any) -> str:
    return f"{_MARKS.get(phase['state'], '…')} {_NAMES[phase['name']]} {_took(phase, view)}"


def _state(build: Any) -> str:
    """A build's state as one of a phase."""
    states = {"queued": "running", "running": "running", "failed": "failed", "cancelled": "failed"}
    return states.get(build["state"], "done")


def _name(build: Any) -> str:
    """What is built, or pulled."""
    return one_line(build["image"] or f"{build['runtime']} at {build['commit'][:12]}")


def _build_phases(build: Any) -> Iterator[tuple[str, str]]:
    """The phases of a build or pull with their states. One that failed was at its steps when it had any."""
    state, phases = _state(build), _PULL_PHASES if build["image"] else _BUILD_PHASES
    at = build["phase"]
    if at == "done":
        at = phases[-2] if build["steps"] else phases[0]
    reached = phases.index(at) if at in phases else -1
    for number, name in enumerate(phases):
        if state == "done" or number < reached:
            yield name, "done"
        else:
            yield name, state if number == reached else "waiting"


def _how_long(step: Any) -> str:
    """How long a step took, or takes, or how much of a layer is there; nothing of one that another's failure ended."""
    if step["running"] and step["total_bytes"]:
        return f"{size(step['done_bytes'] or 0)} of {size(step['total_bytes'])}"
    return "cached" if step["cached"] else "" if step["seconds"] is None else duration(step["seconds"])


def _took(phase: Any, view: Any) -> str:
    """How long a phase took, or takes; of an image that may not be the newest its age as well."""
    took = duration(phase["seconds"]) if "seconds" in phase else ""
    image = view["image"] if phase["name"] == "image" else None
    return f"{took}, built {built(image)}" if image and image["stale"] else took
