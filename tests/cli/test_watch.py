"""Watching a workspace come online: plain lines for a log, a table that is redrawn for a terminal."""

import io
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

from workspace_server.cli.client import Client
from workspace_server.cli.watch import LivePhases, PlainPhases, watch_build, watch_until_online
from workspace_server.errors import WorkspaceServerError
from workspace_server.model.build import BuildState, BuildStep
from workspace_server.model.workspace import Failure, Phase

from .conftest import Server, json_of
from .views import MOMENT, STEP, build, view

ClientOf = Callable[..., tuple[Client, Server]]

IMAGE, ENVIRONMENT, VOLUMES, CONTAINER, START, ONLINE = Phase
ALL = tuple((phase, "done") for phase in Phase)
FAILURE = Failure(code="build_failed", message="step 2 of 5 failed", hint="repair it")


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workspace_server.cli.watch._POLL_SECONDS", 0)


def log(width: int = 80) -> Console:
    """A console that is no terminal."""
    return Console(file=io.StringIO(), width=width, highlight=False)


def terminal(width: int) -> Console:
    return Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None, legacy_windows=False)


def written(console: Console) -> list[str]:
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue().splitlines()


def plain(*views: Any, width: int = 80) -> list[str]:
    """What a log says of these views, one after the other."""
    console = log(width)
    with PlainPhases(console) as display:
        for each in views:
            display.show(each)
    return written(console)


def drawn(view: Any, width: int) -> list[str]:
    """What a terminal shows of one view."""
    console = terminal(width)
    with LivePhases(console) as display:
        display.show(view)
        lines = console.render_lines(display._live.get_renderable(), pad=False)
    return ["".join(segment.text for segment in line).rstrip() for line in lines]


# The end of a watch


async def test_it_ends_when_the_workspace_is_online(client_of: ClientOf) -> None:
    client, server = client_of(json_of(view((IMAGE, "running"))), json_of(view(*ALL, status="online")))
    await watch_until_online(client, "w", log())

    assert [request.url.path for request in server.requests] == ["/workspaces/w/provisioning"] * 2


async def test_a_degraded_workspace_is_online(client_of: ClientOf) -> None:
    client, _ = client_of(json_of(view(*ALL, status="degraded")))

    await watch_until_online(client, "w", log())


async def test_a_failure_is_raised_in_the_servers_words(client_of: ClientOf) -> None:
    client, _ = client_of(json_of(view((IMAGE, "failed"), status="failed", failure=FAILURE)))

    with pytest.raises(WorkspaceServerError) as caught:
        await watch_until_online(client, "w", log())

    assert (caught.value.message, caught.value.code, caught.value.hint) == (
        "step 2 of 5 failed",
        "build_failed",
        "repair it",
    )


@pytest.mark.parametrize("status", ["removed", "offline", "paused", "hibernated", "awaiting_agent", "failed"])
async def test_a_workspace_that_will_not_come_online_ends_it(client_of: ClientOf, status: str) -> None:
    client, _ = client_of(json_of(view(status=status)))

    with pytest.raises(WorkspaceServerError, match=f"the workspace is {status}"):
        await watch_until_online(client, "w", log())


# Plain lines


async def test_a_log_has_a_line_for_every_phase(client_of: ClientOf) -> None:
    console = log()
    client, _ = client_of(
        json_of(view((IMAGE, "running"))),
        json_of(view((IMAGE, "done"), (ENVIRONMENT, "running"))),
        json_of(view(*ALL, status="online")),
    )
    await watch_until_online(client, "w", console)

    assert written(console) == [
        "  ✓ image 1.2 s",
        "  ✓ configuration 1.2 s",
        "  ✓ network and volumes 1.2 s",
        "  ✓ container 1.2 s",
        "  ✓ start 1.2 s",
        "  ✓ agent's first call 1.2 s",
    ]


def test_a_log_says_nothing_twice() -> None:
    one = view((IMAGE, "done"), (ENVIRONMENT, "running"))

    assert plain(one, one) == ["  ✓ image 1.2 s"]


