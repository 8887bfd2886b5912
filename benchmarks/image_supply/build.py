"""Rows of creates that build: of a template that was never seen, and of a new commit of one that was."""

import time
from pathlib import Path
from uuid import uuid4

from tests.support.git_repository import Repository

from .bench import Bench
from .sides import in_turn
from .table import Comparison, Row
from .templates import agent, template

_RUN = "`docker buildx build` + `docker run -d`"


async def cold_rows(bench: Bench) -> list[Row]:
    """POST to the engine's ``start`` event; every run of every side has a repository with contents of its own."""
    seconds = await in_turn(bench.runs, {"ours": lambda: _ours(bench), "bare": lambda: _bare(bench)})
    against = f"`git clone --depth 1` + {_RUN}"
    return [Comparison(what="cold create", against=against, ours=seconds["ours"], theirs=seconds["bare"]).at_most(1.1)]


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


async def _bare(bench: Bench) -> float:
    runtime, _ = await _repository(bench)
    folder = bench.home / f"bare-{runtime}"
    return await _built(bench, bench.bare.clone(bench.url(runtime), folder), folder)


async def _built(bench: Bench, get: str, folder: Path) -> float:
    """Get the files, build them, run a container; the seconds to its start."""
    bare, name = bench.bare, f"{folder.name}-{uuid4().hex[:8]}"
    script = f"{get}\n{bare.build(folder, folder.name)}\n{bare.run(name, folder.name)}"
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

    async def their_side() -> float:
        await their_repository.commit({"agent.sh": agent(uuid4().hex)})
        return await _built(bench, bench.bare.fetch(folder), folder)

    seconds = await in_turn(bench.runs, {"ours": our_side, "bare": their_side})
    what, against = "new commit, same dependencies", f"`git fetch` + {_RUN}"
    return [Comparison(what=what, against=against, ours=seconds["ours"], theirs=seconds["bare"]).at_most(1.1)]
