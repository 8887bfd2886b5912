"""Rows of the warm create: from the request to a running container, when the image is there already.

What they are compared with, and why: docs/decisions/0015.
"""

import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from uuid import uuid4

from tests.support.engine import engine

from .bench import RUNTIME, Bench
from .sides import Side, in_turn
from .table import Comparison, Row

_DEVCONTAINER = "benchmark-devcontainer"


async def create_rows(bench: Bench) -> list[Row]:
    """POST to the engine's ``start`` event, against what leads to a container with the same settings."""
    sides: dict[str, Side] = {
        "ours": lambda: _ours(bench),
        "bare": lambda: _bare(bench, bench.files),
        "no files": lambda: _bare(bench),
        "start": lambda: _start(bench),
    }
    if bench.peers.devcontainer is not None:
        sides["devcontainer"] = await _devcontainer(bench)
    if bench.peers.repo2docker is not None:
        sides["repo2docker"] = await _repo2docker(bench)
    seconds = await in_turn(bench.runs, sides)

    def against(name: str, programs: str) -> Comparison:
        return Comparison(what="warm create", against=programs, ours=seconds["ours"], theirs=seconds[name])

    rows = [
        against("bare", "`git ls-remote` + `docker create`, `cp`, `start`").at_most(1.0),
        against("no files", "`git ls-remote` + `docker run -d`, without a workspace's files").without_goal(),
        against("start", "the engine's start of the container alone").without_goal(),
    ]
    if "devcontainer" in seconds:
        rows.append(against("devcontainer", "`devcontainer up`").without_goal())
        rows.append(_beyond(seconds, "devcontainer").faster(4))
    if "repo2docker" in seconds:
        rows.append(against("repo2docker", "repo2docker + `docker run -d`").faster(2.5))
    return rows


def _beyond(seconds: Mapping[str, Sequence[float]], name: str) -> Comparison:
    """What a side takes beyond the engine's start of the container."""
    start = statistics.median(seconds["start"])
    ours, theirs = ([each - start for each in seconds[side]] for side in ("ours", name))
    return Comparison(what="warm create, beyond the start", against=f"`{name} up`", ours=ours, theirs=theirs)


async def _ours(bench: Bench) -> float:
    began = time.time()
    workspace = await bench.server.create(RUNTIME)
    seconds = await bench.started(workspace) - began
    await bench.gone(workspace)
    return seconds


async def _bare(bench: Bench, files: Path | None = None) -> float:
    name, bare = f"bare-{uuid4().hex[:8]}", bench.bare
    run = bare.run(name, bench.image) if files is None else bare.run_with_files(name, bench.image, files)
    return await _started(bench, name, f"{bare.look_up(bench.url())}\n{run}")


async def _start(bench: Bench) -> float:
    """The engine's start of a container that is there: nobody who starts one can be quicker."""
    name = f"bare-{uuid4().hex[:8]}"
    await bench.programs.script(bench.bare.create(name, bench.image))
    async with engine(bench.address) as api:
        began = time.time()
        await api.call("POST", f"/containers/{name}/start")
    seconds = await bench.starts.of(name) - began
    await bench.programs.script(bench.bare.remove(name))
    return seconds


async def _started(bench: Bench, name: str, script: str) -> float:
    """Seconds from the begin of a script to the start of the container that it makes, which is then removed."""
    began = time.time()
    await bench.programs.script(script)
    seconds = await bench.starts.of(name) - began
    await bench.programs.script(bench.bare.remove(name))
    return seconds


async def _repo2docker(bench: Bench) -> Side:
    """repo2docker has built its image; it finds that out, and docker runs it."""
    program = bench.peers.repo2docker
    assert program is not None
    command = program.command(bench.url())
    await bench.programs.run(*command)

    async def side() -> float:
        name, began = f"repo2docker-{uuid4().hex[:8]}", time.time()
        image = program.reused(await bench.programs.run(*command))
        return time.time() - began + await _started(bench, name, bench.bare.run(name, image))

    return side


async def _devcontainer(bench: Bench) -> Side:
    """``devcontainer up`` has built its image, and the container is gone."""
    program, folder = bench.peers.devcontainer, bench.home / "devcontainer"
    assert program is not None
    await bench.programs.script(bench.bare.clone(bench.url(), folder))
    program.configure(folder, _DEVCONTAINER)

    async def side() -> float:
        began = time.time()
        await bench.programs.run(*program.up(folder))
        seconds = time.time() - began
        await bench.programs.script(bench.bare.remove(_DEVCONTAINER))
        return seconds

    return side
