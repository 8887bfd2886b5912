"""What is shown of builds and workspaces: pictures of any width for a terminal, lines said once for a log."""

import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console

from workspace_server.cli.display import Display, build_display, workspace_display
from workspace_server.model.build import BuildPhase, BuildState, BuildStep, BuildWait
from workspace_server.model.workspace import Failure, Phase
from workspace_server.workspaces.engine_backend import EngineBackend

from .views import MOMENT, STEP, build, pull, view

IMAGE, ENVIRONMENT, VOLUMES, CONTAINER, START, ONLINE = EngineBackend.phases
ALL = tuple((phase, "done") for phase in Phase)
FAILURE = Failure(code="build_failed", message="step 2 of 5 failed", hint="repair it")
WIDTHS = [40, 60, 100, 200]

FROM = BuildStep(n=1, of=3, name="FROM python:3.11-slim", cached=True, seconds=0.0)
RAN = BuildStep(n=2, of=3, name="RUN one", seconds=12.34)
FAILED = BuildStep(n=3, of=3, name="RUN two", seconds=3.0, failed=True)
LONG = BuildStep(n=2, of=3, name="RUN " + "x" * 300)
HOSTILE = BuildStep(n=2, of=3, name="RUN \x1b]0;title\x07\x1b[2J a\n\tb\r\u202ec [bold]d[/bold] :bug:", seconds=1.0)


def running(**fields: Any) -> BuildStep:
    """A step that runs for 90 s."""
    began = datetime.now(UTC) - timedelta(seconds=90)
    return BuildStep(**{"n": 2, "of": 3, "name": "RUN one", "started_at": began, **fields})


def log(width: int = 80) -> Console:
    """A console that is no terminal."""
    return Console(file=io.StringIO(), width=width, highlight=False)


def terminal(width: int) -> Console:
    return Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None, legacy_windows=False)


def said(display: Display, console: Console, views: tuple[Any, ...]) -> list[str]:
    """What a log has of these views, one after the other."""
    with display:
        for each in views:
            display.show(each)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def said_of_build(*views: Any, width: int = 80) -> list[str]:
    console = log(width)
    return said(build_display(console), console, views)


def said_of_workspace(*views: Any, width: int = 80) -> list[str]:
    console = log(width)
    return said(workspace_display(console), console, views)


def drawn(display: Any, console: Console, view: Any) -> list[str]:
    """What a terminal shows of one view."""
    with display:
        display.show(view)
        lines = console.render_lines(display._live.get_renderable(), pad=False)
    return ["".join(segment.text for segment in line).rstrip() for line in lines]


def drawn_build(view: Any, width: int = 80) -> list[str]:
    console = terminal(width)
    return drawn(build_display(console), console, view)


def drawn_workspace(view: Any, width: int = 80) -> list[str]:
    console = terminal(width)
    return drawn(workspace_display(console), console, view)


def with_build(*phases: tuple[Phase, str], built: Any) -> Any:
    return view(*phases) | {"build": built}


# A pull

THERE = BuildStep(n=1, of=3, name="layer 0123456789ab", seconds=2.5, done_bytes=7, total_bytes=7)
KNOWN = BuildStep(n=3, of=3, name="layer ba9876543210", cached=True, seconds=0.0)


def coming(**fields: Any) -> BuildStep:
    return running(name="layer 456789abcdef", done_bytes=1_500_000, total_bytes=30_000_000, **fields)


def test_a_log_has_a_line_for_every_layer_that_is_there() -> None:
    assert said_of_build(pull(THERE, coming(), KNOWN)) == [
        "  pulling registry.example.org/x:latest",
        "  step 1 of 3: layer 0123456789ab (2.5 s)",
        "  step 3 of 3: layer ba9876543210 (cached)",
    ]


def test_a_terminal_shows_how_much_of_a_layer_is_there() -> None:
    head, phases, bar, layer = drawn_build(pull(THERE, coming(), KNOWN))

    assert head.split()[1:] == ["registry.example.org/x:latest", "41.2", "s"]
    assert (phases.split()[1:], bar.split()[-3:]) == (["pull", "·", "verify"], ["2", "of", "3"])
    assert layer == "     layer 456789abcdef  2 MB of 30 MB"


def test_a_terminal_shows_that_a_pull_failed() -> None:
    failed = pull(THERE, state=BuildState.FAILED, phase=BuildPhase.DONE, finished_at=MOMENT)

    assert drawn_build(failed)[1].split() == ["✗", "pull", "·", "verify"]


# A build, for a log


def test_a_log_has_a_line_for_every_step_that_ended_with_how_long_it_took() -> None:
    assert said_of_build(build(FROM, RAN, FAILED, builder="buildx 0.13.1")) == [
        "  building hermes at 000000000000 with buildx 0.13.1",
        "  step 1 of 3: FROM python:3.11-slim (cached)",
        "  step 2 of 3: RUN one (12.3 s)",
        "  step 3 of 3: RUN two (failed after 3.0 s)",
    ]


