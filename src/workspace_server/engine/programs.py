"""The docker command lines that are here, and the best builder among them."""

import asyncio
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workspace_server.concurrency import Deadline
from workspace_server.engine.address import EngineAddress
from workspace_server.engine.connection import open_connection
from workspace_server.errors import UnavailableError
from workspace_server.model.build import BuilderKind
from workspace_server.process import run

Version = tuple[int, ...]

_NUMBER = re.compile(r"\d+(?:\.\d+)+")
_PATIENCE = 30.0

# From 23 on `docker build` is buildx and nothing else; 18.09 was the first with BuildKit inside.
_OWN_BUILDKIT: tuple[Version, Version] = ((18, 9), (23,))
_ENGINE_BUILDKIT: Version = (1, 39)
_INSTALL = "install docker's command line, for example: sudo apt-get install docker.io"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """What the engine says of itself: the API versions it speaks, and its own platform."""

    oldest: Version
    newest: Version
    platform: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerCli:
    """One docker command line: its version, the newest API it speaks, and its buildx plug-in's path when it has one."""

    path: Path
    version: Version
    api: Version
    buildx: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildTool:
    """A builder's kind and the program that is run for it. ``version`` is that program's."""

    kind: BuilderKind
    program: Path
    version: Version
    engine_platform: str

    @property
    def description(self) -> str:
        """For people: ``buildx 0.13.1``, ``docker 20.10.24 BuildKit``, ``docker 28.2.2 classic builder``."""
        number = ".".join(map(str, self.version))
        match self.kind:
            case BuilderKind.BUILDX:
                return f"buildx {number}"
            case BuilderKind.BUILDKIT:
                return f"docker {number} BuildKit"
            case BuilderKind.CLASSIC:
                return f"docker {number} classic builder"


async def best_tool(environment: Mapping[str, str], address: EngineAddress) -> BuildTool:
    """The best builder of the command lines on ``environment``'s PATH, which must lead to the engine at ``address``.

    Raises UnavailableError ``tool_missing`` and ``engine_unavailable``.
    """
    deadline = Deadline(_PATIENCE)
    reach = await _ask_engine(address)
    paths = docker_programs(environment.get("PATH", ""))
    found = [cli for cli in await asyncio.gather(*(_ask_cli(p, environment, deadline) for p in paths)) if cli]
    plugins = list(dict.fromkeys(cli.buildx for cli in found if cli.buildx is not None))
    versions = await asyncio.gather(*(_buildx_version(plugin, environment, deadline) for plugin in plugins))
    buildx = [(plugin, version) for plugin, version in zip(plugins, versions, strict=True) if version]
    return choose(found, buildx, reach)


def choose(clis: Sequence[DockerCli], buildx: Sequence[tuple[Path, Version]], reach: Reach) -> BuildTool:
    """The first buildx, else the first command line with a BuildKit of its own, else the first one. Pure."""
    for plugin, version in buildx:
        return BuildTool(kind=BuilderKind.BUILDX, program=plugin, version=version, engine_platform=reach.platform)
    usable = [cli for cli in clis if cli.api >= reach.oldest]
    oldest, newest = _OWN_BUILDKIT
    for kind, fitting in (
        (
            BuilderKind.BUILDKIT,
            [cli for cli in usable if oldest <= cli.version < newest and reach.newest >= _ENGINE_BUILDKIT],
        ),
        (BuilderKind.CLASSIC, usable),
    ):
        for cli in fitting:
            return BuildTool(kind=kind, program=cli.path, version=cli.version, engine_platform=reach.platform)
    if clis:
        spoken = ".".join(map(str, clis[0].api))
        raise UnavailableError(
            f"the docker command line {clis[0].path} is too old for the engine: it speaks the API up to {spoken} only",
            code="tool_missing",
            hint="install a newer one, or docker's buildx plug-in",
        )
    raise UnavailableError("no docker command line was found", code="tool_missing", hint=_INSTALL)


def docker_programs(path: str) -> list[Path]:
    """Every program ``docker`` in the directories of ``path``, in their order, each file once."""
    places = [Path(directory) / "docker" for directory in path.split(os.pathsep) if directory]
    programs = {place.resolve(): place for place in reversed(places) if os.access(place, os.X_OK) and place.is_file()}
    return list(reversed(programs.values()))


def version_of(text: str) -> Version:
    """The first version number in ``text``; empty when there is none."""
    match = _NUMBER.search(text)
    return tuple(int(part) for part in match[0].split(".")) if match else ()


async def _ask_engine(address: EngineAddress) -> Reach:
    async with open_connection(address) as connection:
        data = await connection.call("GET", "version", operation="say its version")
    return Reach(
        oldest=version_of(data.get("MinAPIVersion") or data["ApiVersion"]),
        newest=version_of(data["ApiVersion"]),
        platform=f"{data['Os']}/{data['Arch']}",
    )


async def _ask_cli(path: Path, environment: Mapping[str, str], deadline: Deadline) -> DockerCli | None:
    """What a command line says of itself; None for a program that is called docker and is something else."""
    about, information = await asyncio.gather(
        run([str(path), "version", "--format", "{{json .Client}}"], env=environment, deadline=deadline),
        run([str(path), "info", "--format", "{{json .ClientInfo.Plugins}}"], env=environment, deadline=deadline),
    )
    # Exit codes tell about the engine here, not about the client.
    client = _json(about.stdout)
    version = version_of(str(client.get("Version"))) if isinstance(client, dict) else ()
    if not version:
        return None
    return DockerCli(
        path=path,
        version=version,
        api=version_of(str(client.get("DefaultAPIVersion"))),
        buildx=_buildx_path(_json(information.stdout)),
    )


def _buildx_path(plugins: Any) -> Path | None:
    for plugin in plugins if isinstance(plugins, list) else ():
        if plugin.get("Name") == "buildx" and plugin.get("Path") and not plugin.get("Err"):
            return Path(plugin["Path"])
    return None


async def _buildx_version(plugin: Path, environment: Mapping[str, str], deadline: Deadline) -> Version:
    done = await run([str(plugin), "version"], env=environment, deadline=deadline)
    return version_of(done.stdout.decode(errors="replace")) if done.ok else ()


def _json(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
