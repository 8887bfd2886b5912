"""Real builds by every builder that is here."""

import asyncio
import os
import shutil
import stat
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from support.build_host import build_host
from support.engine_proxy import EngineProxy
from support.images import packed_image
from support.registry import registry
from support.registry_front import registry_front
from workspace_server.engine import Engine, EngineAddress, ImageBuilder
from workspace_server.engine.builder import command
from workspace_server.engine.credentials import Credentials
from workspace_server.engine.programs import BuildTool, docker_missing, survey
from workspace_server.errors import DeadlineError, UnavailableError
from workspace_server.model.build import BuilderKind, BuildFault, BuildRequest, Execution

from .builders import Build, surroundings
from .builders import builder as builder_of

GOOD = """\
FROM python:3.11-slim
RUN echo "out {unique}"; echo err >&2
COPY data.txt /data.txt
RUN test -e /data.txt
"""
FAILING = """\
FROM python:3.11-slim
RUN for i in $(seq 60); do echo line $i; done; sleep 0.1; exit 3 # {unique}
RUN true
"""


@pytest.fixture(scope="session", params=BuilderKind, ids=lambda kind: kind.value)
def builder(
    request: pytest.FixtureRequest, address: EngineAddress, tmp_path_factory: pytest.TempPathFactory
) -> ImageBuilder:
    directory = tmp_path_factory.mktemp("builder")
    environment = {**surroundings(directory / "home"), **address.cli_environment}
    found = asyncio.run(survey(environment, address))
    return builder_of(found, request.param, environment, directory / "state")


@pytest.fixture
def build(builder: ImageBuilder, tmp_path: Path, labels: Mapping[str, str]) -> Build:
    return Build(builder, tmp_path / "tree", labels)


@pytest.fixture(scope="session")
def good(builder: ImageBuilder, tmp_path_factory: pytest.TempPathFactory, labels: Mapping[str, str]) -> Build:
    """A build that succeeded."""
    return asyncio.run(Build(builder, tmp_path_factory.mktemp("good"), labels).run(GOOD))


@pytest.fixture(scope="session")
def failed(builder: ImageBuilder, tmp_path_factory: pytest.TempPathFactory, labels: Mapping[str, str]) -> Build:
    """A build whose second step failed."""
    return asyncio.run(Build(builder, tmp_path_factory.mktemp("failed"), labels).run(FAILING))


def calling(url: str) -> str:
    """A Dockerfile with a step that waits for an answer of ``url``."""
    return f"FROM python:3.11-slim\nRUN python3 -c \"import urllib.request as u; u.urlopen('{url}')\" # {{unique}}\n"


@pytest.mark.engine
async def test_a_build_makes_an_image_with_its_labels_and_no_tag(good: Build, engine: Engine) -> None:
    image = await engine.image(good.image_id)

    assert image is not None
    assert (image.labels.items() >= good.labels.items(), image.tags) == (True, ())


@pytest.mark.engine
def test_every_step_is_told_when_it_begins_and_when_it_ends(good: Build) -> None:
    told: dict[int, list[bool]] = {}
    for step in good.steps:
        told.setdefault(step.n, []).append(step.seconds is not None)

    assert (list(told), set(map(tuple, told.values()))) == (list(range(1, good.steps[-1].of + 1)), {(False, True)})


@pytest.mark.engine
def test_the_steps_are_the_dockerfiles_own(good: Build) -> None:
    """The classic builder makes a step of each label that it is told to stamp."""
    told = [(step.n, step.of, step.name.split()[0]) for step in good.steps if step.seconds is not None]

    assert told == [(1, 4, "FROM"), (2, 4, "RUN"), (3, 4, "COPY"), (4, 4, "RUN")]


@pytest.mark.engine
def test_the_log_has_what_the_steps_wrote(good: Build) -> None:
    assert any(line.endswith(f"out {good.unique}".encode()) for line in good.lines)


@pytest.mark.engine
async def test_a_second_build_is_cached_and_the_same_image(good: Build) -> None:
    second = await replace(good, steps=[], outcome=None).run(GOOD)

    cached = [step.cached for step in second.steps if step.seconds is not None and step.name.startswith("RUN")]
    assert (second.image_id, cached) == (good.image_id, [True, True])


