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
from workspace_server.engine.here import is_here
from workspace_server.errors import UnavailableError
from workspace_server.model.build import BuilderKind
from workspace_server.process import run

Version = tuple[int, ...]

_NUMBER = re.compile(r"\d+(?:\.\d+)+")
_PLATFORMS = re.compile(r"^Platforms: *(\S.*)$", re.MULTILINE)
_PATIENCE = 30.0

# From 23 on `docker build` is buildx and nothing else; 18.09 was the first with BuildKit inside.
_OWN_BUILDKIT: tuple[Version, Version] = ((18, 9), (23,))
_ENGINE_BUILDKIT: Version = (1, 39)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """What the engine says of itself: the API versions it speaks, its own platform, whether it runs on our kernel."""

    oldest: Version
    newest: Version
    platform: str
    here: bool


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
        number = _dotted(self.version)
        match self.kind:
            case BuilderKind.BUILDX:
                return f"buildx {number}"
            case BuilderKind.BUILDKIT:
                return f"docker {number} BuildKit"
            case BuilderKind.CLASSIC:
                return f"docker {number} classic builder"


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What there is to choose from: command lines in the order of PATH, buildx plug-ins that run, and the engine."""

    clis: Sequence[DockerCli]
    plugins: Sequence[tuple[Path, Version]]
    reach: Reach


async def survey(environment: Mapping[str, str], address: EngineAddress) -> Survey:
    """Ask the engine at ``address``, and every docker command line on ``environment``'s PATH.

    Raises UnavailableError ``engine_unavailable``, and DeadlineError.
    """
    deadline = Deadline(_PATIENCE)
    reach = await _ask_engine(address)
    paths = docker_programs(environment.get("PATH", ""))
    clis = [cli for cli in await asyncio.gather(*(_ask_cli(path, environment, deadline) for path in paths)) if cli]
    plugins = list(dict.fromkeys(cli.buildx for cli in clis if cli.buildx is not None))
    versions = await asyncio.gather(*(_buildx_version(plugin, environment, deadline) for plugin in plugins))
    running = [(plugin, version) for plugin, version in zip(plugins, versions, strict=True) if version]
    return Survey(clis=clis, plugins=running, reach=reach)


def best(found: Survey) -> BuildTool:
    """The first buildx, else the first command line with a BuildKit of its own, else the first one at all. Pure.

    Raises UnavailableError ``tool_missing``.
    """
    for kind in BuilderKind:
        for tool in tools(found, kind):
            return tool
    if not found.clis:
        raise docker_missing()
    cli = found.clis[0]
    raise UnavailableError(
        f"{cli.path} is too old for the engine: it speaks the API up to {_dotted(cli.api)} only",
        code="tool_missing",
        hint="install a newer docker command line, or docker's buildx plug-in",
    )


def docker_missing() -> UnavailableError:
    """The docker command line is not installed, or not any more."""
    return UnavailableError(
        "docker's command line is not installed, and it builds the images",
        code="tool_missing",
        hint="install it: apt-get install docker.io (Debian, Ubuntu), dnf install docker-cli (Fedora), apk add"
        " docker-cli (Alpine), brew install docker (macOS)",
    )


def tools(found: Survey, kind: BuilderKind) -> list[BuildTool]:
    """Every program that can build in this way, the first on PATH first. Pure."""
    reach = found.reach
    usable = fitting = [(cli.path, cli.version) for cli in found.clis if cli.api >= reach.oldest]
    match kind:
        case BuilderKind.BUILDX:
            fitting = list(found.plugins)
        case BuilderKind.BUILDKIT:
            oldest, too_new = _OWN_BUILDKIT
            fitting = [each for each in usable if oldest <= each[1] < too_new and reach.newest >= _ENGINE_BUILDKIT]
        case BuilderKind.CLASSIC:
            pass
    return [
        BuildTool(kind=kind, program=program, version=version, engine_platform=reach.platform)
        for program, version in fitting
    ]


def docker_programs(path: str) -> list[Path]:
    """Every program ``docker`` in the directories of ``path``, in their order, each file once."""
    places = [Path(directory) / "docker" for directory in path.split(os.pathsep) if directory]
    programs = {place.resolve(): place for place in reversed(places) if os.access(place, os.X_OK) and place.is_file()}
    return list(reversed(programs.values()))


def version_of(text: str) -> Version:
    """The first version number in ``text``; empty when there is none."""
    match = _NUMBER.search(text)
    return tuple(int(part) for part in match[0].split(".")) if match else ()


def _dotted(version: Version) -> str:
    return ".".join(map(str, version))


async def _ask_engine(address: EngineAddress) -> Reach:
    async with open_connection(address) as connection:
        data = await connection.call("GET", "version", operation="say its version")
        here = await is_here(connection)
    return Reach(
        oldest=version_of(data.get("MinAPIVersion") or data["ApiVersion"]),
        newest=version_of(data["ApiVersion"]),
        platform=f"{data['Os']}/{data['Arch']}",
        here=here,
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


async def listed_platforms(tool: BuildTool, environment: Mapping[str, str], deadline: Deadline) -> Sequence[str] | None:
    """The platforms that buildx says the engine can build for; None where it is not asked or does not say."""
    if tool.kind is not BuilderKind.BUILDX:
        return None
    done = await run([str(tool.program), "inspect", "default"], env=environment, deadline=deadline)
    named = _PLATFORMS.search(done.stdout.decode(errors="replace"))
    return [platform.strip(" *") for platform in named[1].split(",")] if done.ok and named else None


async def _buildx_version(plugin: Path, environment: Mapping[str, str], deadline: Deadline) -> Version:
    done = await run([str(plugin), "version"], env=environment, deadline=deadline)
    return version_of(done.stdout.decode(errors="replace")) if done.ok else ()


def _json(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
