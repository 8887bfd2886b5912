"""Builds for a foreign platform: asked for before anything is fetched, said with what it costs, compared at the end."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pytest
from structlog.typing import EventDict

from engine.test_emulation import MAGIC, handler
from support.git_objects import executable
from support.git_repository import Repository
from support.git_server import GitServer
from workspace_server.concurrency import Deadline
from workspace_server.engine import Efforts, Engine, ImageBuilder
from workspace_server.errors import DeadlineError, SourceError
from workspace_server.images import BuildRecord
from workspace_server.images.preflight import remark
from workspace_server.model.build import BuilderKind, BuildRequest, BuildState, BuildStep, Execution
from workspace_server.model.container import ImageInfo
from workspace_server.runtimes import Template

from .conftest import NO_IMAGE, Heard, Server, ServerOf
from .making import identity

MACHINE = "arm64" if os.uname().machine == "x86_64" else "s390x"
FOREIGN = f"linux/{MACHINE}"

# The beginning of a program for it. No kernel reads on without a handler.
PROGRAM = bytes.fromhex(MAGIC[MACHINE]) + bytes(100)
RUNS_A_PROGRAM = {
    "Dockerfile": 'FROM scratch\nCOPY program /program\nRUN ["/program"]\n',
    "program": executable(PROGRAM),
}


@pytest.fixture
def kernel(tmp_path: Path) -> Path:
    """Where the engine's kernel shows its handlers; there is none yet."""
    (tmp_path / "binfmt_misc").mkdir()
    (tmp_path / "binfmt_misc" / "status").write_text("enabled\n")
    return tmp_path / "binfmt_misc"


@pytest.fixture
def emulated(kernel: Path) -> Path:
    (kernel / f"qemu-{MACHINE}").write_text(handler(MACHINE))
    return kernel


@pytest.fixture
def server_on(server_of: ServerOf, builder: ImageBuilder) -> Callable[[Path], Server]:
    """A server whose engine runs on this kernel."""

    def make(kernel: Path) -> Server:
        on_it = ImageBuilder(builder._tool, builder._environment, builder._state_dir, binfmt_misc=kernel)
        return server_of(choose=_choosing(on_it))

    return make


def _choosing(builder: Any) -> Callable[[], Awaitable[ImageBuilder]]:
    async def choose() -> Any:
        return builder

    return choose


async def built(server: Server, template: Template, repository: Repository) -> ImageInfo:
    return await server.builds.build(identity(template, repository.tip(), FOREIGN), NO_IMAGE, Heard())


async def refused(server: Server, template: Template, repository: Repository) -> tuple[SourceError, BuildRecord]:
    with pytest.raises(SourceError) as caught:
        await built(server, template, repository)
    (record,) = server.book.newest()
    return caught.value, record


def log_of(server: Server) -> list[str]:
    return server.book.log_path(server.book.newest()[0].id).read_text().splitlines()


# The engine cannot


@pytest.mark.engine
async def test_without_emulation_nothing_is_fetched_and_nothing_is_built(
    server_on: Callable[[Path], Server],
    kernel: Path,
    git_host: GitServer,
    *,
    template: Template,
    repository: Repository,
) -> None:
    error, record = await refused(server_on(kernel), template, repository)

    assert (error.code, git_host.pack_requests(), record.steps) == ("platform_unsupported", [], ())


@pytest.mark.engine
async def test_without_emulation_the_error_names_both_platforms_and_both_ways_out(
    server_on: Callable[[Path], Server],
    kernel: Path,
    builder: ImageBuilder,
    *,
    template: Template,
    repository: Repository,
) -> None:
    error, record = await refused(server_on(kernel), template, repository)

    assert f"the container engine is {builder.engine_platform} and cannot run programs of {FOREIGN}" in error.message
    assert [word in error.hint for word in ("binfmt_misc", "qemu-user-static", "MOLECULE_IMAGE_PLATFORM")] == [True] * 3
    assert (record.state, record.error) == (BuildState.FAILED, error.as_dict())


@pytest.mark.engine
async def test_a_refusal_is_not_remembered(
    server_on: Callable[[Path], Server], kernel: Path, *, template: Template, repository: Repository
) -> None:
    server = server_on(kernel)
    await refused(server, template, repository)
    (kernel / f"qemu-{MACHINE}").write_text(handler(MACHINE))

    assert (await built(server, template, repository)).platform == FOREIGN