@pytest.mark.engine
async def test_a_build_without_cache_runs_every_step(build: Build) -> None:
    await build.run(GOOD)

    second = await replace(build, steps=[], outcome=None).run(GOOD, no_cache=True)

    assert not any(step.cached for step in second.steps if step.name.startswith("RUN"))


@pytest.mark.engine
@pytest.mark.parametrize("pull", [False, True])
async def test_the_registry_of_a_base_image_that_is_here_is_asked_when_it_is_to_be_pulled(
    build: Build, engine: Engine, tmp_path: Path, *, pull: bool
) -> None:
    async with registry(tmp_path / "registry") as backend, registry_front(backend, open_to_all=True) as hub:
        await backend.push("hello", packed_image(build.labels))
        base = f"{hub.host}/hello:latest"
        await engine.pull(base, None, Credentials(host=hub.host, origin="nothing"))
        hub.seen.clear()
        await build.run(f"FROM {base}\nCOPY data.txt /\n", pull=pull)
        asked = {seen.path for seen in hub.seen}
        await engine.remove_image(build.image_id, force=True)
        await engine.remove_image(base, force=True)

    assert ("/v2/hello/manifests/latest" in asked) is pull


@pytest.mark.engine
def test_a_failing_step_is_told_with_its_command_exit_code_and_last_lines(failed: Build) -> None:
    failure = failed.failure

    assert failure.step is not None
    assert (failure.fault, failure.exit_code, failure.step.n, failure.step.failed) == (BuildFault.STEP, 3, 2, True)
    assert failure.step.name.startswith("RUN for i in $(seq 60)")
    assert list(failure.tail) == [f"line {i}" for i in range(11, 61)]


@pytest.mark.engine
def test_a_failing_step_is_told_as_a_step_too(failed: Build) -> None:
    assert failed.steps[-1] == failed.failure.step


@pytest.mark.engine
async def test_a_base_image_that_cannot_be_pulled_is_named_with_the_registrys_answer(build: Build) -> None:
    failure = (await build.run("FROM 127.0.0.1:1/nothing/here:1\nRUN true\n")).failure

    assert (failure.fault, failure.base_image) == (BuildFault.BASE_IMAGE, "127.0.0.1:1/nothing/here:1")
    assert "connection refused" in failure.detail


@pytest.mark.engine
async def test_a_dockerfile_that_is_none_is_the_templates_fault(build: Build) -> None:
    failure = (await build.run("FROM python:3.11-slim\nRUNN true\n")).failure

    assert (failure.fault, failure.step) == (BuildFault.STEP, None)
    assert "unknown instruction: RUNN" in failure.detail


@pytest.mark.engine
async def test_a_file_that_is_missing_is_the_templates_fault(build: Build) -> None:
    failure = (await build.run("FROM python:3.11-slim\nCOPY none /none\n")).failure

    assert failure.step is not None
    assert (failure.fault, failure.step.n, failure.exit_code) == (BuildFault.STEP, 2, None)


@pytest.mark.engine
async def test_a_program_that_does_not_exist_is_the_templates_fault(build: Build) -> None:
    failure = (await build.run('FROM python:3.11-slim\nRUN ["/none"]\n')).failure

    assert failure.fault is BuildFault.STEP


@pytest.mark.engine
async def test_nothing_of_the_environment_comes_into_the_build(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "s3cret")

    done = await build.run("FROM python:3.11-slim\nARG SECRET\nRUN env | grep -v ^SECRET= > /seen # {unique}\n")

    assert b"s3cret" not in b"".join(done.lines)
    assert done.image_id


@pytest.mark.engine
async def test_the_deadline_ends_a_build(build: Build, address: EngineAddress) -> None:
    async with build_host(address.url) as host:
        host.hold("/never")
        with pytest.raises(DeadlineError):
            await build.run(calling(f"{host.url}/never"), seconds=1)


@pytest.mark.engine
async def test_a_cancel_ends_the_engines_work_too(build: Build, address: EngineAddress) -> None:
    async with build_host(address.url) as host:
        gate = host.hold("/never")
        running = asyncio.create_task(build.run(calling(f"{host.url}/never")))
        await gate.arrived.wait()

        running.cancel()

        await gate.left.wait()
        with pytest.raises(asyncio.CancelledError):
            await running


