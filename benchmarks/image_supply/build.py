"""Rows of creates that build: of a template that was never seen, and of a new commit of one that was.

What they are compared with, and why: docs/decisions/0015.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from uuid import uuid4

from tests.support.git_repository import Repository

from .bench import Bench
from .sides import Side, in_turn
from .table import Comparison, Row
from .templates import agent, template

_RUN = "`docker buildx build` + `docker create`, `cp`, `start`"
_WITHOUT_FILES = "`docker buildx build` + `docker run -d`, without a workspace's files"


async def cold_rows(bench: Bench) -> list[Row]:
    """POST to the engine's ``start`` event; every run of every side has a repository with contents of its own."""
    sides: dict[str, Side] = {
        "ours": lambda: _ours(bench),
        "bare": lambda: _bare(bench, bench.files),
        "no files": lambda: _bare(bench),
    }
    return _rows("cold create", "`git clone --depth 1`", await in_turn(bench.runs, sides))


def _rows(what: str, get: str, seconds: Mapping[str, Sequence[float]]) -> list[Row]:
    bare, no_files = (
        Comparison(what=what, against=f"{get} + {run}", ours=seconds["ours"], theirs=seconds[side])
        for side, run in (("bare", _RUN), ("no files", _WITHOUT_FILES))
    )
    return [bare.at_most(1.1), no_files.without_goal()]


async def _repository(bench: Bench) -> tuple[str, Repository]:
    """The template of a runtime that nobody knows; no layer above the base image is in any cache."""
    runtime, mark = next(bench.fresh), uuid4().hex
    return runtime, await bench.git.create_template(runtime, template(runtime, dependencies=mark, code=mark))


async def _ours(bench: Bench) -> float:
    runtime, _ = await _repository(bench)
    return await _created(bench, runtime)


async def _created(bench: Bench, runtime: str) -> float:
    began = time.time()
    workspace = await bench.server.create(runtime)
    seconds = await bench.started(workspace) - began
    await bench.gone(workspace)
    return seconds


async def _bare(bench: Bench, files: Path | None = None) -> float:
    runtime, _ = await _repository(bench)
    folder = bench.home / f"bare-{runtime}"
    return await _built(bench, bench.bare.clone(bench.url(runtime), folder), folder, files)


async def _built(bench: Bench, get: str, folder: Path, files: Path | None = None) -> float:
    """Get the template, build it, run a container, with ``files`` in its volume; the seconds to its start."""
    bare, name = bench.bare, f"{folder.name}-{uuid4().hex[:8]}"
    run = bare.run(name, folder.name) if files is None else bare.run_with_files(name, folder.name, files)
    script = f"{get}\n{bare.build(folder, folder.name)}\n{run}"
    began = time.time()
    await bench.programs.script(script)
    seconds = await bench.starts.of(name) - began
    await bench.programs.script(bare.remove(name))
    return seconds


async def commit_rows(bench: Bench) -> list[Row]:
    """The same after a commit that changes code and no dependency, in a repository that was built before."""
    (ours, our_repository), (theirs, their_repository) = await _repository(bench), await _repository(bench)
    folder = bench.home / f"bare-{theirs}"
    await _created(bench, ours)
    await _built(bench, bench.bare.clone(bench.url(theirs), folder), folder)

    async def our_side() -> float:
        await our_repository.commit({"agent.sh": agent(uuid4().hex)})
        return await _created(bench, ours)

    async def their_side(files: Path | None = None) -> float:
        await their_repository.commit({"agent.sh": agent(uuid4().hex)})
        return await _built(bench, bench.bare.fetch(folder), folder, files)

    sides: dict[str, Side] = {"ours": our_side, "bare": lambda: their_side(bench.files), "no files": their_side}
    return _rows("new commit, same dependencies", "`git fetch`", await in_turn(bench.runs, sides))
