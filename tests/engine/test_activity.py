"""What build steps consume: read from the kernel's files and the engine's answers, and compared with real steps."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from support.build_host import BuildHost, build_host
from support.engine_proxy import EngineProxy
from workspace_server.engine import Effort, Efforts, Engine, EngineAddress, ImageBuilder, open_engine
from workspace_server.engine.activity import buildkit_efforts, container_effort
from workspace_server.engine.programs import survey
from workspace_server.errors import UnavailableError
from workspace_server.model.build import BuilderKind
from workspace_server.model.container import ContainerSpec

from .builders import Build, builder, surroundings

ID, OTHER = "fa1nnya112jlafu9koo91ly56", "timp3tsjj9lcpjb02zwgl9xks"
NET = """\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls
    lo: 9999999     100    0    0    0     0          0         0  9999999     100    0    0    0     0
  eth0:    1000      42    0    0    0     0          0         0      200      35    0    0    0     0
"""


# Files of the kernel


@pytest.fixture
def processes(tmp_path: Path) -> Path:
    net = tmp_path / "proc" / "42" / "net"
    net.mkdir(parents=True)
    (net / "dev").write_text(NET)
    return tmp_path / "proc"


def group_v1(root: Path, name: str, *, nanoseconds: int, process: str = "42") -> None:
    group = root / "cpuacct" / name
    group.mkdir(parents=True)
    (group / "cpuacct.usage").write_text(f"{nanoseconds}\n")
    (group / "cgroup.procs").write_text(f"{process}\n43\n" if process else "")


def group_v2(root: Path, name: str, *, microseconds: int) -> None:
    (root / "cgroup.controllers").touch()
    group = root / name
    group.mkdir(parents=True)
    (group / "cpu.stat").write_text(f"usage_usec {microseconds}\nuser_usec 1\nsystem_usec 2\n")
    (group / "cgroup.procs").write_text("42\n")


def test_steps_are_found_with_what_they_consumed(tmp_path: Path, processes: Path) -> None:
    group_v1(tmp_path, f"docker/buildkit/{ID}", nanoseconds=2_500_000_000)

    assert buildkit_efforts(tmp_path, processes) == {ID: Effort(cpu_seconds=2.5, network_bytes=1200)}


@pytest.mark.parametrize(
    "name",
    [f"docker/buildkit/{ID}", f"system.slice:docker:{ID}", f"system.slice/docker-{ID}.scope", f"deep/x/buildkit/{ID}"],
)
def test_steps_are_found_under_version_2_and_under_any_parent(tmp_path: Path, processes: Path, name: str) -> None:
    group_v2(tmp_path, name, microseconds=2_500_000)

    assert buildkit_efforts(tmp_path, processes) == {ID: Effort(cpu_seconds=2.5, network_bytes=1200)}


def test_containers_and_services_are_no_steps(tmp_path: Path, processes: Path) -> None:
    for name in (f"docker/{'0123456789abcdef' * 4}", "system.slice/ssh.service", "docker/buildkit"):
        group_v1(tmp_path, name, nanoseconds=1)

    assert buildkit_efforts(tmp_path, processes) == {}


@pytest.mark.parametrize("process", ["", "77"])
def test_a_step_whose_first_process_has_ended_is_told_without_its_network(
    tmp_path: Path, processes: Path, process: str
) -> None:
    group_v1(tmp_path, f"docker/buildkit/{ID}", nanoseconds=1_000_000_000, process=process)

    assert buildkit_efforts(tmp_path, processes) == {ID: Effort(cpu_seconds=1.0, network_bytes=0)}


def test_a_step_that_ends_meanwhile_is_left_out(tmp_path: Path, processes: Path) -> None:
    group_v1(tmp_path, f"docker/buildkit/{ID}", nanoseconds=1)
    group_v1(tmp_path, f"docker/buildkit/{OTHER}", nanoseconds=1)
    (tmp_path / "cpuacct/docker/buildkit" / OTHER / "cpuacct.usage").unlink()

    assert list(buildkit_efforts(tmp_path, processes)) == [ID]


def test_a_machine_without_control_groups_shows_nothing(tmp_path: Path, processes: Path) -> None:
    assert buildkit_efforts(tmp_path / "none", processes) == {}


@pytest.mark.parametrize(
    ("networks", "expected"), [({"eth0": {"rx_bytes": 1000, "tx_bytes": 200}}, 1200), (None, 0), ({}, 0)]
)
def test_a_containers_effort_is_read_from_the_engines_answer(networks: object, expected: int) -> None:
    data = {"cpu_stats": {"cpu_usage": {"total_usage": 25_441_808}}, "networks": networks}

    assert container_effort(data) == Effort(cpu_seconds=0.025441808, network_bytes=expected)


# Real steps


@pytest.fixture(scope="module", params=BuilderKind, ids=lambda kind: kind.value)
def every_builder(
    request: pytest.FixtureRequest, address: EngineAddress, tmp_path_factory: pytest.TempPathFactory
) -> ImageBuilder:
    directory = tmp_path_factory.mktemp("builder")
    environment = {**surroundings(directory / "home"), **address.cli_environment}
    return builder(asyncio.run(survey(environment, address)), request.param, environment, directory / "state")


@pytest.fixture
def build(every_builder: ImageBuilder, tmp_path: Path, labels: Mapping[str, str]) -> Build:
    return Build(every_builder, tmp_path / "tree", labels)


@pytest.fixture
async def host(address: EngineAddress) -> AsyncIterator[BuildHost]:
    async with build_host(address.url) as running:
        yield running


@asynccontextmanager
async def in_a_step(build: Build, host: BuildHost, then: str) -> AsyncIterator[None]:
    """A step runs, which called the host and does ``then`` now, as long as the block lasts."""
    gate = host.hold(f"/{build.unique}")
    call = f"import urllib.request as u; u.urlopen('{host.url}/{build.unique}'); {then}"
    running = asyncio.create_task(build.run(f'FROM python:3.11-slim\nRUN python3 -c "{call}"\n'))
    async with asyncio.timeout(60):
        await gate.arrived.wait()
    try:
        yield
    finally:
        running.cancel()
        await asyncio.wait([running])


async def growth(engine: Engine, build: Build, before: Efforts, seconds: float) -> list[float]:
    """The CPU time that each step consumes in so many seconds, of those that were not there ``before``."""
    first = await engine.step_efforts(build.container) or {}
    await asyncio.sleep(seconds)
    then = await engine.step_efforts(build.container) or {}
    return [then[step].cpu_seconds - first[step].cpu_seconds for step in (first.keys() & then.keys()) - before.keys()]


@pytest.mark.engine
async def test_a_step_that_waits_consumes_nothing_and_one_that_computes_does(
    engine: Engine, build: Build, host: BuildHost
) -> None:
    """Steps of other builds may run beside it: they are shown as well."""
    before = await engine.step_efforts(None) or {}
    async with in_a_step(build, host, "exec('while True: pass')"):
        waiting = await growth(engine, build, before, 0.3)
        host.hold(f"/{build.unique}").release()
        async with asyncio.timeout(30):
            while not any(cpu > 0.1 for cpu in await growth(engine, build, before, 0.3)):
                pass

    assert min(waiting) < 0.003


@pytest.mark.engine
async def test_a_step_is_seen_as_long_as_the_engine_works_on_it(engine: Engine, build: Build, host: BuildHost) -> None:
    async with in_a_step(build, host, "pass"):
        step = next(step.name for step in reversed(build.steps) if step.name.startswith("RUN"))
        during = await engine.runs_step(step), await engine.runs_step(f"{step}; true")
    async with asyncio.timeout(5):
        while await engine.runs_step(step):
            pass

    assert during == (True, False)


@pytest.mark.parametrize("name", ["COPY . /", 'RUN ["/bin/true"]', "RUN true of nobody"])
@pytest.mark.engine
async def test_what_cannot_be_seen_is_not_said_to_run(engine: Engine, name: str) -> None:
    assert not await engine.runs_step(name)


@pytest.mark.engine
async def test_when_a_container_does_not_run_the_engine_itself_works(engine: Engine, spec: ContainerSpec) -> None:
    container = await engine.create_container(spec)

    assert await engine.step_efforts(container) is None


@pytest.mark.engine
async def test_when_a_container_is_gone_the_engine_itself_works(engine: Engine) -> None:
    assert await engine.step_efforts("0123456789ab") is None


@pytest.mark.engine
async def test_a_container_that_ends_while_it_is_looked_at_is_not_called_idle(
    proxied: Engine, proxy: EngineProxy, spec: ContainerSpec
) -> None:
    container = await proxied.create_container(spec)
    await proxied.start(container)
    held = proxy.faults.hold("GET", f"/containers/{container}/stats")
    asking = asyncio.create_task(proxied.step_efforts(container))
    await held.arrived.wait()
    await proxied.stop_container(container)
    held.release()

    assert await asking is None


@pytest.mark.engine
async def test_of_an_engine_elsewhere_no_step_of_buildkit_is_shown(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workspace_server.engine.here.socket.gethostname", lambda: "elsewhere")

    assert await engine.step_efforts(None) == {}


async def test_an_engine_that_is_away_says_so(tmp_path: Path) -> None:
    async with open_engine(EngineAddress(url=f"unix://{tmp_path}/away.sock", local_socket=True)) as away:
        with pytest.raises(UnavailableError):
            await away.step_efforts(None)
