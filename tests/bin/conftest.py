"""A project of its own for each test: the real scripts, and an environment that counts as installed."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
SECONDS = 60

# What the scripts use before they reach a container engine, or find that there is none.
_TOOLS = ["bash", "cat", "dirname", "git", "grep", "id", "mktemp", "rm", "sed", "timeout", "wc", "xargs"]

Result = subprocess.CompletedProcess[str]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The scripts in a repository whose ``.venv`` is up to date and holds nothing but Python."""
    root = tmp_path.resolve() / "project"
    shutil.copytree(REPOSITORY / "bin", root / "bin")
    for name in ("pyproject.toml", "requirements.lock", "requirements-dev.lock"):
        (root / name).write_text(f"# {name}\n")
    commands = root / ".venv" / "bin"
    commands.mkdir(parents=True)
    (commands / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (commands / "python").chmod(0o755)
    recipe = _shell(root, "python_recipe requirements.lock", os.environ).stdout
    (root / ".venv" / ".installed").write_text(recipe)
    return root


@pytest.fixture
def path_without_docker(tmp_path: Path) -> str:
    """A PATH that has the usual tools and no container engine."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in _TOOLS:
        if found := shutil.which(name):
            (tools / name).symlink_to(found)
    return str(tools)


@pytest.fixture
def run(project: Path) -> Callable[..., Result]:
    """Run a command in the project; keyword arguments are added to the environment."""

    def run_command(*command: str, **environ: str) -> Result:
        return _run(project, list(command), {**os.environ, **environ})

    return run_command


@pytest.fixture
def shell(project: Path) -> Callable[..., Result]:
    """Run lines of shell that use the scripts' own parts."""

    def run_lines(lines: str, **environ: str) -> Result:
        return _shell(project, lines, {**os.environ, **environ})

    return run_lines


def _shell(root: Path, lines: str, environ: "os._Environ[str] | dict[str, str]") -> Result:
    return _run(root, ["bash", "-euo", "pipefail", "-c", f". bin/lib/load.sh\n{lines}"], environ)


def _run(root: Path, command: list[str], environ: "os._Environ[str] | dict[str, str]") -> Result:
    return subprocess.run(
        command,
        cwd=root,
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