@pytest.mark.engine
async def test_an_engine_that_goes_away_is_nobodys_fault_but_its_own(
    build: Build, address: EngineAddress, proxy: EngineProxy
) -> None:
    build.builder = at(build.builder, proxy.address)
    async with build_host(address.url) as host:
        gate = host.hold("/never")
        running = asyncio.create_task(build.run(calling(f"{host.url}/never")))
        await gate.arrived.wait()

        await proxy.down()
        await running

    assert build.failure.fault is BuildFault.ENGINE


@pytest.mark.engine
async def test_an_engine_that_is_away_is_nobodys_fault_but_its_own(build: Build, tmp_path: Path) -> None:
    build.builder = at(build.builder, f"unix://{tmp_path}/none.sock")

    assert (await build.run(GOOD)).failure.fault is BuildFault.ENGINE


def at(builder: ImageBuilder, url: str) -> ImageBuilder:
    """The same builder for an engine at another address."""
    return ImageBuilder(builder._tool, {**builder._environment, "DOCKER_HOST": url}, builder._state_dir)


@pytest.mark.engine
def test_the_image_id_files_directory_is_gone_afterwards(good: Build) -> None:
    assert list(good.builder._state_dir.glob("build-*")) == []


@pytest.mark.engine
async def test_a_link_in_place_of_the_builders_folder_is_not_followed(build: Build, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "state").symlink_to(tmp_path / "outside")
    build.builder = ImageBuilder(build.builder._tool, build.builder._environment, tmp_path / "state")

    with pytest.raises(UnavailableError) as caught:
        await build.run(GOOD)

    assert (caught.value.code, list((tmp_path / "outside").iterdir())) == ("cache_unusable", [])


@pytest.mark.engine
def test_nobody_else_may_look_into_the_builders_folder(good: Build) -> None:
    state = good.builder._state_dir

    assert [path for path in (state, *state.rglob("*")) if path.lstat().st_mode & 0o077 and path.is_file()] == []
    assert stat.S_IMODE(state.stat().st_mode) == 0o700


@pytest.mark.engine
async def test_what_is_inherited_is_open_in_the_builder(build: Build, address: EngineAddress) -> None:
    reading, writing = os.pipe()
    async with build_host(address.url) as host:
        gate = host.hold("/never")
        running = asyncio.create_task(build.run(calling(f"{host.url}/never"), pass_fds=(writing,)))
        await gate.arrived.wait()
        os.close(writing)
        os.set_blocking(reading, False)

        with pytest.raises(BlockingIOError):  # no end of file: somebody still has the other end
            os.read(reading, 1)

        running.cancel()
        await asyncio.wait([running])
    os.close(reading)


@pytest.mark.engine
async def test_the_best_builder_is_chosen(address: EngineAddress, tmp_path: Path) -> None:
    chosen = await ImageBuilder.choose(surroundings(tmp_path / "home"), address, tmp_path / "state")

    assert chosen.description.startswith("buildx " if chosen.kind is BuilderKind.BUILDX else "docker ")


@pytest.mark.engine
async def test_a_context_of_the_user_does_not_lead_the_builder_elsewhere(
    address: EngineAddress, tmp_path: Path, labels: Mapping[str, str]
) -> None:
    environment = {**surroundings(tmp_path / "home"), "DOCKER_CONTEXT": "none-such"}
    chosen = await ImageBuilder.choose(environment, address, tmp_path / "state")

    assert (await Build(chosen, tmp_path / "tree", labels).run("FROM python:3.11-slim\n")).image_id


@pytest.mark.engine
async def test_without_a_command_line_that_is_said(address: EngineAddress, tmp_path: Path) -> None:
    with pytest.raises(UnavailableError) as caught:
        await ImageBuilder.choose({"PATH": str(tmp_path), "HOME": str(tmp_path)}, address, tmp_path)

    assert caught.value.as_dict() == docker_missing().as_dict()


