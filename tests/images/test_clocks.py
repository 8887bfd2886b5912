"""The clocks of real builds, by every builder that is here: stalls, the absolute limit, silence that is healthy."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.typing import EventDict

from engine.builders import builder as builder_of
from engine.builders import surroundings
from support.build_host import BuildHost, build_host
from support.gate import Gate
from support.git_repository import Repository
from support.templates import BASE_IMAGE, calling_template, dockerfile_only
from workspace_server.concurrency import FileLock
from workspace_server.engine import Efforts, Engine, EngineAddress, ImageBuilder
from workspace_server.engine.programs import survey
from workspace_server.errors import ConflictError, DeadlineError
from workspace_server.images import BuildRecord
from workspace_server.model.build import (
    BuilderKind,
    BuildState,
    BuildStep,
)
from workspace_server.model.container import ImageInfo
from workspace_server.runtimes import Template

from .conftest import NO_IMAGE, Heard, Server, ServerOf
from .making import identity

pytestmark = [pytest.mark.engine, pytest.mark.slow]

PROMPTLY = 5
LIMIT = 0.05
PATIENCE = 60


@pytest.fixture(scope="module", params=BuilderKind, ids=lambda kind: kind.value)
def builder(
    request: pytest.FixtureRequest, address: EngineAddress, tmp_path_factory: pytest.TempPathFactory
) -> ImageBuilder:
    """Each builder that is here, in turn."""
    directory = tmp_path_factory.mktemp("builder")
    environment = {**surroundings(directory / "home"), **address.cli_environment}
    return builder_of(asyncio.run(survey(environment, address)), request.param, environment, directory / "state")


@pytest.fixture
async def host(engine_url: str) -> AsyncIterator[BuildHost]:
    async with build_host(engine_url) as running:
        yield running


@pytest.fixture
async def gate(host: BuildHost, repository: Repository, runtime: str) -> Gate:
    """The template's one RUN waits at this gate, silent and idle."""
    await repository.commit(calling_template(f"{host.url}/{runtime}"), replace=True)
    return host.hold(f"/{runtime}")


def building(server: Server, template: Template, repository: Repository) -> "asyncio.Task[ImageInfo]":
    return asyncio.create_task(server.builds.build(identity(template, repository.tip()), NO_IMAGE, Heard()))


async def ended(running: "asyncio.Task[ImageInfo]", server: Server) -> tuple[DeadlineError, BuildRecord]:
    """The error of a build that a clock ended, and its record."""
    with pytest.raises(DeadlineError) as caught:
        await asyncio.wait_for(running, PATIENCE)
    (record,) = server.book.newest()
    return caught.value, record


def log_of(server: Server) -> list[str]:
    return server.book.log_path(server.book.newest()[0].id).read_text().splitlines()


def lock_of(server: Server, record: BuildRecord) -> Path:
    return server.builds._lock_path(record.build_id)


# Stalls


async def test_a_step_that_hangs_is_ended_with_the_engines_work_and_its_client(
    server_of: ServerOf, gate: Gate, *, template: Template, repository: Repository
) -> None:
    server = server_of(stall_seconds=1)
    error, record = await ended(building(server, template, repository), server)

    await asyncio.wait_for(gate.left.wait(), PROMPTLY)
    assert (error.code, error.retryable, record.state, record.error) == (
        "build_stalled",
        True,
        BuildState.FAILED,
        error.as_dict(),
    )
    assert "silent for 1 s, and no work that the engine can show, in step 2 of " in error.message
    assert not FileLock.is_held(lock_of(server, record))
    assert log_of(server)[-1] == error.message


