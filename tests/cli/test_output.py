"""How commands print."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from workspace_server.cli.output import ago, duration, one_line, print_json, print_table, size


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (187_000_000, "187 MB"), (1_500_000_000, "1.5 GB")],
)
def test_bytes_are_in_the_unit_that_reads_best(count: int, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0 s"), (4.14, "4.1 s"), (59.9, "59.9 s"), (60, "1 min 00 s"), (185.7, "3 min 05 s"), (3725, "1 h 02 min")],
)
def test_a_duration_is_in_the_units_that_read_best(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("RUN a", "RUN a"),
        ("RUN a \\\n\t b", "RUN a \\ b"),
        ("\x1b[2J\x1b]0;title\x07a\rb", "[2J ]0;title a b"),
        ("a\u202eb\u200bc", "a b c"),
        ("zwölf 構", "zwölf 構"),
    ],
)
def test_a_text_of_others_is_one_line_that_moves_no_cursor(text: str, line: str) -> None:
    assert one_line(text) == line


@pytest.mark.parametrize(
    ("age", "text"),
    [
        (timedelta(0), "0 s ago"),
        (timedelta(seconds=-5), "0 s ago"),
        (timedelta(seconds=59), "59 s ago"),
        (timedelta(minutes=3), "3 min ago"),
        (timedelta(hours=5), "5 h ago"),
        (timedelta(days=9), "9 d ago"),
    ],
)
def test_an_age_is_in_the_unit_that_reads_best(age: timedelta, text: str) -> None:
    assert ago((datetime.now(UTC) - age).isoformat()) == text


def test_what_never_was_has_no_age() -> None:
    assert ago(None) == "never"


def test_json_is_for_programs_and_people(capsys: pytest.CaptureFixture[str]) -> None:
    print_json([{"name": "Zoë"}])

    assert capsys.readouterr().out == '[\n  {\n    "name": "Zoë"\n  }\n]\n'


def test_a_table_shows_its_cells_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["name", "why"], [["a", "[bold]x[/bold]"], ["b", ""]])

    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["name", "why"],
        ["a", "[bold]x[/bold]"],
        ["b"],
    ]


EVIL = "\x1b]52;c;cm0=\x07\x9b2J\x1b[2Jtext"


def test_a_table_obeys_nothing_that_is_in_its_cells(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["name", "why"], [["a", EVIL]])

    assert capsys.readouterr().out.splitlines() == ["name  why", "a     text"]


def test_json_is_whole_and_obeyed_by_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"why": EVIL})
    written = capsys.readouterr().out

    assert (json.loads(written), [char for char in written if not char.isprintable() and char != "\n"]) == (
        {"why": EVIL},
        [],
    )


def test_a_row_is_one_line_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    print_table(["name", "why"], [["a", "word " * 50], ["b", "short"]])

    assert capsys.readouterr().out.splitlines() == ["name  why", "a     " + " ".join(["word"] * 50), "b     short"]


def test_a_terminals_width_is_kept(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("FORCE_COLOR", "1")
    print_table(["name", "why"], [["a", "word " * 50]])

    lines = capsys.readouterr().out.splitlines()
    assert (len(lines) > 5, max(len(line) for line in lines[1:]) <= 40) == (True, True)
