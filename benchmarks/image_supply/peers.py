"""Comparable programs, installed for one run: the devcontainer command line and repo2docker."""

import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from .bare import Bare
from .programs import Programs

DEVCONTAINER = "@devcontainers/cli@0.89.0"
REPO2DOCKER = "jupyter-repo2docker==2026.4.0"

P = TypeVar("P")

# Its other content providers ask hosts on the network, before git is tried.
_REPO2DOCKER_CONFIG = """
from repo2docker.contentproviders import Git
c.Repo2Docker.content_providers = [Git]
"""
_REUSED = re.compile(r"Reusing existing image \((\S+)\)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Repo2docker:
    """``jupyter-repo2docker``, with nothing but its Git content provider."""

    program: Path
    config: Path
    label: str

    def command(self, url: str) -> list[str]:
        """Build the image of a repository, or decide that it is there."""
        options = ["--config", str(self.config), "--label", self.label, "--user-id", "1000", "--user-name", "bench"]
        return [str(self.program), *options, "--no-run", url]

    @staticmethod
    def reused(output: str) -> str:
        """The name of the image that it decided to reuse. Raises RuntimeError when it built instead."""
        match = _REUSED.search(output)
        if match is None:
            raise RuntimeError(f"repo2docker did not reuse its image:\n{output}")
        return match[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Devcontainer:
    """``devcontainer``, from a folder whose devcontainer.json names its Dockerfile and a workspace's settings."""

    program: Path
    label: str

    def up(self, folder: Path) -> list[str]:
        """Build or reuse the image of a folder, and run a container of it."""
        return [str(self.program), "up", "--workspace-folder", str(folder)]

    def configure(self, folder: Path, container: str) -> None:
        """Write devcontainer.json: the folder's Dockerfile, the container's name, and what a workspace has."""
        configuration = {
            "name": "benchmark",
            "build": {"dockerfile": "../Dockerfile", "context": "..", "options": ["--label", self.label]},
            "runArgs": Bare(label=self.label).settings(container),
            "overrideCommand": False,
        }
        (folder / ".devcontainer").mkdir()
        (folder / ".devcontainer" / "devcontainer.json").write_text(json.dumps(configuration))


@dataclass(frozen=True, slots=True, kw_only=True)
class Peers:
    """What could be installed, and why the rest could not."""

    devcontainer: Devcontainer | None
    repo2docker: Repo2docker | None
    skipped: tuple[str, ...]


async def install_peers(folder: Path, programs: Programs, label: str, *, wanted: bool) -> Peers:
    """Install what is ``wanted`` below ``folder``, with npm and pip as they are configured here."""
    if not wanted:
        return Peers(devcontainer=None, repo2docker=None, skipped=("comparable programs: not wanted",))
    skipped: list[str] = []

    async def tried(name: str, install: Callable[[], Coroutine[object, object, P]]) -> P | None:
        try:
            return await install()
        except (RuntimeError, OSError) as error:
            skipped.append(f"{name}: {str(error).strip().splitlines()[-1]}")
            return None

    devcontainer = await tried(DEVCONTAINER, lambda: _install_devcontainer(folder, programs, label))
    repo2docker = await tried(REPO2DOCKER, lambda: _install_repo2docker(folder, programs, label))
    return Peers(devcontainer=devcontainer, repo2docker=repo2docker, skipped=tuple(skipped))


async def _install_devcontainer(folder: Path, programs: Programs, label: str) -> Devcontainer:
    if shutil.which("npm") is None:
        raise RuntimeError("there is no npm here")
    await programs.run("npm", "install", "--prefix", str(folder), DEVCONTAINER, environment=os.environ)
    return Devcontainer(program=folder / "node_modules/.bin/devcontainer", label=label)


async def _install_repo2docker(folder: Path, programs: Programs, label: str) -> Repo2docker:
    environment = folder / "repo2docker"
    await programs.run(sys.executable, "-m", "venv", str(environment))
    await programs.run(str(environment / "bin/pip"), "install", "--quiet", REPO2DOCKER, environment=os.environ)
    config = folder / "repo2docker_config.py"
    config.write_text(_REPO2DOCKER_CONFIG)
    return Repo2docker(program=environment / "bin/jupyter-repo2docker", config=config, label=label)