@pytest.mark.engine
async def test_this_engine_without_emulation_builds_nothing_foreign(
    server_of: ServerOf, address: object, builder: ImageBuilder, *, template: Template, repository: Repository
) -> None:
    """As it is, with nothing pretended: it is said before the build where that can be known, else by the step."""
    if await builder.execution(FOREIGN) is Execution.EMULATED:
        pytest.skip(f"this engine emulates {FOREIGN}")
    await repository.commit(RUNS_A_PROGRAM)
    error, _ = await refused(server_of(), template, repository)

    assert error.code == "platform_unsupported"


# It is not known


@pytest.mark.engine
async def test_a_step_of_a_platform_that_turns_out_not_to_run_says_the_same(
    server_of: ServerOf,
    builder: ImageBuilder,
    monkeypatch: pytest.MonkeyPatch,
    *,
    template: Template,
    repository: Repository,
) -> None:
    if await builder.execution(FOREIGN) is Execution.EMULATED:
        pytest.skip(f"this engine emulates {FOREIGN}")

    async def unknown(_: ImageBuilder, platform: str) -> Execution:
        return Execution.UNKNOWN

    monkeypatch.setattr(ImageBuilder, "execution", unknown)
    await repository.commit(RUNS_A_PROGRAM)
    server = server_of()
    error, record = await refused(server, template, repository)

    assert (error.code, record.execution) == ("platform_unsupported", Execution.UNKNOWN)
    assert f"cannot run programs of {FOREIGN}" in error.message
    assert log_of(server)[0] == remark(Execution.UNKNOWN, FOREIGN, builder.engine_platform)


# The engine emulates it


@pytest.fixture
async def emulated_build(
    server_on: Callable[[Path], Server],
    emulated: Path,
    builder: ImageBuilder,
    *,
    template: Template,
    repository: Repository,
) -> Server:
    if builder.kind is BuilderKind.CLASSIC:
        pytest.skip("the classic builder builds for its own platform only")
    server = server_on(emulated)
    assert (await built(server, template, repository)).platform == FOREIGN
    return server


@pytest.mark.engine
async def test_an_emulated_build_says_what_it_costs_in_its_record_and_first_in_its_log(
    emulated_build: Server, builder: ImageBuilder
) -> None:
    cost = f"{FOREIGN} is emulated on this {builder.engine_platform} engine: every RUN takes several times as long"

    assert (emulated_build.book.newest()[0].execution, log_of(emulated_build)[0]) == (Execution.EMULATED, cost)


@pytest.mark.engine
async def test_an_emulated_build_says_what_it_costs_in_the_servers_log(
    logs: list[EventDict], emulated_build: Server
) -> None:
    (line,) = [line for line in logs if "is emulated" in line["event"]]

    assert (line["event"].startswith(f"local-build: {FOREIGN} is emulated on this "), line["log_level"]) == (
        True,
        "warning",
    )


@pytest.mark.engine
async def test_a_native_build_says_nothing_of_emulation(
    server: Server, template: Template, repository: Repository
) -> None:
    await server.builds.build(identity(template, repository.tip()), NO_IMAGE, Heard())

    (record,) = server.book.newest()
    assert (record.execution, any("emulated" in line for line in log_of(server))) == (Execution.NATIVE, False)


@pytest.mark.parametrize("found", Execution)
def test_only_what_is_foreign_has_a_cost(found: Execution) -> None:
    said = remark(found, FOREIGN, "linux/amd64")

    assert (said is None) == (found in (Execution.NATIVE, Execution.IMPOSSIBLE))


# What it means for the stall clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Hanging:
    """A builder whose step hangs, of an engine that runs platforms in this way."""

    found: Execution
    description: str = "hanging"
    engine_platform: str = "linux/amd64"

    async def execution(self, platform: str) -> Execution:
        return self.found

    async def build(self, request: BuildRequest, deadline: Deadline, **told: Any) -> NoReturn:
        told["on_step"](BuildStep(n=1, of=1, name="RUN hang"))
        await asyncio.Event().wait()
        raise AssertionError


@pytest.mark.engine
@pytest.mark.parametrize(
    ("found", "limit"), [(Execution.NATIVE, "0.1"), (Execution.EMULATED, "0.3"), (Execution.UNKNOWN, "0.3")]
)
async def test_a_step_of_a_foreign_platform_may_be_silent_three_times_as_long(
    server_of: ServerOf,
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    *,
    template: Template,
    repository: Repository,
    found: Execution,
    limit: str,
) -> None:
    async def nothing(container: str | None) -> Efforts:
        return {}

    monkeypatch.setattr(engine, "step_efforts", nothing)
    server = server_of(choose=_choosing(Hanging(found=found)), stall_seconds=0.1)

    with pytest.raises(DeadlineError, match=f"was not built: silent for {limit} s"):
        await built(server, template, repository)
