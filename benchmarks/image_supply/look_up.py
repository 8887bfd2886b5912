"""Rows of the warm look-up: which image the next workspace runs, when it is there already."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from workspace_server.images import ImageService
from workspace_server.log import configure_logging
from workspace_server.settings import load_settings
from workspace_server.wiring import open_services

from .bench import RUNTIME, Bench
from .sides import Side, in_turn
from .table import Comparison, Row


async def look_up_rows(bench: Bench) -> list[Row]:
    """A runtime's name to "hit" and the image's id, in process, against programs that find out the same."""
    async with _images(bench) as images:
        sides: dict[str, Side] = {
            "ours": lambda: _ours(images, bench.image),
            "ls-remote": lambda: _timed(bench, bench.bare.look_up(bench.url())),
        }
        if bench.peers.repo2docker is not None:
            sides["repo2docker"] = await _repo2docker(bench)
        seconds = await in_turn(bench.runs, sides)

    def against(name: str, program: str) -> Comparison:
        return Comparison(what="warm look-up", against=program, ours=seconds["ours"], theirs=seconds[name])

    rows = [against("ls-remote", "`git ls-remote`").at_most(0.6)]
    if "repo2docker" in seconds:
        rows.append(against("repo2docker", "repo2docker, deciding to reuse its image").faster(20))
    return rows


@asynccontextmanager
async def _images(bench: Bench) -> AsyncIterator[ImageService]:
    """The image service as the server opens it, on the server's cache."""
    settings = {
        "MOLECULE_DATA_DIR": str(bench.home / "look-up"),
        "MOLECULE_LOCAL_BUILD_CACHE": str(bench.server.cache),
        "MOLECULE_LOCAL_TEMPLATE_REPO_PREFIX": bench.git.repo_prefix,
    }
    with (bench.home / "look-up.log").open("w") as log:
        configure_logging(form="json", stream=log)
        async with open_services(load_settings(bench.programs.environment | settings)) as services:
            yield services.on_engine.images


async def _ours(images: ImageService, expected: str) -> float:
    began = time.perf_counter()
    image = await images.ensure(RUNTIME, _no_build)
    seconds = time.perf_counter() - began
    if image.id != expected:
        raise RuntimeError(f"the look-up found {image.id}, and {expected} was built")
    return seconds


async def _no_build(build: str) -> None:
    raise RuntimeError(f"the look-up missed, and began the build {build}")


async def _timed(bench: Bench, script: str) -> float:
    began = time.perf_counter()
    await bench.programs.script(script)
    return time.perf_counter() - began


async def _repo2docker(bench: Bench) -> Side:
    """The side of repo2docker, which has built its image."""
    program = bench.peers.repo2docker
    assert program is not None
    command = program.command(bench.url())
    await bench.programs.run(*command)

    async def side() -> float:
        began = time.perf_counter()
        output = await bench.programs.run(*command)
        seconds = time.perf_counter() - began
        program.reused(output)
        return seconds

    return side
