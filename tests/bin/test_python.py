"""When the environment is installed, and when it is left as it is."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]


def test_an_up_to_date_environment_is_left_as_it_is(shell: Run, project: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in project.rglob("*")}
    assert shell("python_environment requirements.lock").returncode == 0
    assert {path: path.stat().st_mtime_ns for path in project.rglob("*")} == before


@pytest.mark.parametrize("name", ["pyproject.toml", "requirements.lock", "requirements-dev.lock"])
def test_a_changed_file_makes_the_environment_out_of_date(shell: Run, project: Path, name: str) -> None:
    (project / name).write_text("# changed\n")
    assert shell("python_is_current requirements.lock").returncode == 1


def test_an_environment_for_development_serves_both_lock_files(shell: Run) -> None:
    shell("python_recipe requirements-dev.lock >.venv/.installed")
    assert shell("python_is_current requirements.lock && python_is_current requirements-dev.lock").returncode == 0


def test_an_environment_for_production_does_not_serve_development(shell: Run) -> None:
    assert shell("python_is_current requirements-dev.lock").returncode == 1


def test_a_moved_environment_is_out_of_date(shell: Run, project: Path) -> None:
    moved = project.rename(project.with_name("moved"))
    project.symlink_to(moved)
    assert shell("python_is_current requirements.lock").returncode == 1


def test_a_python_that_is_too_old_is_passed_over(shell: Run, pythons: Callable[..., Path]) -> None:
    directory = pythons(**{"python3.11": "", "python3.13": "ready", "python3": "ready"})
    assert shell(f'PATH={directory}; python_find; echo "$python"').stdout == "python3.13\n"


def test_a_python_without_ensurepip_is_passed_over(shell: Run, pythons: Callable[..., Path]) -> None:
    directory = pythons(**{"python3.11": "3.11", "python3.12": "ready"})
    assert shell(f'PATH={directory}; python_find; echo "$python"').stdout == "python3.12\n"


def test_where_no_python_has_ensurepip_the_missing_package_is_named(shell: Run, pythons: Callable[..., Path]) -> None:
    directory = pythons(**{"python3.11": "3.11"})
    result = shell(f'install_allowed=no; PATH={directory}; python_require || echo "$problem"')
    assert "apt-get install python3.11-venv" in result.stdout


def test_this_python_is_seen_as_what_it_is(shell: Run) -> None:
    assert shell("python_describe .venv/bin/python").stdout == "ready\n"


@pytest.fixture
def pythons(tmp_path: Path) -> Callable[..., Path]:
    """Make a directory of interpreters that describe themselves with these words."""

    def make(**words: str) -> Path:
        directory = tmp_path / "pythons"
        directory.mkdir()
        for name, word in words.items():
            (directory / name).write_text(f"#!/bin/sh\necho {word}\n")
            (directory / name).chmod(0o755)
        return directory

    return make