async def test_a_silent_step_that_computes_goes_on(
    server_of: ServerOf,
    engine: Engine,
    host: BuildHost,
    monkeypatch: pytest.MonkeyPatch,
    *,
    template: Template,
    repository: Repository,
) -> None:
    """It is silent for four times the limit. Until it has begun, the clock is told that the engine works."""
    url, ask, asked = f"{host.url}/{template.runtime}", engine.step_efforts, 0

    async def step_efforts(container: str | None) -> Efforts | None:
        nonlocal asked
        if not host.calls:
            return None
        asked += 1
        return await ask(container)

    monkeypatch.setattr(engine, "step_efforts", step_efforts)
    program = "import time, urllib.request as u; u.urlopen('{url}'); end = time.monotonic() + 2"
    run = f"RUN python3 -c \"{program.format(url=url)}; exec('while time.monotonic() < end: pass')\""
    await repository.commit(dockerfile_only(f"FROM {BASE_IMAGE}\n{run}\n"), replace=True)

    assert (await asyncio.wait_for(building(server_of(stall_seconds=0.5), template, repository), PATIENCE)).id
    assert asked >= 2


async def test_a_silent_export_is_healthy(
    server_of: ServerOf,
    engine: Engine,
    builder: ImageBuilder,
    monkeypatch: pytest.MonkeyPatch,
    *,
    template: Template,
    repository: Repository,
) -> None:
    """While a step runs, the engine is asked all the time with this limit; it is not, when the last step has ended."""
    if builder.kind is BuilderKind.CLASSIC:
        pytest.skip("it saves each step within the step, when the container has ended: then the engine says it works")
    loop, steps, asked = asyncio.get_running_loop(), list[float](), list[float]()

    async def step_efforts(container: str | None) -> Efforts | None:
        asked.append(loop.time())
        return None

    def note_step(record_id: str, step: BuildStep) -> None:
        steps.append(loop.time())

    server = server_of(stall_seconds=LIMIT)
    monkeypatch.setattr(engine, "step_efforts", step_efforts)
    monkeypatch.setattr(server.book, "note_step", note_step)
    computes = 'head -c 100000000 /dev/zero | tr "\\0" "\\1" > /dev/null'
    run = f"RUN {computes}; truncate -s 1G /big # {template.runtime}"  # nothing to write, much to read for its digest
    await repository.commit(dockerfile_only(f"FROM {BASE_IMAGE}\n{run}\n"), replace=True)
    await asyncio.wait_for(building(server, template, repository), PATIENCE)

    assert loop.time() - steps[-1] > 3 * LIMIT
    assert (len(asked) > 2, asked[-1] < steps[-1]) == (True, True)


# The absolute limit


async def test_a_build_that_takes_too_long_is_ended_with_the_engines_work_and_its_client(
    server_of: ServerOf, gate: Gate, *, template: Template, repository: Repository
) -> None:
    server = server_of(seconds=3)
    error, record = await ended(building(server, template, repository), server)

    await asyncio.wait_for(gate.left.wait(), PROMPTLY)
    assert (error.code, record.state, record.error) == ("build_timeout", BuildState.FAILED, error.as_dict())
    assert " was not built within 3 s; it was at: step 2 of " in error.message
    assert not FileLock.is_held(lock_of(server, record))
    assert log_of(server)[-1] == error.message


# Cancelling


async def test_a_cancel_ends_the_engines_work_and_the_client_within_five_seconds(
    server: Server, gate: Gate, logs: list[EventDict], *, template: Template, repository: Repository
) -> None:
    running = building(server, template, repository)
    await asyncio.wait_for(gate.arrived.wait(), PATIENCE)
    (record,) = server.book.newest()
    held_before = FileLock.is_held(lock_of(server, record))  # by the builder's client as well, which inherits it
    async with asyncio.timeout(PROMPTLY):
        await server.builds.cancel(record.id, "the owner")
        await gate.left.wait()

    assert (held_before, FileLock.is_held(lock_of(server, record))) == (True, False)
    assert [line for line in logs if line["event"].startswith("local-build: the engine has ended the cancelled step")]
    with pytest.raises(ConflictError):
        await running
