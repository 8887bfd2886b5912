"""What this program itself runs in."""

from pathlib import Path

import pytest

from workspace_server.surroundings import runs_in_container


@pytest.mark.parametrize(
    ("marks", "first_namespaces", "expected"),
    [
        ({"/.dockerenv"}, False, True),
        ({"/run/.containerenv"}, False, True),
        ({"/.dockerenv"}, True, False),
        (set(), False, False),
    ],
)
def test_a_container_is_a_mark_outside_the_first_namespaces(
    monkeypatch: pytest.MonkeyPatch, marks: set[str], *, first_namespaces: bool, expected: bool
) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr(Path, "exists", lambda path: str(path) in marks)
    monkeypatch.setattr("workspace_server.surroundings._in_first_namespaces", lambda: first_namespaces)

    assert runs_in_container() == expected


def test_other_systems_run_no_program_in_a_container_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    monkeypatch.setattr(Path, "exists", lambda _: True)

    assert not runs_in_container()