def test_a_log_says_nothing_of_a_step_before_it_ended() -> None:
    assert said_of_build(build(FROM, running())) == ["  step 1 of 3: FROM python:3.11-slim (cached)"]


def test_a_log_says_nothing_of_a_step_that_was_ended_because_another_failed() -> None:
    ended = build(FROM, running(), state=BuildState.FAILED, phase=BuildPhase.DONE, finished_at=MOMENT)
    assert said_of_build(ended) == ["  step 1 of 3: FROM python:3.11-slim (cached)"]


def test_a_log_says_nothing_twice() -> None:
    assert said_of_build(build(FROM), build(FROM, RAN), build(FROM, RAN)) == [
        "  step 1 of 3: FROM python:3.11-slim (cached)",
        "  step 2 of 3: RUN one (12.3 s)",
    ]


@pytest.mark.parametrize(
    ("waits_for", "line"),
    [
        (BuildWait.PLACE, "  waiting for a place: as many builds run as may run at once"),
        (BuildWait.LOCK, "  waiting: another server builds the same image"),
    ],
)
def test_a_log_says_what_a_build_waits_for(waits_for: BuildWait, line: str) -> None:
    queued = build(state=BuildState.QUEUED, phase=BuildPhase.QUEUED, waits_for=waits_for)
    assert said_of_build(queued, queued) == [line]


@pytest.mark.parametrize("width", WIDTHS)
def test_a_line_of_a_log_is_not_broken_however_long_it_is(width: int) -> None:
    (line,) = said_of_build(build(BuildStep(n=2, of=3, name=LONG.name, seconds=1.0)), width=width)
    assert line == f"  step 2 of 3: {LONG.name} (1.0 s)"


def test_a_line_of_a_log_is_one_line_of_text_whatever_a_template_names_its_steps() -> None:
    assert said_of_build(build(HOSTILE)) == ["  step 2 of 3: RUN ]0;title [2J a b c [bold]d[/bold] :bug: (1.0 s)"]


# A build, for a terminal


