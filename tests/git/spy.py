"""A program named git, first on the path, that does something before the real one, or instead of it."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from workspace_server.git import GitAccess


@dataclass(frozen=True, slots=True)
class Call:
    """One start of git: arguments, environment, and the files it inherited."""

    arguments: list[str]
    environment: dict[str, str]
    inherited: list[str]


@dataclass(frozen=True, slots=True)
class Spy:
    folder: Path

    def calls(self, command: str | None = None) -> list[Call]:
        """The calls so far, in order; of one git command only."""
        calls = []
        for number in range(len(list(self.folder.glob("*.argv")))):
            arguments, environment, inherited = (
                (self.folder / f"{number}.{part}").read_text() for part in ("argv", "env", "fds")
            )
            variables = dict(line.split("=", 1) for line in environment.split("\0") if line)
            calls.append(Call(arguments.split("\n")[:-1], variables, inherited.split("\n")))
        return [call for call in calls if command in (None, call.arguments[0])]


_RECORD = """
n=$(ls '{folder}' | grep -c 'argv$')
printf '%s\\n' "$@" > "{folder}/$n.argv"
cat /proc/$$/environ > "{folder}/$n.env"
readlink /proc/$$/fd/* > "{folder}/$n.fds"
"""


def spy_on_git(access: GitAccess, folder: Path) -> tuple[GitAccess, Spy]:
    """Access whose git records every call of it; one at a time."""
    folder.mkdir()
    return _before_git(access, folder, _RECORD.format(folder=folder)), Spy(folder)


def failing_git(access: GitAccess, folder: Path, command: str, message: str) -> GitAccess:
    """Access whose git fails at one command with this message, as it does when a disk is full."""
    folder.mkdir()
    return _before_git(access, folder, f'if [ "$1" = {command} ]; then echo "{message}" >&2; exit 128; fi')


def _before_git(access: GitAccess, folder: Path, script: str) -> GitAccess:
    path = access.passed_on["PATH"]
    program = folder / "git"
    program.write_text(f'#!/bin/sh\n{script}\nPATH={path}\nexec {shutil.which("git", path=path)} "$@"\n')
    program.chmod(0o755)
    return replace(access, passed_on={**access.passed_on, "PATH": f"{folder}:{path}"})