def test_a_log_has_a_line_for_every_step_of_the_build() -> None:
    steps = [BuildStep(n=n, of=2, name=f"RUN step {n}") for n in (1, 1, 2)]

    assert plain(*(view((IMAGE, "running"), step=step) for step in steps)) == [
        "  building: step 1 of 2, RUN step 1",
        "  building: step 2 of 2, RUN step 2",
    ]


def test_a_log_marks_the_phase_that_failed() -> None:
    assert plain(view((IMAGE, "failed"), status="failed", failure=FAILURE)) == ["  ✗ image 1.2 s"]


def test_a_build_that_is_over_is_not_told_of_any_more() -> None:
    assert plain(view((IMAGE, "done"), (ENVIRONMENT, "running"), step=STEP)) == ["  ✓ image 1.2 s"]


@pytest.mark.parametrize("name", ["RUN " + "x" * 300, "RUN [bold]echo[/bold] :bug: a:b:c"])
def test_a_step_is_one_line_as_it_is_written_however_narrow_the_console(name: str) -> None:
    step = BuildStep(n=1, of=1, name=name)

    assert plain(view((IMAGE, "running"), step=step), width=40) == [f"  building: step 1 of 1, {name}"]


# A terminal


@pytest.mark.parametrize("width", [60, 120])
def test_a_terminal_shows_every_phase_and_how_long_it_took(width: int) -> None:
    assert drawn(view((IMAGE, "done"), (ENVIRONMENT, "failed")), width) == [
        " ✓ image               1.2 s",
        " ✗ configuration       1.2 s",
        " · network and volumes",
        " · container",
        " · start",
        " · agent's first call",
    ]


@pytest.mark.parametrize("width", [60, 120])
def test_a_terminal_shows_a_bar_and_the_step_of_the_build(width: int) -> None:
    lines = drawn(view((IMAGE, "running"), step=STEP), width)

    assert lines[6].split() == ["━" * 9 + "╸", "2", "of", "5"]  # of 24
    assert lines[7] == f"     {STEP.name}"


@pytest.mark.parametrize("width", [60, 120])
def test_a_step_that_is_longer_than_the_terminal_is_wide_is_cut(width: int) -> None:
    long = BuildStep(n=2, of=5, name="RUN " + "x" * 300)
    lines = drawn(view((IMAGE, "running"), step=long), width)

    assert (len(lines), max(map(len, lines)), lines[7][-1]) == (8, width, "…")


@pytest.mark.parametrize("width", [60, 120])
def test_a_terminal_shows_no_build_before_its_first_step(width: int) -> None:
    assert len(drawn(view((IMAGE, "running")), width)) == 6


async def test_the_last_picture_stays_on_the_terminal(client_of: ClientOf) -> None:
    console = terminal(60)
    client, _ = client_of(json_of(view(*ALL, status="online")))
    await watch_until_online(client, "w", console)

    assert [line.strip() for line in written(console) if "first call" in line]


# A build alone


async def test_a_build_is_watched_to_its_end(client_of: ClientOf) -> None:
    console = log(40)
    ended = build(STEP, state=BuildState.SUCCEEDED, finished_at=MOMENT)
    client, server = client_of(json_of(build(STEP)), json_of(build(STEP)), json_of(ended))

    assert await watch_build(client, "01J", console) == ended
    assert written(console) == [f"build: step 2 of 5, {STEP.name}"]
    assert [request.url.path for request in server.requests] == ["/images/builds/01J"] * 3


async def test_a_build_that_failed_is_raised_in_the_servers_words(client_of: ClientOf) -> None:
    error = {"error": "it failed", "code": "build_failed", "hint": "repair it"}
    client, _ = client_of(json_of(build(state=BuildState.FAILED, finished_at=MOMENT, error=error)))

    with pytest.raises(WorkspaceServerError) as caught:
        await watch_build(client, "01J", None)

    assert caught.value.as_dict() == error