@pytest.mark.parametrize("width", WIDTHS)
def test_a_terminal_shows_the_phases_a_bar_and_the_present_step(width: int) -> None:
    head, phases, bar, step = drawn_build(build(FROM, running()), width)
    assert head[2:] == " hermes at 000000000000 41.2 s"
    assert (phases[:12], phases[13:]) == ("     ✓ fetch", " " + phases[14] + " build  · verify")
    assert bar.split()[-3:] == ["2", "of", "3"]
    assert (bar.count("━"), step) == (min(40, width - 14) // 3, "     RUN one  1 min 30 s")


def test_the_bar_counts_the_steps_that_ended() -> None:
    of_40_columns = [
        drawn_build(build(*steps))[2].count("━")
        for steps in ([running(n=1)], [FROM, running()], [FROM, RAN, running(n=3)])
    ]
    assert of_40_columns == [0, 13, 26]


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_wider_than_the_terminal_and_the_seconds_are_seen(width: int) -> None:
    lines = drawn_build(build(FROM, running(name=LONG.name)), width)
    assert (len(lines), max(map(len, lines)), lines[3].endswith("…  1 min 30 s")) == (4, width, True)


@pytest.mark.parametrize("wide", ["構" * 300, "e\u0301" * 300])
def test_letters_of_any_width_fit(wide: str) -> None:
    console = terminal(40)
    with build_display(console) as display:
        display.show(build(FROM, running(name=wide)))
        lines = console.render_lines(display._live.get_renderable(), pad=False)  # type: ignore[attr-defined]
    assert max(sum(segment.cell_length for segment in line) for line in lines) <= 40


def test_a_terminal_gets_no_control_characters_of_a_template() -> None:
    assert drawn_build(build(HOSTILE))[3] == "     RUN ]0;title [2J a b c [bold]d[/bold] :bug:  1.0 s"


@pytest.mark.parametrize(
    ("fields", "marks"),
    [
        ({"state": BuildState.QUEUED, "phase": BuildPhase.QUEUED}, "· fetch  · build  · verify"),
        ({"phase": BuildPhase.FETCH}, "* fetch  · build  · verify"),
        ({"phase": BuildPhase.BUILD}, "✓ fetch  * build  · verify"),
        ({"phase": BuildPhase.VERIFY}, "✓ fetch  ✓ build  * verify"),
        ({"state": BuildState.FAILED, "phase": BuildPhase.DONE}, "✗ fetch  · build  · verify"),
        ({"state": BuildState.CANCELLED, "phase": BuildPhase.DONE, "steps": (RAN,)}, "✓ fetch  ✗ build  · verify"),
    ],
)
def test_each_phase_has_its_mark(fields: dict[str, Any], marks: str) -> None:
    phases = drawn_build(build(**fields))[1]
    drawn = "".join("*" if "\u2800" <= letter <= "\u28ff" else letter for letter in phases)  # a spinner is braille
    assert drawn.strip() == marks


@pytest.mark.parametrize("waits_for", BuildWait)
@pytest.mark.parametrize("width", WIDTHS)
def test_a_terminal_shows_what_a_build_waits_for(waits_for: BuildWait, width: int) -> None:
    lines = drawn_build(build(state=BuildState.QUEUED, phase=BuildPhase.QUEUED, waits_for=waits_for), width)
    assert (len(lines), lines[2].startswith("     waiting"), max(map(len, lines)) <= width) == (3, True, True)


def test_a_terminal_shows_no_bar_before_the_first_step() -> None:
    assert len(drawn_build(build(phase=BuildPhase.FETCH))) == 2


@pytest.mark.parametrize("state", [BuildState.SUCCEEDED, BuildState.HIT])
def test_of_a_build_that_ended_well_one_line_stays(state: BuildState) -> None:
    ended = build(FROM, RAN, state=state, phase=BuildPhase.DONE, finished_at=MOMENT)
    assert drawn_build(ended) == [" ✓ hermes at 000000000000 41.2 s"]


def test_of_a_build_that_failed_the_step_that_failed_stays() -> None:
    ended = build(FROM, RAN, FAILED, state=BuildState.FAILED, phase=BuildPhase.DONE, finished_at=MOMENT)
    head, phases, bar, step = drawn_build(ended)
    assert (head[:3], phases.strip(), step) == (" ✗ ", "✓ fetch  ✗ build  · verify", "     RUN two  3.0 s")
    assert bar.endswith("3 of 3")


def test_of_a_step_that_was_ended_from_outside_no_seconds_are_shown() -> None:
    ended = build(FROM, running(), state=BuildState.CANCELLED, phase=BuildPhase.DONE, finished_at=MOMENT)
    assert drawn_build(ended)[3] == "     RUN one"


# A workspace, for a log


def test_a_log_has_a_line_for_every_phase_that_ended() -> None:
    assert said_of_workspace(
        view((IMAGE, "running")),
        view((IMAGE, "done"), (ENVIRONMENT, "running")),
        view((IMAGE, "done"), (ENVIRONMENT, "running")),
        view(*ALL, status="online"),
    ) == [
        "  ✓ image 1.2 s",
        "  ✓ configuration 1.2 s",
        "  ✓ network and volumes 1.2 s",
        "  ✓ container 1.2 s",
        "  ✓ start 1.2 s",
        "  ✓ agent's first call 1.2 s",
    ]


def test_a_log_marks_the_phase_that_failed() -> None:
    assert said_of_workspace(view((IMAGE, "failed"), status="failed", failure=FAILURE)) == ["  ✗ image 1.2 s"]


def stale() -> Any:
    """A workspace whose image was built five hours ago; nobody could be asked for a newer one."""
    built_at = (datetime.now(UTC) - timedelta(hours=5)).isoformat()
    return view((IMAGE, "done"), (ENVIRONMENT, "running"), stale=True, built_at=built_at)


def test_a_stale_image_is_said_to_be_one_with_its_age() -> None:
    assert said_of_workspace(stale()) == ["  ✓ image 1.2 s, built 5 h ago, stale"]
    assert drawn_workspace(stale(), 60)[0] == " ✓ image               1.2 s, built 5 h ago, stale"


def test_a_log_tells_of_the_build_as_of_a_build_alone_and_before_the_phase_it_belongs_to() -> None:
    built = build(FROM, RAN, builder="buildx 0.13.1")
    assert said_of_workspace(with_build((IMAGE, "done"), (ENVIRONMENT, "running"), built=built)) == [
        *said_of_build(built),
        "  ✓ image 1.2 s",
    ]


# A workspace, for a terminal


@pytest.mark.parametrize("width", WIDTHS)
def test_a_terminal_shows_every_phase_and_how_long_it_took(width: int) -> None:
    assert drawn_workspace(view((IMAGE, "done"), (ENVIRONMENT, "failed")), width) == [
        " ✓ image               1.2 s",
        " ✗ configuration       1.2 s",
        " · network and volumes",
        " · container",
        " · start",
        " · agent's first call",
    ]


@pytest.mark.parametrize("width", WIDTHS)
def test_a_terminal_shows_the_build_as_a_build_alone_below_the_phase_it_belongs_to(width: int) -> None:
    built = build(FROM, RAN)
    lines = drawn_workspace(with_build((IMAGE, "running"), built=built), width)
    assert (lines[0][2:8], lines[2:4], lines[4]) == (" image", drawn_build(built, width)[2:], " · configuration")


def test_a_build_that_is_over_is_not_shown_any_more() -> None:
    assert len(drawn_workspace(with_build((IMAGE, "done"), (ENVIRONMENT, "running"), built=build(RAN)))) == 6


def test_the_last_picture_stays_on_the_terminal() -> None:
    console = terminal(60)
    with workspace_display(console) as display:
        display.show(view(*ALL, status="online"))
    assert isinstance(console.file, io.StringIO)
    assert "✓ agent's first call" in console.file.getvalue()


def test_a_step_of_the_examples_is_what_it_says() -> None:
    assert drawn_build(build(STEP))[3] == "     RUN pip install --no-cache-dir -r requirements.txt"