@pytest.mark.engine
async def test_a_command_line_that_was_removed_meanwhile_is_said_to_be_missing(
    address: EngineAddress, tmp_path: Path, labels: Mapping[str, str]
) -> None:
    (tmp_path / "bin").mkdir()
    link = tmp_path / "bin" / "docker"
    link.symlink_to(shutil.which("docker") or "")
    environment = {"PATH": str(link.parent), "HOME": str(tmp_path)}
    chosen = await ImageBuilder.choose(environment, address, tmp_path / "state")
    chosen._tool = replace(chosen._tool, program=link)
    link.unlink()

    with pytest.raises(UnavailableError) as caught:
        await Build(chosen, tmp_path / "tree", labels).run("FROM scratch\n")
    assert caught.value.as_dict() == docker_missing().as_dict()


async def test_without_an_engine_that_is_said(tmp_path: Path) -> None:
    away = EngineAddress(url=f"unix://{tmp_path}/away.sock", local_socket=True)

    with pytest.raises(UnavailableError) as caught:
        await ImageBuilder.choose({"PATH": os.environ["PATH"], "HOME": str(tmp_path)}, away, tmp_path)

    assert caught.value.code == "engine_unavailable"


@pytest.mark.engine
async def test_of_an_engine_with_another_kernel_buildx_alone_knows_what_it_runs(builder: ImageBuilder) -> None:
    own = await builder.execution(builder.engine_platform)
    foreign = await builder.execution("linux/s390x")

    said = {Execution.EMULATED, Execution.IMPOSSIBLE} if builder.kind is BuilderKind.BUILDX else {Execution.UNKNOWN}
    assert (own, foreign in said) == (Execution.NATIVE, True)


@pytest.mark.engine
async def test_of_an_engine_with_our_kernel_the_kernel_knows_what_it_runs(
    builder: ImageBuilder, tmp_path: Path
) -> None:
    (tmp_path / "status").write_text("enabled\n")
    ours = ImageBuilder(builder._tool, builder._environment, builder._state_dir, binfmt_misc=tmp_path)

    assert await ours.execution("linux/s390x") is Execution.IMPOSSIBLE


@pytest.mark.parametrize(
    ("kind", "version", "options"),
    [
        (BuilderKind.BUILDX, (0, 13, 1), "--builder default --load --provenance=false --progress=rawjson"),
        (BuilderKind.BUILDX, (0, 12), "--builder default --load --provenance=false --progress=plain"),
        (BuilderKind.BUILDX, (0, 9), "--builder default --load --progress=plain"),
        (BuilderKind.BUILDKIT, (20, 10), "--progress=plain"),
        (BuilderKind.CLASSIC, (28, 2), "--force-rm"),
    ],
)
def test_the_command_line_has_nothing_that_the_request_does_not_ask_for(
    kind: BuilderKind, version: tuple[int, ...], options: str
) -> None:
    tool = BuildTool(kind=kind, program=Path("/bin/x"), version=version, engine_platform="linux/amd64")
    request = BuildRequest(context=Path("/tree"), labels={"b": "2", "a": "1"}, platform="linux/arm64", no_cache=True)

    assert command(tool, request, Path("/id")) == (
        f"/bin/x build {options} --iidfile /id --platform linux/arm64 --no-cache"
        " --label=a=1 --label=b=2 -f /tree/Dockerfile /tree"
    ).split(" ")


@pytest.mark.parametrize(
    ("kind", "version", "options"),
    [
        (BuilderKind.BUILDX, (0, 13, 1), "--builder default --load --provenance=false --progress=rawjson"),
        (BuilderKind.BUILDKIT, (20, 10), "--progress=plain"),
        (BuilderKind.CLASSIC, (28, 2), "--force-rm"),
    ],
)
def test_the_command_line_pulls_when_the_request_asks_for_it(
    kind: BuilderKind, version: tuple[int, ...], options: str
) -> None:
    tool = BuildTool(kind=kind, program=Path("/bin/x"), version=version, engine_platform="linux/amd64")
    request = BuildRequest(context=Path("/tree"), labels={}, platform=None, pull=True)

    assert command(tool, request, Path("/id")) == (
        f"/bin/x build {options} --iidfile /id --pull -f /tree/Dockerfile /tree"
    ).split(" ")
